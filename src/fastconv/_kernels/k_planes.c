/* Filters that slide over planes: pixels along the vectors, some rows of outputs in registers.
 *
 * What meets an input row is a run of taps for each of the output rows: output row a sees it
 * through the row of taps that is a rows further up. So an input vector, which a shifted tap reads
 * across two lines of the cache, is loaded once for all of them. Rows at the ends of a filter meet
 * fewer output rows; each range of these is code of its own, so nothing is multiplied in vain. The
 * driver says which runs there are: planes.pyx.
 */
#include "simd.h"

enum {
    ROWS = FC_PLANES_ROWS,
    VECTORS = FC_REGISTERS == 32 ? 4 : 2, /* of a row's outputs; of the gradient, columns of taps */
};

/* X(lo, hi) for every range of rows lo .. hi, both included */
#define FC_RANGES_FROM_5(X) X(5, 5)
#define FC_RANGES_FROM_4(X) X(4, 4) X(4, 5)
#define FC_RANGES_FROM_3(X) X(3, 3) X(3, 4) X(3, 5)
#define FC_RANGES_FROM_2(X) X(2, 2) X(2, 3) X(2, 4) X(2, 5)
#define FC_RANGES_FROM_1(X) X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(1, 5)
#define FC_RANGES_FROM_0(X) X(0, 0) X(0, 1) X(0, 2) X(0, 3) X(0, 4) X(0, 5)
#define FC_RANGES(X)                                                            \
    FC_RANGES_FROM_0(X) FC_RANGES_FROM_1(X) FC_RANGES_FROM_2(X) FC_RANGES_FROM_3(X) \
    FC_RANGES_FROM_4(X) FC_RANGES_FROM_5(X)
_Static_assert(ROWS == 6, "FC_RANGES has the ranges of six rows");

/* ---- outputs ---- */

/* How taps are given: one for all pixels, or a vector, where channels are interleaved. */
enum { ALIKE, EACH };

FC_INLINE vreal load_tap(const stored *w, const fc_size a, const int taps) {
    return taps == EACH ? v_load(w - a * VL) : v_set1(widen(w[-a]));
}

/* Vectors of outputs, and of what they read, are `apart` elements from each other. */
FC_INLINE void add_run(const fc_planes_run *run, const char *x, const stored *w,
                       vreal (*acc)[VECTORS], const int lo, const int hi, const int vectors,
                       const fc_size apart, const int taps) {
    const fc_size x_s = run->x_s, w_s = run->w_s;
    const char *at = (const char *)w + run->w;
    for (fc_size n = run->count; n > 0; n--, x += x_s, at += w_s) {
        vreal xv[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            xv[v] = v_load((const stored *)x + v * apart);
            FC_KEEP_VECTOR(xv[v]);
        }
#pragma GCC unroll 6
        for (int a = lo; a <= hi; a++) {
            vreal tap = load_tap((const stored *)at, a, taps);
            if (taps == EACH && vectors > 1) FC_KEEP_VECTOR(tap); /* or it is loaded for each */
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) acc[a][v] = v_fma(tap, xv[v], acc[a][v]);
        }
    }
}

#define FC_HAS_INTERLEAVED (FC_REAL_BITS == 32 && VL >= 8)
#if FC_HAS_INTERLEAVED
/* Store `rows` outputs of vectors that lie apart: a loop, which is short code. */
FC_NOINLINE static void finish_interleaved(const fc_planes *p, const real *sums, char *out,
                                           int rows, fc_size n, int vectors) {
    const fc_size apart = p->phases * VL;
    for (int a = 0; a < rows; a++, out += p->out_row, sums += vectors * VL)
        for (int v = 0; v < vectors && v * apart < n; v++) {
            stored *to = (stored *)out + v * apart;
            const int some = upto(n - v * apart);
            vreal sum = v_load_real(sums + v * VL);
            if (p->accumulate) sum = v_add(sum, v_load_n(to, some));
            if (p->relu) sum = v_max(v_zero(), sum);
            v_store_n(to, sum, some);
        }
}
#endif

/* `rows` outputs of `vectors` vectors: n columns, or, where channels are interleaved, the columns
 * among the n that are left; vectors may begin beyond them. */
