/* Depthwise convolution, forward (and, filters turned, the input gradient) and the weight gradient:
 * with contiguous channels a row at a time, a vector of channels side by side; otherwise a plane at
 * a time, laid out as one long row. */
#include "simd.h"
#include "kernels.h"

enum {
    COLUMNS = 4, /* outputs that share one load of a filter tap */
    TAPS = 9     /* sums of the weight gradient kept in registers */
};

FC_INLINE fc_size fc_min(fc_size a, fc_size b) { return a < b ? a : b; }
FC_INLINE fc_size fc_max(fc_size a, fc_size b) { return a > b ? a : b; }

/* Outputs j in [*lo, *hi) of `n` for which tap column `first + j * step` lies in [0, width). */
FC_INLINE void valid(fc_size first, fc_size step, fc_size width, fc_size n, fc_size *lo,
                     fc_size *hi) {
    *lo = first >= 0 ? 0 : (-first + step - 1) / step;
    *hi = first >= width ? 0 : (width - 1 - first) / step + 1;
    *lo = fc_min(*lo, n);
    *hi = fc_max(fc_min(*hi, n), *lo);
}

FC_INLINE vreal load_part(const real *p, const int n) { return n < VL ? v_load_n(p, n) : v_load(p); }

/* n channels from c on, `columns` outputs from j on; checked: taps may leave the image. */
FC_INLINE void columns_nhwc(const fc_depthwise_row *p, fc_size c, const int n, fc_size j,
                            const int columns, const int checked) {
    vreal acc[COLUMNS];
    for (int q = 0; q < columns; q++)
        acc[q] = p->bias ? load_part((const real *)p->bias + c, n) : v_zero();
    const fc_size next = p->step * p->x_w; /* bytes from one output's input to the next one's */
    for (fc_size h = 0; h < p->taps_h; h++) {
        if (!p->rows[h]) continue;
        fc_size col = p->col0 + j * p->step;
        const real *w = (const real *)p->w + h * p->taps_w * p->channels + c;
        for (fc_size s = 0; s < p->taps_w; s++, col += p->col_dx, w += p->channels) {
            if (checked && (col < 0 || col >= p->width)) continue;
            const char *x = (const char *)p->rows[h] + col * p->x_w + c * (fc_size)sizeof(real);
            const vreal tap = load_part(w, n);
            for (int q = 0; q < columns; q++)
                acc[q] = v_fma(load_part((const real *)(x + q * next), n), tap, acc[q]);
        }
    }
    for (int q = 0; q < columns; q++) {
        if (p->relu) acc[q] = v_max(v_zero(), acc[q]);
        real *out = (real *)((char *)p->out + (j + q) * p->out_w) + c;
        if (n < VL)
            v_store_n(out, acc[q], n);
        else
            v_store(out, acc[q]);
    }
}

void FC_NAME(depthwise_row_nhwc)(const fc_depthwise_row *p) {
    /* [lo, hi): the outputs whose every tap is inside; taps go left to right or right to left */
    const fc_size span = (p->taps_w - 1) * p->col_dx;
    fc_size lo, hi, lo2, hi2;
    valid(p->col0, p->step, p->width, p->out_width, &lo, &hi);
    valid(p->col0 + span, p->step, p->width, p->out_width, &lo2, &hi2);
    lo = fc_max(lo, lo2);
    hi = fc_max(fc_min(hi, hi2), lo);
    for (fc_size c = 0; c < p->channels; c += VL) {
        const int n = (int)fc_min(VL, p->channels - c);
        fc_size j = 0;
        for (; j < lo; j++) columns_nhwc(p, c, n, j, 1, 1);
        if (n == VL) {
            for (; j + COLUMNS <= hi; j += COLUMNS) columns_nhwc(p, c, VL, j, COLUMNS, 0);
            for (; j < hi; j++) columns_nhwc(p, c, VL, j, 1, 0);
        } else {
            for (; j < hi; j++) columns_nhwc(p, c, n, j, 1, 0);
        }
        for (; j < p->out_width; j++) columns_nhwc(p, c, n, j, 1, 1);
    }
}

