/* Convolution in groups no wider than a vector or so: depthwise, and 2, 4, 8, 16 channels per
 * group.
 *
 * A vector of output channels sees only the input channels of the same places (or, where a group is
 * wider than a vector, of the same group). An input vector is loaded once for all the outputs of a
 * row that meet it, and spread: element i of `spread(x, u)` is channel u of i's group. Filters of a
 * row of taps and the sums of COLUMNS outputs stay in registers.
 */
#include "simd.h"

enum {
    /* outputs side by side: networks' rows are 7, 14, 28, 56, 112 of them */
    COLUMNS = FC_REGISTERS == 32 ? 14 : 7,
    FEW_COLUMNS = FC_REGISTERS == 32 ? 7 : 4, /* at the end of a row */
    GRAD_COLUMNS = 4, /* of the weight gradient */
    GRAD_SUMS = FC_REGISTERS == 32 ? 15 : 9, /* sums that may stay in registers there */
    MAX_TAPS = 7,
    L1_BYTES = 24 * 1024, /* of input rows */
    MAX_PARTS = 4, /* channels of a group taken at a time */
    KEPT_PARTS = FC_REGISTERS == 32 ? 4 : 1 /* ... with their filters or sums in registers */
};

/* How an input vector becomes what a vector of outputs is multiplied with. */
enum { SAME, PICK, EACH };

FC_INLINE vreal spread(const stored *x, const int mode, vindex picker, fc_size u) {
    return mode == SAME ? v_load(x) : mode == PICK ? v_pick(x, picker) : v_set1(widen(x[u]));
}

/* What spread needs for channels u .. u + parts. */
FC_INLINE void pickers(vindex *p, const int mode, const int parts, fc_size group, fc_size u) {
    if (mode != PICK) return;
#pragma GCC unroll 4
    for (int v = 0; v < parts; v++) {
        p[v] = v_picker((int)group, (int)u + v);
#if VL > 4
        FC_KEEP_VECTOR(p[v]);
#endif
    }
}

FC_INLINE int mode_of(fc_size group) { return group == 1 ? SAME : group < VL ? PICK : EACH; }

/* Vector number b of the channels: the last one overlaps the one before where they do not
 * divide. */
FC_INLINE fc_size first_channel(fc_size b, fc_size channels) {
    return fc_min(b * VL, channels - VL);
}

/* Where the input channels of that vector start. */
FC_INLINE fc_size first_input(const int mode, fc_size channel, fc_size group) {
    return mode == EACH ? channel / group * group : channel;
}

/* Outputs j .. j + columns of a row, one vector of channels. `checked`: taps may leave the image,
 * and the row may have no more than `n` of these outputs. */
FC_INLINE void outputs(const fc_grouped *p, const char *const *lines, fc_size b, fc_size j,
                       fc_size n, char *out, const int columns, const int checked, const int mode,
                       const int taps, const int step, const int parts) {
    const fc_size c = first_channel(b, p->channels), group = mode == SAME ? 1 : p->group;
    const fc_size col = p->col0 + j * step, taps_h = p->taps_h, x_w = p->x_w, out_w = p->out_w;
    const int relu = p->relu;
    const stored *w = (const stored *)p->w + b * taps_h * taps * group * VL;
    const fc_size x_at =
        p->x_at + col * x_w + first_input(mode, c, group) * (fc_size)sizeof(stored);
    int lo = (int)fc_min(-col, 64), hi = (int)fc_min(p->width - col, 64); /* columns inside */
    vreal acc[COLUMNS];
    const vreal bias = p->bias ? v_load((const stored *)p->bias + c) : v_zero();
#pragma GCC unroll 16
    for (int q = 0; q < columns; q++) acc[q] = bias;
    for (fc_size h = 0; h < taps_h; h++, w += taps * group * VL) {
        if (!lines[h]) continue;
        for (fc_size u = 0; u < group; u += parts) {
            vreal tap[MAX_TAPS][MAX_PARTS];
            vindex pick[MAX_PARTS] = {{0}};
            pickers(pick, mode, parts, group, u);
#pragma GCC unroll 8
            for (int s = 0; s < taps; s++)
#pragma GCC unroll 4
                for (int v = 0; v < parts; v++) tap[s][v] = v_load(w + (s * group + u + v) * VL);
            const char *x = lines[h] + x_at;
#pragma GCC unroll 40
            for (int k = 0; k < (columns - 1) * step + taps; k++, x += x_w) {
                FC_KEEP(x);
                if (checked) {
                    FC_KEEP(lo);
                    FC_KEEP(hi);
                    if (k < lo || k >= hi) continue;
                }
#pragma GCC unroll 4
                for (int v = 0; v < parts; v++) {
                    vreal xv = spread((const stored *)x, mode, pick[v], u + v);
                    FC_KEEP_VECTOR(xv);
#pragma GCC unroll 8
                    for (int s = 0; s < taps; s++) /* output q meets column k through this tap */
                        if (k >= s && (k - s) % step == 0 && (k - s) / step < columns)
                            acc[(k - s) / step] = v_fma(xv, tap[s][v], acc[(k - s) / step]);
                }
            }
        }
    }
    out += j * out_w + c * (fc_size)sizeof(stored);
    if (relu) {
#pragma GCC unroll 16
        for (int q = 0; q < columns; q++) acc[q] = v_max(v_zero(), acc[q]);
    }
#pragma GCC unroll 16
    for (int q = 0; q < columns; q++, out += out_w)
        if (!checked || q < n) v_store((stored *)out, acc[q]);
}

