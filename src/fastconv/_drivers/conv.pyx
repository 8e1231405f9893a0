"""Convolution: a geometry in the one form of the drivers, and which driver takes it.

Every pass is a `Correlation` (correlation.pxd). Forward is one; the input gradient is one for each
phase of the strides, with its share of the taps; the weight gradient is the same form with w
unknown. Each driver says by `is_usable` what it takes. `conv_outputs` and `conv_backward_weight`
ask one after the other; the diagram of the package's __init__.py shows the order.
"""

from libc.math cimport INFINITY as inf
from libc.string cimport memset

from fastconv._drivers cimport (
    direct, few_filters, grouped, planes, planes_weight, pointwise, weight, winograd,
    winograd_form, winograd_weight)
from fastconv._drivers.axis cimport AXES, D, H, W, Axis
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, Packed, Shuffle, absorb_depth, flip_taps, fold_steps, join_images,
    outputs_of, taps_of)
from fastconv._drivers.costs cimport direct_cost, exact_enough, wide_enough, winograd_cost
from fastconv._drivers.geometry cimport AUTO, DIRECT, WINOGRAD
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.phases cimport JoinedPhases, joined_form, plan_phases
from fastconv._drivers.runtime cimport (
    OK, OUT_OF_MEMORY, check_signals, run_once, strict_accuracy)
from fastconv._drivers.sums cimport Sums, channel_sums, fill_channels


# ---------------------------------------------------------------- forms

cdef Correlation forward_form(const ConvGeometry *g, const fc_kernels *kernels, Strided x,
                              Strided w, Strided y) noexcept nogil:
    cdef Correlation c
    cdef const Axis *a
    cdef int i
    c.kernels = kernels
    c.batch, c.groups = g.batch, g.groups
    c.channels, c.filters = g.in_channels // g.groups, g.out_channels // g.groups
    c.x, c.x_n, c.x_c, c.x_g = x.data, x.stride_n, x.stride_c, c.channels * x.stride_c
    c.y, c.y_n, c.y_k, c.y_g = y.data, y.stride_n, y.stride_c, c.filters * y.stride_c
    c.w, c.w_k, c.w_c, c.w_g = w.data, w.stride_n, w.stride_c, c.filters * w.stride_n
    for i in range(AXES):
        a = &g.axis[i]
        c.axis[i] = CorrelationAxis(a.size, a.out, a.kernel, -a.pad_before, a.stride, a.dilation,
                                    x.stride[i], y.stride[i], w.stride[i])
    c.packed = NULL
    c.shuffle = NULL
    c.bias = NULL
    c.relu = False
    return c


# Where the input gradient of one axis gets its values, for the inputs that lie `phase` past a
# multiple of the stride: from every `tap_step`-th tap starting at tap0, the first of which meets
# output `first` for the phase's first input; each further tap meets the output `output_step` above.
ctypedef struct Phase:
    fc_size inputs, tap0, tap_step, taps, first, output_step


cdef fc_size tap_step_of(const Axis *a) noexcept nogil:
    cdef fc_size divisor = a.stride, rest = a.dilation
    while rest:  # greatest common divisor
        divisor, rest = rest, divisor % rest
    return a.stride // divisor


cdef Phase find_phase(const Axis *a, fc_size phase) noexcept nogil:
    cdef Phase p
    cdef fc_size r
    p.inputs = (a.size - phase + a.stride - 1) // a.stride
    p.tap_step = tap_step_of(a)
    p.output_step = a.dilation // (a.stride // p.tap_step)
    p.taps = p.tap0 = p.first = 0
    for r in range(min(a.kernel, p.tap_step)):
        if (phase + a.pad_before - r * a.dilation) % a.stride == 0:
            p.tap0 = r
            p.taps = (a.kernel - r + p.tap_step - 1) // p.tap_step
            p.first = (phase + a.pad_before - r * a.dilation) // a.stride
            break
    return p


