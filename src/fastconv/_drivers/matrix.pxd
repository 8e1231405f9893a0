from fastconv._drivers.kernels cimport fc_kernels, fc_size

# c[m][n] = bias[n] + sum over k of a[m][k] b[k][n]; strides in bytes, c's columns contiguous.
ctypedef struct Product:
    const fc_kernels *kernels
    fc_size m, n, k
    const char *a
    fc_size a_m, a_k
    const char *b
    fc_size b_k, b_n
    char *c
    fc_size c_m
    const char *bias  # [n], contiguous, or NULL

cdef int run_product(const Product *p, int num_threads) noexcept nogil
# sum[n] = the sum over m of rows a[m][n], a_m bytes apart, columns contiguous
cdef void add_rows(const fc_kernels *kernels, const char *a, fc_size a_m, fc_size m, fc_size n,
                   char *sum) noexcept nogil
