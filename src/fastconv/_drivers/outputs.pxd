# Where outputs go: blocks of them, as a driver holds them, to the strides of a correlation's y.
from fastconv._drivers.axis cimport H, W
from fastconv._drivers.correlation cimport Correlation
from fastconv._drivers.kernels cimport fc_size

cdef inline void store_row(const Correlation *c, char *y, const char *outputs, fc_size s_j,
                           fc_size s_k, fc_size cols, fc_size filters) noexcept nogil:
    c.kernels.copy2d(y, c.axis[W].y, c.y_k, outputs, s_j, s_k, cols, filters)

cdef inline void store_run(const Correlation *c, char *y, const char *outputs, fc_size s_j,
                           fc_size s_k, fc_size j0, fc_size cols, fc_size k,
                           fc_size filters) noexcept nogil:
    # one row's columns from j0 on, of filters that are number k of a run and the next ones
    cdef fc_size w_y = c.axis[W].y, j1 = j0 + cols
    cdef fc_size skipped = 0, kept = filters
    if j0 == 0:
        skipped = min(max(c.shuffle.first_w - k, 0), filters)
    if j1 == c.axis[W].out:
        kept = min(max(c.shuffle.last_w - k, 0), filters)
    if cols == 1:
        if skipped < kept:
            store_row(c, y + skipped * c.y_k, outputs + skipped * s_k, s_j, s_k, 1, kept - skipped)
        return
    if skipped > 0:
        store_row(c, y + skipped * c.y_k, outputs + skipped * s_k, s_j, s_k, 1, filters - skipped)
        y += w_y
        outputs += s_j
        cols -= 1
    if kept < filters:
        cols -= 1
        store_row(c, y + cols * w_y, outputs + cols * s_j, s_j, s_k, 1, kept)
    store_row(c, y, outputs, s_j, s_k, cols, filters)

cdef inline void store_outputs(const Correlation *c, char *y, const char *outputs, fc_size s_i,
                               fc_size s_j, fc_size s_k, fc_size i0, fc_size rows, fc_size j0,
                               fc_size cols, fc_size k0, fc_size filters) noexcept nogil:
    # Outputs of rows from i0 on, columns from j0 on and filters from k0 on, s_i, s_j and s_k bytes
    # apart; y is where output i0, j0 of filter 0 belongs.
    cdef fc_size h_y = c.axis[H].y, k = k0, end = k0 + filters, at, count, i, lo, hi
    cdef char *to
    if c.shuffle == NULL:
        y += k0 * c.y_k
        if h_y == cols * c.axis[W].y and s_i == cols * s_j:  # rows follow each other
            cols *= rows
            rows = 1
        for i in range(rows):
            store_row(c, y + i * h_y, outputs + i * s_i, s_j, s_k, cols, filters)
        return
    while k < end:
        at = k % c.shuffle.run
        count = min(c.shuffle.run - at, end - k)
        i = k // c.shuffle.run // c.shuffle.planes  # phase of H
        lo = 1 if i0 == 0 and i < c.shuffle.first_h else 0
        hi = rows - 1 if i0 + rows == c.axis[H].out and i >= c.shuffle.last_h else rows
        to = (y + i * c.shuffle.y_h + k // c.shuffle.run % c.shuffle.planes * c.shuffle.y_plane
              + at * c.y_k)
        for i in range(lo, hi):
            store_run(c, to + i * h_y, outputs + i * s_i + (k - k0) * s_k, s_j, s_k, j0, cols, at,
                      count)
        k += count
