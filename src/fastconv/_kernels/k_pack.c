/* Rearranging: images to channels-last windows and back, filters to panels. */
#include <string.h>

#include "simd.h"

enum { STEP = VL < 4 ? VL : 4 };

/* dst[j][i] = src[i][j] for i < n, j < cols, both at most VL: all VL rows are loaded (the last one
 * again where there are fewer), so that the loops unroll. One pointer for four rows: GCC would
 * otherwise keep, and move, one for each of them in memory. */
FC_INLINE void transpose_block(char *d, fc_size d_j, const char *s, fc_size s_i, int n, int cols,
                               const int past) {
    vreal r[VL];
    if (n == VL) {
        for (int i = 0; i < VL; i += STEP, s += STEP * s_i) {
            FC_KEEP(s);
            for (int k = 0; k < STEP; k++) {
                const stored *row = (const stored *)(s + k * s_i);
                r[i + k] = cols == VL ? v_load(row) : v_load_n(row, cols);
            }
        }
    } else {
        for (int i = 0; i < VL; i++) {
            const stored *row = (const stored *)(s + (i < n ? i : n - 1) * s_i);
            r[i] = cols == VL ? v_load(row) : v_load_n(row, cols);
        }
    }
    v_transpose(r);
    for (int j = 0; j < VL; j += STEP, d += STEP * d_j) {
        if (j >= cols) break;
        FC_KEEP(d);
        for (int k = 0; k < STEP; k++) {
            if (j + k >= cols) break;
            if (past)
                v_stream((stored *)(d + k * d_j), r[j + k]);
            else if (n == VL)
                v_store((stored *)(d + k * d_j), r[j + k]);
            else
                v_store_n((stored *)(d + k * d_j), r[j + k], n);
        }
    }
}

/* dst[j][i] = src[i][j], both contiguous along their last index */
static void transpose(char *d, fc_size d_j, const char *s, fc_size s_i, fc_size rows,
                      fc_size cols) {
    const fc_size one = sizeof(stored);
    for (fc_size i = 0; i < rows; i += VL) {
        const int n = upto(rows - i);
        for (fc_size j = 0; j < cols; j += VL) {
            const int m = upto(cols - j);
            if (n == VL && m == VL)
                transpose_block(d + j * d_j + i * one, d_j, s + i * s_i + j * one, s_i, VL, VL, 0);
            else if (n == VL)
                transpose_block(d + j * d_j + i * one, d_j, s + i * s_i + j * one, s_i, VL, m, 0);
            else
                transpose_block(d + j * d_j + i * one, d_j, s + i * s_i + j * one, s_i, n, m, 0);
        }
    }
}

/* Short runs are the rule (a row of a small image): no call, no branch on the size. */
FC_INLINE void copy_run(stored *d, const stored *s, fc_size n) {
    if (n > 64 * VL) {
        memcpy(d, s, n * sizeof(stored));
        return;
    }
    for (; n >= VL; n -= VL, d += VL, s += VL) v_store(d, v_load(s));
    if (n) v_store_n(d, v_load_n(s, (int)n), (int)n);
}

/* d[i] = s[-i] */
FC_INLINE void copy_backwards(stored *FC_RESTRICT d, const stored *FC_RESTRICT s, fc_size n) {
    for (fc_size i = 0; i < n; i++) d[i] = s[-i];
}

FC_INLINE void repeat(stored *d, const stored value, fc_size n) {
    for (fc_size i = 0; i < n; i++) d[i] = value;
}

/* Every second element, n of them. */
FC_INLINE void copy_even(stored *d, const stored *s, fc_size n) {
    for (; n > 0; n -= VL, d += VL, s += 2 * VL) v_store_upto(d, v_load_even(s, upto(n)), n);
}

static void copy_scattered(char *d, fc_size d_i, fc_size d_j, const char *s, fc_size s_i,
                           fc_size s_j, fc_size rows, fc_size cols) {
    for (fc_size i = 0; i < rows; i++) {
        char *to = d + i * d_i;
        const char *from = s + i * s_i;
        for (fc_size j = 0; j < cols; j++, to += d_j, from += s_j)
            *(stored *)to = *(const stored *)from;
    }
}

FC_INLINE void swap(fc_size *a, fc_size *b) {
    const fc_size t = *a;
    *a = *b;
    *b = t;
}

