/* The gradient of maxima: to where their indices say. And max unpooling, to there and from there. */
#include "lanes.h"

/* ---- one element at a time, over pixels that are these many elements apart ---- */

enum { ADD, ASSIGN, GATHER }; /* dx[at] += dy; dx[at] = dy; dy = dx[at] */

FC_INLINE int move(const int how, stored *dx, stored *dy, const int64_t *indices, fc_size n,
                   fc_size plane, const fc_size x_pixel, const fc_size y_pixel,
                   const fc_size i_pixel) {
    int wrong = 0;
    for (fc_size j = 0; j < n; j++) {
        const int64_t at = indices[j * i_pixel];
        if ((uint64_t)at >= (uint64_t)plane) {
            wrong |= at != -1;
            if (how == GATHER) dy[j * y_pixel] = narrow(0);
        } else if (how == ADD) {
            dx[at * x_pixel] = narrow(widen(dx[at * x_pixel]) + widen(dy[j * y_pixel]));
        } else if (how == ASSIGN) {
            dx[at * x_pixel] = dy[j * y_pixel];
        } else {
            dy[j * y_pixel] = dx[at * x_pixel];
        }
    }
    return wrong;
}

FC_INLINE int move_planes(const int how, const fc_max_scatter *p) {
    stored *dx = (stored *)p->dx;
    stored *dy = (stored *)p->dy;
    const int64_t *indices = p->indices;
    int wrong = 0;
    if (p->x_pixel == 1 && p->y_pixel == 1 && p->i_pixel == 1) {
        for (fc_size c = 0; c < p->planes; c++, dx += p->x_c, dy += p->y_c, indices += p->i_c)
            wrong |= move(how, dx, dy, indices, p->pixels, p->plane, 1, 1, 1);
    } else if (p->x_c == 1 && p->y_c == 1 && p->i_c == 1) { /* a pixel's channels together */
        for (fc_size j = 0; j < p->pixels; j++, dy += p->y_pixel, indices += p->i_pixel)
            for (fc_size c = 0; c < p->planes; c++)
                wrong |= move(how, dx + c, dy + c, indices + c, 1, p->plane, p->x_pixel, 0, 0);
    } else {
        for (fc_size c = 0; c < p->planes; c++, dx += p->x_c, dy += p->y_c, indices += p->i_c)
            wrong |= move(how, dx, dy, indices, p->pixels, p->plane, p->x_pixel, p->y_pixel,
                          p->i_pixel);
    }
    return -wrong;
}

int FC_NAME(max_scatter)(const fc_max_scatter *p) {
    return p->assign ? move_planes(ASSIGN, p) : move_planes(ADD, p);
}

int FC_NAME(max_gather)(const fc_max_scatter *p) { return move_planes(GATHER, p); }

/* ---- windows side by side: each pixel takes the gradient that names it, or zero ---- */

FC_INLINE int channels_of_tiles(const fc_max_tiles *p, const fc_size slices) {
    for (fc_size j = 0; j < p->out_width; j++) {
        const int64_t base = p->index + j * p->cols;
        vreal found = v_zero();
        for (fc_size c = 0; c < p->channels; c += VL) {
            const int n = upto(p->channels - c);
            const int64_t *idx = (const int64_t *)(p->indices + j * p->indices_w) + c;
            const vreal dy = v_load_upto((const stored *)(p->dy + j * p->dy_w) + c, n);
            char *dx = p->dx + j * p->cols * p->dx_w + c * (fc_size)sizeof(stored);
            vreal seen = v_zero();
            const vreal at = n == VL ? v_integers(idx, base, VL) : v_integers(idx, base, n);
            for (fc_size z = 0; z < slices; z++)
                for (fc_size r = 0; r < p->rows; r++)
                    for (fc_size s = 0; s < p->cols; s++) {
                        const vreal here = v_set1((real)(z * p->index_d + r * p->index_h + s));
                        v_store_upto((stored *)(dx + z * p->dx_d + r * p->dx_h + s * p->dx_w),
                                     v_equal(at, here, dy, v_zero()), n);
                        seen = v_equal(at, here, v_set1(1), seen);
                    }
            found = v_add(found, v_first(seen, n));
        }
        if ((fc_size)v_sum(found) != p->channels) return -1;
    }
    return 0;
}

int FC_NAME(max_tiles)(const fc_max_tiles *p) {
    return p->slices == 1 ? channels_of_tiles(p, 1) : channels_of_tiles(p, p->slices);
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
