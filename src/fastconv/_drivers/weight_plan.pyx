"""How the weight gradient is cut up: into blocks of taps, channels and filters, whose sums stay in
the cache; into slots, where blocks are too few to share out; and into pieces of the images.

Shapes and strides alone decide it, so the bits never depend on the number of threads.
"""

from fastconv._drivers.axis cimport AXES, D, H, W
from fastconv._drivers.blocking cimport (
    TASKS, WEIGHT_ALIAS, WEIGHT_BLOCK, WEIGHT_FEW_CHANNELS, WEIGHT_MANY_TAPS,
    WEIGHT_MANY_TAPS_BLOCK, WEIGHT_MAX_TAPS, WEIGHT_MAX_WASTE, WEIGHT_MIN_BLOCK, WEIGHT_MIN_PIXELS,
    WEIGHT_PIECE_BYTES, WEIGHT_PIECE_PIXELS, WEIGHT_PIXEL_ALIAS, WEIGHT_POINTWISE_BLOCK,
    WEIGHT_POINTWISE_SLOT_PIXELS, WEIGHT_SLOT_PIXELS, WEIGHT_SMALL_WASTE, WEIGHT_SUMS_BYTES,
    WEIGHT_TASK_PRODUCTS, WEIGHT_WINDOW_BYTES, ceil_div, round_up)
from fastconv._drivers.correlation cimport (
    Correlation, CorrelationAxis, fold_steps, maps_one_to_one, outputs_of, taps_of, work)
from fastconv._drivers.kernels cimport fc_size


cdef void plan_weight(WeightPlan *p, const Correlation *given) noexcept nogil:
    p.given = given[0]
    fold_steps(&p.given)
    p.c = p.given
    p.exchanged = filters_make_better_rows(&p.c)
    if p.exchanged:
        exchange_operands(&p.c)
    choose_weight_blocks(p)
    if p.slots > 1:
        describe_slots(p)
    p.in_place = taps_of(&p.c) == 1 and p.c.w_k == p.c.kernels.itemsize
    choose_copies(p)
    choose_pieces(p)
    lay_out_weight_scratch(p)


# ---------------------------------------------------------------- which operand is which

cdef double row_cost(const Correlation *c, fc_size rows, fc_size cols,
                     bint contiguous) noexcept nogil:
    """Time of a pixel's products: full tiles, one of single vectors, and transposing columns."""
    cdef fc_size lanes = c.kernels.lanes, vectors = ceil_div(cols, lanes)
    cdef double cost = <double> rows * lanes * (vectors + 0.3 * (vectors % 2))
    return cost if contiguous else cost + 6.0 * cols * ceil_div(rows, WEIGHT_POINTWISE_BLOCK)


cdef bint filters_make_better_rows(const Correlation *c) noexcept nogil:
    """Whether x and y should change places; a 1x1 convolution without border lets them."""
    cdef fc_size size = c.kernels.itemsize
    return (maps_one_to_one(&c.axis[D]) and maps_one_to_one(&c.axis[H])
            and maps_one_to_one(&c.axis[W])
            and row_cost(c, c.filters, c.channels, c.x_c == size)
            <= row_cost(c, c.channels, c.filters, c.y_k == size))


cdef void exchange_operands(Correlation *c) noexcept nogil:
    cdef char *x = <char *> c.x
    cdef CorrelationAxis *a
    cdef int i
    c.x, c.y = c.y, x
    c.x_n, c.y_n = c.y_n, c.x_n
    c.x_g, c.y_g = c.y_g, c.x_g
    c.x_c, c.y_k = c.y_k, c.x_c
    for i in range(AXES):
        a = &c.axis[i]
        a.x, a.y = a.y, a.x
    c.channels, c.filters = c.filters, c.channels
    c.w_c, c.w_k = c.w_k, c.w_c


# ---------------------------------------------------------------- blocks and slots

cdef inline bint has_few_channels(const Correlation *c) noexcept nogil:
    """So few that a row of taps joins them to one run."""
    return (c.channels < WEIGHT_FEW_CHANNELS and c.axis[W].taps > 1 and c.axis[W].dilation == 1)


