/* The gradient of maxima: to where their indices say. And max unpooling, to there and from there. */
#include "lanes.h"

/* ---- one element at a time, over pixels that are these many elements apart ----
 *
 * dx is cleared piece by piece, as far as indices have come so far: what is added to it then is in
 * the first-level cache still. */

enum { ADD, ASSIGN, GATHER }; /* dx[at] += dy; dx[at] = dy; dy = dx[at] */
enum { CLEAR_BYTES = 4096 };  /* or a pixel, at a time */

/* Clear so that pixel `at` is, and return how many are. */
FC_NOINLINE static fc_size clear_beyond(const fc_max_scatter *p, stored *dx, fc_size cleared,
                                        fc_size at) {
    const fc_size more = at + 1 + CLEAR_BYTES / (p->planes * (fc_size)sizeof(stored));
    const fc_size end = fc_min(p->plane, more);
    if (p->x_pixel == p->planes) {
        memset(dx + cleared * p->planes, 0, (size_t)((end - cleared) * p->planes) * sizeof(stored));
        return end;
    }
    for (fc_size i = cleared; i < end; i++)
        memset(dx + i * p->x_pixel, 0, (size_t)p->planes * sizeof(stored));
    return end;
}

/* n elements of dy, y_next apart: pixels of one plane, or channels of one pixel, whose planes lie
 * x_next apart */
FC_INLINE int move(const int how, fc_max_scatter *p, stored *dx, stored *dy,
                   const int64_t *indices, fc_size n, const fc_size x_pixel, const fc_size x_next,
                   const fc_size y_next, const fc_size i_next) {
    fc_size cleared = p->cleared;
    int wrong = 0;
    for (fc_size j = 0; j < n; j++) {
        const int64_t at = indices[j * i_next];
        if ((uint64_t)at >= (uint64_t)cleared) {
            if ((uint64_t)at >= (uint64_t)p->plane) {
                wrong |= at != -1;
                if (how == GATHER) dy[j * y_next] = narrow(0);
                continue;
            }
            cleared = p->cleared = clear_beyond(p, dx, cleared, (fc_size)at);
        }
        stored *x = dx + at * x_pixel + j * x_next;
        if (how == ADD)
            *x = narrow(widen(*x) + widen(dy[j * y_next]));
        else if (how == ASSIGN)
            *x = dy[j * y_next];
        else
            dy[j * y_next] = *x;
    }
    return wrong;
}

FC_INLINE int move_planes(const int how, fc_max_scatter *p) {
    stored *dx = (stored *)p->dx;
    stored *dy = (stored *)p->dy;
    const int64_t *indices = p->indices;
    int wrong = 0;
    if (p->x_pixel == 1 && p->y_pixel == 1 && p->i_pixel == 1) {
        for (fc_size c = 0; c < p->planes; c++, dx += p->x_c, dy += p->y_c, indices += p->i_c)
            wrong |= move(how, p, dx, dy, indices, p->pixels, 1, 0, 1, 1);
    } else if (p->x_c == 1 && p->y_c == 1 && p->i_c == 1) { /* a pixel's channels together */
        for (fc_size j = 0; j < p->pixels; j++, dy += p->y_pixel, indices += p->i_pixel)
            wrong |= move(how, p, dx, dy, indices, p->planes, p->x_pixel, 1, 1, 1);
    } else {
        for (fc_size c = 0; c < p->planes; c++, dx += p->x_c, dy += p->y_c, indices += p->i_c)
            wrong |= move(how, p, dx, dy, indices, p->pixels, p->x_pixel, 0, p->y_pixel,
                          p->i_pixel);
    }
    return -wrong;
}

int FC_NAME(max_scatter)(fc_max_scatter *p) {
    return p->assign ? move_planes(ASSIGN, p) : move_planes(ADD, p);
}

int FC_NAME(max_gather)(fc_max_scatter *p) { return move_planes(GATHER, p); }

/* ---- windows side by side: each pixel takes the gradient that names it, or zero ---- */

/* `vectors` vectors of channels, the last of n. Adds to `found` where they have their index in the
 * tile. */
