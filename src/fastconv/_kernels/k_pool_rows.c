/* Pooling by rows: the rows of a window are folded into one row, a vector of columns at a time;
 * then windows slide along that row. A row is [width][inner]: inner is 1 where columns are
 * contiguous, the number of channels where channels are. The mean folds its rows with add_fold of
 * k_sums.c.
 */
#include <math.h>

#include "lanes.h"
#include "maxima.h"

/* ---- maxima ---- */

void FC_NAME(max_fold)(void *best_, void *at_, const void *rows_, fc_size next, fc_size n,
                       fc_size h, fc_size end, fc_size step, int first) {
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
            if (!first) v = v_max_nan(v, v_load_upto(best + i, m));
            v_store_upto(best + i, v, m);
        }
        return;
    }
    if (first) {
        for (fc_size i = 0; i < n; i++) best[i] = ((const stored *)rows)[i];
        for (fc_size i = 0; i < n; i++) at[i] = (intreal)h;
        h += step;
        rows += next;
    }
    for (; h < end; h += step, rows += next) {
        const stored *FC_RESTRICT row = (const stored *)rows;
        for (fc_size i = 0; i < n; i++) {
            const int take = takes_over(widen(row[i]), widen(best[i]));
            best[i] = take ? row[i] : best[i];
            at[i] = take ? (intreal)h : at[i];
        }
    }
}

/* Columns come left to right, each with the row its maximum was found in: among equals the upper
 * row is first, among NaNs the lower row is last. */
FC_INLINE int column_takes_over(real v, intreal row, real best, intreal best_row) {
    return (v > best) | ((v == best) & (row < best_row)) |
           ((v != v) & ((best == best) | (row >= best_row)));
}

/* ---- Outputs [lo, hi) of single columns: whole windows `stride` apart, so that neighbours go side
 * by side in a vector. */

/* `vectors` vectors of outputs, or a part of one */
FC_INLINE void slide_maxima(const stored *row, const fc_size stride, const apart *a, fc_size taps,
                            fc_size step, stored *out, int vectors, int n) {
    vreal best[FC_SIDE_BY_SIDE];
    for (int v = 0; v < vectors; v++) best[v] = load_apart(row + v * VL * stride, stride, a, n);
    for (fc_size s = 1; s < taps; s++)
        for (int v = 0; v < vectors; v++)
            best[v] =
                v_max_nan(best[v], load_apart(row + s * step + v * VL * stride, stride, a, n));
    for (int v = 0; v < vectors; v++) v_store_upto(out + v * VL, best[v], n);
}

/* The same with indices, where windows have a single row. */
FC_INLINE void slide_maxima_at(const stored *row, const fc_size stride, const apart *a,
                               fc_size taps, fc_size step, stored *out, int64_t *idx, int64_t index,
                               int n) {
    vreal best = load_apart(row, stride, a, n), at = v_zero(); /* bits of an integer: which tap */
    real tap[VL];
    for (fc_size s = 1; s < taps; s++) {
        const vreal x = load_apart(row + s * step, stride, a, n);
        at = v_takes_over(x, best, v_real(vb_set1((bits)(s * step))), at);
        best = v_max_nan(best, x);
    }
    v_store_upto(out, best, n);
    v_store_real(tap, at);
    if (n == VL)
        for (int i = 0; i < VL; i++) idx[i] = index + i * stride + (int64_t)bits_of(tap[i]);
    else
        for (int i = 0; i < n; i++) idx[i] = index + i * stride + (int64_t)bits_of(tap[i]);
}

FC_INLINE void slide_max_apart(const fc_pool_slide *p, const fc_size stride, const apart *a) {
    const stored *row = (const stored *)p->row + p->start[p->lo];
    stored *out = (stored *)p->out + p->lo;
    FC_FOR_CHANNELS(p->hi - p->lo, slide_maxima(row + c * stride, stride, a, p->taps, p->step,
                                                out + c, vectors, n));
}

FC_INLINE void slide_max_apart_at(const fc_pool_slide *p, const fc_size stride, const apart *a) {
    const stored *row = (const stored *)p->row + p->start[p->lo];
    stored *out = (stored *)p->out + p->lo;
    const fc_size count = p->hi - p->lo;
    const int64_t index = (int64_t)p->row_number * p->width + p->start[p->lo];
    for (fc_size j = 0; j < count; j += VL)
        slide_maxima_at(row + j * stride, stride, a, p->taps, p->step, out + j,
                        p->indices + p->lo + j, index + j * stride, upto(count - j));
}

