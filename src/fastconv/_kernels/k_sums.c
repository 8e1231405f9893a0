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