cdef void cut_taps(WeightPlan *p, fc_size max_rows) noexcept nogil:
    """All taps to a block, as many rows of them as its sums have room for, or a part of a row."""
    cdef const CorrelationAxis *h = &p.c.axis[H]
    cdef const CorrelationAxis *w = &p.c.axis[W]
    cdef fc_size tap_bytes = (p.block_channels * p.block_panels
                              * p.c.kernels.nr * p.c.kernels.itemsize)
    cdef fc_size max_taps = WEIGHT_MAX_TAPS
    if has_few_channels(&p.c):
        max_taps = max(max_taps, WEIGHT_POINTWISE_BLOCK // p.c.channels)
    max_rows = min(max_rows, max_taps // w.taps)
    max_rows = min(max_rows, WEIGHT_SUMS_BYTES // (w.taps * tap_bytes))
    max_rows = max(1, min(h.taps, max_rows))
    p.row_blocks = ceil_div(h.taps, max_rows)
    p.tap_rows = ceil_div(h.taps, p.row_blocks)
    p.col_blocks = ceil_div(w.taps, max_taps)
    p.tap_cols = ceil_div(w.taps, p.col_blocks)


cdef void choose_weight_blocks(WeightPlan *p) noexcept nogil:
    """Large blocks; smaller ones, and slots, where there would be too few tasks."""
    cdef const Correlation *c = &p.c
    cdef fc_size nr = c.kernels.nr, taps = planar_taps(c), panels = ceil_div(c.filters, nr)
    cdef fc_size channels = WEIGHT_BLOCK, filters, max_rows = c.axis[H].taps
    cdef fc_size tasks = <fc_size> max(1, min(TASKS, 20 * work(c) / WEIGHT_TASK_PRODUCTS))
    cdef fc_size slot_pixels = WEIGHT_POINTWISE_SLOT_PIXELS if taps == 1 else WEIGHT_SLOT_PIXELS
    cdef fc_size max_slots = max(1, min(c.batch * c.axis[D].out * c.axis[H].out,
                                        c.batch * outputs_of(c) // slot_pixels))
    if taps == 1:
        channels = WEIGHT_POINTWISE_BLOCK
    elif taps > WEIGHT_MANY_TAPS and has_few_channels(c):
        channels = WEIGHT_POINTWISE_BLOCK
    elif taps > WEIGHT_MANY_TAPS:
        channels = WEIGHT_MANY_TAPS_BLOCK
    filters = channels
    while True:
        p.channel_blocks = ceil_div(c.channels, channels)
        p.block_channels = ceil_div(c.channels, p.channel_blocks)
        p.block_panels = ceil_div(panels, ceil_div(panels, max(1, filters // nr)))
        p.filter_blocks = ceil_div(panels, p.block_panels)
        cut_taps(p, max_rows)
        p.blocks = (c.groups * c.axis[D].taps * p.row_blocks * p.col_blocks * p.channel_blocks
                    * p.filter_blocks)
        p.slots = min(max_slots, ceil_div(tasks, p.blocks))
        if 2 * p.blocks * p.slots > tasks:
            return
        if p.tap_rows > 1 and (c.x_c == c.kernels.itemsize
                               or are_apart(&c.axis[H], c.axis[H].taps)):
            max_rows = 1  # blocks do not copy the same rows
        elif p.block_channels >= p.block_panels * nr and p.block_channels > WEIGHT_MIN_BLOCK:
            channels = ceil_div(p.block_channels, 2)
        elif p.block_panels > 1:
            filters = ceil_div(p.block_panels, 2) * nr
        else:
            return


cdef void describe_slots(WeightPlan *p) noexcept nogil:
    """The strides of w where its place is taken by slots: those of contiguous filters."""
    cdef Correlation *c = &p.c
    cdef const Correlation *given = &p.given
    cdef fc_size size = c.kernels.itemsize, filter_bytes = given.channels * taps_of(given) * size
    c.axis[W].w = size
    c.axis[H].w = c.axis[W].taps * size
    c.axis[D].w = c.axis[H].taps * c.axis[H].w
    c.w_c = taps_of(given) * size
    c.w_k = filter_bytes
    c.w_g = given.filters * filter_bytes
    if p.exchanged:
        c.w_c, c.w_k = c.w_k, c.w_c
    p.slot_bytes = given.groups * c.w_g


# ---------------------------------------------------------------- pieces of the images

cdef void choose_copies(WeightPlan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize
    cdef bint pointwise = planar_taps(c) == 1
    p.copy_y = c.y_k != size or w.y % WEIGHT_PIXEL_ALIAS == 0
    p.side_by_side = has_few_channels(c)
    if p.side_by_side:
        p.copy_x = True
    elif c.x_c != size:
        p.copy_x = not pointwise or c.x_c % WEIGHT_ALIAS == 0
    else:
        p.copy_x = w.x * w.step % (WEIGHT_PIXEL_ALIAS if pointwise else WEIGHT_ALIAS) == 0


cdef double window_pixels(const WeightPlan *p, fc_size rows, fc_size cols) noexcept nogil:
    """Input pixels under rows x cols outputs that a block's taps take copies of."""
    return (<double> rows_under(&p.c.axis[H], rows, p.tap_rows)
            * inputs_under(&p.c.axis[W], cols, p.tap_cols))


cdef void choose_pieces(WeightPlan *p) noexcept nogil:
    """Several images, or some rows of one, or a part of a row; x is copied no more if too much of
    the copy would not be used."""
    cdef const Correlation *c = &p.c
    cdef const CorrelationAxis *h = &c.axis[H]
    cdef const CorrelationAxis *w = &c.axis[W]
    cdef fc_size size = c.kernels.itemsize, rows, cols, pixels
    cdef double copied
    cdef fc_size x_pixel = p.block_channels * size, y_pixel = p.block_panels * c.kernels.nr * size
    pixels = WEIGHT_PIECE_BYTES // (x_pixel + y_pixel)
    pixels = max(WEIGHT_MIN_PIXELS, min(WEIGHT_PIECE_PIXELS, pixels))
    p.piece_cols = ceil_div(w.out, ceil_div(w.out, pixels))
    p.piece_rows = max(1, min(h.out, pixels // p.piece_cols))
    if p.copy_x:
        rows, cols = p.piece_rows, p.piece_cols
        while (rows > 1 or cols > WEIGHT_MIN_PIXELS) and (
                window_pixels(p, rows, cols) * x_pixel > WEIGHT_WINDOW_BYTES):
            if rows > 1:
                rows = ceil_div(rows, 2)
            else:
                cols = ceil_div(cols, 2)
        copied = window_pixels(p, rows, cols)
        if (copied > WEIGHT_MAX_WASTE * rows * cols + WEIGHT_SMALL_WASTE
                and copied > 2 * rows * cols * p.tap_rows * p.tap_cols):
            p.copy_x = p.side_by_side = False
        else:
            p.piece_rows, p.piece_cols = rows, ceil_div(w.out, ceil_div(w.out, cols))
    p.piece_rows = ceil_div(h.out, ceil_div(h.out, p.piece_rows))
    p.piece_images = 1
    if p.piece_rows == h.out and p.piece_cols == w.out:
        p.piece_images = pixels // (h.out * w.out)
        if p.copy_x:
            p.piece_images = min(p.piece_images,
                                 <fc_size> (WEIGHT_WINDOW_BYTES
                                            / (window_pixels(p, h.out, w.out) * x_pixel)))
        p.piece_images = max(1, min(p.piece_images, c.batch))


cdef void lay_out_weight_scratch(WeightPlan *p) noexcept nogil:
    cdef const Correlation *c = &p.c
    cdef fc_size size = c.kernels.itemsize, panel = c.kernels.nr * size
    cdef fc_size rows = p.piece_images * p.piece_rows, pixels = rows * p.piece_cols
    p.x_at = round_up(2 * rows * sizeof(void *))
    p.y_at = p.x_at
    if p.copy_x:
        p.y_at += round_up(p.piece_images * <fc_size> window_pixels(p, p.piece_rows, p.piece_cols)
                           * p.block_channels * size)
    p.panel_at = p.y_at
    if p.copy_y:
        p.panel_at += round_up(pixels * p.block_panels * panel)
    # with several taps, each would pack it anew
    p.keep_panel = planar_taps(c) == 1 and not p.copy_y and p.block_channels > c.kernels.mr
    p.sums_at = p.panel_at
    if p.keep_panel:
        p.sums_at += round_up(pixels * panel)
    p.scratch_bytes = p.sums_at
    if not p.in_place:
        p.scratch_bytes += p.tap_rows * p.tap_cols * p.block_channels * p.block_panels * panel
