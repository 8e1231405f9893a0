/* Batch normalisation: moments per channel, the normalising map, and the gradient of both.
 *
 * A tile is some lines of contiguous elements. Either a line lies in one channel (the plane of an
 * image), or it crosses all channels (a pixel of a channels-last image). Sums leave the tile in
 * double; within a tile, which is at most a few thousand elements to a sum, they are of `real`. */
#include "simd.h"

enum { GROUP = 4 }; /* vectors of channels at a time, where a line crosses them */

#define LINE(type, p, i) ((type *)((char *)(p) + (i) * t->stride))

FC_INLINE vreal get(const real *p, int n) { return n < VL ? v_load_n(p, n) : v_load(p); }

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
        const real *x = LINE(const real, t->x, i);
        fc_size j = 0;
        for (; j + 2 * VL <= t->len; j += 2 * VL) {
            s0 = v_add(s0, v_sub(v_load(x + j), o));
            s1 = v_add(s1, v_sub(v_load(x + j + VL), o));
        }
        for (; j < t->len; j += VL) {
            const int rest = t->len - j < VL ? (int)(t->len - j) : VL;
            s0 = v_add(s0, v_first(v_sub(v_load_n(x + j, rest), o), rest));
        }
    }
    const real middle = origin + (real)(v_sum(v_add(s0, s1)) / n);
    const vreal m = v_set1(middle);
    s0 = s1 = v_zero();
    for (fc_size i = 0; i < t->lines; i++) {
        const real *x = LINE(const real, t->x, i);
        fc_size j = 0;
        for (; j + 2 * VL <= t->len; j += 2 * VL) {
            const vreal a = v_sub(v_load(x + j), m), b = v_sub(v_load(x + j + VL), m);
            s0 = v_add(s0, a), q0 = v_fma(a, a, q0);
            s1 = v_add(s1, b), q1 = v_fma(b, b, q1);
        }
        for (; j < t->len; j += VL) {
            const int rest = t->len - j < VL ? (int)(t->len - j) : VL;
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
    vreal middle[GROUP], sum[GROUP], squares[GROUP];
    for (int v = 0; v < vectors; v++) {
        middle[v] = get(origin + v * VL, n);
        sum[v] = v_zero();
    }
    for (fc_size i = 0; i < t->lines; i++)
        for (int v = 0; v < vectors; v++)
            sum[v] = v_add(sum[v], v_sub(get(LINE(const real, t->x, i) + c + v * VL, n), middle[v]));
    for (int v = 0; v < vectors; v++) {
        middle[v] = v_add(middle[v], v_div(sum[v], one_line));
        sum[v] = squares[v] = v_zero();
    }
    for (fc_size i = 0; i < t->lines; i++)
        for (int v = 0; v < vectors; v++) {
            const vreal d = v_sub(get(LINE(const real, t->x, i) + c + v * VL, n), middle[v]);
            sum[v] = v_add(sum[v], d);
            squares[v] = v_fma(d, d, squares[v]);
        }
    real m[GROUP * VL] = {0}, s[GROUP * VL] = {0}, q[GROUP * VL] = {0};
    for (int v = 0; v < vectors; v++) {
        v_store(m + v * VL, middle[v]);
        v_store(s + v * VL, sum[v]);
        v_store(q + v * VL, squares[v]);
    }
    for (int k = 0; k < (vectors - 1) * VL + n; k++) {
        const double rest = (double)s[k] / lines;
        join(t->first + c + k, t->second + c + k, ((double)m[k] - origin[k]) + rest,
             q[k] - s[k] * rest, t->count, lines);
    }
}

/* f(t, c, vectors, n) for all channels of lines that cross them */
#define FOR_CHANNELS(t, f)                                                              \
    do {                                                                                \
        fc_size c = 0;                                                                  \
        for (; c + GROUP * VL <= t->len; c += GROUP * VL) f(t, c, GROUP, VL);           \
        for (; c + VL <= t->len; c += VL) f(t, c, 1, VL);                               \
        if (c < t->len) f(t, c, 1, (int)(t->len - c));                                  \
    } while (0)

void FC_NAME(norm_moments)(const fc_norm *t) {
    if (t->crossing)
        FOR_CHANNELS(t, moments_columns);
    else
        moments_plane(t);
}

static void gradient_sums_plane(const fc_norm *t) {
    const vreal m = v_set1(*(const real *)t->shift);
    vreal s0 = v_zero(), s1 = v_zero(), p0 = v_zero(), p1 = v_zero();
    for (fc_size i = 0; i < t->lines; i++) {
        const real *x = LINE(const real, t->x, i), *g = LINE(const real, t->g, i);
        fc_size j = 0;
        for (; j + 2 * VL <= t->len; j += 2 * VL) {
            const vreal a = v_load(g + j), b = v_load(g + j + VL);
            s0 = v_add(s0, a), p0 = v_fma(a, v_sub(v_load(x + j), m), p0);
            s1 = v_add(s1, b), p1 = v_fma(b, v_sub(v_load(x + j + VL), m), p1);
        }
        for (; j < t->len; j += VL) {
            const int rest = t->len - j < VL ? (int)(t->len - j) : VL;
            const vreal a = v_load_n(g + j, rest);
            s0 = v_add(s0, a);
            p0 = v_fma(a, v_first(v_sub(v_load_n(x + j, rest), m), rest), p0);
        }
    }
    *t->first += v_sum(v_add(s0, s1));
    *t->second += v_sum(v_add(p0, p1));
}

FC_INLINE void gradient_sums_columns(const fc_norm *t, fc_size c, int vectors, int n) {
    vreal mean[GROUP], sum[GROUP], product[GROUP];
    for (int v = 0; v < vectors; v++) {
        mean[v] = get((const real *)t->shift + c + v * VL, n);
        sum[v] = product[v] = v_zero();
    }
    for (fc_size i = 0; i < t->lines; i++)
        for (int v = 0; v < vectors; v++) {
            const vreal g = get(LINE(const real, t->g, i) + c + v * VL, n);
            const vreal x = get(LINE(const real, t->x, i) + c + v * VL, n);
            sum[v] = v_add(sum[v], g);
            product[v] = v_fma(g, v_sub(x, mean[v]), product[v]);
        }
    real s[GROUP * VL] = {0}, p[GROUP * VL] = {0};
    for (int v = 0; v < vectors; v++) {
        v_store(s + v * VL, sum[v]);
        v_store(p + v * VL, product[v]);
    }
    for (int k = 0; k < (vectors - 1) * VL + n; k++) {
        t->first[c + k] += s[k];
        t->second[c + k] += p[k];
    }
}

void FC_NAME(norm_gradient_sums)(const fc_norm *t) {
    if (t->crossing)
        FOR_CHANNELS(t, gradient_sums_columns);
    else
        gradient_sums_plane(t);
}

/* ---- sum[c] += x[line][c] ---- */

enum { SUM_LINES = 64 }; /* summed in `real` */

FC_INLINE void sum_columns(double *sum, const char *x, fc_size x_line, fc_size lines, int vectors,
                           int n) {
    for (fc_size i = 0; i < lines;) {
        const fc_size end = lines - i < SUM_LINES ? lines : i + SUM_LINES;
        vreal total[GROUP];
        real t[VL];
        for (int v = 0; v < vectors; v++) total[v] = v_zero();
        for (; i < end; i++)
            for (int v = 0; v < vectors; v++)
                total[v] = v_add(total[v], get((const real *)(x + i * x_line) + v * VL, n));
        for (int v = 0; v < vectors; v++) {
            v_store(t, total[v]);
            for (int c = 0; c < n; c++) sum[v * VL + c] += t[c];
        }
    }
}

void FC_NAME(column_sums)(double *sum, const void *x_, fc_size x_line, fc_size lines,
                          fc_size channels) {
    const char *x = (const char *)x_;
    const fc_size size = sizeof(real);
    fc_size c = 0;
    for (; c + GROUP * VL <= channels; c += GROUP * VL)
        sum_columns(sum + c, x + c * size, x_line, lines, GROUP, VL);
    for (; c + VL <= channels; c += VL) sum_columns(sum + c, x + c * size, x_line, lines, 1, VL);
    if (c < channels) sum_columns(sum + c, x + c * size, x_line, lines, 1, (int)(channels - c));
}

/* ---- the maps: lines of consecutive channels, or lines across all channels ---- */

/* Stores `value`, an expression in the index j of an element and the number m of elements from there
 * that count, for a whole line; the last vector may overlap the one before it. */
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
    const vreal least = v_zero();
    const real *shift = (const real *)t->shift, *scale = (const real *)t->scale;
    const real *offset = (const real *)t->offset;
    for (fc_size i = 0, c = t->channel; i < t->lines; i++, c = c + 1 < t->channels ? c + 1 : 0) {
        const real *FC_RESTRICT x = LINE(const real, t->x, i);
        real *FC_RESTRICT out = LINE(real, t->out, i);
        if (t->crossing) {
            for (fc_size j = 0; j < t->len; j++) {
                const real y = (x[j] - shift[j]) * scale[j] + offset[j];
                out[j] = relu && y < 0 ? 0 : y;
            }
        } else {
            const vreal mean = v_set1(shift[c]), a = v_set1(scale[c]), b = v_set1(offset[c]);
            if (relu)
                MAP_LINE(out, t->len, v_max(least, v_fma(v_sub(get(x + j, m), mean), a, b)));
            else
                MAP_LINE(out, t->len, v_fma(v_sub(get(x + j, m), mean), a, b));
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
        const real *FC_RESTRICT x = LINE(const real, t->x, i);
        const real *FC_RESTRICT g = LINE(const real, t->g, i);
        real *FC_RESTRICT out = LINE(real, t->out, i);
        if (t->crossing) {
            for (fc_size j = 0; j < t->len; j++)
                out[j] = g[j] * scale[j] + ((x[j] - shift[j]) * slope[j] + offset[j]);
        } else {
            const vreal mean = v_set1(shift[c]), a = v_set1(scale[c]), b = v_set1(offset[c]);
            const vreal k = v_set1(slope[c]);
            MAP_LINE(out, t->len,
                     v_fma(get(g + j, m), a, v_fma(v_sub(get(x + j, m), mean), k, b)));
        }
    }
}
