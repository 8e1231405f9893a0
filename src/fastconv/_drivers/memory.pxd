cdef char *allocate(size_t nbytes) noexcept nogil
cdef void release(char *memory) noexcept nogil

cdef class Memory:
    cdef char *data
    cdef Py_ssize_t nbytes
