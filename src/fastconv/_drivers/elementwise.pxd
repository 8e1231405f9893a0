from fastconv._drivers.kernels cimport fc_kernels, fc_size

# Arrays without gaps, all of one memory layout; outputs overlap no input. The result is a Status.
cdef int activation(int op, const fc_kernels *kernels, const void *x, void *y, fc_size n,
                    double param, int num_threads) noexcept nogil
cdef int activation_backward(int op, const fc_kernels *kernels, const void *g, const void *saved,
                             void *dx, fc_size n, double param, int num_threads) noexcept nogil

# a + b, or what is positive of it
cdef int add(const fc_kernels *kernels, const void *a, const void *b, void *out, fc_size n,
             bint relu, int num_threads) noexcept nogil

# Over the middle axis of (outer, classes, inner); `g` is NULL forward, and `x` the output backward.
cdef int softmax(const fc_kernels *kernels, const void *x, const void *g, void *out, fc_size outer,
                 fc_size classes, fc_size inner, bint log, int num_threads) noexcept nogil

# out[outer][cols][rows] from x[outer][rows][cols], each without gaps, cols > 0
cdef int convert_layout(const fc_kernels *kernels, const void *x, void *out, fc_size outer,
                        fc_size rows, fc_size cols, int num_threads) noexcept nogil