FC_INLINE void outputs(const fc_planes *p, const char *x, const stored *w, const stored *bias,
                       char *out, int rows, fc_size n, const int vectors, const fc_size apart,
                       const int taps) {
    const int most = taps == EACH ? FC_INTERLEAVED_ROWS : ROWS;
    const int last = upto(n - (vectors - 1) * VL);
    vreal acc[ROWS][VECTORS];
    const fc_size out_row = p->out_row;
    const vreal first = bias ? load_tap(bias, 0, taps) : v_zero();
#pragma GCC unroll 6
    for (int a = 0; a < most; a++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) acc[a][v] = first;
    for (fc_size r = 0; r < p->count; r++) {
        const fc_planes_run *run = &p->runs[r];
        const int hi = run->hi < rows ? run->hi : rows - 1;
        if (run->lo > hi) continue;
        switch (run->lo * ROWS + hi) {
#define FC_RANGE_CASE(lo, hi)                                                            \
    case (lo) * ROWS + (hi):                                                             \
        if (hi < most) add_run(run, x + run->x, w, acc, lo, hi, vectors, apart, taps); \
        break;
            FC_RANGES(FC_RANGE_CASE)
#undef FC_RANGE_CASE
        }
    }
#if FC_HAS_INTERLEAVED
    if (taps == EACH) {
        real sums[FC_INTERLEAVED_ROWS * VECTORS * VL];
#pragma GCC unroll 4
        for (int a = 0; a < most; a++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) v_store_real(sums + (a * vectors + v) * VL, acc[a][v]);
        finish_interleaved(p, sums, out, rows, n, vectors);
        return;
    }
#endif
    if (p->accumulate) {
#pragma GCC unroll 6
        for (int a = 0; a < ROWS; a++) {
            if (a >= rows) break;
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const stored *sum = (const stored *)(out + a * out_row) + v * VL;
                acc[a][v] = v_add(acc[a][v], v == vectors - 1 ? v_load_n(sum, last) : v_load(sum));
            }
        }
    }
    if (p->relu) {
#pragma GCC unroll 6
        for (int a = 0; a < ROWS; a++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) acc[a][v] = v_max(v_zero(), acc[a][v]);
    }
#pragma GCC unroll 6
    for (int a = 0; a < ROWS; a++, out += out_row) {
        if (a >= rows) break;
#pragma GCC unroll 4
        for (int v = 0; v < vectors - 1; v++) v_store((stored *)out + v * VL, acc[a][v]);
        v_store_upto((stored *)out + (vectors - 1) * VL, acc[a][vectors - 1], last);
    }
}

/* A strip of columns, all rows, in tiles as high as each other: what its outputs read stays in the
 * first-level cache. */
FC_INLINE void strip(const fc_planes *p, fc_size col, fc_size n, const int vectors) {
    const fc_size at = col * (fc_size)sizeof(stored);
    const fc_size tiles = (p->rows + ROWS - 1) / ROWS;
    for (fc_size t = 0, i = 0, rows; t < tiles; t++, i += rows) {
        rows = (p->rows - i + tiles - t - 1) / (tiles - t);
        outputs(p, (const char *)p->x + i * p->x_row + at, p->w, p->bias,
                (char *)p->out + i * p->out_row + at, (int)rows, n, vectors, VL, ALIKE);
    }
}

#define FC_STRIP(vectors)                                                     \
    static void strip_##vectors(const fc_planes *p, fc_size col, fc_size n) { \
        strip(p, col, n, vectors);                                            \
    }
FC_STRIP(1)
FC_STRIP(2)
#if FC_REGISTERS == 32
FC_STRIP(4)
#else
#define strip_4 strip_2
#endif

/* by a pointer: each is to be code that stands once */
static void (*const strips[])(const fc_planes *p, fc_size col, fc_size n) = {strip_1, strip_2, strip_4};

#if FC_HAS_INTERLEAVED
#define FC_INTERLEAVED(vectors)                                                                \
    FC_NOINLINE static void interleaved_##vectors(const fc_planes *p, fc_size i, int rows,     \
                                                  fc_size col, fc_size phase) {                \
        const fc_size at = col * (fc_size)sizeof(stored);                                      \
        outputs(p, (const char *)p->x + i * p->x_row + at,                                     \
                (const stored *)((const char *)p->w + phase * p->w_phase),                     \
                p->bias ? (const stored *)p->bias + phase * VL : NULL,                         \
                (char *)p->out + i * p->out_row + at, rows, p->cols - col, vectors,            \
                p->phases * VL, EACH);                                                         \
    }
FC_INTERLEAVED(2)
#if FC_REGISTERS == 32
FC_INTERLEAVED(4)
#else
#define interleaved_4 interleaved_2
#endif

/* Vectors of the same channels together, then those of the next channels, beside them: what a tile
 * reads stays in the first-level cache. */
