# C types of _ttheader.py. Positions are at most the size of the frame; sizes in a header have 16 bits, so no sum
# or product of them overflows. Every byte is read with a bounds check, those that have been checked before as well.

cimport cython

cdef int _PADDING, _STRINGS, _INTS, _TOKEN, _COMPACT, _TRANSPORT_TYPE, _LOG, _TIMEOUT, _MESSAGE_TYPE
cdef bytes _SERVICE
cdef dict _answers


cdef class Header:
    cdef public long long seqid
    cdef public int flags
    cdef public long long protocol
    cdef public bint framed, plain
    cdef public object transforms
    cdef readonly Py_ssize_t message
    cdef object kept_ints, kept_strings, kept_token
    cdef bytes raw
    cdef bint named

    @cython.locals(raw=bytes, pos=Py_ssize_t, end=Py_ssize_t, start=Py_ssize_t, stop=Py_ssize_t,
                   kind="unsigned char", count=int, key=int, size=int)
    cpdef str value(self, int number)

    @cython.locals(value=str)
    cpdef long long timeout(self)

    @cython.locals(raw=bytes, ints=dict, strings=dict, pos=Py_ssize_t, end=Py_ssize_t, start=Py_ssize_t,
                   kind="unsigned char", count=int, key=int, size=int)
    cdef parse(self)


cdef tuple parts(Header header)


cpdef str text(bytes data)


cpdef bytes octets(str value)


@cython.locals(end=Py_ssize_t, size=Py_ssize_t, begin=Py_ssize_t, stop=Py_ssize_t, rest=Py_ssize_t, seqid="long long",
               header=Header, pos=Py_ssize_t, left="long long", any_block=bint, kind="unsigned char", count=int,
               key=Py_ssize_t, lead="unsigned char")
cpdef Header read(bytes frame, Py_ssize_t start, Py_ssize_t most, long long entries)


cdef Py_ssize_t passed(bytes frame, Py_ssize_t pos, Py_ssize_t stop, Py_ssize_t start) except -1


cdef int put_short(bytearray out, Py_ssize_t number) except -1


@cython.locals(data=bytes)
cdef int put_text(bytearray out, str value) except -1


cdef int put_strings(bytearray out, object strings) except -1


@cython.locals(size=Py_ssize_t)
cdef bytes finished(bytearray out, object token)


@cython.locals(out=bytearray)
cpdef bytes info(long long protocol, object ints, object strings, object token)


@cython.locals(size=Py_ssize_t, payload=Py_ssize_t)
cpdef bytes frame(bytes info, int flags, long long seqid, bint framed, bytes message)


cpdef bytes answer(Header came, int kind, bytes message)


cpdef dict answer_ints(int kind, bint framed)


cdef class Template:
    cdef int flags, protocol, count
    cdef bint framed
    cdef object strings
    cdef bytes fixed
    cdef tuple last

    @cython.locals(last=tuple)
    cpdef bytes plain(self, long long seqid, long long milliseconds, bytes message)

    @cython.locals(made=bytes)
    cpdef bytes carrying(self, long long seqid, long long milliseconds, bytes message, object log, object strings,
                         object token)

    @cython.locals(out=bytearray)
    cdef bytes info(self, long long milliseconds, object log, object strings, object token)
