# The one form that forward, both gradients and every phase of a strided gradient share, here with
# one of its three axes:
#
#   y[n, k, i] = bias[k] + sum over c, r of w[k, c, r] * x[n, c, first + i * step + r * dilation]
#
# with x zero outside its size, per group. The weight gradient reads the same form with w as the
# unknown. Sizes in elements, strides in bytes.
from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.kernels cimport fc_kernels, fc_size

# Filters packed beforehand, each form by the driver that reads it; NULL where no call would.
ctypedef struct Packed:
    const fc_kernels *kernels  # that they were packed for
    const char *panels         # direct.pyx
    const char *rows           # few_filters.pyx
    const char *points[3]      # winograd.pyx, by tile

# Filters that are phases of a stride as well as channels (phases.pyx): [phases of H][planes][run].
# A run is what lies y_k apart: the phases of W, with all channels of each where pixels hold them
# side by side; else planes are the channels. The first phases of an axis may have no first output,
# and the last ones no last output: those lie beyond the border of y.
ctypedef struct Shuffle:
    fc_size planes, run
    fc_size y_h, y_plane     # from one phase of H and from one plane to the next, in bytes
    fc_size first_h, last_h  # the first phase of H that has a first output, those that have a last
    fc_size first_w, last_w  # likewise the filters of a run

ctypedef struct CorrelationAxis:
    fc_size size, out, taps         # of x, y and w
    fc_size first, step, dilation
    fc_size x, y, w                 # strides

ctypedef struct Correlation:
    const fc_kernels *kernels
    fc_size batch, groups
    fc_size channels, filters  # of a group
    CorrelationAxis axis[AXES]
    # x: (batch, groups, channels, sizes)
    const char *x
    fc_size x_n, x_g, x_c
    # y: (batch, groups, filters, outs)
    char *y
    fc_size y_n, y_g, y_k
    # w: (groups, filters, channels, taps)
    const char *w
    fc_size w_g, w_k, w_c
    const Packed *packed  # the same filters, or NULL
    const char *bias      # [groups * filters], contiguous, or NULL
    bint relu
    # NULL, or how filters that are phases of a stride lie in y
    const Shuffle *shuffle

cdef inline bint is_planar(const Correlation *c) noexcept nogil:
    # two dimensions or fewer: the depth axis is that of an image
    return (c.axis[D].size == 1 and c.axis[D].out == 1 and c.axis[D].taps <= 1
            and c.axis[D].first == 0)

cdef inline bint maps_one_to_one(const CorrelationAxis *a) noexcept nogil:
    # output i reads input i and no other
    return a.taps == 1 and a.step == 1 and a.first == 0 and a.size == a.out

cdef inline fc_size outputs_of(const Correlation *c) noexcept nogil:
    return c.axis[D].out * c.axis[H].out * c.axis[W].out

cdef inline fc_size taps_of(const Correlation *c) noexcept nogil:
    return c.axis[D].taps * c.axis[H].taps * c.axis[W].taps

cdef inline double work(const Correlation *c) noexcept nogil:
    # for parallel_for, in elements moved: some 20 multiply-adds take the time of one
    return (<double> c.batch * c.groups * c.filters * outputs_of(c) * c.channels * taps_of(c) / 20)

cdef inline fc_size span(const CorrelationAxis *a, fc_size outputs) noexcept nogil:
    # from the first input that so many outputs read to the last
    return (outputs - 1) * a.step + (a.taps - 1) * a.dilation + 1

cdef inline bint crosses_border(const CorrelationAxis *a) noexcept nogil:
    # some output reads beyond the image; taps go up
    return a.first < 0 or a.first + span(a, a.out) > a.size

