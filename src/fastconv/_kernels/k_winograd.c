/* The transforms of Winograd convolution: a small matrix applied to both sides of a grid of
 * vectors, or to a line of them.
 *
 * Each line_*_m is one such matrix for output tiles of m x m, or of m (docs/winograd.md derives them): rows
 * for the points 0, a, -a(, b, -b) and infinity, written with the sums that a pair of points
 * shares. `transform` applies it to the columns of a grid, then to the rows.
 */
#include "simd.h"

enum { MAX_SIDE = 6 }; /* rows or columns of a grid */

/* the points: few bits, so that all but the filters' matrices are exact; small, so that the sums
 * cancel little */
#define A ((real)0.625)
#define B ((real)1.5)
#define A2 (A * A)
#define B2 (B * B)
/* one over the product of a point's distances from the others */
#define N0 ((real)(1 / (0.625 * 0.625 * 1.5 * 1.5)))
#define NA ((real)(1 / (2 * 0.625 * 0.625 * (0.625 * 0.625 - 1.5 * 1.5))))
#define NB ((real)(1 / (2 * 1.5 * 1.5 * (1.5 * 1.5 - 0.625 * 0.625))))

FC_INLINE vreal scaled(real s, vreal x) { return v_mul(v_set1(s), x); }
FC_INLINE vreal plus(vreal x, real s, vreal y) { return v_fma(v_set1(s), y, x); } /* x + s y */

/* v = e + s o, e - s o */
FC_INLINE void pair(vreal *v, vreal e, real s, vreal o) {
    v[0] = plus(e, s, o);
    v[1] = plus(e, -s, o);
}

/* B^T: a row of input */
FC_INLINE void line_input_4(const vreal *d, vreal *v) {
    v[0] = plus(plus(d[4], -(A2 + B2), d[2]), A2 * B2, d[0]);
    pair(v + 1, plus(d[4], -B2, d[2]), A, plus(d[3], -B2, d[1]));
    pair(v + 3, plus(d[4], -A2, d[2]), B, plus(d[3], -A2, d[1]));
    v[5] = plus(plus(d[5], -(A2 + B2), d[3]), A2 * B2, d[1]);
}
FC_INLINE void line_input_2(const vreal *d, vreal *v) {
    v[0] = v_sub(d[2], d[0]);
    v[1] = v_add(d[2], d[1]);
    v[2] = v_sub(d[2], d[1]);
    v[3] = v_sub(d[3], d[1]);
}

/* G: a row of a filter */
FC_INLINE void line_filter_4(const vreal *g, vreal *u) {
    u[0] = scaled(N0, g[0]);
    pair(u + 1, scaled(NA, plus(g[0], A2, g[2])), NA * A, g[1]);
    pair(u + 3, scaled(NB, plus(g[0], B2, g[2])), NB * B, g[1]);
    u[5] = g[2];
}
FC_INLINE void line_filter_2(const vreal *g, vreal *u) {
    u[0] = v_sub(v_zero(), g[0]);
    pair(u + 1, scaled((real)0.5, v_add(g[0], g[2])), (real)0.5, g[1]);
    u[3] = g[2];
}

/* A^T: sums of products to a row of outputs */
FC_INLINE void line_output_4(const vreal *m, vreal *y) {
    const vreal sa = v_add(m[1], m[2]), da = v_sub(m[1], m[2]);
    const vreal sb = v_add(m[3], m[4]), db = v_sub(m[3], m[4]);
    y[0] = v_add(v_add(sa, sb), m[0]);
    y[1] = plus(scaled(A, da), B, db);
    y[2] = plus(scaled(A2, sa), B2, sb);
    y[3] = plus(plus(m[5], A2 * A, da), B2 * B, db);
}
FC_INLINE void line_output_2(const vreal *m, vreal *y) {
    y[0] = v_add(v_add(m[1], m[2]), m[0]);
    y[1] = v_add(v_sub(m[1], m[2]), m[3]);
}

/* A: a row of the output's gradient */
FC_INLINE void line_gradient_4(const vreal *y, vreal *z) {
    z[0] = y[0];
    pair(z + 1, plus(y[0], A2, y[2]), A, plus(y[1], A2, y[3]));
    pair(z + 3, plus(y[0], B2, y[2]), B, plus(y[1], B2, y[3]));
    z[5] = y[3];
}
FC_INLINE void line_gradient_2(const vreal *y, vreal *z) {
    z[0] = y[0];
    z[1] = v_add(y[0], y[1]);
    z[2] = v_sub(y[0], y[1]);
    z[3] = y[1];
}

/* G^T: sums of products to a row of the filter's gradient */
FC_INLINE void line_weight_4(const vreal *m, vreal *g) {
    const vreal sa = scaled(NA, v_add(m[1], m[2])), da = v_sub(m[1], m[2]);
    const vreal sb = scaled(NB, v_add(m[3], m[4])), db = v_sub(m[3], m[4]);
    g[0] = plus(v_add(sa, sb), N0, m[0]);
    g[1] = plus(scaled(NA * A, da), NB * B, db);
    g[2] = plus(plus(m[5], A2, sa), B2, sb);
}
FC_INLINE void line_weight_2(const vreal *m, vreal *g) {
    const vreal s = scaled((real)0.5, v_add(m[1], m[2]));
    g[0] = v_sub(s, m[0]);
    g[1] = scaled((real)0.5, v_sub(m[1], m[2]));
    g[2] = v_add(s, m[3]);
}

