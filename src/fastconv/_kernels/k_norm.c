/* Batch normalisation: moments per channel, the normalising map, and the gradient of both.
 *
 * A tile is some lines of contiguous elements. Either a line lies in one channel (the plane of an
 * image), or it crosses all channels (a pixel of a channels-last image). Sums leave the tile in
 * double; within a tile, which is at most a few thousand elements to a sum, they are of `real`. */
#include "simd.h"

#define LINE(type, p, i) ((type *)((char *)(p) + (i) * t->stride))

/* Moments of n more elements, given as their mean and sum of squares about it, join those of
 * `count` elements: Chan, Golub and LeVeque, Stanford report STAN-CS-79-773 (1979). */
FC_INLINE void join(double *mean, double *m2, double mean_n, double m2_n, double count, double n) {
    if (count == 0) { /* the first: no need to divide */
        *mean = mean_n, *m2 = m2_n;
        return;
    }
    const double delta = mean_n - *mean, part = n / (count + n);
    *mean += delta * part;
    *m2 += m2_n + delta * delta * (count * part);
}

/* Two passes: the first finds a value `middle` near the mean, as a distance from the channel's
 * origin; the second is about it, and corrected for what it misses the mean by. No digit is lost
 * however large the mean is beside the deviation, and a constant channel has no variance at all. */
static void moments_plane(const fc_norm *t) {
    const double n = (double)t->lines * (double)t->len;
    const real origin = *(const real *)t->shift;
    const vreal o = v_set1(origin);
    vreal s0 = v_zero(), s1 = v_zero(), q0 = v_zero(), q1 = v_zero();
    for (fc_size i = 0; i < t->lines; i++) {
        const stored *x = LINE(const stored, t->x, i);
        fc_size j = 0;
        for (; j + 2 * VL <= t->len; j += 2 * VL) {
            s0 = v_add(s0, v_sub(v_load(x + j), o));
            s1 = v_add(s1, v_sub(v_load(x + j + VL), o));
        }
        for (; j < t->len; j += VL) {
            const int rest = upto(t->len - j);
            s0 = v_add(s0, v_first(v_sub(v_load_n(x + j, rest), o), rest));
        }
    }
    const real middle = origin + (real)(v_sum(v_add(s0, s1)) / n);
    const vreal m = v_set1(middle);
    s0 = s1 = v_zero();
    for (fc_size i = 0; i < t->lines; i++) {
        const stored *x = LINE(const stored, t->x, i);
        fc_size j = 0;
        for (; j + 2 * VL <= t->len; j += 2 * VL) {
            const vreal a = v_sub(v_load(x + j), m), b = v_sub(v_load(x + j + VL), m);
            s0 = v_add(s0, a), q0 = v_fma(a, a, q0);
            s1 = v_add(s1, b), q1 = v_fma(b, b, q1);
        }
        for (; j < t->len; j += VL) {
            const int rest = upto(t->len - j);
            const vreal a = v_first(v_sub(v_load_n(x + j, rest), m), rest);
            s0 = v_add(s0, a), q0 = v_fma(a, a, q0);
        }
    }
    const double s = v_sum(v_add(s0, s1)), q = v_sum(v_add(q0, q1));
    join(t->first, t->second, ((double)middle - origin) + s / n, q - s * (s / n), t->count, n);
}