FC_INLINE void channels_of_tile(const fc_max_tiles *p, const int64_t *idx, int64_t base,
                                const stored *dy_, char *dx, int vectors, int n, vreal *found) {
    const vreal zero = v_zero(), last = v_set1((real)(p->cols - 1));
    vreal at[FC_SIDE_BY_SIDE], dy[FC_SIDE_BY_SIDE];
    for (int v = 0; v < vectors; v++) {
        dy[v] = v_load_upto(dy_ + v * VL, n);
        at[v] = n == VL ? v_integers(idx + v * VL, base, VL) : v_integers(idx, base, n);
    }
    for (fc_size z = 0; z < p->slices; z++)
        for (fc_size r = 0; r < p->rows; r++) {
            const fc_size row = z * p->index_d + r * p->index_h;
            for (int v = 0; v < vectors; v++) {
                const vreal off = v_sub(at[v], v_set1((real)row));
                const vreal one = v_first(v_set1(1), n);
                const vreal seen = v_less_equal(off, last, one, zero);
                found[0] = v_add(found[0], v_less(off, zero, zero, seen));
            }
            for (fc_size s = 0; s < p->cols; s++) {
                const vreal here = v_set1((real)(row + s));
                stored *x = (stored *)(dx + z * p->dx_d + r * p->dx_h + s * p->dx_w);
                for (int v = 0; v < vectors; v++)
                    v_store_upto(x + v * VL, v_equal(at[v], here, dy[v], zero), n);
            }
        }
}

int FC_NAME(max_tiles)(const fc_max_tiles *p) {
    for (fc_size j = 0; j < p->out_width; j++) {
        const int64_t *idx = (const int64_t *)(p->indices + j * p->indices_w);
        const stored *dy = (const stored *)(p->dy + j * p->dy_w);
        stored *dx = (stored *)(p->dx + j * p->cols * p->dx_w);
        const int64_t base = p->index + j * p->cols;
        vreal found = v_zero();
        FC_FOR_CHANNELS(p->channels, channels_of_tile(p, idx + c, base, dy + c,
                                                      (char *)(dx + c), vectors, n, &found));
        if ((fc_size)v_sum(found) != p->channels) return -1;
    }
    return 0;
}

/* One row of windows, of a channel: every output is repeated for the columns of its window. Returns
 * for each lane how many of its outputs have their index in their own. */
FC_INLINE vreal row_of_tiles(const fc_max_tiles *p, const repeated *lanes, const real *column,
                             vreal windows, const char *dy_, const int64_t *idx, char *dx_, int64_t index) {
    const fc_size cols = p->cols, width = p->out_width * cols;
    const vreal zero = v_zero(), one = v_set1(1), last = v_set1((real)(cols - 1));
    vreal found = zero;
    for (fc_size j = 0; j < p->out_width; j += VL) {
        const int n = upto(p->out_width - j);
        const vreal dy = v_load_upto((const stored *)dy_ + j, n);
        const int64_t first = index + j * cols;
        vreal at = n == VL ? v_integers(idx + j, first, VL) : v_integers(idx + j, first, n);
        vreal seen = zero;
        at = v_sub(at, windows); /* from the first pixel of each window */
        for (fc_size z = 0; z < p->slices; z++)
            for (fc_size r = 0; r < p->rows; r++) {
                const vreal off = v_sub(at, v_set1((real)(z * p->index_d + r * p->index_h)));
                seen = v_less(off, zero, seen, v_less_equal(off, last, one, seen));
            }
        found = v_add(found, n == VL ? seen : v_first(seen, n));
        for (fc_size v = 0, w = j * cols; v < cols && w < width; v++, w += VL) {
            const vreal here = v_sub(repeated_part(at, lanes, v), v_load_real(column + v * VL));
            const vreal value = repeated_part(dy, lanes, v);
            char *dx = dx_ + w * (fc_size)sizeof(stored);
            for (fc_size z = 0; z < p->slices; z++)
                for (fc_size r = 0; r < p->rows; r++)
                    v_store_upto((stored *)(dx + z * p->dx_d + r * p->dx_h),
                                 v_equal(here, v_set1((real)(z * p->index_d + r * p->index_h)),
                                         value, zero),
                                 width - w);
        }
    }
    return found;
}

int FC_NAME(max_row_tiles)(const fc_max_tiles *p) {
    const fc_size cols = p->cols;
    repeated lanes;
    real column[VL * VL]; /* within their windows, of cols vectors of columns */
    real first[VL];       /* columns of neighbouring windows */
    vreal found = v_zero();
    for (int i = 0; i < VL; i++) first[i] = (real)(i * cols);
    for (fc_size v = 0, s = 0; v < cols * VL; v++, s = s + 1 == cols ? 0 : s + 1)
        column[v] = (real)s;
    make_repeated(&lanes, cols);
    for (fc_size i = 0; i < p->out_height; i++)
        found = v_add(found, row_of_tiles(p, &lanes, column, v_load_real(first), p->dy + i * p->dy_h,
                                          (const int64_t *)(p->indices + i * p->indices_h),
                                          p->dx + i * p->rows * p->dx_h,
                                          p->index + i * p->rows * p->index_h));
    return (fc_size)v_sum(found) == p->out_width * p->out_height ? 0 : -1;
}
