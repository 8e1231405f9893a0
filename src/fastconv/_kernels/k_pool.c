/* Pooling, in one of two ways. Separably: the rows of a window are folded into one row, a vector of
 * columns at a time; then windows slide along that row. A row is [width][inner]: inner is 1 where
 * columns are contiguous, the number of channels where channels are. Or, where channels are
 * contiguous and windows overlap little, window by window: a vector of channels stays in a register
 * while the taps go by.
 */
#include <math.h>

#include "vmath.h"

/* The rule of every framework: a larger value or a NaN takes over, so that NaN wins, ties keep the
 * first and the last of several NaNs is the one found. */
FC_INLINE int takes_over(real v, real best) { return (v > best) | (v != v); }

FC_INLINE vreal load_upto(const real *p, int n) { return n == VL ? v_load(p) : v_load_n(p, n); }

FC_INLINE void store_upto(real *p, vreal v, int n) {
    if (n == VL)
        v_store(p, v);
    else
        v_store_n(p, v, n);
}

/* n outputs of one tap, `stride` elements apart (1 or 2) */
FC_INLINE vreal load_apart(const real *p, const fc_size stride, int n) {
    return stride == 1 ? load_upto(p, n) : v_load_even(p, n);
}

FC_INLINE int upto(fc_size left) { return left < VL ? (int)left : VL; }