/* A line of m vectors of results to y, y_j apart. */
FC_INLINE void store_line(const fc_grids *t, vreal *out, char *y, fc_size y_j, const int m,
                          const int epilogue) {
    if (epilogue && t->bias)
#pragma GCC unroll 6
        for (int j = 0; j < m; j++) out[j] = v_add(out[j], v_load(t->bias));
    if (epilogue && t->relu)
#pragma GCC unroll 6
        for (int j = 0; j < m; j++) out[j] = v_max(v_zero(), out[j]);
#pragma GCC unroll 6
    for (int j = 0; j < m; j++) {
        stored *to = (stored *)(y + j * y_j);
        if (epilogue && t->stream)
            v_stream(to, out[j]);
        else
            v_store(to, out[j]);
    }
}

/* Grids of n x n vectors to grids of m x m. Columns from `fetch` on are fetched for a grid to
 * come. */
FC_INLINE void transform(const fc_grids *t, const int n, const int m, const int fetch,
                         const int epilogue, void (*const line)(const vreal *, vreal *)) {
    const fc_size x_i = t->x_i, x_j = t->x_j, y_i = t->y_i, y_j = t->y_j;
    const char *x = t->x;
    char *y = t->y;
    for (fc_size k = 0; k < t->count; k++, x += t->x_next, y += t->y_next) {
        vreal mid[MAX_SIDE][MAX_SIDE]; /* [m][n] */
#pragma GCC unroll 6
        for (int j = 0; j < n; j++) {
            vreal in[MAX_SIDE], out[MAX_SIDE];
#pragma GCC unroll 6
            for (int i = 0; i < n; i++) in[i] = v_load((const stored *)(x + i * x_i + j * x_j));
            if (j >= fetch)
#pragma GCC unroll 6
                for (int i = 0; i < n; i++) v_prefetch(x + t->x_prefetch + i * x_i + j * x_j);
            line(in, out);
#pragma GCC unroll 6
            for (int i = 0; i < m; i++) mid[i][j] = out[i];
        }
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) {
            vreal out[MAX_SIDE];
            line(mid[i], out);
            store_line(t, out, y + i * y_i, y_j, m, epilogue);
        }
    }
}

/* Lines of n vectors to lines of m, for tiles in one dimension. */
FC_INLINE void transform_lines(const fc_grids *t, const int n, const int m, const int fetch,
                               const int epilogue, void (*const line)(const vreal *, vreal *)) {
    const fc_size x_j = t->x_j, y_j = t->y_j;
    const char *x = t->x;
    char *y = t->y;
    for (fc_size k = 0; k < t->count; k++, x += t->x_next, y += t->y_next) {
        vreal in[MAX_SIDE], out[MAX_SIDE];
#pragma GCC unroll 6
        for (int j = 0; j < n; j++) {
            in[j] = v_load((const stored *)(x + j * x_j));
            if (j >= fetch) v_prefetch(x + t->x_prefetch + j * x_j);
        }
        line(in, out);
        store_line(t, out, y, y_j, m, epilogue);
    }
}

#define FC_DEFINE(name, size, n, m, fetch, epilogue)                      \
    static void name##_##size(const fc_grids *t) {                        \
        transform(t, n, m, fetch, epilogue, line_##name##_##size);        \
    }
#define FC_DEFINE_LINES(name, size, n, m, fetch, epilogue)                \
    static void name##_lines_##size(const fc_grids *t) {                  \
        transform_lines(t, n, m, fetch, epilogue, line_##name##_##size);  \
    }
FC_DEFINE(input, 4, 6, 6, 2, 0) /* tiles share two columns with the next */
FC_DEFINE(filter, 4, 3, 6, 3, 0)
FC_DEFINE(output, 4, 6, 4, 6, 1)
FC_DEFINE(gradient, 4, 4, 6, 0, 0)
FC_DEFINE(weight, 4, 6, 3, 6, 0)
FC_DEFINE(input, 2, 4, 4, 2, 0)
FC_DEFINE(filter, 2, 3, 4, 3, 0)
FC_DEFINE(output, 2, 4, 2, 4, 1)
FC_DEFINE(gradient, 2, 2, 4, 0, 0)
FC_DEFINE(weight, 2, 4, 3, 4, 0)
FC_DEFINE_LINES(input, 4, 6, 6, 2, 0)
FC_DEFINE_LINES(filter, 4, 3, 6, 3, 0)
FC_DEFINE_LINES(output, 4, 6, 4, 6, 1)
FC_DEFINE_LINES(gradient, 4, 4, 6, 0, 0)
FC_DEFINE_LINES(weight, 4, 6, 3, 6, 0)

const fc_winograd FC_NAME(winograd)[3] = {
    {4, 2, input_4, filter_4, output_4, gradient_4, weight_4},
    {2, 2, input_2, filter_2, output_2, gradient_2, weight_2},
    {4, 1, input_lines_4, filter_lines_4, output_lines_4, gradient_lines_4, weight_lines_4},
};
