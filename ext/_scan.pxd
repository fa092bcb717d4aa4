# C types of _scan.py. Sizes and counts are 64-bit: the product of a 31-bit count and an element size fits.
cimport cython

cdef int _STRUCT_FORM, _SEQUENCE_FORM
cdef int _BOOL, _I16, _I32, _STRING, _STRUCT, _MAP
cdef int _HEAD, _NAME, _TAIL, _BODY, _DONE
cdef bytes _VARINT, _CANONICAL, _PRICE
cdef long long _LIST, _SLOT, _MAP_TABLE, _ENTRY, _KEYS

cdef class Scanner:
    cdef readonly bint compact
    cdef readonly long long max_bytes
    cdef readonly int max_depth
    cdef readonly long long max_elements
    cdef readonly long long expansion
    cdef bytes fixed
    cdef bytes least
    cdef list stack
    cdef long long limit
    cdef long long base
    cdef int phase
    cdef long long skip
    cdef int want
    cdef object want_node
    cdef bint counted
    cdef readonly long long cost
    cdef long long worth
    cdef int form
    cdef long long left
    cdef int even
    cdef int odd
    cdef int fid
    cdef object even_node
    cdef object odd_node
    cdef readonly int depth
    cdef readonly long long elements
    cdef unsigned long long number
    cdef bytes carry
    cdef int name_length
    cdef readonly int kind
    cdef readonly long long seqid
    cdef readonly bytes name
    cdef readonly bint strict
    cdef readonly long long body
    cdef readonly long long size

    cpdef reset(self)

    @cython.locals(end=Py_ssize_t, pos=Py_ssize_t)
    cpdef whole(self, bytes frame, Py_ssize_t start, object schemas, long long worth=*)

    @cython.locals(end=Py_ssize_t)
    cpdef bint frame(self, bytes data, object schemas) except -1

    @cython.locals(kept=Py_ssize_t, end=Py_ssize_t, pos=Py_ssize_t)
    cpdef Py_ssize_t feed(self, bytes piece, object schemas) except? -2

    @cython.locals(step=Py_ssize_t, mark=Py_ssize_t)
    cdef Py_ssize_t _run(self, bytes data, Py_ssize_t pos, Py_ssize_t end, object schemas) except -2

    @cython.locals(mark=Py_ssize_t, stop=Py_ssize_t, step=Py_ssize_t, length=cython.longlong)
    cdef Py_ssize_t _header(self, bytes data, Py_ssize_t pos, Py_ssize_t end, object schemas) except -2

    @cython.locals(mark=Py_ssize_t, stop=Py_ssize_t, kind=int, low=int, node=dict, field=tuple)
    cdef Py_ssize_t _field(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -2

    @cython.locals(kind=int, size=int, stop=Py_ssize_t, length=cython.longlong, node=dict)
    cdef Py_ssize_t _value(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -2

    @cython.locals(
        kind=int, mark=Py_ssize_t, stop=Py_ssize_t, even=int, odd=int,
        count=cython.longlong, total=cython.longlong, length=cython.longlong, node=tuple, counted=bint,
    )
    cdef Py_ssize_t _container(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -2

    @cython.locals(worth=cython.longlong)
    cdef int _finish(self, long long size) except -1

    cdef int _fits(self, long long length, Py_ssize_t pos) except -1

    cdef int _push(self, Py_ssize_t pos) except -1

    cdef int _pop(self) except -1

    @cython.locals(high=cython.longlong, number=cython.longlong)
    cdef long long _i32(self, bytes data, Py_ssize_t pos) except? -1

    @cython.locals(number=cython.ulonglong, byte=cython.ulonglong, shift=int)
    cdef Py_ssize_t _varint(self, bytes data, Py_ssize_t pos, Py_ssize_t end, int most) except -2
