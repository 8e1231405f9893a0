# The one form that forward, both gradients and every phase of a strided gradient share:
#
#   y[n, k, i, j] = bias[k] + sum over c, r, s of
#                   w[k, c, r, s] * x[n, c, row0 + i * step_h + r * row_d, col0 + j * step_w + s * col_d]
#
# with x zero outside its height and width, per group. The weight gradient reads the same form with
# w as the unknown. Sizes in elements, strides in bytes.
from fastconv._drivers.kernels cimport fc_kernels, fc_size

ctypedef struct Correlation:
    const fc_kernels *kernels
    fc_size batch, groups
    # x: (batch, groups, channels, height, width)
    const char *x
    fc_size x_n, x_g, x_c, x_h, x_w
    fc_size channels, height, width
    # y: (batch, groups, filters, out_h, out_w)
    char *y
    fc_size y_n, y_g, y_k, y_h, y_w
    fc_size filters, out_h, out_w
    # w: (groups, filters, channels, taps_h, taps_w)
    const char *w
    fc_size w_g, w_k, w_c, w_h, w_w
    fc_size taps_h, taps_w
    fc_size row0, step_h, row_d
    fc_size col0, step_w, col_d
    const char *bias  # [groups * filters], contiguous, or NULL
    bint relu

cdef inline double multiply_adds(const Correlation *c) noexcept nogil:
    return (<double> c.batch * c.groups * c.filters * c.out_h * c.out_w
            * c.channels * c.taps_h * c.taps_w)

cdef inline fc_size ceil_div(fc_size a, fc_size b) noexcept nogil:
    return (a + b - 1) // b

cdef inline fc_size part(fc_size total, fc_size parts, fc_size i) noexcept nogil:
    # where part i starts when `total` is cut into `parts` as evenly as can be
    return (total // parts) * i + min(i, total % parts)
