/* The register tile of every GEMM-like convolution: FC_MR rows by two vectors of accumulators.
 *
 * `a` is broadcast, one element per row and k, from wherever it lies (the image itself, a scratch
 * window, the filters); `b` is read a vector at a time. Each (rows, vectors) pair is its own
 * function with every loop bound known, so the accumulators live in registers.
 */
#include "register_tile.h"

/* partial: the last of nv vectors has fewer columns than lanes */
FC_INLINE void tile(const fc_tile *t, const int m, const int nv, const int partial) {
    const int rest = t->n - (nv - 1) * VL;
    vreal acc[FC_MR][2];
    char *c = t->c;
    if (m + 2 >= FC_MR && t->c_prefetch) { /* low tiles, of small blocks, can do without */
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++)
                v_prefetch_write(c + t->c_prefetch + i * t->c_m + j * VL * (fc_size)sizeof(stored));
    }
    const stored *const bias_at = t->flags & FC_TILE_ACCUMULATE ? NULL : t->bias;
    if (bias_at && t->flags & FC_TILE_BIAS_PER_ROW) {
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) acc[i][j] = v_set1(widen(bias_at[i]));
    } else {
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            const vreal bias =
                bias_at ? load_part(bias_at + j * VL, partial && j == nv - 1, rest) : v_zero();
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) acc[i][j] = bias;
        }
    }
    const fc_size a_k = t->a_k, b_k = t->b_k, len = t->len, a_prefetch = t->a_prefetch;
    const fc_size b_prefetch = t->b_prefetch;
    const char *const *rows = (const char *const *)t->a;
    const char *segment = t->b;
    for (fc_size s = 0; s < t->segments; s++, segment += t->b_segment) {
        const char *a[FC_MR];
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) a[i] = rows[s * m + i];
        const char *b = t->b_at ? t->b_at[s] : segment;
        fc_size at = 0;
        for (fc_size k = 0, stop = len; k < len;) {
            if (a_prefetch) { /* a line of every row, then the products of a line */
#pragma GCC unroll 16
                for (int i = 0; i < m; i++) v_prefetch(a[i] + at + a_prefetch);
                stop = fc_min(k + 64 / (fc_size)sizeof(stored), len);
            }
            /* one vector of columns needs a load of `a` for every product: two at a time, then */
            for (; FC_PAIRS && nv == 1 && a_k == sizeof(stored) && k + 2 <= stop;
                 k += 2, at += 2 * a_k, b += 2 * b_k) {
                const vreal b0 = load_part((const stored *)b, partial, rest);
                const vreal b1 = load_part((const stored *)(b + b_k), partial, rest);
#pragma GCC unroll 16
                for (int i = 0; i < m; i++) {
                    vreal av = v_load_pair((const stored *)(a[i] + at));
                    FC_KEEP_VECTOR(av);
                    acc[i][0] = v_fma(v_pair_first(av), b0, acc[i][0]);
                    acc[i][0] = v_fma(v_pair_second(av), b1, acc[i][0]);
                }
            }
            for (; k < stop; k++, at += a_k, b += b_k) {
                v_prefetch(b + b_prefetch);
                if (nv > 1) v_prefetch(b + b_prefetch + 64);
                vreal bv[2];
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++) {
                    bv[j] = load_part((const stored *)b + j * VL, partial && j == nv - 1, rest);
                    FC_KEEP_VECTOR(bv[j]); /* GCC would load it again for every one of few rows */
                }
#pragma GCC unroll 16
                for (int i = 0; i < m; i++) {
                    const vreal av = v_set1(widen(*(const stored *)(a[i] + at)));
#pragma GCC unroll 2
                    for (int j = 0; j < nv; j++) acc[i][j] = v_fma(av, bv[j], acc[i][j]);
                }
            }
        }
    }
    if (t->flags & FC_TILE_ACCUMULATE) add_tile(acc, c, t->c_m, m, nv, partial, rest);
    if (t->flags & FC_TILE_RELU) {
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) acc[i][j] = v_max(v_zero(), acc[i][j]);
    }
    store_tile(acc, c, t->c_m, m, nv, partial, rest);
}

#define FC_DEFINE(m)                                                        \
    static void rows_##m##x1(const fc_tile *t) { tile(t, m, 1, 0); }        \
    static void rows_##m##x2(const fc_tile *t) { tile(t, m, 2, 0); }        \
    static void rows_##m##x1_tail(const fc_tile *t) { tile(t, m, 1, 1); }   \
    static void rows_##m##x2_tail(const fc_tile *t) { tile(t, m, 2, 1); }
FC_ROWS(FC_DEFINE)

#define FC_ENTRY(m) {{rows_##m##x1, rows_##m##x1_tail}, {rows_##m##x2, rows_##m##x2_tail}},
static void (*const rows[FC_MR][2][2])(const fc_tile *) = {FC_ROWS(FC_ENTRY)};

void FC_NAME(tile)(const fc_tile *t) { rows[t->m - 1][t->n > VL][t->n % VL != 0](t); }