/* `vectors` vectors of channels from c on, of which the last has n; sums stay in registers */
FC_INLINE void moments_columns(const fc_norm *t, fc_size c, int vectors, int n) {
    const double lines = (double)t->lines;
    const vreal one_line = v_set1((real)lines);
    const real *origin = (const real *)t->shift + c;
    vreal middle[FC_SIDE_BY_SIDE], sum[FC_SIDE_BY_SIDE], squares[FC_SIDE_BY_SIDE];
    for (int v = 0; v < vectors; v++) {
        middle[v] = v_load_real_upto(origin + v * VL, n);
        sum[v] = v_zero();
    }
    for (fc_size i = 0; i < t->lines; i++)
        for (int v = 0; v < vectors; v++)
            sum[v] = v_add(sum[v], v_sub(v_load_upto(LINE(const stored, t->x, i) + c + v * VL, n),
                                         middle[v]));
    for (int v = 0; v < vectors; v++) {
        middle[v] = v_add(middle[v], v_div(sum[v], one_line));
        sum[v] = squares[v] = v_zero();
    }
    for (fc_size i = 0; i < t->lines; i++)
        for (int v = 0; v < vectors; v++) {
            const vreal d =
                v_sub(v_load_upto(LINE(const stored, t->x, i) + c + v * VL, n), middle[v]);
            sum[v] = v_add(sum[v], d);
            squares[v] = v_fma(d, d, squares[v]);
        }
    real m[FC_SIDE_BY_SIDE * VL] = {0}, s[FC_SIDE_BY_SIDE * VL] = {0},
                             q[FC_SIDE_BY_SIDE * VL] = {0};
    for (int v = 0; v < vectors; v++) {
        v_store_real(m + v * VL, middle[v]);
        v_store_real(s + v * VL, sum[v]);
        v_store_real(q + v * VL, squares[v]);
    }
    for (int k = 0; k < (vectors - 1) * VL + n; k++) {
        const double rest = (double)s[k] / lines;
        join(t->first + c + k, t->second + c + k, ((double)m[k] - origin[k]) + rest,
             q[k] - s[k] * rest, t->count, lines);
    }
}

void FC_NAME(norm_moments)(const fc_norm *t) {
    if (t->crossing)
        FC_FOR_CHANNELS(t->len, moments_columns(t, c, vectors, n));
    else
        moments_plane(t);
}

static void gradient_sums_plane(const fc_norm *t) {
    const vreal m = v_set1(*(const real *)t->shift);
    vreal s0 = v_zero(), s1 = v_zero(), p0 = v_zero(), p1 = v_zero();
    for (fc_size i = 0; i < t->lines; i++) {
        const stored *x = LINE(const stored, t->x, i), *g = LINE(const stored, t->g, i);
        fc_size j = 0;
        for (; j + 2 * VL <= t->len; j += 2 * VL) {
            const vreal a = v_load(g + j), b = v_load(g + j + VL);
            s0 = v_add(s0, a), p0 = v_fma(a, v_sub(v_load(x + j), m), p0);
            s1 = v_add(s1, b), p1 = v_fma(b, v_sub(v_load(x + j + VL), m), p1);
        }
        for (; j < t->len; j += VL) {
            const int rest = upto(t->len - j);
            const vreal a = v_load_n(g + j, rest);
            s0 = v_add(s0, a);
            p0 = v_fma(a, v_first(v_sub(v_load_n(x + j, rest), m), rest), p0);
        }
    }
    *t->first += v_sum(v_add(s0, s1));
    *t->second += v_sum(v_add(p0, p1));
}

FC_INLINE void gradient_sums_columns(const fc_norm *t, fc_size c, int vectors, int n) {
    vreal mean[FC_SIDE_BY_SIDE], sum[FC_SIDE_BY_SIDE], product[FC_SIDE_BY_SIDE];
    for (int v = 0; v < vectors; v++) {
        mean[v] = v_load_real_upto((const real *)t->shift + c + v * VL, n);
        sum[v] = product[v] = v_zero();
    }
    for (fc_size i = 0; i < t->lines; i++)
        for (int v = 0; v < vectors; v++) {
            const vreal g = v_load_upto(LINE(const stored, t->g, i) + c + v * VL, n);
            const vreal x = v_load_upto(LINE(const stored, t->x, i) + c + v * VL, n);
            sum[v] = v_add(sum[v], g);
            product[v] = v_fma(g, v_sub(x, mean[v]), product[v]);
        }
    real s[FC_SIDE_BY_SIDE * VL] = {0}, p[FC_SIDE_BY_SIDE * VL] = {0};
    for (int v = 0; v < vectors; v++) {
        v_store_real(s + v * VL, sum[v]);
        v_store_real(p + v * VL, product[v]);
    }
    for (int k = 0; k < (vectors - 1) * VL + n; k++) {
        t->first[c + k] += s[k];
        t->second[c + k] += p[k];
    }
}

