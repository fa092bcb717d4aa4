# C types of _matcher.py.

cimport cython

from pyrpc_xds._picker cimport Picker, Rng

cdef int EXACT, PREFIX, SUFFIX, CONTAINS, REGEX, SEPARATED_PREFIX, GLOB
cdef int MET, FAILED
cdef long MILLION
cdef long NO_MATCH
cdef Py_ssize_t MAX_PLANS, MAX_PLANNED_PATH

cpdef str fold(str text)


cdef class StringTest:
    cdef int kind
    cdef bint ignore_case, one_line
    cdef str value
    cdef object regex
    cdef tuple parts

    cpdef bint holds(self, str text)

    @cython.locals(first=str, last=str, part=str, at=Py_ssize_t, end=Py_ssize_t)
    cpdef bint globs(self, str text)


cdef class Test:
    cpdef bint holds(self, str path, dict headers)
    cpdef bint costly(self)
    cpdef tuple guard(self)


cdef class PathTest(Test):
    cdef StringTest test


cdef class HeaderTest(Test):
    cdef str name, default
    cdef StringTest test
    cdef bint invert, binary

    cpdef str value(self, dict headers)

    @cython.locals(value=str)
    cpdef bint holds(self, str path, dict headers)

    @cython.locals(test=StringTest)
    cpdef bint accepts(self, str value)

    @cython.locals(test=StringTest)
    cpdef tuple guard(self)


cdef class PresentTest(HeaderTest):
    cdef bint present


cdef class RangeTest(HeaderTest):
    cdef object start, end


cdef class FractionTest(Test):
    cdef unsigned long long numerator
    cdef Rng rng


cdef class RouteEntry:
    cdef readonly PathTest path
    cdef readonly tuple tests
    cdef readonly object destination
    cdef readonly Picker picker
    cdef readonly long index


cdef class Candidate:
    cdef long index
    cdef object destination
    cdef Picker picker
    cdef PathTest path, regex
    cdef tuple checks, later

    cdef bint holds(self, str path, dict headers)


@cython.locals(test=Test)
cdef bint all_hold(tuple tests, str path, dict headers)


@cython.locals(candidate=Candidate)
cdef Candidate first_of(tuple candidates, str path, dict headers, long bound)


@cython.locals(candidate=Candidate)
cdef append_under(tuple candidates, long bound, list into)


cdef class Guard:
    cdef str name, value
    cdef long head
    cdef bint single
    cdef tuple candidates
    cdef dict table

    cdef add(self, str value, Candidate candidate)
    cdef seal(self)
    cdef tuple find(self, str value)


cdef class Bucket:
    cdef list entries
    cdef tuple plain, guards
    cdef bint closed
    cdef long head
    cdef dict guard_of

    @cython.locals(entry=RouteEntry)
    cpdef add(self, RouteEntry entry, bint implied)

    @cython.locals(entry=RouteEntry, guard=Guard, test=Test, chosen=Test, wanted=tuple, plain=list)
    cpdef seal(self)

    @cython.locals(best=Candidate, found=Candidate, guard=Guard, named=Guard, candidates=tuple)
    cdef Candidate first(self, str path, dict headers, long bound)

    @cython.locals(candidate=Candidate, plain=list)
    cdef drop(self, bytearray verdicts)

    @cython.locals(copy=Bucket, candidate=Candidate, guard=Guard, plain=list)
    cdef Bucket narrowed(self, str path)

    @cython.locals(guard=Guard, candidates=tuple)
    cdef collect(self, dict headers, long bound, list into)


cdef class PrefixIndex:
    cdef dict buckets
    cdef list keys, parents

    @cython.locals(at=Py_ssize_t)
    cdef collect(self, str text, list into)


cdef class PathIndex:
    cdef dict exact, folded_exact, anywhere
    cdef PrefixIndex prefixes, folded_prefixes

    @cython.locals(test=StringTest, exact=dict, prefixes=dict)
    cpdef add(self, RouteEntry entry)

    cpdef seal(self)

    @cython.locals(found=list, folded=str, bucket=Bucket)
    cdef list collect(self, str path)


@cython.locals(bucket=Bucket)
cpdef long head_of(Bucket bucket)


@cython.locals(candidate=Candidate)
cpdef long index_of(Candidate candidate)


cdef class Plan:
    cdef tuple buckets, slow
    cdef long slow_head
    cdef bytearray verdicts

    @cython.locals(best=Candidate, found=Candidate, bucket=Bucket, bound=long, waiting=list)
    cdef Candidate decide(self, str path, dict headers)

    @cython.locals(best=Candidate, candidate=Candidate, bucket=Bucket, verdict=int, failed=bint)
    cdef Candidate first_waiting(self, list waiting, str path, dict headers)


cdef class RouteProgram:
    cdef readonly tuple entries
    cdef object refuse
    cdef dict plans
    cdef PathIndex fast, slow

    @cython.locals(test=Test, costly=bint)
    cdef place(self, RouteEntry entry, long index)

    cdef Plan plan(self, str path)

    @cython.locals(view=dict, plan=Plan)
    cdef Candidate decide(self, str path, object headers)

    @cython.locals(found=Candidate)
    cpdef long find(self, str path, object headers)

    @cython.locals(found=Candidate)
    cpdef object match(self, str path, object headers)
