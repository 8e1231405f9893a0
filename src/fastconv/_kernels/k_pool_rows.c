/* Pooling by rows: the rows of a window are folded into one row, a vector of columns at a time;
 * then windows slide along that row. A row is [width][inner]: inner is 1 where columns are
 * contiguous, the number of channels where channels are. The mean folds its rows with add_fold of
 * k_sums.c.
 */
#include <math.h>

#include "maxima.h"

/* n outputs of one tap, `stride` elements apart (1 or 2) */
FC_INLINE vreal load_apart(const stored *p, const fc_size stride, int n) {
    return stride == 1 ? v_load_upto(p, n) : v_load_even(p, n);
}

/* ---- maxima ---- */

void FC_NAME(max_fold)(void *best_, void *at_, const void *rows_, fc_size next, fc_size n,
                       fc_size h, fc_size end, fc_size step) {
    stored *FC_RESTRICT best = best_;
    const char *rows = rows_;
    intreal *FC_RESTRICT at = at_;
    if (!at) {
        for (fc_size i = 0; i < n; i += VL) {
            const int m = upto(n - i);
            const char *row = rows;
            vreal v = v_load_upto((const stored *)row + i, m);
            for (fc_size k = h + step; k < end; k += step) {
                row += next;
                v = v_max_nan(v, v_load_upto((const stored *)row + i, m));
            }
            v_store_upto(best + i, v, m);
        }
        return;
    }
    for (fc_size i = 0; i < n; i++) best[i] = ((const stored *)rows)[i];
    for (fc_size i = 0; i < n; i++) at[i] = (intreal)h;
    for (fc_size k = h + step; k < end; k += step) {
        rows += next;
        const stored *FC_RESTRICT row = (const stored *)rows;
        for (fc_size i = 0; i < n; i++) {
            const int take = takes_over(widen(row[i]), widen(best[i]));
            best[i] = take ? row[i] : best[i];
            at[i] = take ? (intreal)k : at[i];
        }
    }
}

/* Columns come left to right, each with the row its maximum was found in: among equals the upper
 * row is first, among NaNs the lower row is last. */
FC_INLINE int column_takes_over(real v, intreal row, real best, intreal best_row) {
    return (v > best) | ((v == best) & (row < best_row)) |
           ((v != v) & ((best == best) | (row >= best_row)));
}

/* Single columns, outputs [lo, hi): whole windows `stride` apart, so that neighbours go side by
 * side in a vector. */
FC_INLINE void slide_max_regular(const fc_pool_slide *p, const fc_size stride) {
    const stored *FC_RESTRICT row = (const stored *)p->row + p->start[p->lo];
    const fc_size n = p->hi - p->lo, taps = p->taps;
    stored *FC_RESTRICT out = (stored *)p->out + p->lo;
    if (!p->indices && stride <= 2) {
        for (fc_size j = 0; j < n; j += VL) {
            const int m = upto(n - j);
            vreal best = load_apart(row + j * stride, stride, m);
            for (fc_size s = 1; s < taps; s++)
                best = v_max_nan(best, load_apart(row + s * p->step + j * stride, stride, m));
            v_store_upto(out + j, best, m);
        }
        return;
    }
    for (fc_size j = 0; j < n; j++) out[j] = row[j * stride];
    if (!p->indices) {
        for (fc_size s = 1; s < taps; s++) {
            const stored *FC_RESTRICT x = row + s * p->step;
            for (fc_size j = 0; j < n; j++) {
                const stored v = x[j * stride];
                out[j] = takes_over(widen(v), widen(out[j])) ? v : out[j];
            }
        }
        return;
    }
    const intreal *FC_RESTRICT at = (const intreal *)p->at + p->start[p->lo];
    intreal *FC_RESTRICT best_row = p->scratch;
    intreal *FC_RESTRICT best_col = best_row + p->out_width;
    const intreal first = (intreal)p->start[p->lo];
    for (fc_size j = 0; j < n; j++) best_row[j] = at[j * stride];
    for (fc_size j = 0; j < n; j++) best_col[j] = first + (intreal)(j * stride);
    for (fc_size s = 1; s < taps; s++) {
        const stored *FC_RESTRICT x = row + s * p->step;
        const intreal *FC_RESTRICT h = at + s * p->step;
        const intreal column = first + (intreal)(s * p->step);
        for (fc_size j = 0; j < n; j++) {
            const stored v = x[j * stride];
            const int take = column_takes_over(widen(v), h[j * stride], widen(out[j]), best_row[j]);
            out[j] = take ? v : out[j];
            best_row[j] = take ? h[j * stride] : best_row[j];
            best_col[j] = take ? column + (intreal)(j * stride) : best_col[j];
        }
    }
    for (fc_size j = 0; j < n; j++)
        p->indices[p->lo + j] = (int64_t)best_row[j] * p->width + (int64_t)best_col[j];
}

