/* Sums of rows: partial results of any driver, windows of means, gradients of biases. */
#include "simd.h"

/* ---- sum[i] += row[i] ---- */

void FC_NAME(add_fold)(void *sum_, const void *rows, fc_size next, fc_size n, fc_size count,
                       int first) {
    stored *sum = sum_;
    for (fc_size i = 0; i < n; i += VL) {
        const int m = upto(n - i);
        const char *row = rows;
        vreal v = first ? v_zero() : v_load_upto(sum + i, m);
        for (fc_size k = 0; k < count; k++, row += next)
            v = v_add(v, v_load_upto((const stored *)row + i, m));
        v_store_upto(sum + i, v, m);
    }
}

/* ---- sum[c] += x[line][c], in double ---- */

enum { SUM_LINES = 64 }; /* summed in `real` */

FC_INLINE void sum_columns(double *sum, const char *x, fc_size x_line, fc_size lines, int vectors,
                           int n) {
    for (fc_size i = 0; i < lines;) {
        const fc_size end = lines - i < SUM_LINES ? lines : i + SUM_LINES;
        vreal total[FC_SIDE_BY_SIDE];
        real t[VL];
        for (int v = 0; v < vectors; v++) total[v] = v_zero();
        for (; i < end; i++)
            for (int v = 0; v < vectors; v++)
                total[v] =
                    v_add(total[v], v_load_upto((const stored *)(x + i * x_line) + v * VL, n));
        for (int v = 0; v < vectors; v++) {
            v_store_real(t, total[v]);
            for (int c = 0; c < n; c++) sum[v * VL + c] += t[c];
        }
    }
}

void FC_NAME(column_sums)(double *sum, const void *x_, fc_size x_line, fc_size lines,
                          fc_size channels) {
    const char *x = (const char *)x_;
    FC_FOR_CHANNELS(
        channels, sum_columns(sum + c, x + c * (fc_size)sizeof(stored), x_line, lines, vectors, n));
}

/* ---- dst[i][j] += src[i][j] ---- */

enum { SHORT_SUM = 16, SUM_BLOCK = 256 };

/* of n contiguous elements */
static double sum_of(const stored *x, fc_size n) {
    double total = 0;
    while (n >= VL) {
        const fc_size vectors = n / VL < SUM_LINES ? n / VL : SUM_LINES;
        vreal v = v_load(x);
        for (fc_size k = 1; k < vectors; k++) v = v_add(v, v_load(x + k * VL));
        total += v_sum(v);
        x += vectors * VL;
        n -= vectors * VL;
    }
    for (fc_size i = 0; i < n; i++) total += widen(x[i]);
    return total;
}

/* n columns, of rows so many bytes apart */
static void add_columns(stored *d, const char *s, fc_size s_i, fc_size rows, fc_size n) {
    double total[SUM_BLOCK];
    for (fc_size j = 0; j < n; j += SUM_BLOCK) {
        const fc_size m = n - j < SUM_BLOCK ? n - j : SUM_BLOCK;
        for (fc_size k = 0; k < m; k++) total[k] = 0;
        FC_NAME(column_sums)(total, s + j * (fc_size)sizeof(stored), s_i, rows, m);
        for (fc_size k = 0; k < m; k++) d[j + k] = narrow((real)(widen(d[j + k]) + total[k]));
    }
}

FC_INLINE void add_run(stored *d, const stored *s, fc_size n) {
    for (; n >= VL; n -= VL, d += VL, s += VL) v_store(d, v_add(v_load(d), v_load(s)));
    if (n) v_store_n(d, v_add(v_load_n(d, (int)n), v_load_n(s, (int)n)), (int)n);
}

/* d[-i] += s[i] */
FC_INLINE void add_backwards(stored *FC_RESTRICT d, const stored *FC_RESTRICT s, fc_size n) {
    for (fc_size i = 0; i < n; i++) d[-i] = narrow(widen(d[-i]) + widen(s[i]));
}

void FC_NAME(add2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i, fc_size s_j,
                    fc_size rows, fc_size cols) {
    const fc_size one = sizeof(stored);
    char *d = dst;
    const char *s = src;
    if (d_i == 0 && d_j == one && s_j == one && rows > SHORT_SUM) {
        add_columns((stored *)d, s, s_i, rows, cols);
        return;
    }
    for (fc_size i = 0; i < rows; i++, d += d_i, s += s_i) {
        if (d_j == one && s_j == one) {
            add_run((stored *)d, (const stored *)s, cols);
        } else if (d_j == -one && s_j == one) {
            add_backwards((stored *)d, (const stored *)s, cols);
        } else if (d_j == 0 && s_j == one && cols > SHORT_SUM) {
            *(stored *)d = narrow((real)(widen(*(stored *)d) + sum_of((const stored *)s, cols)));
        } else {
            for (fc_size j = 0; j < cols; j++) {
                stored *to = (stored *)(d + j * d_j);
                *to = narrow(widen(*to) + widen(*(const stored *)(s + j * s_j)));
            }
        }
    }
}
