# C types of _parts.py. Positions are at most the size of the message; a number has 63 bits.

cimport cython


cdef class Cutter:
    cdef bytes raw
    cdef Py_ssize_t pos

    @cython.locals(raw=bytes, end=Py_ssize_t, outer_key="unsigned long long", rest=list, taken=list,
                   changed=list, start=Py_ssize_t, key="unsigned long long", stop=Py_ssize_t, known=list,
                   elements=list, places=list, kept=bytes)
    cpdef tuple cut(self, unsigned long long outer, unsigned long long inner, list before)

    @cython.locals(raw=bytes, count=Py_ssize_t, rest=list, start=Py_ssize_t, key="unsigned long long",
                   stop=Py_ssize_t, place=Py_ssize_t, part=bytes)
    cdef bytes cut_one(self, unsigned long long inner_key, Py_ssize_t end, list known, list elements, list places)

    @cython.locals(size="unsigned long long", left="unsigned long long")
    cdef Py_ssize_t length(self, Py_ssize_t end) except -1

    @cython.locals(kind=int)
    cdef int skip(self, unsigned long long key, Py_ssize_t end) except -1

    @cython.locals(raw=bytes, value="unsigned long long", shift=int, byte="unsigned char")
    cdef unsigned long long varint(self, Py_ssize_t end) except? 0xFFFFFFFFFFFFFFFF


@cython.locals(encoded=bytearray)
cdef bytes varint(unsigned long long number)
