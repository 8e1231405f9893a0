/* Pooling window by window, where channels are contiguous and windows overlap little: a vector of
 * channels stays in a register while the taps go by.
 */
#include <math.h>

#include "maxima.h"

#define TAP(p, z, r, w, c) \
    ((const stored *)((p)->x + (z) * (p)->x_d + (r) * (p)->x_h + (w) * (p)->x_w) + (c))

/* `vectors` vectors of channels from c on; the last ends after n channels in all. */
FC_INLINE void sum_of_slice(const fc_pool_windows *p, fc_size z, fc_size j, fc_size c, int vectors,
                            int n, vreal *sum) {
    for (int v = 0; v < vectors; v++) sum[v] = v_zero();
    for (fc_size r = 0; r < p->rows; r++) {
        vreal row[FC_SIDE_BY_SIDE];
        for (int v = 0; v < vectors; v++) row[v] = v_zero();
        for (fc_size w = p->start[j]; w < p->end[j]; w++)
            for (int v = 0; v < vectors; v++)
                row[v] = v_add(row[v], v_load_upto(TAP(p, z, r, w, c + v * VL), n));
        for (int v = 0; v < vectors; v++) sum[v] = v_add(sum[v], row[v]);
    }
}

FC_INLINE void mean_of_window(const fc_pool_windows *p, const fc_size slices, fc_size j, fc_size c,
                              int vectors, int n, stored *out) {
    vreal sum[FC_SIDE_BY_SIDE]; /* sums of sums: long ones lose less */
    sum_of_slice(p, 0, j, c, vectors, n, sum);
    for (fc_size z = 1; z < slices; z++) {
        vreal slice[FC_SIDE_BY_SIDE];
        sum_of_slice(p, z, j, c, vectors, n, slice);
        for (int v = 0; v < vectors; v++) sum[v] = v_add(sum[v], slice[v]);
    }
    const vreal divisor = v_set1((real)p->divisor[j]);
    for (int v = 0; v < vectors; v++) v_store_upto(out + c + v * VL, v_div(sum[v], divisor), n);
}

FC_INLINE void mean_windows(const fc_pool_windows *p, const fc_size slices) {
    for (fc_size j = 0; j < p->out_width; j++) {
        stored *out = (stored *)(p->out + j * p->out_w);
        FC_FOR_CHANNELS(p->channels, mean_of_window(p, slices, j, c, vectors, n, out));
    }
}

void FC_NAME(mean_windows)(const fc_pool_windows *p) {
    if (p->slices == 1) /* images are spared a loop */
        mean_windows(p, 1);
    else
        mean_windows(p, p->slices);
}

FC_INLINE void max_of_window(const fc_pool_windows *p, const fc_size slices, fc_size j, fc_size c,
                             int vectors, int n, int with_indices) {
    stored *out = (stored *)(p->out + j * p->out_w) + c;
    const fc_size start = p->start[j];
    vreal best[FC_SIDE_BY_SIDE];
    vreal at[FC_SIDE_BY_SIDE]; /* bits of an integer: the distance from the first tap */
    for (int v = 0; v < vectors; v++) {
        best[v] = v_load_upto(TAP(p, 0, 0, start, c + v * VL), n);
        at[v] = v_zero();
    }
    for (fc_size z = 0; z < slices; z++)
        for (fc_size r = 0; r < p->rows; r++)
            for (fc_size w = start; w < p->end[j]; w += p->step) {
                const fc_size distance = z * p->index_d + r * p->index_h + (w - start);
                const vreal here = v_real(vb_set1((bits)distance));
                for (int v = 0; v < vectors; v++) {
                    const vreal x = v_load_upto(TAP(p, z, r, w, c + v * VL), n);
                    if (with_indices) at[v] = v_takes_over(x, best[v], here, at[v]);
                    best[v] = v_max_nan(best[v], x);
                }
            }
    for (int v = 0; v < vectors; v++) v_store_upto(out + v * VL, best[v], n);
    if (with_indices) {
        int64_t *idx = (int64_t *)(p->indices + j * p->indices_w) + c;
        for (int v = 0; v < vectors; v++) {
            real distance[VL];
            v_store_real(distance, at[v]);
            for (int i = 0; i < n; i++)
                idx[v * VL + i] = p->index + start + (int64_t)bits_of(distance[i]);
        }
    }
}

FC_INLINE void max_windows(const fc_pool_windows *p, const fc_size slices, const int with_indices) {
    for (fc_size j = 0; j < p->out_width; j++) {
        if (!p->x || p->start[j] >= p->end[j]) { /* dilated, steps over the whole image */
            for (fc_size c = 0; c < p->channels; c++) {
                ((stored *)(p->out + j * p->out_w))[c] = narrow(-(real)INFINITY);
                if (with_indices) ((int64_t *)(p->indices + j * p->indices_w))[c] = -1;
            }
            continue;
        }
        FC_FOR_CHANNELS(p->channels, max_of_window(p, slices, j, c, vectors, n, with_indices));
    }
}

void FC_NAME(max_windows)(const fc_pool_windows *p) {
    if (p->indices && p->slices == 1)
        max_windows(p, 1, 1);
    else if (p->indices)
        max_windows(p, p->slices, 1);
    else if (p->slices == 1)
        max_windows(p, 1, 0);
    else
        max_windows(p, p->slices, 0);
}
