/* The register tile of weight gradients: a sum of outer products, FC_MR rows by two vectors.
 *
 * Both operands are read where they lie: for every k, the rows' elements a_m bytes apart, and a
 * run of n columns. Tiles that share their columns can leave them in a panel that stays in the
 * first-level cache, where pixels far apart would meet in few of its sets. As in k_tile.c, every
 * (rows, vectors) pair is its own function.
 */
#if defined(__GNUC__) && !defined(__clang__)
/* packing, packed or neither is one branch for some forty instructions, not three loops */
#pragma GCC optimize("no-unswitch-loops")
#endif
#include "register_tile.h"

/* partial: the last of nv vectors may have fewer columns than lanes */
FC_INLINE void outer(const fc_outer *t, const fc_size a_m, const int m, const int nv,
                     const int partial) {
    const int rest = t->n - (nv - 1) * VL;
    vreal acc[FC_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) acc[i][j] = v_zero();
    const fc_size a_k = t->a_k, b_k = t->b_k, len = t->len;
    const fc_size a_prefetch = t->a_prefetch - t->a_from, b_prefetch = t->b_prefetch - t->b_from;
    const int packed = t->packed, pack = t->panel && !packed;
    const fc_size columns_k = packed ? 2 * VL * (fc_size)sizeof(stored) : b_k;
    stored *panel = t->panel;
    for (fc_size s = 0; s < t->segments; s++) {
        const char *a = (const char *)t->a[s] + t->a_from;
        const char *b = (const char *)t->b[s] + t->b_from;
        const char *columns = packed ? (const char *)(panel + s * len * 2 * VL) : b;
        for (fc_size k = 0; k < len; k++, a += a_k, b += b_k, columns += columns_k) {
            v_prefetch(a + a_prefetch);
            v_prefetch(b + b_prefetch);
            vreal bv[2];
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) {
                const stored *p = (const stored *)columns + j * VL;
                bv[j] = load_part(p, partial && j == nv - 1, rest);
            }
            if (pack) {
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++) v_store(panel + j * VL, bv[j]);
                panel += 2 * VL;
            }
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) {
                const vreal av = v_set1(widen(*(const stored *)(a + i * a_m)));
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++) acc[i][j] = v_fma(av, bv[j], acc[i][j]);
            }
        }
    }
    if (t->accumulate) add_tile(acc, t->c, t->c_m, m, nv, partial, rest);
    store_tile(acc, t->c, t->c_m, m, nv, partial, rest);
}

#define FC_ONE ((fc_size)sizeof(stored))
#define FC_DEFINE(m)                                                                       \
    static void adjacent_##m##x1(const fc_outer *t) { outer(t, FC_ONE, m, 1, 0); }         \
    static void adjacent_##m##x2(const fc_outer *t) { outer(t, FC_ONE, m, 2, 0); }         \
    static void adjacent_##m##x1_tail(const fc_outer *t) { outer(t, FC_ONE, m, 1, 1); }    \
    static void adjacent_##m##x2_tail(const fc_outer *t) { outer(t, FC_ONE, m, 2, 1); }    \
    /* where rows are apart, one function for full and partial vectors: half the code */   \
    static void strided_##m##x1(const fc_outer *t) { outer(t, t->a_m, m, 1, 1); }          \
    static void strided_##m##x2(const fc_outer *t) { outer(t, t->a_m, m, 2, 1); }
FC_ROWS(FC_DEFINE)

#define FC_ADJACENT(m)                                                                   \
    {{adjacent_##m##x1, adjacent_##m##x1_tail}, {adjacent_##m##x2, adjacent_##m##x2_tail}},
#define FC_STRIDED(m) {{strided_##m##x1, strided_##m##x1}, {strided_##m##x2, strided_##m##x2}},
static void (*const tiles[2][FC_MR][2][2])(const fc_outer *) = {{FC_ROWS(FC_ADJACENT)},
                                                                {FC_ROWS(FC_STRIDED)}};

void FC_NAME(outer)(const fc_outer *t) {
    tiles[t->a_m != FC_ONE][t->m - 1][t->n > VL][t->n % VL != 0](t);
}