void FC_NAME(max_fold)(void *best_, void *at_, const void *rows_, fc_size next, fc_size n,
                       fc_size h, fc_size end, fc_size step) {
    real *FC_RESTRICT best = best_;
    const char *rows = rows_;
    intreal *FC_RESTRICT at = at_;
    if (!at) {
        for (fc_size i = 0; i < n; i += VL) {
            const int m = upto(n - i);
            const char *row = rows;
            vreal v = load_upto((const real *)row + i, m);
            for (fc_size k = h + step; k < end; k += step) {
                row += next;
                v = v_max_nan(v, load_upto((const real *)row + i, m));
            }
            store_upto(best + i, v, m);
        }
        return;
    }
    for (fc_size i = 0; i < n; i++) best[i] = ((const real *)rows)[i];
    for (fc_size i = 0; i < n; i++) at[i] = (intreal)h;
    for (fc_size k = h + step; k < end; k += step) {
        rows += next;
        const real *FC_RESTRICT row = (const real *)rows;
        for (fc_size i = 0; i < n; i++) {
            const int take = takes_over(row[i], best[i]);
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

/* Single columns, outputs [lo, hi): whole windows `stride` apart, so that neighbours go side by side
 * in a vector. */
FC_INLINE void slide_max_regular(const fc_pool_slide *p, const fc_size stride) {
    const real *FC_RESTRICT row = (const real *)p->row + p->start[p->lo];
    const fc_size n = p->hi - p->lo, taps = p->taps;
    real *FC_RESTRICT out = (real *)p->out + p->lo;
    if (!p->indices && stride <= 2) {
        for (fc_size j = 0; j < n; j += VL) {
            const int m = upto(n - j);
            vreal best = load_apart(row + j * stride, stride, m);
            for (fc_size s = 1; s < taps; s++)
                best = v_max_nan(best, load_apart(row + s * p->step + j * stride, stride, m));
            store_upto(out + j, best, m);
        }
        return;
    }
    for (fc_size j = 0; j < n; j++) out[j] = row[j * stride];
    if (!p->indices) {
        for (fc_size s = 1; s < taps; s++) {
            const real *FC_RESTRICT x = row + s * p->step;
            for (fc_size j = 0; j < n; j++) {
                const real v = x[j * stride];
                out[j] = takes_over(v, out[j]) ? v : out[j];
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
        const real *FC_RESTRICT x = row + s * p->step;
        const intreal *FC_RESTRICT h = at + s * p->step;
        const intreal column = first + (intreal)(s * p->step);
        for (fc_size j = 0; j < n; j++) {
            const real v = x[j * stride];
            const int take = column_takes_over(v, h[j * stride], out[j], best_row[j]);
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
        real *FC_RESTRICT out = (real *)p->out + j * inner;
        const fc_size w0 = p->start[j], w1 = p->end[j];
        if (w0 >= w1) { /* a dilated window that steps over the whole image */
            for (fc_size c = 0; c < inner; c++) out[c] = -(real)INFINITY;
            if (p->indices)
                for (fc_size c = 0; c < inner; c++) p->indices[j * inner + c] = -1;
            continue;
        }
        const real *FC_RESTRICT x = (const real *)p->row + w0 * inner;
        if (!p->indices) {
            for (fc_size c = 0; c < inner; c++) out[c] = x[c];
            for (fc_size w = w0 + p->step; w < w1; w += p->step) {
                x += p->step * inner;
                for (fc_size c = 0; c < inner; c++) out[c] = takes_over(x[c], out[c]) ? x[c] : out[c];
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
                const int take = column_takes_over(x[c], row[c], out[c], best_row[c]);
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

void FC_NAME(add_fold)(void *sum_, const void *rows, fc_size next, fc_size n, fc_size count,
                       int first) {
    real *sum = sum_;
    for (fc_size i = 0; i < n; i += VL) {
        const int m = upto(n - i);
        const char *row = rows;
        vreal v = first ? v_zero() : load_upto(sum + i, m);
        for (fc_size k = 0; k < count; k++, row += next)
            v = v_add(v, load_upto((const real *)row + i, m));
        store_upto(sum + i, v, m);
    }
}

FC_INLINE void slide_mean_regular(const fc_pool_slide *p, const fc_size stride) {
    const real *FC_RESTRICT row = (const real *)p->row + p->start[p->lo];
    const fc_size n = p->hi - p->lo;
    real *FC_RESTRICT out = (real *)p->out + p->lo;
    if (stride <= 2) {
        const vreal divisor = v_set1((real)p->divisor[p->lo]); /* whole windows count the same */
        for (fc_size j = 0; j < n; j += VL) {
            const int m = upto(n - j);
            vreal sum = load_apart(row + j * stride, stride, m);
            for (fc_size s = 1; s < p->taps; s++)
                sum = v_add(sum, load_apart(row + s + j * stride, stride, m));
            store_upto(out + j, v_div(sum, divisor), m);
        }
        return;
    }
    for (fc_size j = 0; j < n; j++) out[j] = row[j * stride];
    for (fc_size s = 1; s < p->taps; s++)
        for (fc_size j = 0; j < n; j++) out[j] += row[s + j * stride];
    for (fc_size j = 0; j < n; j++) out[j] /= (real)p->divisor[p->lo + j];
}

FC_INLINE void slide_mean(const fc_pool_slide *p, const int inner_is_one, fc_size from, fc_size to) {
    const fc_size inner = inner_is_one ? 1 : p->inner;
    for (fc_size j = from; j < to; j++) {
        real *FC_RESTRICT out = (real *)p->out + j * inner;
        const real *FC_RESTRICT x = (const real *)p->row + p->start[j] * inner;
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
            for (; w < columns; w++) sum += x[w];
            out[0] = sum / divisor;
            continue;
        }
        for (fc_size c = 0; c < inner; c++) out[c] = 0;
        for (fc_size w = 0; w < columns; w++, x += inner)
            for (fc_size c = 0; c < inner; c++) out[c] += x[c];
        for (fc_size c = 0; c < inner; c++) out[c] /= divisor;
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
    real *row = (real *)p->row;
    for (fc_size i = 0; i < p->width * inner; i++) row[i] = 0;
    for (fc_size j = 0; j < p->out_width; j++) {
        const real *FC_RESTRICT out = (const real *)p->out + j * inner;
        real *FC_RESTRICT each = p->scratch;
        const real divisor = (real)p->divisor[j];
        for (fc_size c = 0; c < inner; c++) each[c] = out[c] / divisor;
        for (fc_size w = p->start[j]; w < p->end[j]; w++) {
            real *FC_RESTRICT x = row + w * inner;
            for (fc_size c = 0; c < inner; c++) x[c] += each[c];
        }
    }
}

void FC_NAME(mean_spread)(const fc_pool_slide *p) {
    if (p->inner == 1)
        spread_mean(p, 1);
    else
        spread_mean(p, 0);
}

void FC_NAME(plane_means)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                          fc_size n, double divisor) {
    const int tail = (int)(n % VL);
    for (fc_size c = 0; c < planes; c++) {
        const real *plane = (const real *)((const char *)x + c * x_c);
        vreal acc[2] = {v_zero(), v_zero()}; /* two chains: an addition takes some cycles */
        fc_size i = 0;
        for (; i + 2 * VL <= n; i += 2 * VL) {
            acc[0] = v_add(acc[0], v_load(plane + i));
            acc[1] = v_add(acc[1], v_load(plane + i + VL));
        }
        if (i + VL <= n) acc[0] = v_add(acc[0], v_load(plane + i)), i += VL;
        if (tail) acc[1] = v_add(acc[1], v_load_n(plane + i, tail));
        *(real *)((char *)out + c * out_c) = v_sum(v_add(acc[0], acc[1])) / (real)divisor;
    }
}

/* Of VL planes at a time: their running maxima are turned, and then folded like rows. */
void FC_NAME(plane_maxima)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                           fc_size n) {
    for (fc_size c = 0; c < planes; c += VL) {
        const int m = upto(planes - c);
        real result[VL];
        vreal best[VL];
        for (int k = 0; k < VL; k++) {
            const real *plane = (const real *)((const char *)x + (c + (k < m ? k : 0)) * x_c);
            if (n < VL) {
                real most = plane[0];
                for (fc_size i = 1; i < n; i++) most = takes_over(plane[i], most) ? plane[i] : most;
                best[k] = v_set1(most);
                continue;
            }
            best[k] = v_load(plane + n - VL); /* may overlap the one before it */
            for (fc_size i = 0; i + VL < n; i += VL)
                best[k] = v_max_nan(best[k], v_load(plane + i));
        }
        v_transpose(best);
        for (int k = 1; k < VL; k++) best[0] = v_max_nan(best[0], best[k]);
        v_store(result, best[0]);
        for (int k = 0; k < m; k++) *(real *)((char *)out + (c + k) * out_c) = result[k];
    }
}

void FC_NAME(plane_fills)(void *x, fc_size x_c, const void *out, fc_size out_c, fc_size planes,
                          fc_size n, double divisor) {
    for (fc_size c = 0; c < planes; c++) {
        real *plane = (real *)((char *)x + c * x_c);
        const vreal each = v_set1(*(const real *)((const char *)out + c * out_c) / (real)divisor);
        for (fc_size i = 0; i < n; i += VL) store_upto(plane + i, each, upto(n - i));
    }
}

/* ---- window by window: vectors of channels ---- */

enum { GROUP = 4 }; /* vectors side by side */

#define TAP(p, r, w, c) ((const real *)((p)->x + (r) * (p)->x_h + (w) * (p)->x_w) + (c))

/* `vectors` vectors of channels from c on; the last ends after n channels in all. */
FC_INLINE void mean_of_window(const fc_pool_windows *p, fc_size j, fc_size c, int vectors, int n,
                              real *out) {
    vreal sum[GROUP];
    for (int v = 0; v < vectors; v++) sum[v] = v_zero();
    for (fc_size r = 0; r < p->rows; r++) {
        vreal row[GROUP];
        for (int v = 0; v < vectors; v++) row[v] = v_zero();
        for (fc_size w = p->start[j]; w < p->end[j]; w++)
            for (int v = 0; v < vectors; v++)
                row[v] = v_add(row[v], load_upto(TAP(p, r, w, c + v * VL), n));
        for (int v = 0; v < vectors; v++) sum[v] = v_add(sum[v], row[v]);
    }
    const vreal divisor = v_set1((real)p->divisor[j]);
    for (int v = 0; v < vectors; v++) store_upto(out + c + v * VL, v_div(sum[v], divisor), n);
}

void FC_NAME(mean_windows)(const fc_pool_windows *p) {
    for (fc_size j = 0; j < p->out_width; j++) {
        real *out = (real *)(p->out + j * p->out_w);
        fc_size c = 0;
        for (; c + GROUP * VL <= p->channels; c += GROUP * VL)
            mean_of_window(p, j, c, GROUP, VL, out);
        for (; c + VL <= p->channels; c += VL) mean_of_window(p, j, c, 1, VL, out);
        if (c < p->channels) mean_of_window(p, j, c, 1, (int)(p->channels - c), out);
    }
}

/* What takes_over() says, as a choice. */
FC_INLINE vreal v_takes_over(vreal v, vreal best, vreal x, vreal y) {
    return v_no_more(v, v, v_less(best, v, x, y), x);
}

FC_INLINE void max_of_window(const fc_pool_windows *p, fc_size j, fc_size c, int vectors, int n,
                             int with_indices) {
    real *out = (real *)(p->out + j * p->out_w) + c;
    const fc_size start = p->start[j];
    vreal best[GROUP], at[GROUP]; /* at: bits of an integer, the distance from the first tap */
    for (int v = 0; v < vectors; v++) {
        best[v] = load_upto(TAP(p, 0, start, c + v * VL), n);
        at[v] = v_zero();
    }
    for (fc_size r = 0; r < p->rows; r++)
        for (fc_size w = start; w < p->end[j]; w += p->step) {
            const vreal here = v_real(vb_set1((bits)(r * p->index_h + (w - start))));
            for (int v = 0; v < vectors; v++) {
                const vreal x = load_upto(TAP(p, r, w, c + v * VL), n);
                if (with_indices) at[v] = v_takes_over(x, best[v], here, at[v]);
                best[v] = v_max_nan(best[v], x);
            }
        }
    for (int v = 0; v < vectors; v++) store_upto(out + v * VL, best[v], n);
    if (with_indices) {
        int64_t *idx = (int64_t *)(p->indices + j * p->indices_w) + c;
        for (int v = 0; v < vectors; v++) {
            real distance[VL];
            v_store(distance, at[v]);
            for (int i = 0; i < n; i++)
                idx[v * VL + i] = p->index + start + (int64_t)bits_of(distance[i]);
        }
    }
}

FC_INLINE void max_windows(const fc_pool_windows *p, const int with_indices) {
    for (fc_size j = 0; j < p->out_width; j++) {
        fc_size c = 0;
        if (p->rows == 0 || p->start[j] >= p->end[j]) { /* dilated, steps over the whole image */
            for (; c < p->channels; c++) {
                ((real *)(p->out + j * p->out_w))[c] = -(real)INFINITY;
                if (with_indices) ((int64_t *)(p->indices + j * p->indices_w))[c] = -1;
            }
            continue;
        }
        for (; c + GROUP * VL <= p->channels; c += GROUP * VL)
            max_of_window(p, j, c, GROUP, VL, with_indices);
        for (; c + VL <= p->channels; c += VL) max_of_window(p, j, c, 1, VL, with_indices);
        if (c < p->channels)
            max_of_window(p, j, c, 1, (int)(p->channels - c), with_indices);
    }
}

void FC_NAME(max_windows)(const fc_pool_windows *p) {
    if (p->indices)
        max_windows(p, 1);
    else
        max_windows(p, 0);
}

/* ---- the gradient of maxima ---- */

/* dx[at] += dy, for pixels that are these many elements apart */
FC_INLINE int scatter(real *dx, const real *dy, const int64_t *indices, fc_size n, fc_size plane,
                      const fc_size x_pixel, const fc_size y_pixel, const fc_size i_pixel) {
    int wrong = 0;
    for (fc_size j = 0; j < n; j++) {
        const int64_t at = indices[j * i_pixel];
        if ((uint64_t)at < (uint64_t)plane)
            dx[at * x_pixel] += dy[j * y_pixel];
        else
            wrong |= at != -1;
    }
    return wrong;
}

int FC_NAME(max_scatter)(const fc_max_scatter *p) {
    real *dx = (real *)p->dx;
    const real *dy = (const real *)p->dy;
    const int64_t *indices = p->indices;
    int wrong = 0;
    if (p->x_pixel == 1 && p->y_pixel == 1 && p->i_pixel == 1) {
        for (fc_size c = 0; c < p->planes; c++, dx += p->x_c, dy += p->y_c, indices += p->i_c)
            wrong |= scatter(dx, dy, indices, p->pixels, p->plane, 1, 1, 1);
    } else if (p->x_c == 1 && p->y_c == 1 && p->i_c == 1) { /* a pixel's channels together */
        for (fc_size j = 0; j < p->pixels; j++, dy += p->y_pixel, indices += p->i_pixel)
            for (fc_size c = 0; c < p->planes; c++)
                wrong |= scatter(dx + c, dy + c, indices + c, 1, p->plane, p->x_pixel, 0, 0);
    } else {
        for (fc_size c = 0; c < p->planes; c++, dx += p->x_c, dy += p->y_c, indices += p->i_c)
            wrong |= scatter(dx, dy, indices, p->pixels, p->plane, p->x_pixel, p->y_pixel,
                             p->i_pixel);
    }
    return -wrong;
}

FC_INLINE vreal distances(const int64_t *idx, int64_t base, int n) {
    real at[VL] = {0};
    for (int i = 0; i < n; i++) at[i] = (real)(idx[i] - base);
    return v_load(at);
}

int FC_NAME(max_tiles)(const fc_max_tiles *p) {
    for (fc_size j = 0; j < p->out_width; j++) {
        const int64_t base = p->index + j * p->cols;
        vreal found = v_zero();
        for (fc_size c = 0; c < p->channels; c += VL) {
            const int n = upto(p->channels - c);
            const int64_t *idx = (const int64_t *)(p->indices + j * p->indices_w) + c;
            const vreal dy = load_upto((const real *)(p->dy + j * p->dy_w) + c, n);
            char *dx = p->dx + j * p->cols * p->dx_w + c * (fc_size)sizeof(real);
            vreal seen = v_zero();
            const vreal at = n == VL ? distances(idx, base, VL) : distances(idx, base, n);
            for (fc_size r = 0; r < p->rows; r++)
                for (fc_size s = 0; s < p->cols; s++) {
                    const vreal here = v_set1((real)(r * p->index_h + s));
                    store_upto((real *)(dx + r * p->dx_h + s * p->dx_w),
                               v_equal(at, here, dy, v_zero()), n);
                    seen = v_equal(at, here, v_set1(1), seen);
                }
            found = v_add(found, v_first(seen, n));
        }
        if ((fc_size)v_sum(found) != p->channels) return -1;
    }
    return 0;
}
