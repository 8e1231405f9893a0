# Memory that a caller lends for the length of a call, or, where data is NULL, a measure of it.
ctypedef struct Arena:
    char *data
    size_t size
    size_t used, most  # bytes, now and at most
    bint exhausted     # an allocation did not fit

cdef char *allocate(size_t nbytes) noexcept nogil
cdef void release(char *memory) noexcept nogil
cdef void use_arena(Arena *arena) noexcept nogil
cdef bint has_arena() noexcept nogil
cdef bint measuring() noexcept nogil

cdef class Memory:
    cdef char *data
    cdef Py_ssize_t nbytes