cdef inline void inside(fc_size first, fc_size step, fc_size size, fc_size n,
                        fc_size *lo, fc_size *hi) noexcept nogil:
    # outputs i in [lo, hi) of n for which first + i * step lies in [0, size)
    lo[0] = 0 if first >= 0 else (-first + step - 1) // step
    hi[0] = 0 if first >= size else (size - 1 - first) // step + 1
    lo[0] = min(lo[0], n)
    hi[0] = max(min(hi[0], n), lo[0])

cdef inline fc_size input_of(const CorrelationAxis *a, fc_size output) noexcept nogil:
    # what the first tap reads
    return a.first + output * a.step

cdef inline void find_taps_inside(const CorrelationAxis *a, fc_size i0, fc_size i1, fc_size *first,
                                  fc_size *last) noexcept nogil:
    # the taps [first, last) that read some of the image for outputs i0 to i1, i1 among them; taps
    # go up
    cdef fc_size lowest = input_of(a, i0), highest = input_of(a, i1)
    first[0] = 0
    last[0] = a.taps
    if highest < 0:
        first[0] = min((-highest + a.dilation - 1) // a.dilation, a.taps)
    if lowest + (a.taps - 1) * a.dilation >= a.size:
        last[0] = max(first[0], (max(a.size - lowest, 0) + a.dilation - 1) // a.dilation)

cdef inline void flip_taps(Correlation *c) noexcept nogil:
    # number the taps of every axis so that they go up
    cdef CorrelationAxis *a
    cdef int i
    for i in range(AXES):
        a = &c.axis[i]
        if a.dilation < 0:
            a.first += (a.taps - 1) * a.dilation
            a.dilation = -a.dilation
            c.w += (a.taps - 1) * a.w
            a.w = -a.w

cdef inline void fold_steps(Correlation *c) noexcept nogil:
    # where there is one tap, always inside the image, a step is only a longer stride
    cdef CorrelationAxis *a
    cdef int i
    flip_taps(c)
    for i in range(AXES):
        a = &c.axis[i]
        if a.taps == 1 and a.first >= 0 and a.first + (a.out - 1) * a.step < a.size:
            c.x += a.first * a.x
            a.first = 0
            a.x *= a.step
            a.step = 1
            a.size = a.out

cdef inline bint merge(CorrelationAxis *outer, CorrelationAxis *inner) noexcept nogil:
    # two axes as one, the inner, where pixels can be counted on through both
    if not (maps_one_to_one(outer) and maps_one_to_one(inner)):
        return False
    if outer.size > 1 and (outer.x != inner.size * inner.x or outer.y != inner.out * inner.y):
        return False
    inner.size = inner.out = inner.size * outer.size
    outer.size = outer.out = 1
    return True

cdef inline void join_images(Correlation *c) noexcept nogil:
    # images of one output each become the columns of one image
    cdef CorrelationAxis *w = &c.axis[W]
    if (c.batch == 1 or outputs_of(c) != 1 or not maps_one_to_one(w) or c.shuffle != NULL
            and (c.shuffle.first_w > 0 or c.shuffle.last_w < c.shuffle.run)):
        return
    w.size = w.out = c.batch
    w.x, w.y = c.x_n, c.y_n
    c.batch = 1

cdef inline void absorb_depth(Correlation *c) noexcept nogil:
    # The same sums with an axis less, where taps lie along one or two axes alone: most drivers have
    # two. What two axes share becomes one of them, or images of the batch.
    cdef CorrelationAxis *d = &c.axis[D]
    if is_planar(c):
        return
    fold_steps(c)
    if c.shuffle == NULL and merge(&c.axis[H], &c.axis[W]):
        c.axis[D], c.axis[H] = c.axis[H], c.axis[D]
        merge(&c.axis[H], &c.axis[W])
    elif not (c.shuffle == NULL and merge(d, &c.axis[H])) and maps_one_to_one(d) and (
            c.batch == 1 or c.x_n == d.size * d.x and c.y_n == d.out * d.y):
        c.batch *= d.size
        c.x_n, c.y_n = d.x, d.y
        d.size = d.out = 1