cdef Correlation phase_form(const ConvGeometry *g, const fc_kernels *kernels, Strided dy, Strided w,
                            Strided dx, const fc_size *at) noexcept nogil:
    cdef Correlation c
    cdef const Axis *a
    cdef Phase p
    cdef int i
    c.kernels = kernels
    c.batch, c.groups = g.batch, g.groups
    c.channels, c.filters = g.out_channels // g.groups, g.in_channels // g.groups
    c.x, c.x_n, c.x_c, c.x_g = dy.data, dy.stride_n, dy.stride_c, c.channels * dy.stride_c
    c.y, c.y_n, c.y_k, c.y_g = dx.data, dx.stride_n, dx.stride_c, c.filters * dx.stride_c
    c.w, c.w_k, c.w_c, c.w_g = w.data, w.stride_c, w.stride_n, c.channels * w.stride_n
    for i in range(AXES):
        a = &g.axis[i]
        p = find_phase(a, at[i])
        c.axis[i] = CorrelationAxis(a.out, p.inputs, p.taps, p.first, 1, -p.output_step,
                                    dy.stride[i], a.stride * dx.stride[i], p.tap_step * w.stride[i])
        c.y += at[i] * dx.stride[i]
        c.w += p.tap0 * w.stride[i]
    if taps_of(&c) == 0:
        for i in range(AXES):
            c.axis[i].taps = 0
    c.packed = NULL
    c.shuffle = NULL
    c.bias = NULL
    c.relu = False
    flip_taps(&c)
    return c


# ---------------------------------------------------------------- which algorithm, which driver

cdef bint allows_winograd(const ConvGeometry *g) noexcept nogil:
    cdef Strided nothing
    cdef Correlation c
    memset(&nothing, 0, sizeof(Strided))
    c = forward_form(g, NULL, nothing, nothing, nothing)
    return winograd_form.is_usable(&c)


cdef int choose_winograd(const Correlation *c, int algorithm, bint of_weight) noexcept nogil:
    cdef double cost, other
    cdef int tile = winograd_form.TILE_4
    if algorithm == DIRECT or not winograd_form.is_usable(c):
        return -1
    if winograd_form.is_line(c):
        tile = winograd_form.LINE_4
        if algorithm >= WINOGRAD:
            return tile
    elif algorithm == WINOGRAD_4:
        return tile
    elif algorithm == WINOGRAD_2:
        return winograd_form.TILE_2
    if algorithm == AUTO and (strict_accuracy() or not wide_enough(c)):
        return -1
    cdef Correlation shape = c[0]
    if algorithm == WINOGRAD:  # the same bits, packed or not
        shape.packed = NULL
    cost = inf
    if exact_enough(c, tile, of_weight):
        cost = winograd_cost(&shape, tile, of_weight)
    if tile == winograd_form.TILE_4:
        other = winograd_cost(&shape, winograd_form.TILE_2, of_weight)
        if other <= cost:
            cost, tile = other, winograd_form.TILE_2
    if algorithm == AUTO and direct_cost(&shape, of_weight) <= cost:
        return -1
    return tile


# Phases of an input gradient that direct.pyx takes: they wait to be one parallel loop.
ctypedef struct Waiting:
    Correlation phases[direct.MAX_PHASES]
    fc_size count


cdef int run_waiting(Waiting *waiting, int num_threads) noexcept nogil:
    cdef fc_size count = waiting.count
    waiting.count = 0
    return direct.run_direct(waiting.phases, count, num_threads) if count else OK


cdef int conv_outputs(Correlation c, int algorithm, int num_threads) noexcept nogil:
    return run_or_wait(c, algorithm, num_threads, NULL)