/* Some columns of all rows before the next ones, and of as many channels as keep the input under an
 * output row in L1 until the next row reads it again. */
FC_INLINE void rows(const fc_grouped *p, const int mode, const int taps, const int step,
                    const int parts) {
    const fc_size blocks = (p->channels + VL - 1) / VL;
    const fc_size width = fc_min((COLUMNS - 1) * step + taps, p->width);
    const fc_size chunk = 1 + L1_BYTES / (p->taps_h * width * VL * (fc_size)sizeof(stored) + 1);
    for (fc_size j = 0, n; (n = p->out_width - j) > 0;
         j += n <= FEW_COLUMNS ? FEW_COLUMNS : COLUMNS) {
        const fc_size first = p->col0 + j * step;
        /* where channels are taken in parts, the checks are few beside the products */
        const int inside = parts == 1 && n >= COLUMNS && first >= 0 &&
                           first + (COLUMNS - 1) * step + taps <= p->width;
        for (fc_size b0 = 0; b0 < blocks; b0 += chunk)
            for (fc_size i = 0; i < p->count; i++) {
                const char *const *lines = (const char *const *)p->rows + i * p->taps_h;
                char *out = (char *)p->out + i * p->out_h;
                for (fc_size b = b0; b < fc_min(b0 + chunk, blocks); b++) {
                    if (n <= FEW_COLUMNS)
                        outputs(p, lines, b, j, n, out, FEW_COLUMNS, 1, mode, taps, step, parts);
                    else if (parts == 1 && inside)
                        outputs(p, lines, b, j, n, out, COLUMNS, 0, mode, taps, step, parts);
                    else
                        outputs(p, lines, b, j, n, out, COLUMNS, 1, mode, taps, step, parts);
                }
            }
    }
}

/* Any number of taps, any step, any dilation: one output at a time. */
FC_INLINE void rows_any(const fc_grouped *p, const int mode) {
    const fc_size blocks = (p->channels + VL - 1) / VL, group = p->group;
    for (fc_size i = 0; i < p->count; i++)
        for (fc_size j = 0; j < p->out_width; j++)
            for (fc_size b = 0; b < blocks; b++) {
                const fc_size c = first_channel(b, p->channels);
                const stored *w = (const stored *)p->w + b * p->taps_h * p->taps_w * group * VL;
                vreal acc = p->bias ? v_load((const stored *)p->bias + c) : v_zero();
                for (fc_size h = 0; h < p->taps_h; h++)
                    for (fc_size s = 0; s < p->taps_w; s++, w += group * VL) {
                        const char *line = p->rows[i * p->taps_h + h];
                        const fc_size col = p->col0 + j * p->step + s * p->col_dx;
                        if (!line || col < 0 || col >= p->width) continue;
                        const stored *x = (const stored *)(line + p->x_at + col * p->x_w) +
                                          first_input(mode, c, group);
                        for (fc_size u = 0; u < group; u++)
                            acc = v_fma(spread(x, mode, v_picker((int)group, (int)u), u),
                                        v_load(w + u * VL), acc);
                    }
                stored *out = (stored *)((char *)p->out + i * p->out_h + j * p->out_w) + c;
                v_store(out, p->relu ? v_max(v_zero(), acc) : acc);
            }
}

