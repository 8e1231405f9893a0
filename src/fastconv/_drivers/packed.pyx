"""Filters packed once for many calls: in the order of each driver that would pack them anew."""

from libc.string cimport memcpy, memset

from fastconv._drivers cimport direct, few_filters, winograd
from fastconv._drivers.atomic cimport fc_fill_pointer, fc_load_pointer
from fastconv._drivers.conv cimport choose_winograd, forward_form
from fastconv._drivers.correlation cimport absorb_depth
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.winograd_form cimport TILES
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, hold_signals, release_signals


cdef PackedFilters *pack_filters(const ConvGeometry *g, const fc_kernels *kernels, Strided w,
                                 bint copied, int num_threads) noexcept nogil:
    cdef Correlation c = forward_form(g, kernels, w, w, w)
    # depthwise filters fill too little of a panel
    cdef size_t panels_bytes = direct.panels_bytes(&c) if c.channels * c.filters > 1 else 0
    cdef size_t rows_bytes = few_filters.rows_bytes(&c), weight_bytes = 0
    if copied:
        weight_bytes = g.out_channels * w.stride_n
    cdef PackedFilters *p = <PackedFilters *> allocate(sizeof(PackedFilters))
    cdef char *memory = allocate(panels_bytes + rows_bytes + weight_bytes)
    cdef int status = OK if p != NULL and memory != NULL else OUT_OF_MEMORY, i
    if status == OK:
        p.packed.panels = p.packed.rows = NULL
        memset(p.packed.points, 0, sizeof(p.packed.points))
        p.packed.kernels = kernels
        p.weight, p.dtype, p.memory = w, kernels.dtype, memory
        p.groups, p.out_channels, p.group_channels = g.groups, g.out_channels, c.channels
        for i in range(AXES):
            p.kernel[i] = g.axis[i].kernel
        if copied:
            p.weight.data = memory + panels_bytes + rows_bytes
            memcpy(p.weight.data, w.data, weight_bytes)
        if panels_bytes:
            p.packed.panels = memory
            hold_signals()
            status = direct.pack_panels(&c, memory, num_threads)
            release_signals()
        if rows_bytes:
            p.packed.rows = memory + panels_bytes
            few_filters.pack_rows(&c, memory + panels_bytes)
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
