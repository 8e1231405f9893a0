/* The register tile of every GEMM-like convolution: FC_MR rows by two vectors of accumulators.
 *
 * `a` is broadcast, one element per row and k, from wherever it lies (the image itself, a scratch
 * window, the filters); `b` is read a vector at a time. Each (rows, vectors) pair is its own
 * function with every loop bound known, so the accumulators live in registers.
 */
#include "simd.h"
#include "kernels.h"

/* tail: columns of the last vector that exist, or 0 where it is full */
FC_INLINE void tile(const fc_tile *t, const int m, const int nv, const int tail) {
    vreal acc[FC_MR][2];
    const char *c = t->c;
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            const int n = (j == nv - 1) ? tail : 0;
            if (t->flags & FC_TILE_ACCUMULATE) {
                const real *p = (const real *)(c + i * t->c_m) + j * VL;
                acc[i][j] = n ? v_load_n(p, n) : v_load(p);
            } else if (t->bias && t->flags & FC_TILE_BIAS_PER_ROW) {
                acc[i][j] = v_set1(((const real *)t->bias)[i]);
            } else if (t->bias) {
                const real *p = (const real *)t->bias + j * VL;
                acc[i][j] = n ? v_load_n(p, n) : v_load(p);
            } else {
                acc[i][j] = v_zero();
            }
        }
    const fc_size a_k = t->a_k, b_k = t->b_k, len = t->len;
    const char *const *rows = (const char *const *)t->a;
    const char *segment = t->b;
    for (fc_size s = 0; s < t->segments; s++, segment += t->b_segment) {
        const char *a[FC_MR];
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) a[i] = rows[s * m + i];
        const char *b = t->b_at ? t->b_at[s] : segment;
        fc_size at = 0;
        for (fc_size k = 0; k < len; k++, at += a_k, b += b_k) {
            vreal bv[2];
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) {
                const real *p = (const real *)b + j * VL;
                bv[j] = (tail && j == nv - 1) ? v_load_n(p, tail) : v_load(p);
            }
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) {
                const vreal av = v_set1(*(const real *)(a[i] + at));
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++) acc[i][j] = v_fma(av, bv[j], acc[i][j]);
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            const int n = (j == nv - 1) ? tail : 0;
            real *p = (real *)((char *)t->c + i * t->c_m) + j * VL;
            vreal v = acc[i][j];
            if (t->flags & FC_TILE_RELU) v = v_max(v_zero(), v);
            if (n)
                v_store_n(p, v, n);
            else
                v_store(p, v);
        }
}

#define FC_ROWS(X) X(1) X(2) X(3) X(4) FC_ROWS_6(X) FC_ROWS_12(X) FC_ROWS_14(X)
#if FC_MR >= 6
#define FC_ROWS_6(X) X(5) X(6)
#else
#define FC_ROWS_6(X)
#endif
#if FC_MR >= 12
#define FC_ROWS_12(X) X(7) X(8) X(9) X(10) X(11) X(12)
#else
#define FC_ROWS_12(X)
#endif
#if FC_MR >= 14
#define FC_ROWS_14(X) X(13) X(14)
#else
#define FC_ROWS_14(X)
#endif

#define FC_DEFINE(m)                                                           \
    static void rows_##m##x1(const fc_tile *t) { tile(t, m, 1, 0); }           \
    static void rows_##m##x2(const fc_tile *t) { tile(t, m, 2, 0); }           \
    static void rows_##m##x1_tail(const fc_tile *t) { tile(t, m, 1, t->n); }   \
    static void rows_##m##x2_tail(const fc_tile *t) { tile(t, m, 2, t->n - VL); }
FC_ROWS(FC_DEFINE)

#define FC_ENTRY(m) {{rows_##m##x1, rows_##m##x1_tail}, {rows_##m##x2, rows_##m##x2_tail}},
static void (*const rows[FC_MR][2][2])(const fc_tile *) = {FC_ROWS(FC_ENTRY)};

void FC_NAME(tile)(const fc_tile *t) { rows[t->m - 1][t->n > VL][t->n % VL != 0](t); }
