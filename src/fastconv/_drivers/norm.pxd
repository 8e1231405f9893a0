from fastconv._drivers.kernels cimport fc_size

# Arrays (outer, channels, inner) without gaps, all of one layout, outputs apart from inputs; no
# size is 0. Channel vectors are double, [channels]. The result is a Status.
ctypedef struct BatchNorm:
    int itemsize
    fc_size outer, channels, inner
    const char *x
    const char *g  # gradient of the output; forward, any valid pointer
    char *out
    int num_threads

# mean as origin + offset, the one a value of the channel, and the sum of squares about it
cdef int moments(const BatchNorm *b, double *origin, double *offset, double *m2) noexcept nogil
# sum of g, and of g (x - shift)
cdef int gradient_sums(const BatchNorm *b, const double *shift, double *sum_g,
                       double *sum_gx) noexcept nogil
# out = (x - shift) scale + offset
cdef int apply(const BatchNorm *b, const double *shift, const double *scale,
               const double *offset) noexcept nogil
# out = g scale + (x - shift) slope + offset
cdef int gradient(const BatchNorm *b, const double *shift, const double *scale,
                  const double *slope, const double *offset) noexcept nogil