FC_INLINE void slide_max(const fc_pool_slide *p, const int inner_is_one, fc_size from, fc_size to) {
    const fc_size inner = inner_is_one ? 1 : p->inner;
    const intreal *rows = p->at;
    for (fc_size j = from; j < to; j++) {
        stored *FC_RESTRICT out = (stored *)p->out + j * inner;
        const fc_size w0 = p->start[j], w1 = p->end[j];
        if (w0 >= w1) { /* a dilated window that steps over the whole image */
            for (fc_size c = 0; c < inner; c++) out[c] = narrow(-(real)INFINITY);
            if (p->indices)
                for (fc_size c = 0; c < inner; c++) p->indices[j * inner + c] = -1;
            continue;
        }
        const stored *FC_RESTRICT x = (const stored *)p->row + w0 * inner;
        if (!p->indices) {
            for (fc_size c = 0; c < inner; c++) out[c] = x[c];
            for (fc_size w = w0 + p->step; w < w1; w += p->step) {
                x += p->step * inner;
                for (fc_size c = 0; c < inner; c++)
                    out[c] = takes_over(widen(x[c]), widen(out[c])) ? x[c] : out[c];
            }
            continue;
        }
        int64_t *FC_RESTRICT idx = p->indices + j * inner;
        intreal *FC_RESTRICT best_row = p->scratch;
        intreal *FC_RESTRICT best_col = best_row + inner;
        for (fc_size c = 0; c < inner; c++) {
            out[c] = x[c];
            best_row[c] = rows[w0 * inner + c];
            best_col[c] = (intreal)w0;
        }
        for (fc_size w = w0 + p->step; w < w1; w += p->step) {
            x += p->step * inner;
            const intreal *FC_RESTRICT row = rows + w * inner;
            for (fc_size c = 0; c < inner; c++) {
                const int take = column_takes_over(widen(x[c]), row[c], widen(out[c]), best_row[c]);
                out[c] = take ? x[c] : out[c];
                best_row[c] = take ? row[c] : best_row[c];
                best_col[c] = take ? (intreal)w : best_col[c];
            }
        }
        for (fc_size c = 0; c < inner; c++)
            idx[c] = (int64_t)best_row[c] * p->width + (int64_t)best_col[c];
    }
}

void FC_NAME(max_slide)(const fc_pool_slide *p) {
    if (p->inner > 1) {
        slide_max(p, 0, 0, p->out_width);
        return;
    }
    slide_max(p, 1, 0, p->lo);
    if (p->lo < p->hi) {
        if (p->stride == 1)
            slide_max_regular(p, 1);
        else if (p->stride == 2)
            slide_max_regular(p, 2);
        else
            slide_max_regular(p, p->stride);
    }
    slide_max(p, 1, p->hi, p->out_width);
}

/* ---- means ---- */

