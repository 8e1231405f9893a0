/* All filters of some pixels, where filters are short: a register tile of few pixels by many
 * filters.
 *
 * Filters that stay in cache as a whole need not be taken panel by panel, and then the outputs of a
 * pixel, side by side in memory, are finished one after another: each line of them is written once,
 * in the order in which processors expect it. Sums are those of k_tile.c, in the same order.
 */
#include "simd.h"

enum {
    ROWS = 6, /* pixels */
    VECTORS = FC_REGISTERS == 32 ? 4 : 2, /* of filters */
};

/* ROWS pixels from x to y, `vectors` vectors of filters from the panel at w on; n filters of them
 * are stored. */
FC_INLINE void tile(const fc_pixels *p, const char *x, fc_size x_m, const char *w,
                    const stored *bias, char *y, fc_size y_m, fc_size n, const int vectors) {
    vreal acc[ROWS][VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const vreal first = bias ? v_load(bias + v * VL) : v_zero();
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) acc[i][v] = first;
    }
    for (fc_size s = p->segments; s > 0; s--, x += p->x_segment) {
        const char *at = x;
        for (fc_size k = p->len; k > 0; k--, at += sizeof(stored), w += 2 * VL * sizeof(stored)) {
            vreal wv[VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                wv[v] = v_load((const stored *)(w + v / 2 * p->w_panel) + v % 2 * VL);
                FC_KEEP_VECTOR(wv[v]);
            }
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; i++) {
                const vreal xv = v_set1(widen(*(const stored *)(at + i * x_m)));
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) acc[i][v] = v_fma(xv, wv[v], acc[i][v]);
            }
        }
    }
    if (p->relu) {
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) acc[i][v] = v_max(v_zero(), acc[i][v]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++, y += y_m) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors - 1; v++) v_store((stored *)y + v * VL, acc[i][v]);
        v_store_upto((stored *)y + (vectors - 1) * VL, acc[i][vectors - 1], n - (vectors - 1) * VL);
    }
}

#define FC_TILE(vectors)                                                                       \
    static void tile_##vectors(const fc_pixels *p, const char *x, fc_size x_m, const char *w,  \
                               const stored *bias, char *y, fc_size y_m, fc_size n) {          \
        tile(p, x, x_m, w, bias, y, y_m, n, vectors);                                          \
    }
FC_TILE(1)
FC_TILE(2)
#if FC_REGISTERS == 32
FC_TILE(4)
#else
#define tile_4 tile_2
#endif

/* ROWS pixels and all filters */
static void all_filters(const fc_pixels *p, const char *x, fc_size x_m, char *y, fc_size y_m) {
    const char *w = p->w;
    const stored *bias = p->bias;
    for (fc_size left = p->n, vectors; left > 0; left -= vectors * VL) {
        vectors = left > 3 * VL ? VECTORS : left > VL ? 2 : 1;
        (vectors == 4 ? tile_4 : vectors == 2 ? tile_2 : tile_1)(p, x, x_m, w, bias, y, y_m, left);
        w += vectors / 2 * p->w_panel;
        y += vectors * VL * sizeof(stored);
        if (bias) bias += vectors * VL;
    }
}

void FC_NAME(pixels)(const fc_pixels *p) {
    const fc_size m = p->m;
    if (m < ROWS) { /* the same pixel in all rows */
        for (fc_size i = 0; i < m; i++)
            all_filters(p, (const char *)p->x + i * p->x_m, 0, (char *)p->y + i * p->y_m, 0);
        return;
    }
    for (fc_size i = 0; i < m; i += ROWS) {
        const fc_size row = fc_min(i, m - ROWS); /* the last rows are computed twice, then */
        all_filters(p, (const char *)p->x + row * p->x_m, p->x_m, (char *)p->y + row * p->y_m,
                    p->y_m);
    }
}