/* Geometries that networks have; each is code of its own. */
#define FC_CASES_OF_ALL(X, mode, parts) \
    X(mode, 1, 1, parts) X(mode, 2, 1, parts) X(mode, 3, 1, parts) X(mode, 3, 2, parts)
#define FC_CASES_OF_SAME(X) X(SAME, 4, 1, 1) X(SAME, 5, 1, 1) X(SAME, 5, 2, 1) X(SAME, 7, 1, 1)
#define FC_ROWS_CASE(mode, taps, step_, parts)                       \
    if (p->taps_w == taps && p->step == step_) {                     \
        rows(p, mode, taps, step_, parts);                           \
        return 1;                                                    \
    }

static int rows_same(const fc_grouped *p) {
    FC_CASES_OF_ALL(FC_ROWS_CASE, SAME, 1)
    FC_CASES_OF_SAME(FC_ROWS_CASE)
    return 0;
}

static int rows_pick(const fc_grouped *p) {
    if (p->group % 4) return 0;
#if VL > 4
    FC_CASES_OF_ALL(FC_ROWS_CASE, PICK, KEPT_PARTS)
#endif
    return 0;
}

static int rows_each(const fc_grouped *p) {
    if (p->group % 4) return 0;
    FC_CASES_OF_ALL(FC_ROWS_CASE, EACH, KEPT_PARTS)
    return 0;
}

/* Whether the columns that `d` taps apart meet can be told apart: each d-th column, of input and of
 * output, is then a row of its own without dilation. */
FC_INLINE fc_size interleaved(fc_size step, fc_size taps_w, fc_size col_dx) {
    return taps_w == 1 || col_dx == 1 ? 1 : step == 1 ? col_dx : 0;
}

/* The interleaved row of output columns o, o + d, ... */
#define FC_TAKE_EVERY(r, p, d, o, y, y_w, y_width)                   \
    do {                                                             \
        const fc_size rest_ = (((p)->col0 + (o)) % (d) + (d)) % (d); \
        (r).x_at = (p)->x_at + rest_ * (p)->x_w;                     \
        (r).x_w = (d) * (p)->x_w;                                    \
        (r).width = ((p)->width - rest_ + (d)-1) / (d);              \
        (r).col0 = ((p)->col0 + (o)-rest_) / (d);                    \
        (r).y = (char *)(p)->y + (o) * (p)->y_w;                     \
        (r).y_w = (d) * (p)->y_w;                                    \
        (r).y_width = ((p)->y_width - (o) + (d)-1) / (d);            \
    } while (0)

void FC_NAME(grouped)(const fc_grouped *p) {
    const int mode = mode_of(p->group);
    const fc_size d = interleaved(p->step, p->taps_w, p->col_dx);
    int done = d > 0;
    for (fc_size o = 0; done && o < fc_min(d, p->out_width); o++) {
        fc_grouped r = *p;
        if (d > 1) FC_TAKE_EVERY(r, p, d, o, out, out_w, out_width);
        done = mode == SAME ? rows_same(&r) : mode == PICK ? rows_pick(&r) : rows_each(&r);
    }
    if (done) return;
    if (mode == SAME)
        rows_any(p, SAME);
    else if (mode == PICK)
        rows_any(p, PICK);
    else
        rows_any(p, EACH);
}

/* ---- weight gradient ----
 * dw[h][s][u] += sum over i, j of dy[i][j] spread(x[i][h][j step + s], u) */