static void interleaved(const fc_planes *p) {
    const fc_size apart = p->phases * VL;
    const fc_size tiles = (p->rows + FC_INTERLEAVED_ROWS - 1) / FC_INTERLEAVED_ROWS;
    for (fc_size t = 0, i = 0, rows; t < tiles; t++, i += rows) {
        rows = (p->rows - i + tiles - t - 1) / (tiles - t);
        for (fc_size first = 0, vectors; first < p->cols; first += vectors * apart) {
            vectors = VECTORS == 4 && p->cols - first > 2 * apart ? 4 : 2;
            for (fc_size phase = 0; phase < p->phases; phase++) {
                const fc_size col = first + phase * VL;
                if (col >= p->cols) break;
                if (p->cols - col > 2 * apart)
                    interleaved_4(p, i, (int)rows, col, phase);
                else
                    interleaved_2(p, i, (int)rows, col, phase);
            }
        }
    }
}
#endif

void FC_NAME(planes)(const fc_planes *p) {
#if FC_HAS_INTERLEAVED
    if (p->phases) {
        interleaved(p);
        return;
    }
#endif
    for (fc_size col = 0, left = p->cols, vectors; left > 0;
         col += vectors * VL, left -= vectors * VL) {
        int wide = left > VL;
        vectors = wide ? 2 : 1;
        if (VECTORS == 4 && left > 3 * VL) {
            vectors = 4;
            wide = 2;
        }
        strips[wide](p, col, left);
    }
}

/* ---- weight gradient ----
 * dw[s][t] += sum over runs and columns j of x[j + s] dy[j], in the t-th row above the run's. The
 * sums of ROWS rows and some columns of taps stay in registers. */

#ifdef v_load_real_n
#define load_first v_load_n
#else /* a loop: once is enough */
static vreal load_first(const stored *p, int n) { return v_load_n(p, n); }
#endif

FC_INLINE void add_vector(const stored *x, fc_size x_s, const stored *dy, fc_size dy_row,
                          vreal (*acc)[VECTORS], int n, const int lo, const int hi,
                          const int columns, const int partial) {
    vreal xv[VECTORS];
#pragma GCC unroll 4
    for (int s = 0; s < columns; s++) {
        const stored *at = (const stored *)((const char *)x + s * x_s);
        xv[s] = partial ? load_first(at, n) : v_load(at);
        FC_KEEP_VECTOR(xv[s]);
    }
#pragma GCC unroll 6
    for (int t = lo; t <= hi; t++) {
        const stored *at = (const stored *)((const char *)dy - t * dy_row);
        const vreal g = partial ? load_first(at, n) : v_load(at);
#pragma GCC unroll 4
        for (int s = 0; s < columns; s++) acc[t][s] = v_fma(xv[s], g, acc[t][s]);
    }
}

FC_INLINE void add_pixels(const fc_planes_grad *p, const char *x, const char *dy,
                          vreal (*acc)[VECTORS], const int lo, const int hi, const int columns) {
    const fc_size x_s = p->x_s, dy_row = p->dy_row;
    const stored *xs = (const stored *)x, *dys = (const stored *)dy;
    fc_size left = p->cols;
#if FC_REGISTERS == 16 || !defined(v_load_real_n) /* a mask costs nothing where sets have masks */
    for (; left >= VL; left -= VL, xs += VL, dys += VL)
        add_vector(xs, x_s, dys, dy_row, acc, VL, lo, hi, columns, 0);
#endif
    for (; left > 0; left -= VL, xs += VL, dys += VL)
        add_vector(xs, x_s, dys, dy_row, acc, upto(left), lo, hi, columns, 1);
}

FC_INLINE void tap_columns(const fc_planes_grad *p, fc_size from, const int columns) {
    vreal acc[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int t = 0; t < ROWS; t++)
#pragma GCC unroll 4
        for (int s = 0; s < columns; s++) acc[t][s] = v_zero();
    for (fc_size r = 0; r < p->count; r++) {
        const fc_planes_grad_run *run = &p->runs[r];
        const char *x = (const char *)p->x + run->x + from * p->x_s;
        const char *dy = (const char *)p->dy + run->dy;
        switch (run->lo * ROWS + run->hi) {
#define FC_RANGE_CASE(lo, hi)                             \
    case (lo) * ROWS + (hi):                              \
        add_pixels(p, x, dy, acc, lo, hi, columns);       \
        break;
            FC_RANGES(FC_RANGE_CASE)
#undef FC_RANGE_CASE
        }
    }
    real *dw = (real *)p->dw + from * ROWS;
#pragma GCC unroll 6
    for (int t = 0; t < ROWS; t++)
#pragma GCC unroll 4
        for (int s = 0; s < columns; s++) dw[s * ROWS + t] += v_sum(acc[t][s]);
}

void FC_NAME(planes_weight)(const fc_planes_grad *p) {
    fc_size s = 0;
    for (; s + VECTORS <= p->taps; s += VECTORS) tap_columns(p, s, VECTORS);
#if FC_REGISTERS == 32
    if (s + 2 <= p->taps) {
        tap_columns(p, s, 2);
        s += 2;
    }
#endif
    if (s < p->taps) tap_columns(p, s, 1);
}
