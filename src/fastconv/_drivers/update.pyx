"""Steps of the optimisers over chunks of a parameter.

A parameter whose step takes less than some ten microseconds stays on one thread: what another one
reads and writes of it would have to come from a cache that is not its own.
"""

from fastconv._drivers.blocking cimport CHUNK, chunk_size, chunks_of
from fastconv._drivers.kernels cimport fc_adam, fc_kernels, fc_sgd, fc_size
from fastconv._drivers.runtime cimport OK, parallel_for


ctypedef struct SgdStep:
    const fc_kernels *kernels
    const fc_sgd *whole


cdef int sgd_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const SgdStep *step = <const SgdStep *> context
    cdef fc_size at = task * CHUNK * step.kernels.itemsize
    cdef fc_sgd s = step.whole[0]
    s.n = chunk_size(s.n, task)
    s.data, s.grad = <char *> s.data + at, <const char *> s.grad + at
    if s.velocity != NULL:
        s.velocity = <char *> s.velocity + at
    step.kernels.sgd(&s)
    return OK


cdef int sgd(const fc_kernels *kernels, const fc_sgd *s, int num_threads) noexcept nogil:
    cdef SgdStep step
    step.kernels, step.whole = kernels, s
    return parallel_for(sgd_task, &step, chunks_of(s.n), 0, <double> s.n, num_threads)


ctypedef struct AdamStep:
    const fc_kernels *kernels
    const fc_adam *whole


cdef int adam_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const AdamStep *step = <const AdamStep *> context
    cdef fc_size at = task * CHUNK * step.kernels.itemsize
    cdef fc_adam s = step.whole[0]
    s.n = chunk_size(s.n, task)
    s.data, s.grad = <char *> s.data + at, <const char *> s.grad + at
    s.mean, s.square = <char *> s.mean + at, <char *> s.square + at
    step.kernels.adam(&s)
    return OK


cdef int adam(const fc_kernels *kernels, const fc_adam *s, int num_threads) noexcept nogil:
    cdef AdamStep step
    step.kernels, step.whole = kernels, s
    return parallel_for(adam_task, &step, chunks_of(s.n), 0, <double> 2 * s.n, num_threads)