/* Adds outputs j .. j + columns of row i to the sums of `lines` rows of taps. */
FC_INLINE void add_columns(const fc_grouped_grad *p, vreal (*sum)[MAX_TAPS][MAX_PARTS], fc_size i,
                           fc_size h0, fc_size c, fc_size u, const vindex *pick, fc_size j,
                           const int columns, const int checked, const int mode, const int lines,
                           const int taps, const int step, const int parts) {
    const fc_size col = p->col0 + j * step, x_w = p->x_w;
    const fc_size x_at =
        p->x_at + col * x_w + first_input(mode, c, p->group) * (fc_size)sizeof(stored);
    int lo = (int)fc_min(-col, 64), hi = (int)fc_min(p->width - col, 64);
    const char *dy = (const char *)p->dy + i * p->dy_h + j * p->dy_w + c * (fc_size)sizeof(stored);
    vreal g[GRAD_COLUMNS];
#pragma GCC unroll 4
    for (int q = 0; q < columns; q++) g[q] = v_load((const stored *)(dy + q * p->dy_w));
#pragma GCC unroll 3
    for (int h = 0; h < lines; h++) {
        const char *x = p->rows[i * p->taps_h + h0 + h];
        if (!x) continue;
        x += x_at;
#pragma GCC unroll 16
        for (int k = 0; k < (columns - 1) * step + taps; k++, x += x_w) {
            FC_KEEP(x);
            if (checked) {
                FC_KEEP(lo);
                FC_KEEP(hi);
                if (k < lo || k >= hi) continue;
            }
#pragma GCC unroll 4
            for (int v = 0; v < parts; v++) {
                vreal xv = spread((const stored *)x, mode, pick[v], u + v);
                FC_KEEP_VECTOR(xv);
#pragma GCC unroll 8
                for (int s = 0; s < taps; s++)
                    if (k >= s && (k - s) % step == 0 && (k - s) / step < columns)
                        sum[h][s][v] = v_fma(xv, g[(k - s) / step], sum[h][s][v]);
            }
        }
    }
}

/* Rows h0 .. h0 + lines of taps, `parts` channels of every group from u on. */
FC_INLINE void add_rows(const fc_grouped_grad *p, fc_size h0, fc_size b, fc_size u, const int mode,
                        const int lines, const int taps, const int step, const int parts) {
    const fc_size c = first_channel(b, p->channels), n = p->dy_width;
    vreal sum[3][MAX_TAPS][MAX_PARTS];
    vindex pick[MAX_PARTS] = {{0}};
    pickers(pick, mode, parts, p->group, u);
#pragma GCC unroll 3
    for (int h = 0; h < lines; h++)
#pragma GCC unroll 8
        for (int s = 0; s < taps; s++)
#pragma GCC unroll 4
            for (int v = 0; v < parts; v++) sum[h][s][v] = v_zero();
    for (fc_size i = 0; i < p->count; i++)
        for (fc_size j = 0; j < n;) {
            const int columns = j + GRAD_COLUMNS <= n ? GRAD_COLUMNS : 1;
            const fc_size first = p->col0 + j * step;
            const int inside = first >= 0 && first + (columns - 1) * step + taps <= p->width;
            if (columns == 1)
                add_columns(p, sum, i, h0, c, u, pick, j, 1, 1, mode, lines, taps, step, parts);
            else if (inside)
                add_columns(p, sum, i, h0, c, u, pick, j, GRAD_COLUMNS, 0, mode, lines, taps, step,
                            parts);
            else
                add_columns(p, sum, i, h0, c, u, pick, j, GRAD_COLUMNS, 1, mode, lines, taps, step,
                            parts);
            j += columns;
        }
    stored *dw = (stored *)((char *)p->dw + b * p->dw_block) + (h0 * taps * p->group + u) * VL;
#pragma GCC unroll 3
    for (int h = 0; h < lines; h++)
#pragma GCC unroll 8
        for (int s = 0; s < taps; s++)
#pragma GCC unroll 4
            for (int v = 0; v < parts; v++) {
                stored *to = dw + ((h * taps + s) * p->group + v) * VL;
                v_store(to, v_add(v_load(to), sum[h][s][v]));
            }
}

/* As many rows of taps at a time as have room for their sums. */
FC_INLINE void grad(const fc_grouped_grad *p, const int mode, const int taps, const int step,
                    const int parts) {
    const fc_size blocks = (p->channels + VL - 1) / VL;
    for (fc_size b = 0; b < blocks; b++)
        for (fc_size u = 0; u < p->group; u += parts)
            for (fc_size h = 0; h < p->taps_h;) {
                if (h + 3 <= p->taps_h && 3 * taps * parts <= GRAD_SUMS) {
                    add_rows(p, h, b, u, mode, 3, taps, step, parts);
                    h += 3;
                } else if (h + 2 <= p->taps_h && 2 * taps * parts <= GRAD_SUMS) {
                    add_rows(p, h, b, u, mode, 2, taps, step, parts);
                    h += 2;
                } else {
                    add_rows(p, h, b, u, mode, 1, taps, step, parts);
                    h += 1;
                }
            }
}

