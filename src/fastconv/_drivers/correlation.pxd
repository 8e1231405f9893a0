# The one form that forward, both gradients and every phase of a strided gradient share:
#
#   y[n, k, i, j] = bias[k] + sum over c, r, s of w[k, c, r, s] *
#                   x[n, c, row0 + i * step_h + r * row_d, col0 + j * step_w + s * col_d]
#
# with x zero outside its height and width, per group. The weight gradient reads the same form with
# w as the unknown. Sizes in elements, strides in bytes.
from fastconv._drivers.kernels cimport fc_kernels, fc_size

# Filters packed beforehand, each form by the driver that reads it; NULL where no call would.
ctypedef struct Packed:
    const fc_kernels *kernels  # that they were packed for
    const char *panels         # direct.pyx
    const char *rows           # planes.pyx, few filters
    const char *points[2]      # winograd.pyx, by tile

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
    const Packed *packed  # the same filters, or NULL
    fc_size row0, step_h, row_d
    fc_size col0, step_w, col_d
    const char *bias  # [groups * filters], contiguous, or NULL
    bint relu

cdef inline double work(const Correlation *c) noexcept nogil:
    # for parallel_for, in elements moved: some 20 multiply-adds take the time of one
    return (<double> c.batch * c.groups * c.filters * c.out_h * c.out_w
            * c.channels * c.taps_h * c.taps_w / 20)

cdef inline fc_size ceil_div(fc_size a, fc_size b) noexcept nogil:
    return (a + b - 1) // b

cdef inline fc_size part(fc_size total, fc_size parts, fc_size i) noexcept nogil:
    # where part i starts when `total` is cut into `parts` as evenly as can be
    return (total // parts) * i + min(i, total % parts)

cdef inline fc_size round_up(fc_size nbytes) noexcept nogil:
    return (nbytes + 63) // 64 * 64

cdef inline void valid(fc_size first, fc_size step, fc_size size, fc_size n,
                       fc_size *lo, fc_size *hi) noexcept nogil:
    # outputs i in [lo, hi) of n for which first + i * step lies in [0, size)
    lo[0] = 0 if first >= 0 else (-first + step - 1) // step
    hi[0] = 0 if first >= size else (size - 1 - first) // step + 1
    lo[0] = min(lo[0], n)
    hi[0] = max(min(hi[0], n), lo[0])

cdef inline void turn_taps(Correlation *c) noexcept nogil:
    # number the taps so that they go down and to the right
    if c.row_d < 0:
        c.row0 += (c.taps_h - 1) * c.row_d
        c.row_d = -c.row_d
        c.w += (c.taps_h - 1) * c.w_h
        c.w_h = -c.w_h
    if c.col_d < 0:
        c.col0 += (c.taps_w - 1) * c.col_d
        c.col_d = -c.col_d
        c.w += (c.taps_w - 1) * c.w_w
        c.w_w = -c.w_w

cdef inline void forward_taps(Correlation *c) noexcept nogil:
    # ... and where there is one tap, always inside the image, a step is only a longer stride
    turn_taps(c)
    if c.taps_h == 1 and c.row0 >= 0 and c.row0 + (c.out_h - 1) * c.step_h < c.height:
        c.x += c.row0 * c.x_h
        c.row0 = 0
        c.x_h *= c.step_h
        c.step_h = 1
        c.height = c.out_h
    if c.taps_w == 1 and c.col0 >= 0 and c.col0 + (c.out_w - 1) * c.step_w < c.width:
        c.x += c.col0 * c.x_w
        c.col0 = 0
        c.x_w *= c.step_w
        c.step_w = 1
        c.width = c.out_w
