"""Steps of the optimisers over chunks of a parameter."""

from fastconv._drivers.kernels cimport fc_adam, fc_kernels, fc_sgd, fc_size
from fastconv._drivers.runtime cimport OK, kernels, parallel_for

cdef enum:
    CHUNK = 16384  # elements of a task


ctypedef struct Update:
    const fc_kernels *kernels
    const fc_sgd *sgd
    const fc_adam *adam


cdef int sgd_chunk(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Update *u = <const Update *> context
    cdef fc_sgd s = u.sgd[0]
    cdef fc_size start = task * CHUNK, at = start * u.kernels.itemsize
    s.n = min(<fc_size> CHUNK, s.n - start)
    s.data = <char *> s.data + at
    s.grad = <const char *> s.grad + at
    if s.velocity != NULL:
        s.velocity = <char *> s.velocity + at
    u.kernels.sgd(&s)
    return OK


cdef int sgd(const fc_kernels *kernels, const fc_sgd *s, int num_threads) noexcept nogil:
    cdef Update u
    u.kernels, u.sgd = kernels, s
    return parallel_for(sgd_chunk, &u, (s.n + CHUNK - 1) // CHUNK, 0, <double> 4 * s.n,
                        num_threads)


cdef int adam_chunk(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Update *u = <const Update *> context
    cdef fc_adam s = u.adam[0]
    cdef fc_size start = task * CHUNK, at = start * u.kernels.itemsize
    s.n = min(<fc_size> CHUNK, s.n - start)
    s.data, s.grad = <char *> s.data + at, <const char *> s.grad + at
    s.mean, s.square = <char *> s.mean + at, <char *> s.square + at
    u.kernels.adam(&s)
    return OK


cdef int adam(const fc_kernels *kernels, const fc_adam *s, int num_threads) noexcept nogil:
    cdef Update u
    u.kernels, u.adam = kernels, s
    return parallel_for(adam_chunk, &u, (s.n + CHUNK - 1) // CHUNK, 0, <double> 10 * s.n,
                        num_threads)
