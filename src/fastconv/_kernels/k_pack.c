/* Rearranging: images to channels-last windows and back, filters to panels. */
#include <string.h>

#include "simd.h"
#include "kernels.h"

enum { BLOCK = 8 }; /* rows turned at a time: a cache line or two on either side */

/* Both strides along i, or along j, are one element: BLOCK contiguous pieces at a time. */
FC_INLINE void turn(char *d, fc_size d_j, const char *s, fc_size s_i, fc_size s_j, const int n,
                    fc_size cols) {
    for (fc_size j = 0; j < cols; j++) {
        real *out = (real *)(d + j * d_j);
        for (int i = 0; i < n; i++) out[i] = *(const real *)(s + i * s_i + j * s_j);
    }
}

void FC_NAME(copy2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i, fc_size s_j,
                     fc_size rows, fc_size cols) {
    const fc_size one = sizeof(real);
    char *d = dst;
    const char *s = src;
    if (d_j == one && s_j == one) {
        for (fc_size i = 0; i < rows; i++) memcpy(d + i * d_i, s + i * s_i, cols * sizeof(real));
        return;
    }
    if (d_j == one) { /* write along the contiguous side: swap the names of i and j */
        fc_size t;
        t = d_i, d_i = d_j, d_j = t;
        t = s_i, s_i = s_j, s_j = t;
        t = rows, rows = cols, cols = t;
    }
    if (d_i == one) {
        fc_size i = 0;
        for (; i + BLOCK <= rows; i += BLOCK)
            turn(d + i * one, d_j, s + i * s_i, s_i, s_j, BLOCK, cols);
        turn(d + i * one, d_j, s + i * s_i, s_i, s_j, (int)(rows - i), cols);
        return;
    }
    for (fc_size i = 0; i < rows; i++)
        for (fc_size j = 0; j < cols; j++)
            *(real *)(d + i * d_i + j * d_j) = *(const real *)(s + i * s_i + j * s_j);
}

void FC_NAME(pack_filters)(void *dst, const void *src, fc_size n, fc_size channels, fc_size taps_h,
                           fc_size taps_w, fc_size s_n, fc_size s_c, fc_size s_h, fc_size s_w,
                           fc_size nr) {
    real *FC_RESTRICT d = dst;
    const fc_size tap = channels * nr; /* elements from one tap's [channels][nr] to the next */
    for (fc_size c = 0; c < channels; c++) /* taps inside: each filter is then read in order */
        for (fc_size h = 0; h < taps_h; h++)
            for (fc_size w = 0; w < taps_w; w++) {
                const char *from = (const char *)src + c * s_c + h * s_h + w * s_w;
                real *to = d + (h * taps_w + w) * tap + c * nr;
                fc_size i = 0;
                for (; i < n; i++) to[i] = *(const real *)(from + i * s_n);
                for (; i < nr; i++) to[i] = 0;
            }
}
