from fastconv._drivers.kernels cimport fc_kernels, fc_size

# Arrays (outer, channels, inner) without gaps, all of one layout, outputs apart from inputs; no
# size is 0. Channel vectors are double, [channels]. The result is a Status.
ctypedef struct BatchNorm:
    const fc_kernels *kernels
    fc_size outer, channels, inner
    const char *x
    const char *g  # gradient of the output; forward, any valid pointer
    char *out
    bint training
    bint relu      # of the output; forward
    const double *weight
    int num_threads

# In training mean and var (biased) are written, otherwise read; invstd is written.
cdef int batch_norm(const BatchNorm *b, const double *bias, double eps, double *mean, double *var,
                    double *invstd) noexcept nogil
# The sums over a channel of g, and of g (x - mean), are written.
cdef int batch_norm_backward(const BatchNorm *b, const double *mean, const double *invstd,
                             double *sum_g, double *sum_gx) noexcept nogil
