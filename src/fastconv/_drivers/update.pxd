from fastconv._drivers.kernels cimport fc_adam, fc_kernels, fc_sgd

# One step of an optimiser, in place; the result is a Status. Arrays without gaps and of one layout,
# none of which overlap.
cdef int sgd(const fc_kernels *kernels, const fc_sgd *s, int num_threads) noexcept nogil
cdef int adam(const fc_kernels *kernels, const fc_adam *s, int num_threads) noexcept nogil