void FC_NAME(copy2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i, fc_size s_j,
                     fc_size rows, fc_size cols) {
    const fc_size one = sizeof(stored);
    char *d = dst;
    const char *s = src;
    if (d_i == one && (d_j != one || cols == 1)) { /* write along j, where either will do */
        swap(&d_i, &d_j);
        swap(&s_i, &s_j);
        swap(&rows, &cols);
    }
    if (d_j == one && s_j == one) {
        if (d_i == cols * one && s_i == d_i) { /* all one run */
            cols *= rows;
            rows = 1;
        }
        for (fc_size i = 0; i < rows; i++)
            copy_run((stored *)(d + i * d_i), (const stored *)(s + i * s_i), cols);
    } else if (d_j == one && s_i == one && rows >= STEP && cols >= STEP) {
        transpose(d, d_i, s, s_j, cols, rows);
    } else if (d_j == one && s_j == 2 * one) {
        for (fc_size i = 0; i < rows; i++)
            copy_even((stored *)(d + i * d_i), (const stored *)(s + i * s_i), cols);
    } else if (d_j == one && s_j == -one) {
        for (fc_size i = 0; i < rows; i++)
            copy_backwards((stored *)(d + i * d_i), (const stored *)(s + i * s_i), cols);
    } else if (d_j == one && s_j == 0) {
        for (fc_size i = 0; i < rows; i++)
            repeat((stored *)(d + i * d_i), *(const stored *)(s + i * s_i), cols);
    } else if (rows > cols) { /* a longer loop inside */
        copy_scattered(d, d_j, d_i, s, s_j, s_i, cols, rows);
    } else {
        copy_scattered(d, d_i, d_j, s, s_i, s_j, rows, cols);
    }
}

void FC_NAME(stream2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i,
                       fc_size s_j, fc_size rows, fc_size cols) {
    const fc_size one = sizeof(stored), line = VL * one;
    char *d = dst;
    const char *s = src;
    if (d_i == one && s_j == one && d_j % line == 0) {
        fc_size head = (line - (fc_size)((uintptr_t)d % line)) % line / one;
        head = head < rows ? head : rows;
        FC_NAME(copy2d)(d, d_i, d_j, s, s_i, s_j, head, cols);
        const fc_size whole = cols / VL * VL;
        for (rows -= head, d += head * d_i, s += head * s_i; rows >= VL;
             rows -= VL, d += line, s += VL * s_i) {
            for (fc_size j = 0; j < whole; j += VL)
                transpose_block(d + j * d_j, d_j, s + j * one, s_i, VL, VL, 1);
            FC_NAME(copy2d)(d + whole * d_j, d_i, d_j, s + whole * one, s_i, s_j, VL, cols - whole);
        }
    }
    FC_NAME(copy2d)(d, d_i, d_j, s, s_i, s_j, rows, cols);
}

/* One filter's taps lie side by side (backwards where s_w < 0): transpose them, a vector of filters
 * at a time. `run` elements of a filter are contiguous: all its channels' taps, or one
 * channel's. Tap t is stored as number slots[t], where there are slots. */
static void pack_runs(stored *d, const char *s, fc_size n, fc_size channels, fc_size taps,
                      fc_size s_n, fc_size run, int backwards, const fc_size *slots, fc_size c0, fc_size nr) {
    stored *to[VL];
    fc_size c = c0, t = 0;
    for (fc_size e = 0; e < run; e += VL) {
        const int m = upto(run - e);
        for (int q = 0; q < m; q++) {
            const fc_size slot = slots ? slots[t] : backwards ? taps - 1 - t : t;
            to[q] = d + (slot * channels + c) * nr;
            if (++t == taps) t = 0, c++;
        }
        for (fc_size i = 0; i < nr; i += VL) {
            const fc_size left = n - i;
            const int rows = left >= VL ? VL : left > 0 ? (int)left : 0;
            const char *from = s + i * s_n + e * (fc_size)sizeof(stored);
            /* filters beyond n read as zero: all VL columns are written */
            vreal r[VL];
            for (int k = 0; k < VL; k++) {
                const stored *row = (const stored *)(from + k * s_n);
                r[k] = k >= rows ? v_zero() : m == VL ? v_load(row) : v_load_n(row, m);
            }
            v_transpose(r);
            for (int q = 0; q < m; q++) {
                v_store(to[q] + i, r[q]);
                v_prefetch(to[q] + i + 4 * nr); /* of the fourth channel from here */
            }
        }
    }
}

/* Taps that lie near each other, but not side by side (those of one phase of a strided gradient): a
 * channel's are read together, transposed, and the ones wanted are kept. at[t]: where tap t lies,
 * in elements from the first of `reach`. */
static void pack_taps(stored *d, const char *s, fc_size n, fc_size channels, fc_size taps,
                      const fc_size *at, int reach, fc_size s_n, fc_size s_c, fc_size nr) {
    for (fc_size c = 0; c < channels; c++, s += s_c)
        for (fc_size i = 0; i < nr; i += VL) {
            vreal r[VL];
            const char *from = s + i * s_n;
            for (fc_size line = 0; line < VL * s_n && s_n <= 64; line += 64)
                v_prefetch(from + 4 * s_c + line);
            for (int k = 0; k < VL; k++)
                r[k] = i + k < n ? v_load_n((const stored *)(from + k * s_n), reach) : v_zero();
            v_transpose(r);
            for (fc_size t = 0; t < taps; t++) v_store(d + (t * channels + c) * nr + i, r[at[t]]);
        }
}