void FC_NAME(depthwise_weight_row_nhwc)(const fc_depthwise_weight_row *p) {
    for (fc_size s = 0; s < p->taps_w; s++) {
        fc_size lo, hi;
        const fc_size first = p->col0 + s * p->col_dx;
        valid(first, p->step, p->width, p->dy_width, &lo, &hi);
        const char *x = (const char *)p->x + (first + lo * p->step) * p->x_w;
        const char *dy = (const char *)p->dy + lo * p->dy_w;
        const fc_size next = p->step * p->x_w;
        real *dw = (real *)p->dw + s * p->channels;
        for (fc_size c = 0; c < p->channels; c += VL) {
            const int n = (int)fc_min(VL, p->channels - c);
            vreal acc[2] = {v_zero(), v_zero()}; /* two chains: an FMA takes four cycles */
            const char *xc = x + c * (fc_size)sizeof(real);
            const char *dc = dy + c * (fc_size)sizeof(real);
            fc_size j = lo;
            if (n == VL) {
                for (; j + 2 <= hi; j += 2, xc += 2 * next, dc += 2 * p->dy_w) {
                    acc[0] = v_fma(v_load((const real *)xc), v_load((const real *)dc), acc[0]);
                    acc[1] = v_fma(v_load((const real *)(xc + next)),
                                   v_load((const real *)(dc + p->dy_w)), acc[1]);
                }
            }
            for (; j < hi; j++, xc += next, dc += p->dy_w)
                acc[0] = v_fma(load_part((const real *)xc, n), load_part((const real *)dc, n),
                               acc[0]);
            const vreal sum = v_add(load_part(dw + c, n), v_add(acc[0], acc[1]));
            if (n < VL)
                v_store_n(dw + c, sum, n);
            else
                v_store(dw + c, sum);
        }
    }
}

FC_INLINE void flat(const fc_depthwise_flat *p, fc_size at, const int vectors) {
    vreal acc[8];
    for (int q = 0; q < vectors; q++) acc[q] = v_set1((real)p->bias);
    for (fc_size t = 0; t < p->taps; t++) {
        const real *x = (const real *)p->x + p->at[t] + at;
        const vreal w = v_set1(((const real *)p->w)[t]);
        for (int q = 0; q < vectors; q++) acc[q] = v_fma(w, v_load(x + q * VL), acc[q]);
    }
    for (int q = 0; q < vectors; q++) {
        if (p->relu) acc[q] = v_max(v_zero(), acc[q]);
        v_store((real *)p->out + at + q * VL, acc[q]);
    }
}

void FC_NAME(depthwise_flat)(const fc_depthwise_flat *p) {
    fc_size at = 0;
    for (; at + 8 * VL <= p->n; at += 8 * VL) flat(p, at, 8);
    for (; at + 2 * VL <= p->n; at += 2 * VL) flat(p, at, 2);
    for (; at < p->n; at += VL) flat(p, at, 1);
}

FC_INLINE void flat_weight(const fc_depthwise_flat_grad *p, fc_size t, const int taps) {
    vreal acc[TAPS];
    const char *x[TAPS];
    for (int q = 0; q < taps; q++)
        acc[q] = v_zero(), x[q] = (const char *)((const real *)p->x + p->at[t + q]);
    const int tail = (int)(p->width % VL);
    for (fc_size i = 0; i < p->rows; i++) {
        const real *dy = (const real *)((const char *)p->dy + i * p->dy_row);
        fc_size j = 0;
        for (; j + VL <= p->width; j += VL) {
            const vreal g = v_load(dy + j);
            for (int q = 0; q < taps; q++) acc[q] = v_fma(g, v_load((const real *)x[q] + j), acc[q]);
        }
        if (tail) {
            const vreal g = v_load_n(dy + j, tail);
            for (int q = 0; q < taps; q++)
                acc[q] = v_fma(g, v_load_n((const real *)x[q] + j, tail), acc[q]);
        }
        for (int q = 0; q < taps; q++) x[q] += p->x_row;
    }
    for (int q = 0; q < taps; q++) ((real *)p->dw)[t + q] += v_sum(acc[q]);
}

void FC_NAME(depthwise_flat_weight)(const fc_depthwise_flat_grad *p) {
    fc_size t = 0;
    for (; t + TAPS <= p->taps; t += TAPS) flat_weight(p, t, TAPS);
    for (; t + 3 <= p->taps; t += 3) flat_weight(p, t, 3);
    for (; t < p->taps; t++) flat_weight(p, t, 1);
}
