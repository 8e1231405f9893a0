"""Filters packed once for many calls: in the order of each driver that would pack them anew."""

from libc.string cimport memcpy, memset

from fastconv._drivers cimport direct, few_filters, winograd
from fastconv._drivers.atomic cimport fc_fill_pointer, fc_load_pointer
from fastconv._drivers.blocking cimport next_index, round_up
from fastconv._drivers.conv cimport choose_winograd, forward_form, phase_form, tap_step_of
from fastconv._drivers.correlation cimport absorb_depth
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.winograd_form cimport TILES
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, hold_signals, release_signals


# depthwise filters fill too little of a panel
cdef inline size_t panels_bytes(const Correlation *c) noexcept nogil:
    return direct.panels_bytes(c) if c.channels * c.filters > 1 else 0


cdef inline size_t packed_bytes(const Correlation *c) noexcept nogil:
    return round_up(panels_bytes(c) + few_filters.rows_bytes(c))


cdef int pack(const Correlation *c, char *memory, Packed *to, int num_threads) noexcept nogil:
    """The filters of c, but for Winograd's points, in so many bytes of memory."""
    cdef size_t first = panels_bytes(c)
    cdef int status = OK
    memset(to, 0, sizeof(Packed))
    to.kernels = c.kernels
    if first:
        to.panels = memory
        hold_signals()
        status = direct.pack_panels(c, memory, num_threads)
        release_signals()
    if few_filters.rows_bytes(c):
        to.rows = memory + first
        few_filters.pack_rows(c, memory + first)
    return status


cdef PackedFilters *pack_filters(const ConvGeometry *g, const fc_kernels *kernels, Strided w,
                                 bint copied, int num_threads) noexcept nogil:
    cdef Correlation c = forward_form(g, kernels, w, w, w)
    cdef size_t nbytes = packed_bytes(&c), weight_bytes = 0
    if copied:
        weight_bytes = g.out_channels * w.stride_n
    cdef PackedFilters *p = <PackedFilters *> allocate(sizeof(PackedFilters))
    cdef char *memory = allocate(nbytes + weight_bytes)
    cdef int status = OK if p != NULL and memory != NULL else OUT_OF_MEMORY, i
    if status == OK:
        p.weight, p.dtype, p.memory = w, kernels.dtype, memory
        p.groups, p.out_channels, p.group_channels = g.groups, g.out_channels, c.channels
        for i in range(AXES):
            p.kernel[i] = g.axis[i].kernel
        if copied:
            p.weight.data = memory + nbytes
            memcpy(p.weight.data, w.data, weight_bytes)
        status = pack(&c, memory, &p.packed, num_threads)
    if status != OK:
        release(memory)
        release(<char *> p)
        return NULL
    return p


cdef void free_filters(PackedFilters *p) noexcept nogil:
    cdef int tile
    if p != NULL:
        release(p.memory)
        for tile in range(TILES):
            release(<char *> p.packed.points[tile])
        release(<char *> p)


cdef Correlation share_form(const ConvGeometry *g, const fc_kernels *kernels, Strided w,
                            const fc_size *shares, fc_size index) noexcept nogil:
    """The correlation of a phase with this share of the taps, with nothing but those taps in it."""
    cdef fc_size at[AXES]
    cdef int i
    for i in range(AXES - 1, -1, -1):
        # without padding, the phase that the first tap of the share meets
        at[i] = next_index(&index, shares[i]) * g.axis[i].dilation % g.axis[i].stride
    return phase_form(g, kernels, w, w, w, at)


cdef PackedPhases *pack_phases(const ConvGeometry *g, const fc_kernels *kernels, Strided w,
                               int num_threads) noexcept nogil:
    cdef PackedPhases *p = <PackedPhases *> allocate(sizeof(PackedPhases))
    cdef Correlation c
    cdef fc_size count = 1, nbytes = 0, i
    cdef char *to
    cdef int status = OK
    if p == NULL:
        return NULL
    for i in range(AXES):
        p.tap_step[i] = tap_step_of(&g.axis[i])
        p.shares[i] = min(g.axis[i].kernel, p.tap_step[i])
        count *= p.shares[i]
    for i in range(count):
        c = share_form(g, kernels, w, p.shares, i)
        nbytes += packed_bytes(&c)
    p.packed = <Packed *> allocate(count * sizeof(Packed))
    p.memory = to = allocate(nbytes)
    if p.packed == NULL or to == NULL:
        status = OUT_OF_MEMORY
    for i in range(count):
        if status == OK:
            c = share_form(g, kernels, w, p.shares, i)
            status = pack(&c, to, &p.packed[i], num_threads)
            to += packed_bytes(&c)
    if status != OK:
        free_phases(p)
        return NULL
    return p


cdef void free_phases(PackedPhases *p) noexcept nogil:
    if p != NULL:
        release(p.memory)
        release(<char *> p.packed)
        release(<char *> p)


cdef bint fits(const PackedFilters *p, const ConvGeometry *g, int dtype) noexcept nogil:
    cdef int i
    for i in range(AXES):
        if p.kernel[i] != g.axis[i].kernel:
            return False
    return (p.dtype == dtype and p.groups == g.groups and p.out_channels == g.out_channels
            and p.group_channels == g.in_channels // g.groups)


cdef int use_packed(PackedFilters *p, Correlation *c, int algorithm,
                    int num_threads) noexcept nogil:
    cdef Correlation shape
    cdef int tile, status
    cdef char *points
    if p.packed.kernels != c.kernels:  # packed for another instruction set
        return OK
    c.packed = &p.packed
    shape = c[0]
    absorb_depth(&shape)  # as conv_outputs will
    tile = choose_winograd(&shape, algorithm, False)
    if tile < 0 or fc_load_pointer(<void **> &p.packed.points[tile]) != NULL:
        return OK
    points = allocate(winograd.points_bytes(&shape, tile))
    if points == NULL:
        return OUT_OF_MEMORY
    status = winograd.pack_points(&shape, tile, points, num_threads)
    if status != OK or not fc_fill_pointer(<void **> &p.packed.points[tile], points):
        release(points)  # perhaps another thread was faster
    return status