FC_INLINE void grad_any(const fc_grouped_grad *p, const int mode) {
    const fc_size blocks = (p->channels + VL - 1) / VL, group = p->group;
    for (fc_size b = 0; b < blocks; b++) {
        const fc_size c = first_channel(b, p->channels);
        stored *dw = (stored *)((char *)p->dw + b * p->dw_block);
        for (fc_size h = 0; h < p->taps_h; h++)
            for (fc_size s = 0; s < p->taps_w; s++)
                for (fc_size u = 0; u < group; u++, dw += VL) {
                    vreal sum = v_zero();
                    for (fc_size i = 0; i < p->count; i++) {
                        const char *line = p->rows[i * p->taps_h + h];
                        const char *dy = (const char *)p->dy + i * p->dy_h;
                        for (fc_size j = 0; line && j < p->dy_width; j++) {
                            const fc_size col = p->col0 + j * p->step + s * p->col_dx;
                            if (col < 0 || col >= p->width) continue;
                            const stored *x = (const stored *)(line + p->x_at + col * p->x_w) +
                                              first_input(mode, c, group);
                            sum = v_fma(spread(x, mode, v_picker((int)group, (int)u), u),
                                        v_load((const stored *)(dy + j * p->dy_w) + c), sum);
                        }
                    }
                    v_store(dw, v_add(v_load(dw), sum));
                }
    }
}

#define FC_GRAD_CASE(mode, taps, step_, parts)                       \
    if (p->taps_w == taps && p->step == step_) {                     \
        grad(p, mode, taps, step_, parts);                           \
        return 1;                                                    \
    }

/* Whether to keep the sums in registers: not where every pixel is another line of the cache, and
 * reading it for one channel at a time would cost more than sums that come and go. */
FC_INLINE int keep_sums(const fc_grouped_grad *p) {
    return KEPT_PARTS < MAX_PARTS && p->x_w == VL * (fc_size)sizeof(stored);
}

static int grad_same(const fc_grouped_grad *p) {
    FC_GRAD_CASE(SAME, 3, 1, 1)
    FC_GRAD_CASE(SAME, 3, 2, 1)
    FC_GRAD_CASE(SAME, 5, 1, 1)
    FC_GRAD_CASE(SAME, 5, 2, 1)
    FC_GRAD_CASE(SAME, 7, 1, 1)
    return 0;
}

static int grad_pick(const fc_grouped_grad *p) {
    if (p->group % 4) return 0;
#if VL > 4
    if (keep_sums(p)) {
        FC_GRAD_CASE(PICK, 3, 1, KEPT_PARTS)
        FC_GRAD_CASE(PICK, 3, 2, KEPT_PARTS)
    }
    FC_GRAD_CASE(PICK, 3, 1, MAX_PARTS)
    FC_GRAD_CASE(PICK, 3, 2, MAX_PARTS)
#endif
    return 0;
}

static int grad_each(const fc_grouped_grad *p) {
    if (p->group % 4) return 0;
    if (keep_sums(p)) {
        FC_GRAD_CASE(EACH, 3, 1, KEPT_PARTS)
        FC_GRAD_CASE(EACH, 3, 2, KEPT_PARTS)
    }
    FC_GRAD_CASE(EACH, 3, 1, MAX_PARTS)
    FC_GRAD_CASE(EACH, 3, 2, MAX_PARTS)
    return 0;
}

void FC_NAME(grouped_weight)(const fc_grouped_grad *p) {
    const int mode = mode_of(p->group);
    const fc_size d = interleaved(p->step, p->taps_w, p->col_dx);
    int done = d > 0;
    for (fc_size o = 0; done && o < fc_min(d, p->dy_width); o++) {
        fc_grouped_grad r = *p;
        if (d > 1) FC_TAKE_EVERY(r, p, d, o, dy, dy_w, dy_width);
        done = mode == SAME ? grad_same(&r) : mode == PICK ? grad_pick(&r) : grad_each(&r);
    }
    if (done) return;
    if (mode == SAME)
        grad_any(p, SAME);
    else if (mode == PICK)
        grad_any(p, PICK);
    else
        grad_any(p, EACH);
}