void FC_NAME(pack_filters)(void *dst, const void *src, fc_size n, fc_size channels, fc_size taps_h,
                           fc_size taps_w, fc_size s_n, fc_size s_c, fc_size s_h, fc_size s_w,
                           fc_size nr, const fc_size *slots) {
    const fc_size one = sizeof(stored), taps = taps_h * taps_w;
    stored *d = dst;
    const int row_backwards = taps_w > 1 ? s_w == -one : s_h == -one;
    const fc_size step = row_backwards ? -one : one;
    if ((taps_w == 1 || s_w == step) && (taps_h == 1 || s_h == taps_w * step)) {
        /* the lowest address of a channel's taps */
        const char *s = (const char *)src + (row_backwards ? (1 - taps) * one : 0);
        if (s_c == taps * one) {
            pack_runs(d, s, n, channels, taps, s_n, channels * taps, row_backwards, slots, 0,
                      nr);
            return;
        }
        if (taps > 1) {
            for (fc_size c = 0; c < channels; c++) {
                for (fc_size line = 0; line < n * s_n && s_n <= 64; line += 64)
                    v_prefetch(s + (c + 4) * s_c + line);
                pack_runs(d, s + c * s_c, n, channels, taps, s_n, taps, row_backwards, slots,
                          c, nr);
            }
            return;
        }
    }
    const fc_size low = (s_h < 0 ? (taps_h - 1) * s_h : 0) + (s_w < 0 ? (taps_w - 1) * s_w : 0);
    const fc_size high = (s_h > 0 ? (taps_h - 1) * s_h : 0) + (s_w > 0 ? (taps_w - 1) * s_w : 0);
    const fc_size reach = (high - low) / one + 1;
    /* with strides of 0, taps may be more than what they reach */
    if (taps > 0 && taps <= VL && reach < VL && s_n != one) {
        fc_size at[VL];
        for (fc_size t = 0; t < taps; t++)
            at[t] = (t / taps_w * s_h + t % taps_w * s_w - low) / one;
        pack_taps(d, (const char *)src + low, n, channels, taps, at, (int)reach, s_n, s_c, nr);
        return;
    }
    const fc_size tap = channels * nr; /* elements from one tap's [channels][nr] to the next */
    if (s_c == one && s_n != one && channels >= VL) {
        for (fc_size t = 0; t < taps; t++) {
            const char *from = (const char *)src + t / taps_w * s_h + t % taps_w * s_w;
            transpose((char *)(d + t * tap), nr * one, from, s_n, n, channels);
            for (fc_size c = 0; c < channels && n < nr; c++)
                for (fc_size i = n; i < nr; i++) d[t * tap + c * nr + i] = narrow(0);
        }
        return;
    }
    for (fc_size c = 0; c < channels; c++) /* taps inside: each filter is then read in order */
        for (fc_size h = 0; h < taps_h; h++)
            for (fc_size w = 0; w < taps_w; w++) {
                const char *from = (const char *)src + c * s_c + h * s_h + w * s_w;
                stored *to = d + (h * taps_w + w) * tap + c * nr;
                fc_size i = 0;
                if (s_n == one) { /* a line or two, which the processor does not see coming */
                    for (fc_size line = 0; line < nr * one; line += 64)
                        v_prefetch(from + 4 * s_c + line);
                    copy_run(to, (const stored *)from, n);
                    i = n;
                }
                for (; i < n; i++) to[i] = *(const stored *)(from + i * s_n);
                for (; i < nr; i++) to[i] = narrow(0);
            }
}

/* `run` elements of each filter, from channel c on: all its channels' taps, or one channel's. */
static void unpack_run(char *dst, fc_size d_n, const char *src, fc_size s_row, fc_size n,
                       fc_size channels, fc_size taps, fc_size run, fc_size c) {
    const char *from[VL];
    fc_size t = 0;
    for (fc_size e = 0; e < run; e += VL) {
        const int m = upto(run - e);
        for (int q = 0; q < VL; q++) { /* beyond m, the last one again */
            from[q] = src + (t * channels + c) * s_row;
            if (q < m - 1 && ++t == taps) t = 0, c++;
        }
        if (++t == taps) t = 0, c++;
        for (fc_size i = 0; i < n; i += VL) {
            const int filters = upto(n - i);
            char *to = dst + i * d_n + e * (fc_size)sizeof(stored);
            vreal r[VL];
            for (int q = 0; q < VL; q++) r[q] = v_load((const stored *)from[q] + i);
            v_transpose(r);
            for (int k = 0; k < VL; k++) {
                if (k >= filters) break;
                if (m == VL)
                    v_store((stored *)(to + k * d_n), r[k]);
                else
                    v_store_n((stored *)(to + k * d_n), r[k], m);
            }
        }
    }
}

void FC_NAME(unpack_filters)(void *dst, fc_size d_n, fc_size d_c, const void *src, fc_size s_row,
                             fc_size n, fc_size channels, fc_size taps) {
    if (d_c == taps * (fc_size)sizeof(stored)) {
        unpack_run(dst, d_n, src, s_row, n, channels, taps, channels * taps, 0);
        return;
    }
    for (fc_size c = 0; c < channels; c++)
        unpack_run((char *)dst + c * d_c, d_n, src, s_row, n, channels, taps, taps, c);
}
