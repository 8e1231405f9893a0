/* All filters of some pixels, where filters are short: a register tile of few pixels and many
 * filters.
 *
 * Filters that stay in cache as a whole need not be taken panel by panel, and then the outputs of a
 * pixel, side by side in memory, are finished one after another: each line of them is written once,
 * in the order in which processors expect it. Sums are those of k_tile.c, in the same order.
 */
#include "simd.h"

enum {
    ROWS = 6,                             /* pixels */
    VECTORS = FC_REGISTERS == 32 ? 4 : 2, /* of filters */
};

#ifdef v_store_real_n
#define store_last v_store_n
#else /* a loop: once is enough */
static FC_NOINLINE void store_last(stored *p, vreal v, int n) { v_store_n(p, v, n); }
#endif

/* ROWS pixels from x to y, `vectors` vectors of filters from w on, of which a single one has n
 * filters. */
FC_INLINE void tile(const fc_pixels *p, const char *x, fc_size x_m, const char *w,
                    const stored *bias, char *y, fc_size y_m, const int vectors, const int n) {
    vreal acc[ROWS][VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const vreal first = v_load(bias + v * VL);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) acc[i][v] = first;
    }
    for (fc_size s = p->segments; s > 0; s--, x += p->x_segment) {
        const char *at = x, *const end = x + p->len * (fc_size)sizeof(stored);
        for (; at < end; at += sizeof(stored), w += 2 * VL * sizeof(stored)) {
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
    for (int i = 0; i < ROWS; i++, y += y_m)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            if (vectors == 1)
                store_last((stored *)y, acc[i][v], n);
            else
                v_store((stored *)y + v * VL, acc[i][v]);
}

void FC_NAME(pixels)(const fc_pixels *p) {
    /* of fewer pixels each is ROWS times the same one */
    const fc_size step = p->m < ROWS ? 1 : ROWS, last = p->m - step;
    const fc_size x_m = step == 1 ? 0 : p->x_m, y_m = step == 1 ? 0 : p->y_m;
    for (fc_size i = 0; i < p->m; i += step) {
        const fc_size row = fc_min(i, last); /* the last pixels are computed twice, then */
        const char *const x = (const char *)p->x + row * p->x_m, *w = p->w;
        char *y = (char *)p->y + row * p->y_m;
        const stored *bias = p->bias;
        fc_size left = p->n;
        for (; left >= VECTORS * VL; left -= VECTORS * VL, bias += VECTORS * VL) {
            tile(p, x, x_m, w, bias, y, y_m, VECTORS, VL);
            w += VECTORS / 2 * p->w_panel;
            y += VECTORS * VL * sizeof(stored);
        }
        for (fc_size half = 0; left > 0; left -= VL, bias += VL, half ^= 1) {
            tile(p, x, x_m, w + half * VL * sizeof(stored), bias, y, y_m, 1, upto(left));
            w += half * p->w_panel;
            y += VL * sizeof(stored);
        }
    }
}