cdef int run_or_wait(Correlation c, int algorithm, int num_threads,
                     Waiting *waiting) noexcept nogil:
    cdef int tile
    if c.batch * c.groups * c.filters * outputs_of(&c) == 0:
        return OK
    flip_taps(&c)
    absorb_depth(&c)
    if c.shuffle == NULL:
        tile = choose_winograd(&c, algorithm, False)
        if tile >= 0:
            return winograd.run_winograd(&c, tile, num_threads)
        if grouped.is_usable(&c, False):
            return grouped.run_grouped(&c, 1, 1, num_threads)
        if planes.is_usable(&c):
            return planes.run_planes(&c, num_threads)
    fold_steps(&c)
    join_images(&c)
    if c.shuffle == NULL and pointwise.is_usable(&c):
        return pointwise.run_pointwise(&c, num_threads)
    if few_filters.is_usable(&c):
        return few_filters.run_few_filters(&c, num_threads)
    if waiting == NULL:
        return direct.run_direct(&c, 1, num_threads)
    waiting.phases[waiting.count] = c
    waiting.count += 1
    return run_waiting(waiting, num_threads) if waiting.count == direct.MAX_PHASES else OK


cdef int conv_backward_weight(const ConvGeometry *g, const fc_kernels *kernels, Strided dy,
                              Strided x, Strided dw, int algorithm, int num_threads) noexcept nogil:
    cdef Correlation c = forward_form(g, kernels, x, dw, dy)
    cdef int tile
    absorb_depth(&c)
    tile = choose_winograd(&c, algorithm, True)
    if tile >= 0 and g.batch > 0:
        return winograd_weight.run_winograd_weight(&c, tile, num_threads)
    if grouped.is_usable(&c, True):
        return grouped.run_grouped_weight(&c, num_threads)
    if planes_weight.is_usable(&c):
        return planes_weight.run_planes_weight(&c, num_threads)
    return weight.run_weight(&c, num_threads)


cdef int run_joined_phases(JoinedPhases *p, int algorithm, int num_threads) noexcept nogil:
    cdef Correlation c
    cdef Shuffle shuffle
    cdef fc_size at[AXES]
    cdef int status = OK
    p.filters = allocate(p.filter_bytes + p.bias_bytes)
    if p.filters == NULL:
        return OUT_OF_MEMORY
    p.biases = p.filters + p.filter_bytes
    for at[D] in range(p.spans[D]):
        for at[H] in range(p.spans[H]):
            for at[W] in range(p.spans[W]):
                if status == OK:
                    status = check_signals()
                if status == OK:
                    status = joined_form(p, at, &c, &shuffle, num_threads)
                if status == OK and taps_of(&c) > 0:
                    status = conv_outputs(c, algorithm, num_threads)
    release(p.filters)
    return status


cdef enum:
    MAX_SPREAD = 64  # inputs of a plane that are phases of their own


cdef bint has_one_output(const ConvGeometry *g) noexcept nogil:
    """Whether every input meets the one output by one tap at most, and they are few."""
    cdef const Axis *a
    cdef double inputs = 1
    cdef int i
    for i in range(AXES):
        a = &g.axis[i]
        if a.out > 1 or a.dilation > 1:
            return False
        inputs *= a.size
    return inputs <= MAX_SPREAD


cdef ConvGeometry with_stride_of_kernel(const ConvGeometry *given) noexcept nogil:
    """Where there is one output the stride is of no account: one that leaves a phase one tap."""
    cdef ConvGeometry g = given[0]
    cdef Axis *a
    cdef int i
    for i in range(AXES):
        a = &g.axis[i]
        a.stride = max(a.kernel, a.size + a.pad_before)
    return g


cdef bint is_one_product(const ConvGeometry *g, fc_size itemsize, const Strided *w,
                         const Strided *dx) noexcept nogil:
    """Whether an image is a sum of filters, each as a whole: both lie alike, without gaps."""
    cdef const Axis *a
    cdef fc_size stride = itemsize
    cdef int i
    for i in range(AXES - 1, -1, -1):
        a = &g.axis[i]
        if a.size != a.kernel or a.pad_before > 0:
            return False
        if a.size > 1 and (w.stride[i] != stride or dx.stride[i] != stride):
            return False
        stride *= a.size
    return g.in_channels == g.groups or w.stride_c == dx.stride_c == stride


