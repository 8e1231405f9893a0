/* Convolution in groups no wider than a vector or so: depthwise, and 2, 4, 8, 16 channels per
 * group.
 *
 * A vector of output channels sees only the input channels of the same places (or, where a group is
 * wider than a vector, of the same group). An input vector is loaded once for all the outputs of a
 * row that meet it, and spread: element i of `spread(x, u)` is channel u of i's group. Filters of a
 * row of taps and the sums of COLUMNS outputs stay in registers.
 */
#include "simd.h"

#if defined(__GNUC__)
#define FC_COLD __attribute__((cold, noinline)) /* small code rather than fast */
#else
#define FC_COLD
#endif

enum {
    /* outputs side by side: networks' rows are 7, 14, 28, 56, 112 of them */
    COLUMNS = FC_REGISTERS == 32 ? 14 : 7,
    FEW_COLUMNS = FC_REGISTERS == 32 ? 7 : 4, /* at the end of a row */
    GRAD_COLUMNS = 4, /* of the weight gradient */
    GRAD_SUMS = FC_REGISTERS == 32 ? 15 : 9, /* sums that may stay in registers there */
    MAX_TAPS = 7,
    BLOCK_TAPS = 4, /* of a longer row that are taken at a time */
    SPREAD_TAPS = 3, /* ... of wider groups, of each of a few channels: */
    SPREAD_PARTS = FC_REGISTERS == 32 ? 2 : 1,
    GRAD_ROW_TAPS = 4, /* of one row, in the weight gradient */
    GRAD_TAPS = FC_REGISTERS == 32 ? 4 : 3, /* of each of three rows there */
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

/* Adds what `taps` taps, w_tap apart, make of the columns from x on: output q meets column k
 * through tap s where k = q step + s. `checked`: only columns lo .. hi exist. */
FC_INLINE void multiply(vreal *acc, const char *x, const fc_size x_w, const stored *w,
                        const fc_size w_tap, const fc_size group, int *lo, int *hi,
                        const int columns, const int checked, const int mode, const int taps,
                        const int step, const int parts) {
    const char *const first = x;
    for (fc_size u = 0; u < group; u += parts) {
        vreal tap[MAX_TAPS][MAX_PARTS];
        vindex pick[MAX_PARTS] = {{0}};
        pickers(pick, mode, parts, group, u);
#pragma GCC unroll 8
        for (int s = 0; s < taps; s++)
#pragma GCC unroll 4
            for (int v = 0; v < parts; v++) tap[s][v] = v_load(w + s * w_tap + (u + v) * VL);
        x = first;
#pragma GCC unroll 40
        for (int k = 0; k < (columns - 1) * step + taps; k++, x += x_w) {
            FC_KEEP(x);
            if (checked) {
                FC_KEEP(*lo);
                FC_KEEP(*hi);
                if (k < *lo || k >= *hi) continue;
            }
#pragma GCC unroll 4
            for (int v = 0; v < parts; v++) {
                vreal xv = spread((const stored *)x, mode, pick[v], u + v);
                FC_KEEP_VECTOR(xv);
#pragma GCC unroll 8
                for (int s = 0; s < taps; s++)
                    if (k >= s && (k - s) % step == 0 && (k - s) / step < columns)
                        acc[(k - s) / step] = v_fma(xv, tap[s][v], acc[(k - s) / step]);
            }
        }
    }
}

FC_INLINE void begin(const fc_grouped *p, fc_size c, vreal *acc, const int columns) {
    const vreal bias = p->bias ? v_load((const stored *)p->bias + c) : v_zero();
#pragma GCC unroll 16
    for (int q = 0; q < columns; q++) acc[q] = bias;
}

/* The first n outputs, or all of them. */
FC_INLINE void finish(const fc_grouped *p, vreal *acc, char *out, fc_size out_w, fc_size n,
                      const int columns, const int checked) {
    if (p->relu) {
#pragma GCC unroll 16
        for (int q = 0; q < columns; q++) acc[q] = v_max(v_zero(), acc[q]);
    }
#pragma GCC unroll 16
    for (int q = 0; q < columns; q++, out += out_w)
        if (!checked || q < n) v_store((stored *)out, acc[q]);
}

/* Outputs j .. j + columns of a row, one vector of channels. `checked`: taps may leave the image,
 * and the row may have no more than `n` of these outputs. */
FC_INLINE void outputs(const fc_grouped *p, const char *const *lines, fc_size b, fc_size j,
                       fc_size n, char *out, const int columns, const int checked, const int mode,
                       const int taps, const int step, const int parts) {
    const fc_size c = first_channel(b, p->channels), group = mode == SAME ? 1 : p->group;
    const fc_size col = p->col0 + j * step, taps_h = p->taps_h, x_w = p->x_w;
    const stored *w = (const stored *)((const char *)p->w + b * p->w_block);
    const fc_size x_at =
        p->x_at + col * x_w + first_input(mode, c, group) * (fc_size)sizeof(stored);
    int lo = (int)fc_min(-col, 64), hi = (int)fc_min(p->width - col, 64);
    vreal acc[COLUMNS];
    begin(p, c, acc, columns);
    for (fc_size h = 0; h < taps_h; h++, w += taps * group * VL) {
        if (!lines[h]) continue;
        multiply(acc, lines[h] + x_at, x_w, w, group * VL, group, &lo, &hi, columns, checked, mode,
                 taps, step, parts);
    }
    finish(p, acc, out + j * p->out_w + c * (fc_size)sizeof(stored), p->out_w, n, columns,
           checked);
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

/* ---- any number of taps, any step, any dilation ----
 * Taps whose columns lie a multiple of the step apart are a class: to them, every step-th column is
 * the next one. Where the distance of such taps is not one of those columns but `apart`, every
 * apart-th output is the next one as well. A class is then a row of taps without step or dilation,
 * and is taken in blocks of a few taps, whose filters stay in registers. */

typedef struct {
    fc_size period; /* from tap to tap of a class */
    fc_size apart;  /* from one's column to the next one's, in steps */
} classes;

FC_INLINE classes find_classes(fc_size step, fc_size col_dx) {
    fc_size divisor = step, rest = col_dx;
    while (rest) {
        const fc_size next = divisor % rest;
        divisor = rest;
        rest = next;
    }
    const classes k = {step / divisor, col_dx / divisor};
    return k;
}

/* What outputs o, o + apart, ... see through the taps of a class, the first of which is tap r. */
typedef struct {
    fc_size x_at, first, width; /* column 0; what tap 0 of output 0 sees; columns that exist */
    fc_size taps;
} class_view;

#define FC_CLASS_VIEW(p, k, o, r)                                                 class_view_of((p)->x_at, (p)->x_w, (p)->width, (p)->taps_w, (k),                            (p)->col0 + (o) * (p)->step + (r) * (p)->col_dx, (k).apart * (p)->step, (r))

FC_INLINE class_view class_view_of(fc_size x_at, fc_size x_w, fc_size width, fc_size taps_w,
                                   classes k, fc_size first, fc_size every, fc_size r) {
    const fc_size rest = (first % every + every) % every;
    const class_view c = {x_at + rest * x_w, (first - rest) / every,
                          (width - rest + every - 1) / every,
                          (taps_w - r + k.period - 1) / k.period};
    return c;
}

/* Taps of the next block, of those that are left. */
FC_INLINE int block_of(fc_size left, const int most) {
    const fc_size blocks = (left + most - 1) / most;
    return (int)((left + blocks - 1) / blocks);
}

/* Outputs o, o + apart, ... of a row, from the j-th on, and no more than n; COLUMNS of them are all
 * inside. */
FC_INLINE void outputs_any(const fc_grouped *p, classes k, fc_size o, const char *const *lines,
                           fc_size b, fc_size j, fc_size n, char *out, const int columns,
                           const int mode, const int parts) {
    const fc_size c = first_channel(b, p->channels), group = mode == SAME ? 1 : p->group;
    const fc_size taps_h = p->taps_h, every = p->step * k.apart, x_w = every * p->x_w;
    const fc_size c_at = first_input(mode, c, group) * (fc_size)sizeof(stored);
    const fc_size tap = group * VL, w_tap = k.period * tap;
    const stored *w = (const stored *)((const char *)p->w + b * p->w_block);
    vreal acc[COLUMNS];
    begin(p, c, acc, columns);
    for (fc_size r = 0; r < fc_min(k.period, p->taps_w); r++) {
        const class_view view = FC_CLASS_VIEW(p, k, o, r);
        int taps;
        for (fc_size t = 0; t < view.taps; t += taps) {
            const fc_size col = view.first + j + t;
            taps = block_of(view.taps - t, mode == SAME ? BLOCK_TAPS : SPREAD_TAPS);
            int lo = (int)fc_min(-col, 64), hi = (int)fc_min(view.width - col, 64);
            if (lo >= columns - 1 + taps || hi <= 0) continue;
            const int inside = lo <= 0 && hi >= columns - 1 + taps;
            for (fc_size h = 0; h < taps_h; h++) {
                if (!lines[h]) continue;
                const char *x = lines[h] + view.x_at + col * x_w + c_at;
                const stored *wt = w + (h * p->taps_w + r + t * k.period) * tap;
#define FC_TAPS(taps, checked)                                                              \
    case taps:                                                                              \
        multiply(acc, x, x_w, wt, w_tap, group, &lo, &hi, columns, checked, mode, taps, 1, \
                 parts);                                                                     \
        break;
                if (mode != SAME)
                    switch (taps) { FC_TAPS(1, 1) FC_TAPS(2, 1) FC_TAPS(3, 1) }
                else if (columns == COLUMNS || inside)
                    switch (taps) { FC_TAPS(1, 0) FC_TAPS(2, 0) FC_TAPS(3, 0) FC_TAPS(4, 0) }
                else
                    switch (taps) { FC_TAPS(1, 1) FC_TAPS(2, 1) FC_TAPS(3, 1) FC_TAPS(4, 1) }
#undef FC_TAPS
            }
        }
    }
    finish(p, acc, out + (o + j * k.apart) * p->out_w + c * (fc_size)sizeof(stored),
           k.apart * p->out_w, n, columns, 1);
}

FC_INLINE void rows_any(const fc_grouped *p, const int mode, const int parts) {
    const fc_size blocks = (p->channels + VL - 1) / VL;
    const classes k = find_classes(p->step, p->col_dx);
    for (fc_size o = 0; o < fc_min(k.apart, p->out_width); o++) {
        const fc_size width = (p->out_width - o + k.apart - 1) / k.apart;
        for (fc_size b = 0; b < blocks; b++)
            for (fc_size j = 0, n, columns; (n = width - j) > 0; j += columns) {
                const fc_size first = p->col0 + (o + j * k.apart) * p->step;
                const fc_size last = first + (COLUMNS - 1) * k.apart * p->step;
                /* at the borders, fewer columns keep out of more taps' way */
                columns = mode == SAME && n >= COLUMNS && first >= 0 &&
                                  last + (p->taps_w - 1) * p->col_dx < p->width
                              ? COLUMNS
                              : FEW_COLUMNS;
                for (fc_size i = 0; i < p->count; i++) {
                    const char *const *lines = (const char *const *)p->rows + i * p->taps_h;
                    char *out = (char *)p->out + i * p->out_h;
                    if (columns == FEW_COLUMNS)
                        outputs_any(p, k, o, lines, b, j, n, out, FEW_COLUMNS, mode, parts);
                    else if (mode == SAME)
                        outputs_any(p, k, o, lines, b, j, n, out, COLUMNS, mode, parts);
                }
            }
    }
}

#define FC_ANY(any, p, mode)              \
    {                                     \
        if (mode == SAME)                 \
            any(p, SAME, 1);              \
        else if (mode == PICK)            \
            any(p, PICK, SPREAD_PARTS);   \
        else                              \
            any(p, EACH, SPREAD_PARTS);   \
    }

/* Geometries that networks have; each is code of its own, and much of it. Instruction sets of short
 * vectors and few registers, which only old processors are left with, have depthwise 3x3 alone. */
enum { HAS_CASES = FC_REGISTERS == 32 || VL * sizeof(stored) >= 32 };

/* Of float64, which networks are seldom run in, the commonest alone: the wheel is to be small. */
#define FC_HAS_CASE(taps, step) \
    (sizeof(stored) == 4 || taps == 3 || (step == 1 && (taps == 5 || taps == 7)))

#define FC_CASES_OF_ALL(X, mode, parts) \
    X(mode, 1, 1, parts) X(mode, 2, 1, parts) X(mode, 3, 1, parts) X(mode, 3, 2, parts)
#define FC_CASES_OF_SAME(X) X(SAME, 4, 1, 1) X(SAME, 5, 1, 1) X(SAME, 5, 2, 1) X(SAME, 7, 1, 1)
#define FC_ROWS_CASE(mode, taps, step_, parts)                       \
    if (FC_HAS_CASE(taps, step_) && p->taps_w == taps && p->step == step_) { \
        rows(p, mode, taps, step_, parts);                           \
        return 1;                                                    \
    }

static int rows_same(const fc_grouped *p) {
    FC_CASES_OF_ALL(FC_ROWS_CASE, SAME, 1)
    if (!HAS_CASES) return 0;
    FC_CASES_OF_SAME(FC_ROWS_CASE)
    return 0;
}

static int rows_pick(const fc_grouped *p) {
    if (!HAS_CASES || p->group % 4) return 0;
#if VL > 4
    FC_CASES_OF_ALL(FC_ROWS_CASE, PICK, KEPT_PARTS)
#endif
    return 0;
}

static int rows_each(const fc_grouped *p) {
    if (!HAS_CASES || p->group % 4) return 0;
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

static FC_NOINLINE void run_rows(const fc_grouped *p) {
    const int mode = mode_of(p->group);
    const fc_size d = interleaved(p->step, p->taps_w, p->col_dx);
    int done = d > 0;
    for (fc_size o = 0; done && o < fc_min(d, p->out_width); o++) {
        fc_grouped r = *p;
        if (d > 1) FC_TAKE_EVERY(r, p, d, o, out, out_w, out_width);
        done = mode == SAME ? rows_same(&r) : mode == PICK ? rows_pick(&r) : rows_each(&r);
    }
    if (!done) FC_ANY(rows_any, p, mode)
}

/* ---- two neighbours taken as one pixel of twice the channels ----
 * Where a pixel ends within a vector, the vector goes on with the next pixel. Outputs are then two
 * columns apart. Columns whose taps leave the image are left to edges. For the wheel's weight only
 * some kernels have this. */
enum { HAS_PAIRS = sizeof(stored) == 4 && VL >= 8 };

/* Outputs j .. end of all rows, one at a time. */
static FC_COLD void edges(const fc_grouped *p, fc_size j, fc_size end) {
    const int n = (int)p->channels;
    for (; j < end; j++) {
        const fc_size col = p->col0 + j, hi = fc_min(p->taps_w, p->width - col);
        const fc_size lo = col < 0 ? -col : 0;
        for (fc_size i = 0; i < p->count; i++) {
            const stored *w = p->w;
            vreal acc;
            begin(p, 0, &acc, 1);
            for (fc_size h = 0; h < p->taps_h; h++, w += p->taps_w * VL) {
                const char *x = p->rows[i * p->taps_h + h];
                for (fc_size s = lo; x && s < hi; s++)
                    acc = v_fma(v_load_n((const stored *)(x + (col + s) * p->x_w), n),
                                v_load(w + s * VL), acc);
            }
            if (p->relu) acc = v_max(v_zero(), acc);
            v_store_n((stored *)((char *)p->out + i * p->out_h + j * p->out_w), acc, n);
        }
    }
}

/* Outputs lo .. lo + 2 * pairs of a row see no border. */
FC_INLINE fc_size find_pairs(fc_size col0, fc_size width, fc_size taps, fc_size out_width,
                             fc_size *lo) {
    const fc_size hi = fc_min(out_width, width - taps + 1 - col0);
    *lo = fc_min(col0 < 0 ? -col0 : 0, out_width);
    return hi > *lo ? (hi - *lo) / 2 : 0;
}

static FC_COLD void grouped_pairs(const fc_grouped *p) {
    fc_grouped r = *p;
    fc_size lo;
    r.out_width = find_pairs(p->col0, p->width, p->taps_w, p->out_width, &lo);
    edges(p, 0, lo);
    edges(p, lo + 2 * r.out_width, p->out_width);
    r.channels = 2 * p->channels;
    r.step = 2;
    r.col0 += lo;
    r.width -= 1; /* the last column has no neighbour */
    r.out = (char *)p->out + lo * p->out_w;
    r.out_w = 2 * p->out_w;
    run_rows(&r);
}

void FC_NAME(grouped)(const fc_grouped *p) {
    if (HAS_PAIRS && p->paired)
        grouped_pairs(p);
    else
        run_rows(p);
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

/* Rows h0 .. h0 + lines of taps, `parts` channels of every group from u on; the sums' rows are dw_h
 * vectors apart, and a row's taps dw_w. */
FC_INLINE void add_rows(const fc_grouped_grad *p, fc_size h0, fc_size b, fc_size u, fc_size dw_h,
                        fc_size dw_w, const int mode, const int lines, const int taps,
                        const int step, const int parts) {
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
    stored *dw = (stored *)((char *)p->dw + b * p->dw_block) + (h0 * dw_h + u) * VL;
#pragma GCC unroll 3
    for (int h = 0; h < lines; h++)
#pragma GCC unroll 8
        for (int s = 0; s < taps; s++)
#pragma GCC unroll 4
            for (int v = 0; v < parts; v++) {
                stored *to = dw + (h * dw_h + s * dw_w + v) * VL;
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
                    add_rows(p, h, b, u, taps * p->group, p->group, mode, 3, taps, step, parts);
                    h += 3;
                } else if (h + 2 <= p->taps_h && 2 * taps * parts <= GRAD_SUMS) {
                    add_rows(p, h, b, u, taps * p->group, p->group, mode, 2, taps, step, parts);
                    h += 2;
                } else {
                    add_rows(p, h, b, u, taps * p->group, p->group, mode, 1, taps, step, parts);
                    h += 1;
                }
            }
}

/* A block of taps at a time, and of them as many rows as have room for their sums. */
FC_INLINE void grad_any(const fc_grouped_grad *p, const int mode, const int parts) {
    const fc_size blocks = (p->channels + VL - 1) / VL, group = mode == SAME ? 1 : p->group;
    const classes k = find_classes(p->step, p->col_dx);
    for (fc_size o = 0; o < fc_min(k.apart, p->dy_width); o++)
        for (fc_size r = 0; r < fc_min(k.period, p->taps_w); r++) {
            const class_view view = FC_CLASS_VIEW(p, k, o, r);
            fc_grouped_grad q = *p;
            q.x_at = view.x_at;
            q.x_w = p->x_w * p->step * k.apart;
            q.width = view.width;
            q.step = q.col_dx = 1;
            q.dy = (const char *)p->dy + o * p->dy_w;
            q.dy_w = p->dy_w * k.apart;
            q.dy_width = (p->dy_width - o + k.apart - 1) / k.apart;
            const int most = mode != SAME ? SPREAD_TAPS : p->taps_h < 3 ? GRAD_ROW_TAPS : GRAD_TAPS;
            for (fc_size t = 0, taps; t < view.taps; t += taps) {
                taps = block_of(view.taps - t, most);
                q.col0 = view.first + t;
                q.dw = (char *)p->dw + (r + t * k.period) * group * VL * (fc_size)sizeof(stored);
                for (fc_size b = 0; b < blocks; b++)
                    for (fc_size u = 0; u < group; u += parts)
                        for (fc_size h = 0, lines; h < p->taps_h; h += lines) {
                            lines = mode == SAME && taps <= GRAD_TAPS && h + 3 <= p->taps_h ? 3 : 1;
#define FC_LINES(lines, taps)                                                                  \
    case 4 * taps + lines:                                                                     \
        add_rows(&q, h, b, u, p->taps_w * group, k.period * group, mode, lines, taps, 1, parts); \
        break;
                            if (mode == SAME)
                                switch (4 * taps + lines) {
                                    FC_LINES(1, 1) FC_LINES(1, 2) FC_LINES(1, 3) FC_LINES(1, 4)
                                    FC_LINES(3, 1) FC_LINES(3, 2) FC_LINES(3, 3)
#if FC_REGISTERS == 32
                                    FC_LINES(3, 4)
#endif
                                }
                            else
                                switch (4 * taps + 1) {
                                    FC_LINES(1, 1) FC_LINES(1, 2) FC_LINES(1, 3)
                                }
#undef FC_LINES
                        }
            }
        }
}

#define FC_GRAD_CASE(mode, taps, step_, parts)                       \
    if (FC_HAS_CASE(taps, step_) && p->taps_w == taps && p->step == step_) { \
        grad(p, mode, taps, step_, parts);                           \
        return 1;                                                    \
    }

/* Whether to keep the sums in registers: not where every pixel is another line of the cache, and
 * reading it for one channel at a time would cost more than sums that come and go. Of
 * float64 they come and go. */
FC_INLINE int keep_sums(const fc_grouped_grad *p) {
    return sizeof(stored) == 4 && KEPT_PARTS < MAX_PARTS && p->x_w == VL * (fc_size)sizeof(stored);
}

static int grad_same(const fc_grouped_grad *p) {
    FC_GRAD_CASE(SAME, 3, 1, 1)
    FC_GRAD_CASE(SAME, 3, 2, 1)
    if (!HAS_CASES) return 0;
    FC_GRAD_CASE(SAME, 5, 1, 1)
    FC_GRAD_CASE(SAME, 7, 1, 1)
    FC_GRAD_CASE(SAME, 5, 2, 1)
    return 0;
}

static int grad_pick(const fc_grouped_grad *p) {
    if (!HAS_CASES || p->group % 4) return 0;
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
    if (!HAS_CASES || p->group % 4) return 0;
    if (keep_sums(p)) {
        FC_GRAD_CASE(EACH, 3, 1, KEPT_PARTS)
        FC_GRAD_CASE(EACH, 3, 2, KEPT_PARTS)
    }
    FC_GRAD_CASE(EACH, 3, 1, MAX_PARTS)
    FC_GRAD_CASE(EACH, 3, 2, MAX_PARTS)
    return 0;
}

static FC_NOINLINE void run_grad(const fc_grouped_grad *p) {
    const int mode = mode_of(p->group);
    const fc_size d = interleaved(p->step, p->taps_w, p->col_dx);
    int done = d > 0;
    for (fc_size o = 0; done && o < fc_min(d, p->dy_width); o++) {
        fc_grouped_grad r = *p;
        if (d > 1) FC_TAKE_EVERY(r, p, d, o, dy, dy_w, dy_width);
        done = mode == SAME ? grad_same(&r) : mode == PICK ? grad_pick(&r) : grad_each(&r);
    }
    if (!done) FC_ANY(grad_any, p, mode)
}

/* What outputs j .. end of all rows, one at a time, add to the first pixel's filters. */
static FC_COLD void grad_edges(const fc_grouped_grad *p, fc_size j, fc_size end) {
    const int n = (int)p->channels;
    for (; j < end; j++) {
        const fc_size col = p->col0 + j, hi = fc_min(p->taps_w, p->width - col);
        const fc_size lo = col < 0 ? -col : 0;
        for (fc_size i = 0; i < p->count; i++) {
            const char *dy = (const char *)p->dy + i * p->dy_h + j * p->dy_w;
            const vreal g = v_load_n((const stored *)dy, n);
            stored *dw = p->dw;
            for (fc_size h = 0; h < p->taps_h; h++, dw += p->taps_w * VL) {
                const char *x = p->rows[i * p->taps_h + h];
                for (fc_size s = lo; x && s < hi; s++) {
                    const vreal xv = v_load_n((const stored *)(x + (col + s) * p->x_w), n);
                    v_store(dw + s * VL, v_fma(xv, g, v_load(dw + s * VL)));
                }
            }
        }
    }
}

static FC_COLD void grad_pairs(const fc_grouped_grad *p) {
    fc_grouped_grad r = *p;
    fc_size lo;
    r.dy_width = find_pairs(p->col0, p->width, p->taps_w, p->dy_width, &lo);
    grad_edges(p, 0, lo);
    grad_edges(p, lo + 2 * r.dy_width, p->dy_width);
    r.channels = 2 * p->channels;
    r.step = 2;
    r.col0 += lo;
    r.width -= 1;
    r.dy = (const char *)p->dy + lo * p->dy_w;
    r.dy_w = 2 * p->dy_w;
    run_grad(&r);
}

void FC_NAME(grouped_weight)(const fc_grouped_grad *p) {
    if (HAS_PAIRS && p->paired)
        grad_pairs(p);
    else
        run_grad(p);
}