FC_INLINE void slide_mean_regular(const fc_pool_slide *p, const fc_size stride) {
    const stored *FC_RESTRICT row = (const stored *)p->row + p->start[p->lo];
    const fc_size n = p->hi - p->lo;
    stored *FC_RESTRICT out = (stored *)p->out + p->lo;
    if (stride <= 2) {
        const vreal divisor = v_set1((real)p->divisor[p->lo]); /* whole windows count the same */
        for (fc_size j = 0; j < n; j += VL) {
            const int m = upto(n - j);
            vreal sum = load_apart(row + j * stride, stride, m);
            for (fc_size s = 1; s < p->taps; s++)
                sum = v_add(sum, load_apart(row + s + j * stride, stride, m));
            v_store_upto(out + j, v_div(sum, divisor), m);
        }
        return;
    }
    for (fc_size j = 0; j < n; j++) out[j] = row[j * stride];
    for (fc_size s = 1; s < p->taps; s++)
        for (fc_size j = 0; j < n; j++) out[j] = narrow(widen(out[j]) + widen(row[s + j * stride]));
    for (fc_size j = 0; j < n; j++) out[j] = narrow(widen(out[j]) / (real)p->divisor[p->lo + j]);
}

FC_INLINE void slide_mean(const fc_pool_slide *p, const int inner_is_one, fc_size from,
                          fc_size to) {
    const fc_size inner = inner_is_one ? 1 : p->inner;
    for (fc_size j = from; j < to; j++) {
        stored *FC_RESTRICT out = (stored *)p->out + j * inner;
        const stored *FC_RESTRICT x = (const stored *)p->row + p->start[j] * inner;
        const real divisor = (real)p->divisor[j];
        const fc_size columns = p->end[j] - p->start[j];
        if (inner_is_one) {
            real sum = 0;
            fc_size w = 0;
            if (columns >= VL) { /* a global pool, say: the row is the window */
                vreal acc = v_zero();
                for (; w + VL <= columns; w += VL) acc = v_add(acc, v_load(x + w));
                sum = v_sum(acc);
            }
            for (; w < columns; w++) sum += widen(x[w]);
            out[0] = narrow(sum / divisor);
            continue;
        }
        for (fc_size c = 0; c < inner; c++) out[c] = narrow(0);
        for (fc_size w = 0; w < columns; w++, x += inner)
            for (fc_size c = 0; c < inner; c++) out[c] = narrow(widen(out[c]) + widen(x[c]));
        for (fc_size c = 0; c < inner; c++) out[c] = narrow(widen(out[c]) / divisor);
    }
}

void FC_NAME(mean_slide)(const fc_pool_slide *p) {
    if (p->inner > 1) {
        slide_mean(p, 0, 0, p->out_width);
        return;
    }
    slide_mean(p, 1, 0, p->lo);
    if (p->lo < p->hi) {
        if (p->stride == 1)
            slide_mean_regular(p, 1);
        else if (p->stride == 2)
            slide_mean_regular(p, 2);
        else
            slide_mean_regular(p, p->stride);
    }
    slide_mean(p, 1, p->hi, p->out_width);
}

/* The other way: out is the gradient read, row the one written, from zero. */
FC_INLINE void spread_mean(const fc_pool_slide *p, const int inner_is_one) {
    const fc_size inner = inner_is_one ? 1 : p->inner;
    stored *row = (stored *)p->row;
    for (fc_size i = 0; i < p->width * inner; i++) row[i] = narrow(0);
    for (fc_size j = 0; j < p->out_width; j++) {
        const stored *FC_RESTRICT out = (const stored *)p->out + j * inner;
        real *FC_RESTRICT each = p->scratch;
        const real divisor = (real)p->divisor[j];
        for (fc_size c = 0; c < inner; c++) each[c] = widen(out[c]) / divisor;
        for (fc_size w = p->start[j]; w < p->end[j]; w++) {
            stored *FC_RESTRICT x = row + w * inner;
            for (fc_size c = 0; c < inner; c++) x[c] = narrow(widen(x[c]) + each[c]);
        }
    }
}

void FC_NAME(mean_spread)(const fc_pool_slide *p) {
    if (p->inner == 1)
        spread_mean(p, 1);
    else
        spread_mean(p, 0);
}
