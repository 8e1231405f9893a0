/* The gradient of maxima: to where their indices say. */
#include "simd.h"

/* dx[at] += dy, for pixels that are these many elements apart */
FC_INLINE int scatter(stored *dx, const stored *dy, const int64_t *indices, fc_size n,
                      fc_size plane, const fc_size x_pixel, const fc_size y_pixel,
                      const fc_size i_pixel) {
    int wrong = 0;
    for (fc_size j = 0; j < n; j++) {
        const int64_t at = indices[j * i_pixel];
        if ((uint64_t)at < (uint64_t)plane)
            dx[at * x_pixel] = narrow(widen(dx[at * x_pixel]) + widen(dy[j * y_pixel]));
        else
            wrong |= at != -1;
    }
    return wrong;
}

int FC_NAME(max_scatter)(const fc_max_scatter *p) {
    stored *dx = (stored *)p->dx;
    const stored *dy = (const stored *)p->dy;
    const int64_t *indices = p->indices;
    int wrong = 0;
    if (p->x_pixel == 1 && p->y_pixel == 1 && p->i_pixel == 1) {
        for (fc_size c = 0; c < p->planes; c++, dx += p->x_c, dy += p->y_c, indices += p->i_c)
            wrong |= scatter(dx, dy, indices, p->pixels, p->plane, 1, 1, 1);
    } else if (p->x_c == 1 && p->y_c == 1 && p->i_c == 1) { /* a pixel's channels together */
        for (fc_size j = 0; j < p->pixels; j++, dy += p->y_pixel, indices += p->i_pixel)
            for (fc_size c = 0; c < p->planes; c++)
                wrong |= scatter(dx + c, dy + c, indices + c, 1, p->plane, p->x_pixel, 0, 0);
    } else {
        for (fc_size c = 0; c < p->planes; c++, dx += p->x_c, dy += p->y_c, indices += p->i_c)
            wrong |=
                scatter(dx, dy, indices, p->pixels, p->plane, p->x_pixel, p->y_pixel, p->i_pixel);
    }
    return -wrong;
}

FC_INLINE vreal distances(const int64_t *idx, int64_t base, int n) {
    real at[VL] = {0};
    for (int i = 0; i < n; i++) at[i] = (real)(idx[i] - base);
    return v_load_real(at);
}

int FC_NAME(max_tiles)(const fc_max_tiles *p) {
    for (fc_size j = 0; j < p->out_width; j++) {
        const int64_t base = p->index + j * p->cols;
        vreal found = v_zero();
        for (fc_size c = 0; c < p->channels; c += VL) {
            const int n = upto(p->channels - c);
            const int64_t *idx = (const int64_t *)(p->indices + j * p->indices_w) + c;
            const vreal dy = v_load_upto((const stored *)(p->dy + j * p->dy_w) + c, n);
            char *dx = p->dx + j * p->cols * p->dx_w + c * (fc_size)sizeof(stored);
            vreal seen = v_zero();
            const vreal at = n == VL ? distances(idx, base, VL) : distances(idx, base, n);
            for (fc_size r = 0; r < p->rows; r++)
                for (fc_size s = 0; s < p->cols; s++) {
                    const vreal here = v_set1((real)(r * p->index_h + s));
                    v_store_upto((stored *)(dx + r * p->dx_h + s * p->dx_w),
                                 v_equal(at, here, dy, v_zero()), n);
                    seen = v_equal(at, here, v_set1(1), seen);
                }
            found = v_add(found, v_first(seen, n));
        }
        if ((fc_size)v_sum(found) != p->channels) return -1;
    }
    return 0;
}
