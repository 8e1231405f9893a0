/* Depthwise convolution, a row at a time: forward (and, filters turned, the input gradient), and
 * the weight gradient. */
#include "simd.h"
#include "kernels.h"

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

/* One vector of channels, output columns [j0, j1); checked: columns may leave the image. */
FC_INLINE void nhwc_columns(const fc_depthwise_row *p, fc_size c, int n, fc_size j0, fc_size j1,
                            const int checked) {
    const vreal bias = !p->bias ? v_zero()
                       : n < VL ? v_load_n((const real *)p->bias + c, n)
                                : v_load((const real *)p->bias + c);
    for (fc_size j = j0; j < j1; j++) {
        vreal acc = bias;
        for (fc_size h = 0; h < p->taps_h; h++) {
            if (!p->rows[h]) continue;
            fc_size col = p->col0 + j * p->step;
            const real *w = (const real *)p->w + h * p->taps_w * p->channels + c;
            for (fc_size s = 0; s < p->taps_w; s++, col += p->col_dx, w += p->channels) {
                if (checked && (col < 0 || col >= p->width)) continue;
                const real *x = (const real *)((const char *)p->rows[h] + col * p->x_w) + c;
                acc = n < VL ? v_fma(v_load_n(x, n), v_load_n(w, n), acc)
                             : v_fma(v_load(x), v_load(w), acc);
            }
        }
        if (p->relu) acc = v_max(v_zero(), acc);
        real *out = (real *)((char *)p->out + j * p->out_w) + c;
        if (n < VL)
            v_store_n(out, acc, n);
        else
            v_store(out, acc);
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
        nhwc_columns(p, c, n, 0, lo, 1);
        if (n == VL)
            nhwc_columns(p, c, VL, lo, hi, 0);
        else
            nhwc_columns(p, c, n, lo, hi, 0);
        nhwc_columns(p, c, n, hi, p->out_width, 1);
    }
}

/* One channel; the output row is contiguous. */
void FC_NAME(depthwise_row_nchw)(const fc_depthwise_row *p) {
    real *FC_RESTRICT out = p->out;
    const real bias = p->bias ? *(const real *)p->bias : 0;
    for (fc_size j = 0; j < p->out_width; j++) out[j] = bias;
    for (fc_size h = 0; h < p->taps_h; h++) {
        if (!p->rows[h]) continue;
        for (fc_size s = 0; s < p->taps_w; s++) {
            const real w = ((const real *)p->w)[h * p->taps_w + s];
            const fc_size first = p->col0 + s * p->col_dx;
            fc_size lo, hi;
            valid(first, p->step, p->width, p->out_width, &lo, &hi);
            if (p->step == 1) {
                const real *x = (const real *)p->rows[h] + first;
                for (fc_size j = lo; j < hi; j++) out[j] += w * x[j];
            } else {
                const real *x = (const real *)p->rows[h] + first + lo * p->step;
                for (fc_size j = lo; j < hi; j++, x += p->step) out[j] += w * *x;
            }
        }
    }
    if (p->relu)
        for (fc_size j = 0; j < p->out_width; j++) out[j] = out[j] < 0 ? 0 : out[j];
}

void FC_NAME(depthwise_weight_row_nhwc)(const fc_depthwise_weight_row *p) {
    for (fc_size s = 0; s < p->taps_w; s++) {
        fc_size lo, hi;
        const fc_size first = p->col0 + s * p->col_dx;
        valid(first, p->step, p->width, p->dy_width, &lo, &hi);
        const char *x = (const char *)p->x + (first + lo * p->step) * p->x_w;
        const char *dy = (const char *)p->dy + lo * p->dy_w;
        real *dw = (real *)p->dw + s * p->channels;
        fc_size c = 0;
        for (; c + VL <= p->channels; c += VL) {
            vreal acc = v_zero();
            for (fc_size j = 0; j < hi - lo; j++)
                acc = v_fma(v_load((const real *)(x + j * p->step * p->x_w) + c),
                            v_load((const real *)(dy + j * p->dy_w) + c), acc);
            v_store(dw + c, v_add(v_load(dw + c), acc));
        }
        for (; c < p->channels; c++) {
            real acc = 0;
            for (fc_size j = 0; j < hi - lo; j++)
                acc += ((const real *)(x + j * p->step * p->x_w))[c] *
                       ((const real *)(dy + j * p->dy_w))[c];
            dw[c] += acc;
        }
    }
}

/* One channel; both rows are contiguous. */
void FC_NAME(depthwise_weight_row_nchw)(const fc_depthwise_weight_row *p) {
    for (fc_size s = 0; s < p->taps_w; s++) {
        fc_size lo, hi;
        const fc_size first = p->col0 + s * p->col_dx;
        valid(first, p->step, p->width, p->dy_width, &lo, &hi);
        const real *x = (const real *)p->x + first + lo * p->step;
        const real *dy = (const real *)p->dy + lo;
        const fc_size n = hi - lo;
        fc_size j = 0;
        real sum = 0;
        if (p->step == 1) {
            vreal acc = v_zero();
            for (; j + VL <= n; j += VL) acc = v_fma(v_load(x + j), v_load(dy + j), acc);
            sum = v_sum(acc);
        }
        for (; j < n; j++) sum += x[j * p->step] * dy[j];
        ((real *)p->dw)[s] += sum;
    }
}
