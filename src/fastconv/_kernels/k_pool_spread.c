/* The gradient of means along a row: what an output's inputs get, spread over its columns. */
#include "lanes.h"

/* Windows one after another, of a pixel's channels or of single columns. */
FC_INLINE void spread_mean(const fc_pool_slide *p, const int inner_is_one) {
    const fc_size inner = inner_is_one ? 1 : p->inner;
    stored *row = (stored *)p->row;
    fc_size written = 0; /* columns before it hold something */
    for (fc_size j = 0; j < p->out_width; j++) {
        const stored *FC_RESTRICT out = (const stored *)p->out + j * inner;
        real *FC_RESTRICT each = p->scratch;
        const real divisor = (real)p->divisor[j];
        for (fc_size c = 0; c < inner; c++) each[c] = widen(out[c]) / divisor;
        for (; written < p->start[j]; written++)
            for (fc_size c = 0; c < inner; c++) row[written * inner + c] = narrow(0);
        for (fc_size w = p->start[j]; w < p->end[j]; w++) {
            stored *FC_RESTRICT x = row + w * inner;
            if (w >= written)
                for (fc_size c = 0; c < inner; c++) x[c] = narrow(each[c]);
            else
                for (fc_size c = 0; c < inner; c++) x[c] = narrow(widen(x[c]) + each[c]);
        }
        if (p->end[j] > written) written = p->end[j];
    }
    for (fc_size i = written * inner; i < p->width * inner; i++) row[i] = narrow(0);
}

/* ---- evenly spaced windows of single columns, in vectors of columns ----
 *
 * Say that u counts columns from where window 0 begins. Repeating every output `stride` times makes
 * whole[u] = each[u / stride], and column u gets the sum of whole[u - m stride] for every whole
 * stride m that there is in a window. What is left of the window is another row like it, `part`,
 * which is zero where that much of a stride has gone by. */

FC_INLINE void fill_zero(real *to, fc_size n) {
    for (fc_size i = 0; i < n; i += VL) v_store_real_upto(to + i, v_zero(), n - i);
}

/* to[u], u < n * stride and some more; zero where u % stride >= taps */
FC_INLINE void repeat_each(real *to, const real *each, fc_size n, fc_size stride,
                           const repeated *lanes, fc_size taps) {
    real phase[VL * VL]; /* u % stride, of stride vectors; their end is a multiple of stride */
    if (taps < stride) {
        fc_size u = 0;
        for (fc_size i = 0; i < stride * VL; i++) {
            phase[i] = (real)u;
            u = u + 1 == stride ? 0 : u + 1;
        }
    }
    for (fc_size j = 0; j < n; j += VL) {
        const vreal v = v_load_real_upto(each + j, n - j);
        for (fc_size k = 0; k < stride; k++) {
            vreal x = repeated_part(v, lanes, k);
            if (taps < stride)
                x = v_less(v_load_real(phase + k * VL), v_set1((real)taps), x, v_zero());
            v_store_real(to + j * stride + k * VL, x);
        }
    }
}

FC_INLINE void spread_evenly(const fc_pool_slide *p) {
    const fc_size stride = p->stride, n = p->out_width, width = p->width;
    const fc_size wholes = p->taps / stride, rest = p->taps % stride;
    const fc_size before = p->taps + (p->lo > 0 ? p->lo : 0); /* room for u < 0 */
    const fc_size after = fc_min(n * stride, width - p->lo);  /* u that some output has */
    const fc_size room = 2 * p->taps + width + (VL + 2) * stride + VL;
    real *each = p->scratch;
    real *whole = each + n + before, *part = whole + room;
    stored *row = p->row;
    repeated lanes;
    for (fc_size j = 0; j < n; j++)
        each[j] = widen(((const stored *)p->out)[j]) / (real)p->divisor[j];
    make_repeated(&lanes, stride);
    if (wholes) {
        fill_zero(whole - before, before);
        repeat_each(whole, each, n, stride, &lanes, stride);
        fill_zero(whole + after, width - p->lo - after);
    }
    if (rest) {
        fill_zero(part - before, before);
        repeat_each(part, each, n, stride, &lanes, rest);
        fill_zero(part + after, width - p->lo - after);
    }
    for (fc_size i = 0; i < width; i += VL) {
        const int m = upto(width - i);
        const fc_size u = i - p->lo;
        vreal sum = wholes ? v_load_real_upto(whole + u, m) : v_zero();
        for (fc_size k = 1; k < wholes; k++)
            sum = v_add(sum, v_load_real_upto(whole + u - k * stride, m));
        if (rest) sum = v_add(sum, v_load_real_upto(part + u - wholes * stride, m));
        v_store_upto(row + i, sum, m);
    }
}

/* The simplest of them, windows side by side from the first column on: no need of scratch memory. */
FC_INLINE void spread_side_by_side(const fc_pool_slide *p) {
    const fc_size stride = p->stride, width = p->width;
    stored *row = p->row;
    repeated lanes;
    make_repeated(&lanes, stride);
    for (fc_size j = 0; j < p->out_width; j += VL) {
        const int m = upto(p->out_width - j);
        real divisor[VL];
        for (int i = 0; i < m; i++) divisor[i] = (real)p->divisor[j + i];
        for (int i = m; i < VL; i++) divisor[i] = 1;
        const vreal each =
            v_div(v_load_upto((const stored *)p->out + j, m), v_load_real(divisor));
        for (fc_size k = 0, i = j * stride; k < stride && i < width; k++, i += VL)
            v_store_upto(row + i, repeated_part(each, &lanes, k), width - i);
    }
    for (fc_size i = p->out_width * stride; i < width; i += VL)
        v_store_upto(row + i, v_zero(), width - i);
}

void FC_NAME(mean_spread)(const fc_pool_slide *p) {
    if (p->inner > 1)
        spread_mean(p, 0);
    else if (p->taps == 0 || p->out_width == 0)
        spread_mean(p, 1);
    else if (p->taps == p->stride && p->lo == 0)
        spread_side_by_side(p);
    else
        spread_evenly(p);
}
