from libc.stdint cimport int64_t

from fastconv._drivers.kernels cimport fc_kernels, fc_size

# Arrays without gaps, all of one memory layout; outputs overlap no input. The result is a Status.

# sum of (x - t)^2, of which each goes to `losses` unless that is NULL; dx = 2 scale (x - t)
cdef int squared_error(const fc_kernels *kernels, const void *x, const void *t, void *losses,
                       fc_size n, double *total, int num_threads) noexcept nogil
cdef int squared_error_backward(const fc_kernels *kernels, const void *x, const void *t, void *dx,
                                fc_size n, double scale, int num_threads) noexcept nogil

# -yes log sigmoid(x) - no log sigmoid(-x), `no` NULL for 1 - yes; backward gives the sum of `yes`,
# which is NaN where one of them is
cdef int logistic_loss(const fc_kernels *kernels, const void *x, const void *yes, const void *no,
                       void *losses, fc_size n, double *total, int num_threads) noexcept nogil
cdef int logistic_loss_backward(const fc_kernels *kernels, const void *x, const void *yes,
                                const void *no, void *dx, fc_size n, double scale, double *sum_yes,
                                int num_threads) noexcept nogil

# Cross-entropy over the middle axis of (outer, classes, inner) with a label of every position.
ctypedef struct CrossEntropy:
    const fc_kernels *kernels
    fc_size outer, classes, inner
    const char *x
    const int64_t *labels  # [outer][inner]
    const char *weight     # [classes], or NULL for ones
    int64_t ignore
    char *out              # losses [outer][inner] or NULL; backward, the gradient

cdef int cross_entropy(const CrossEntropy *c, double *total, double *weights,
                       int num_threads) noexcept nogil
# scale: [outer][inner], or one for all
cdef int cross_entropy_backward(const CrossEntropy *c, const char *scale, bint one_scale,
                                int num_threads) noexcept nogil
