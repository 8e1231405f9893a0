/* Pooling of whole planes that each are one run of memory. */
#include "maxima.h"

enum { BLOCK = 128 }; /* pairs of vectors that are summed before they join the others */

/* Elements i .. end, by pairs of vectors; returns the first that is left. */
FC_INLINE fc_size sum_pairs(const stored *plane, fc_size i, fc_size end, vreal *sum) {
    for (; i + 2 * VL <= end; i += 2 * VL) {
        sum[0] = v_add(sum[0], v_load(plane + i));
        sum[1] = v_add(sum[1], v_load(plane + i + VL));
    }
    return i;
}

void FC_NAME(plane_means)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                          fc_size n, double divisor) {
    const int tail = (int)(n % VL);
    for (fc_size c = 0; c < planes; c++) {
        const stored *plane = (const stored *)((const char *)x + c * x_c);
        vreal acc[2] = {v_zero(), v_zero()}; /* two chains: an addition takes some cycles */
        fc_size i = 0;
        i = sum_pairs(plane, i, fc_min(n, 2 * VL * BLOCK), acc);
        while (i + 2 * VL <= n) { /* sums of sums: long ones lose less */
            vreal sum[2] = {v_zero(), v_zero()};
            i = sum_pairs(plane, i, fc_min(n, i + 2 * VL * BLOCK), sum);
            for (int k = 0; k < 2; k++) acc[k] = v_add(acc[k], sum[k]);
        }
        if (i + VL <= n) acc[0] = v_add(acc[0], v_load(plane + i)), i += VL;
        if (tail) acc[1] = v_add(acc[1], v_load_n(plane + i, tail));
        *(stored *)((char *)out + c * out_c) = narrow(v_sum(v_add(acc[0], acc[1])) / (real)divisor);
    }
}

/* Of VL planes at a time: their running maxima are transposed, and then folded like rows. */
void FC_NAME(plane_maxima)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                           fc_size n) {
    for (fc_size c = 0; c < planes; c += VL) {
        const int m = upto(planes - c);
        real result[VL];
        vreal best[VL];
        for (int k = 0; k < VL; k++) {
            const stored *plane = (const stored *)((const char *)x + (c + (k < m ? k : 0)) * x_c);
            if (n < VL) {
                real largest = widen(plane[0]);
                for (fc_size i = 1; i < n; i++)
                    largest = takes_over(widen(plane[i]), largest) ? widen(plane[i]) : largest;
                best[k] = v_set1(largest);
                continue;
            }
            best[k] = v_load(plane + n - VL); /* may overlap the one before it */
            for (fc_size i = 0; i + VL < n; i += VL)
                best[k] = v_max_nan(best[k], v_load(plane + i));
        }
        v_transpose(best);
        for (int k = 1; k < VL; k++) best[0] = v_max_nan(best[0], best[k]);
        v_store_real(result, best[0]);
        for (int k = 0; k < m; k++) *(stored *)((char *)out + (c + k) * out_c) = narrow(result[k]);
    }
}

void FC_NAME(plane_fills)(void *x, fc_size x_c, const void *out, fc_size out_c, fc_size planes,
                          fc_size n, double divisor) {
    for (fc_size c = 0; c < planes; c++) {
        stored *plane = (stored *)((char *)x + c * x_c);
        const vreal each =
            v_set1(widen(*(const stored *)((const char *)out + c * out_c)) / (real)divisor);
        for (fc_size i = 0; i < n; i += VL) v_store_upto(plane + i, each, upto(n - i));
    }
}