void FC_NAME(norm_gradient_sums)(const fc_norm *t) {
    if (t->crossing)
        FC_FOR_CHANNELS(t->len, gradient_sums_columns(t, c, vectors, n));
    else
        gradient_sums_plane(t);
}

/* ---- the maps: lines of consecutive channels, or lines across all channels ---- */

/* Stores `value`, an expression in the index j of an element and the number m of elements from
 * there that count, for a whole line; the last vector may overlap the one before it. */
#define MAP_LINE(out, len, value)                                     \
    do {                                                              \
        fc_size j = 0;                                                \
        for (; j + VL <= len; j += VL) {                              \
            enum { m = VL };                                          \
            v_store(out + j, value);                                  \
        }                                                             \
        if (j < len && len > VL) {                                    \
            enum { m = VL };                                          \
            j = len - VL;                                             \
            v_store(out + j, value);                                  \
        } else if (j < len) {                                         \
            const int m = (int)(len - j);                             \
            v_store_n(out + j, value, m);                             \
        }                                                             \
    } while (0)

FC_INLINE void norm_apply(const fc_norm *t, const int relu) {
    const vreal zero = v_zero();
    const real *shift = (const real *)t->shift, *scale = (const real *)t->scale;
    const real *offset = (const real *)t->offset;
    for (fc_size i = 0, c = t->channel; i < t->lines; i++, c = c + 1 < t->channels ? c + 1 : 0) {
        const stored *FC_RESTRICT x = LINE(const stored, t->x, i);
        stored *FC_RESTRICT out = LINE(stored, t->out, i);
        if (t->crossing) {
            for (fc_size j = 0; j < t->len; j++) {
                const real y = (widen(x[j]) - shift[j]) * scale[j] + offset[j];
                out[j] = narrow(relu && y < 0 ? 0 : y);
            }
        } else {
            const vreal mean = v_set1(shift[c]), a = v_set1(scale[c]), b = v_set1(offset[c]);
            if (relu)
                MAP_LINE(out, t->len, v_max(zero, v_fma(v_sub(v_load_upto(x + j, m), mean), a, b)));
            else
                MAP_LINE(out, t->len, v_fma(v_sub(v_load_upto(x + j, m), mean), a, b));
        }
    }
}

void FC_NAME(norm_apply)(const fc_norm *t) {
    if (t->relu)
        norm_apply(t, 1);
    else
        norm_apply(t, 0);
}

void FC_NAME(norm_gradient)(const fc_norm *t) {
    const real *shift = (const real *)t->shift, *scale = (const real *)t->scale;
    const real *offset = (const real *)t->offset, *slope = (const real *)t->slope;
    for (fc_size i = 0, c = t->channel; i < t->lines; i++, c = c + 1 < t->channels ? c + 1 : 0) {
        const stored *FC_RESTRICT x = LINE(const stored, t->x, i);
        const stored *FC_RESTRICT g = LINE(const stored, t->g, i);
        stored *FC_RESTRICT out = LINE(stored, t->out, i);
        if (t->crossing) {
            for (fc_size j = 0; j < t->len; j++)
                out[j] = narrow(widen(g[j]) * scale[j] +
                                ((widen(x[j]) - shift[j]) * slope[j] + offset[j]));
        } else {
            const vreal mean = v_set1(shift[c]), a = v_set1(scale[c]), b = v_set1(offset[c]);
            const vreal k = v_set1(slope[c]);
            MAP_LINE(
                out, t->len,
                v_fma(v_load_upto(g + j, m), a, v_fma(v_sub(v_load_upto(x + j, m), mean), k, b)));
        }
    }
}