ctypedef struct RepeatedBias:
    const fc_kernels *kernels
    const char *bias
    char *to          # [channels][taps]
    fc_size channels, taps


cdef int repeat_bias(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const RepeatedBias *r = <const RepeatedBias *> context
    cdef fc_size size = r.kernels.itemsize
    r.kernels.copy2d(r.to, r.taps * size, size, r.bias, size, 0, r.channels, r.taps)
    return OK


cdef int run_one_product(const ConvGeometry *g, const fc_kernels *kernels, Strided dy, Strided w,
                         Strided dx, const char *bias, bint relu, int num_threads) noexcept nogil:
    """A correlation of one pixel, whose filters are all taps of all channels."""
    cdef Correlation c
    cdef RepeatedBias repeated
    cdef fc_size size = kernels.itemsize, taps = 1
    cdef char *biases = NULL
    cdef int status = OK, i
    for i in range(AXES):
        taps *= g.axis[i].kernel
        c.axis[i] = CorrelationAxis(1, 1, 1, 0, 1, 1, 0, 0, 0)
    c.kernels, c.batch, c.groups = kernels, g.batch, g.groups
    c.channels, c.filters = g.out_channels // g.groups, g.in_channels // g.groups * taps
    c.x, c.x_n, c.x_c, c.x_g = dy.data, dy.stride_n, dy.stride_c, c.channels * dy.stride_c
    c.y, c.y_n, c.y_k = dx.data, dx.stride_n, size
    c.y_g = g.in_channels // g.groups * dx.stride_c
    c.w, c.w_k, c.w_c, c.w_g = w.data, size, w.stride_n, c.channels * w.stride_n
    c.packed, c.shuffle, c.bias, c.relu = NULL, NULL, bias, relu
    if bias != NULL and taps > 1:
        biases = allocate(g.in_channels * taps * size)
        if biases == NULL:
            return OUT_OF_MEMORY
        repeated = RepeatedBias(kernels, bias, biases, g.in_channels, taps)
        status = run_once(repeat_bias, &repeated)
        c.bias = biases
    if status == OK:
        status = conv_outputs(c, DIRECT, num_threads)
    release(biases)
    return status


cdef const Packed *find_packed(const PackedPhases *p, const ConvGeometry *g,
                               const fc_kernels *kernels, const fc_size *at) noexcept nogil:
    """The packed taps of a phase; NULL where it has none, or they are packed for other calls."""
    cdef Phase phase
    cdef fc_size index = 0
    cdef int i
    for i in range(AXES):
        phase = find_phase(&g.axis[i], at[i])
        if phase.taps == 0 or phase.tap_step != p.tap_step[i]:
            return NULL
        index = index * p.shares[i] + phase.tap0
    return &p.packed[index] if p.packed[index].kernels == kernels else NULL


cdef int run_phase(Correlation c, const Packed *packed, int algorithm, int num_threads,
                   Waiting *waiting) noexcept nogil:
    """`packed` may be NULL, and changes neither the algorithm nor, therefore, any bit."""
    cdef Correlation shape = c
    if packed != NULL:
        absorb_depth(&shape)  # as conv_outputs will
        if choose_winograd(&shape, algorithm, False) < 0:
            c.packed = packed
            algorithm = DIRECT
    return run_or_wait(c, algorithm, num_threads, waiting)


cdef int conv_backward_input(const ConvGeometry *g, const fc_kernels *kernels, Strided dy,
                             Strided w, const PackedPhases *packed, Strided dx,
                             const char *bias, bint relu, int algorithm,
                             int num_threads) noexcept nogil:
    """One correlation per phase of the strides: each with stride 1 and its own share of the taps.

    See docs/derivation.md, "The gradient with respect to the input".
    """
    cdef ConvGeometry spread
    cdef const Axis *a
    cdef Correlation c
    cdef Correlation phases[grouped.MAX_PHASES]
    cdef fc_size n[AXES]   # phases of each axis
    cdef fc_size at[AXES]
    cdef fc_size sizes[AXES]
    cdef const Packed *taps = NULL
    cdef bint gaps = False  # some phases are reached by no tap
    cdef bint by_planes
    cdef JoinedPhases joined
    cdef Waiting waiting
    cdef int status = OK, i
    waiting.count = 0
    if g.batch == 0:
        return OK
    if algorithm <= DIRECT and has_one_output(g):
        if is_one_product(g, kernels.itemsize, &w, &dx):
            return run_one_product(g, kernels, dy, w, dx, bias, relu, num_threads)
        spread = with_stride_of_kernel(g)
        g = &spread
    a = &g.axis[0]
    for i in range(AXES):
        n[i] = min(a[i].stride, a[i].size)
        gaps |= a[i].stride > a[i].kernel
        at[i] = 0
        sizes[i] = a[i].size
    # without steps in the plane, absorb_depth may find a better form: conv_outputs asks it
    by_planes = n[H] * n[W] <= grouped.MAX_PHASES and (n[H] * n[W] > 1 or a[D].size == 1)
    for at[D] in range(n[D] if by_planes else 0):
        for i in range(n[H] * n[W]):
            at[H], at[W] = i // n[W], i % n[W]
            phases[i] = phase_form(g, kernels, dy, w, dx, at)
            phases[i].bias, phases[i].relu = bias, relu
        if at[D] == 0 and not grouped.is_usable(&phases[0], False):
            break
        status = grouped.run_grouped(phases, n[H], n[W], num_threads)
        if status == OK:
            status = check_signals()
        if status != OK or at[D] == n[D] - 1:
            return status
    at[D] = at[H] = at[W] = 0
    if gaps:
        status = fill_channels(kernels, dx, g.batch, g.in_channels, sizes, bias, relu, num_threads)
    if status == OK and plan_phases(&joined, g, kernels, dy, w, dx):
        c = phase_form(g, kernels, dy, w, dx, at)
        if choose_winograd(&c, algorithm, False) < 0:
            joined.bias, joined.relu = bias, relu
            return run_joined_phases(&joined, algorithm, num_threads)
    for at[D] in range(n[D]):
        if gaps and find_phase(&a[D], at[D]).taps == 0:
            continue
        for at[H] in range(n[H]):
            if gaps and find_phase(&a[H], at[H]).taps == 0:
                continue
            for at[W] in range(n[W]):
                if status == OK:
                    status = check_signals()
                if status != OK:
                    return status
                c = phase_form(g, kernels, dy, w, dx, at)
                c.bias, c.relu = bias, relu
                if packed != NULL:
                    taps = find_packed(packed, g, kernels, at)
                if not (gaps and taps_of(&c) == 0):
                    status = run_phase(c, taps, algorithm, num_threads, &waiting)
    return run_waiting(&waiting, num_threads) if status == OK else status


cdef int conv_backward_bias(const fc_kernels *kernels, fc_size batch, fc_size channels,
                            const fc_size *sizes, Strided dy, void *db,
                            int num_threads) noexcept nogil:
    cdef Sums s
    s.kernels = kernels
    s.batch, s.channels, s.width = batch, channels, sizes[W]
    s.height = sizes[D] * sizes[H]  # rows of all slices
    s.x, s.x_n, s.x_c, s.x_w = dy.data, dy.stride_n, dy.stride_c, dy.stride[W]
    s.x_h = dy.stride[H] if sizes[H] > 1 else dy.stride[D]
    s.out = <char *> db
    return channel_sums(&s, num_threads)
