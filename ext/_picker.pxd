# C types of _picker.py.

cimport cython

cdef unsigned long long MASK, GAMMA, MIX_1, MIX_2, LOW_32, MAX_TOTAL, OFFSET


cdef class Rng:
    cdef unsigned long long state

    @cython.locals(state="unsigned long long")
    cpdef unsigned long long next(self)

    @cython.locals(product="unsigned long long", low="unsigned long long", floor="unsigned long long")
    cpdef unsigned long long below(self, unsigned long long bound)


cdef class Picker:
    cdef readonly tuple items
    cdef Py_ssize_t count

    cpdef object pick(self)


cdef class SinglePicker(Picker):
    pass


cdef class RandomPicker(Picker):
    cdef Rng rng


cdef class RoundRobinPicker(Picker):
    cdef Py_ssize_t turn

    @cython.locals(turn=Py_ssize_t)
    cpdef object pick(self)


cdef class WeightedPicker(Picker):
    cdef Rng rng
    cdef unsigned long long total, first_edge
    cdef list edges

    @cython.locals(edges=list, edge="unsigned long long", index=Py_ssize_t)
    cdef unsigned long long add_up(self) except? 0

    @cython.locals(draw="unsigned long long", edge="unsigned long long", low=Py_ssize_t, high=Py_ssize_t,
                   middle=Py_ssize_t)
    cpdef object pick(self)


cdef class WeightedRoundRobinPicker(Picker):
    cdef list weights, offsets
    cdef unsigned long long largest, round
    cdef Py_ssize_t turn

    @cython.locals(offsets=list, largest="unsigned long long", offset="unsigned long long",
                   index="unsigned long long")
    cdef int spread(self) except -1

    @cython.locals(weight="unsigned long long", offset="unsigned long long", phase="unsigned long long",
                   round_="unsigned long long", turn=Py_ssize_t, chosen=Py_ssize_t)
    cpdef object pick(self)


cdef class LocalityPicker(Picker):
    cdef WeightedPicker localities

    @cython.locals(picker=Picker)
    cpdef object pick(self)