FC_INLINE void slide_max_regular(const fc_pool_slide *p, const fc_size stride,
                                 const int with_indices) {
    const stored *FC_RESTRICT row = (const stored *)p->row + p->start[p->lo];
    const fc_size n = p->hi - p->lo, taps = p->taps;
    stored *FC_RESTRICT out = (stored *)p->out + p->lo;
    for (fc_size j = 0; j < n; j++) out[j] = row[j * stride];
    if (!with_indices) {
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

/* ---- outputs [from, to), whatever their windows */

FC_INLINE void slide_max(const fc_pool_slide *p, const int inner_is_one, const int with_indices,
                         fc_size from, fc_size to) {
    const fc_size inner = inner_is_one ? 1 : p->inner;
    const intreal *rows = p->at;
    for (fc_size j = from; j < to; j++) {
        stored *FC_RESTRICT out = (stored *)p->out + j * inner;
        const fc_size w0 = p->start[j], w1 = p->end[j];
        if (w0 >= w1) { /* a dilated window that steps over the whole image */
            for (fc_size c = 0; c < inner; c++) out[c] = narrow(-(real)INFINITY);
            if (with_indices)
                for (fc_size c = 0; c < inner; c++) p->indices[j * inner + c] = -1;
            continue;
        }
        const stored *FC_RESTRICT x = (const stored *)p->row + w0 * inner;
        if (!with_indices) {
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
            best_row[c] = rows ? rows[w0 * inner + c] : (intreal)p->row_number;
            best_col[c] = (intreal)w0;
        }
        for (fc_size w = w0 + p->step; w < w1; w += p->step) {
            x += p->step * inner;
            if (!rows) { /* a single one */
                for (fc_size c = 0; c < inner; c++) {
                    const int take = takes_over(widen(x[c]), widen(out[c]));
                    out[c] = take ? x[c] : out[c];
                    best_col[c] = take ? (intreal)w : best_col[c];
                }
                continue;
            }
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

/* Rows of a small plane are few instructions apart. So what most of them need is a function with a
 * frame of its own, a small one: the two commonest strides. Of float64, which networks are seldom
 * run in, no others have code of their own, for the wheel's weight. */
#define FC_EACH_STRIDE(slide)                                         \
    FC_NOINLINE static void slide##_by_more(const fc_pool_slide *p) { \
        const apart a = make_apart(p->stride);                        \
        if (sizeof(stored) == 4 && p->stride == 3)                    \
            slide(p, 3, &a);                                          \
        else if (sizeof(stored) == 4 && p->stride == 4)               \
            slide(p, 4, &a);                                          \
        else                                                          \
            slide(p, p->stride, &a);                                  \
    }                                                                 \
    FC_INLINE void slide##_by_any(const fc_pool_slide *p) {           \
        if (p->stride == 1)                                           \
            slide(p, 1, NULL);                                        \
        else if (p->stride == 2)                                      \
            slide(p, 2, NULL);                                        \
        else                                                          \
            slide##_by_more(p);                                       \
    }

FC_EACH_STRIDE(slide_max_apart)
FC_EACH_STRIDE(slide_max_apart_at)

FC_NOINLINE static void slide_max_edge(const fc_pool_slide *p, fc_size from, fc_size to) {
    slide_max(p, 1, 0, from, to);
}

FC_NOINLINE static void slide_max_edge_at(const fc_pool_slide *p, fc_size from, fc_size to) {
    slide_max(p, 1, 1, from, to);
}

FC_NOINLINE static void slide_max_channels(const fc_pool_slide *p) {
    if (p->indices)
        slide_max(p, 0, 1, 0, p->out_width);
    else
        slide_max(p, 0, 0, 0, p->out_width);
}

FC_NOINLINE static void slide_max_long(const fc_pool_slide *p) {
    slide_max_regular(p, p->stride, 0);
}

FC_NOINLINE static void slide_max_at(const fc_pool_slide *p) {
    slide_max_edge_at(p, 0, p->lo);
    if (p->lo < p->hi) {
        if (!p->at && p->stride <= VL)
            slide_max_apart_at_by_any(p);
        else if (!p->at)
            slide_max_edge_at(p, p->lo, p->hi);
        else if (p->stride == 1)
            slide_max_regular(p, 1, 1);
        else if (sizeof(stored) == 4 && p->stride == 2)
            slide_max_regular(p, 2, 1);
        else
            slide_max_regular(p, p->stride, 1);
    }
    slide_max_edge_at(p, p->hi, p->out_width);
}

void FC_NAME(max_slide)(const fc_pool_slide *p) {
    if (p->inner > 1) {
        slide_max_channels(p);
        return;
    }
    if (p->indices) {
        slide_max_at(p);
        return;
    }
    if (0 < p->lo) slide_max_edge(p, 0, p->lo);
    if (p->lo < p->hi) {
        if (p->stride <= 2 || (p->stride <= VL && p->hi - p->lo >= VL / 2))
            slide_max_apart_by_any(p);
        else
            slide_max_long(p);
    }
    if (p->hi < p->out_width) slide_max_edge(p, p->hi, p->out_width);
}

/* ---- means ---- */

FC_INLINE void slide_means(const stored *row, const fc_size stride, const apart *a, fc_size taps,
                           vreal divisor, stored *out, int vectors, int n) {
    vreal sum[FC_SIDE_BY_SIDE];
    for (int v = 0; v < vectors; v++) sum[v] = load_apart(row + v * VL * stride, stride, a, n);
    for (fc_size s = 1; s < taps; s++)
        for (int v = 0; v < vectors; v++)
            sum[v] = v_add(sum[v], load_apart(row + s + v * VL * stride, stride, a, n));
    for (int v = 0; v < vectors; v++) v_store_upto(out + v * VL, v_div(sum[v], divisor), n);
}

FC_INLINE void slide_mean_apart(const fc_pool_slide *p, const fc_size stride, const apart *a) {
    const stored *row = (const stored *)p->row + p->start[p->lo];
    stored *out = (stored *)p->out + p->lo;
    const vreal divisor = v_set1((real)p->divisor[p->lo]); /* whole windows count the same */
    FC_FOR_CHANNELS(p->hi - p->lo,
                    slide_means(row + c * stride, stride, a, p->taps, divisor, out + c, vectors, n));
}

FC_EACH_STRIDE(slide_mean_apart)

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
            if (columns > 4) { /* a global pool, say: the row is the window */
                vreal acc = v_zero();
                for (fc_size w = 0; w < columns; w += VL)
                    acc = v_add(acc, v_load_upto(x + w, columns - w));
                sum = v_sum(acc);
            } else {
                for (fc_size w = 0; w < columns; w++) sum += widen(x[w]);
            }
            out[0] = narrow(sum / divisor);
            continue;
        }
        for (fc_size c = 0; c < inner; c++) out[c] = narrow(0);
        for (fc_size w = 0; w < columns; w++, x += inner)
            for (fc_size c = 0; c < inner; c++) out[c] = narrow(widen(out[c]) + widen(x[c]));
        for (fc_size c = 0; c < inner; c++) out[c] = narrow(widen(out[c]) / divisor);
    }
}

FC_NOINLINE static void slide_mean_edge(const fc_pool_slide *p, fc_size from, fc_size to) {
    slide_mean(p, 1, from, to);
}

FC_NOINLINE static void slide_mean_channels(const fc_pool_slide *p) {
    slide_mean(p, 0, 0, p->out_width);
}

void FC_NAME(mean_slide)(const fc_pool_slide *p) {
    if (p->inner > 1) {
        slide_mean_channels(p);
        return;
    }
    if (p->lo >= p->hi || p->stride > VL ||
        (p->stride > 2 && p->hi - p->lo < VL / 2)) { /* few windows in a vector */
        slide_mean_edge(p, 0, p->out_width);
        return;
    }
    slide_mean_apart_by_any(p);
    if (0 < p->lo) slide_mean_edge(p, 0, p->lo);
    if (p->hi < p->out_width) slide_mean_edge(p, p->hi, p->out_width);
}

/* ---- windows of few taps, folded on the way ---- */

/* One column of each window. */
FC_INLINE vreal fold_column(const stored *x, const fc_pool_few_taps *p, const fc_size rows,
                            const fc_size stride, const int mean, int n) {
    vreal v = load_apart(x, stride, NULL, n);
    if (mean && rows > 1) v = v_add(v_zero(), v); /* -0 is 0, as in add_fold */
    for (fc_size r = 1; r < rows; r++) {
        const stored *row = (const stored *)((const char *)x + r * p->x_r);
        const vreal below = load_apart(row, stride, NULL, n);
        v = mean ? v_add(v, below) : v_max_nan(v, below);
    }
    return v;
}

FC_INLINE void fold_windows(const stored *x, const fc_pool_few_taps *p, const fc_size rows,
                            const fc_size taps, const fc_size stride, const int mean,
                            vreal divisor, stored *out, int vectors, int n) {
    for (int v = 0; v < vectors; v++) {
        const stored *first = x + v * VL * stride;
        vreal all = fold_column(first, p, rows, stride, mean, n);
        for (fc_size s = 1; s < taps; s++) {
            const vreal column = fold_column(first + s * p->step, p, rows, stride, mean, n);
            all = mean ? v_add(all, column) : v_max_nan(all, column);
        }
        v_store_upto(out + v * VL, mean ? v_div(all, divisor) : all, n);
    }
}

FC_INLINE void few_taps(const fc_pool_few_taps *p, const fc_size rows, const fc_size taps,
                        const fc_size stride, const int mean) {
    const vreal divisor = v_set1((real)p->divisor);
    for (fc_size i = 0; i < p->out_height; i++) {
        const stored *x = (const stored *)(p->x + i * p->x_h);
        stored *out = (stored *)(p->out + i * p->out_h);
        FC_FOR_CHANNELS(p->out_width, fold_windows(x + c * stride, p, rows, taps, stride, mean,
                                                   divisor, out + c, vectors, n));
    }
}

FC_INLINE void few_taps_by_any(const fc_pool_few_taps *p, const int mean) {
    if (p->rows == 2 && p->taps == 2 && p->stride == 2) /* the commonest */
        few_taps(p, 2, 2, 2, mean);
    else if (p->stride == 2)
        few_taps(p, p->rows, p->taps, 2, mean);
    else
        few_taps(p, p->rows, p->taps, 1, mean);
}

void FC_NAME(max_few_taps)(const fc_pool_few_taps *p) { few_taps_by_any(p, 0); }

void FC_NAME(mean_few_taps)(const fc_pool_few_taps *p) { few_taps_by_any(p, 1); }
