/* The kernel table: what the drivers can call, whatever the instruction set.
 *
 * One table per (instruction set, dtype); kernel_list.h has its rows, and this file the structs
 * that they take. Elements are of the table's dtype, so pointers are void and every stride is in
 * BYTES: a driver is written once for all dtypes. Where `reals` are spoken of, memory of ours holds
 * numbers as kernels compute with them, of real_size. table.c picks at import; drivers never see an
 * instruction set. codegen/kernels.py makes Cython's _drivers/kernels.pxd of it.
 */
#ifndef FASTCONV_KERNELS_H
#define FASTCONV_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "dtypes.h"
#if defined(__SSE__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

typedef ptrdiff_t fc_size;

/* the types of elements */
#define FC_CODE(with, code, name, stored, real, bits) code,
enum { FC_DTYPE_LIST(FC_CODE, _) FC_DTYPES };

/* What v_stream stored comes before what this thread stores next. */
static inline void fc_fence(void) {
#if defined(__SSE__) || defined(_M_X64)
    _mm_sfence();
#endif
}

/* ---- register tile: c[m][n] = act(sum over segments and k of a * b + bias[n] or c[m][n]) ---- */

enum { FC_TILE_ACCUMULATE = 1, FC_TILE_RELU = 2, FC_TILE_BIAS_PER_ROW = 4 };

typedef struct {
    const void *const *a; /* [segments][m]: start of each row's run of `len` elements */
    fc_size a_k;          /* from one element of a run to the next */
    const void *b;        /* [segments][len][n]; not read where b_at is given */
    const void *const *b_at; /* [segments]: start of each segment of b, wherever it lies; or NULL */
    fc_size b_k, b_segment;  /* from row to row of a segment, from segment to segment */
    fc_size segments, len;
    const void *bias; /* [n], or [m] with FC_TILE_BIAS_PER_ROW, or NULL; unused when accumulating */
    void *c;          /* [m][n], columns contiguous */
    fc_size c_m;
    int m, n;  /* 1 <= m <= mr, 1 <= n <= nr */
    int flags; /* FC_TILE_... */
    fc_size a_prefetch; /* what lies so far beyond the rows of a is prefetched, unless 0 */
    fc_size b_prefetch; /* what lies so far beyond every row of b is prefetched: memory of ours */
    fc_size c_prefetch; /* what lies so far beyond c is prefetched for writing, unless 0 */
} fc_tile;

/* ---- pixels that lie a fixed distance apart, and all filters, a pixel's outputs contiguous:
 * y[m][n] = act(sum over segments and k of x[m][segment][k] * w[segment][k][n] + bias[n]) ---- */

typedef struct {
    const void *x;   /* runs of `len` contiguous elements */
    fc_size x_m, x_segment; /* from pixel to pixel, from run to run of a pixel */
    const void *w;   /* panels of [segments][len][nr], zero beyond the last filter */
    fc_size w_panel; /* from panel to panel */
    fc_size segments, len;
    const void *bias; /* [n], readable up to whole panels */
    void *y;
    fc_size y_m; /* from pixel to pixel */
    fc_size m, n;
    int relu;
} fc_pixels;

/* ---- outer products: c[m][n] (added to, or written) = sum over segments and k of
 * a[row * a_m + k * a_k] * b[k * b_k + column] ---- */

typedef struct {
    const void *const *a; /* [segments]: start of a run of `len` columns of m elements */
    const void *const *b; /* [segments]: start of a run of `len` rows of n elements */
    fc_size a_from, b_from; /* how far beyond those starts the tile's first element lies */
    fc_size a_prefetch, b_prefetch; /* fetched for every k: what lies so far beyond a[s] + k a_k */
    fc_size a_m, a_k;       /* from one element of a column to the next, from one k to the next */
    fc_size b_k;            /* from one k to the next; the elements of a row are contiguous */
    void *panel; /* NULL, or [every k of all segments][nr]: rows of b, copied or already there */
    int packed;  /* whether rows are read from the panel; else they are written there too */
    fc_size segments, len;
    void *c; /* [m][n], columns contiguous */
    fc_size c_m;
    int m, n; /* 1 <= m <= mr, 1 <= n <= nr */
    int accumulate;
} fc_outer;

/* ---- dot products: c[j] += sum over k of a[k] b[j][k] ---- */

typedef struct {
    const void *a; /* [k] */
    const void *b; /* [n][k] */
    fc_size b_n;   /* bytes from one row to the next */
    void *c;       /* [n] */
    fc_size n, k;
} fc_dots;

/* ---- groups no wider than a vector or so: rows of outputs, channels contiguous ----
 * As many outputs as inputs to a group of `group` channels: 1 is depthwise; otherwise one of the
 * vector's length and `group` divides the other. Filters and their gradient lie in blocks of a
 * vector of outputs, each [taps_h][taps_w][group][lanes]; where blocks do not divide the
 * channels (at least a vector of them), the last one ends with the last channel.
 * `paired`: depthwise, of pixels without gaps, x_at 0, step and col_dx 1, half a vector of channels
 * and more, but less than a vector. Filters, their gradient and the bias are those of two pixels'
 * channels, one after the other. */

typedef struct {
    const void *const *rows; /* [count][taps_h]: input row under each row of taps, NULL outside */
    fc_size count;           /* of output rows */
    fc_size taps_h, taps_w;
    fc_size x_at;               /* where column 0 is in an input row, in bytes */
    fc_size x_w, width;         /* bytes from column to column; columns that exist */
    fc_size col0, step, col_dx; /* output j, tap s reads column col0 + j * step + s * col_dx */
    const void *w;
    fc_size w_block;  /* bytes from one block to the next */
    const void *bias; /* [channels] or NULL */
    void *out;
    fc_size out_h, out_w, out_width;
    fc_size channels, group;
    int relu;
    int paired;
} fc_grouped;

typedef struct {
    const void *const *rows; /* up to col_dx, as in fc_grouped */
    fc_size count;
    fc_size taps_h, taps_w;
    fc_size x_at, x_w, width;
    fc_size col0, step, col_dx;
    const void *dy; /* rows of the output's gradient */
    fc_size dy_h, dy_w, dy_width;
    void *dw;         /* added to; a block's part: [taps_h][taps_w][group][lanes] */
    fc_size dw_block; /* bytes from one block to the next */
    fc_size channels, group;
    int paired;
} fc_grouped_grad;

/* ---- planes: filters slide over planes, pixels contiguous ---- */

enum {
    FC_PLANES_ROWS = 6,       /* of outputs, or of taps in the weight gradient, at a time */
    FC_INTERLEAVED_ROWS = 4, /* of outputs, of interleaved channels */
};

/* `count` taps and the pixels that output rows lo .. hi (both included) of a tile see through them:
 * row a multiplies each pixel with the element a before the tap. */
typedef struct {
    fc_size x, x_s; /* where the first tap's pixel lies, from the tile's; from pixel to pixel */
    fc_size w, w_s; /* where the first tap lies, from fc_planes.w; from tap to tap */
    fc_size count;
    int lo, hi;
} fc_planes_run;

/* out[i][j] = act(the sum of all runs of row i's tile + bias or out[i][j]). As many pixels as a
 * strip of vectors has can be read beyond the last column. */
typedef struct {
    const fc_planes_run *runs;
    fc_size count;
    const void *x;
    fc_size x_row; /* from what an output row reads to what the next one does */
    const void *w;
    void *out;
    fc_size out_row, rows, cols;
    const void *bias; /* one element, or NULL */
    int accumulate, relu;
    /* Where rows hold the pixels of several channels, each of which has a filter of its own, a tap
     * is a vector and so is the bias. Vectors of a row have the channels of the phases-th one
     * before, and filters lie w_phase bytes apart. Else 0: only vectors of 8 floats and more have it.
     */
    fc_size phases, w_phase;
} fc_planes;

/* A row of input pixels, and the row of the output's gradient that meets it through row 0 of taps;
 * rows lo .. hi (both included) of taps meet the rows above that one. */
typedef struct {
    fc_size x, dy; /* from fc_planes_grad.x and .dy */
    int lo, hi;
} fc_planes_grad_run;

/* dw[s][t] += the sum over all runs, for columns s and rows t of taps */
typedef struct {
    const fc_planes_grad_run *runs;
    fc_size count;
    const void *x;
    fc_size x_s, taps; /* from tap to tap; columns of taps */
    const void *dy;
    fc_size dy_row, cols;
    void *dw; /* reals: [taps][FC_PLANES_ROWS] */
} fc_planes_grad;

/* ---- pooling: windows slide along one row, [width][inner], already folded over their rows ---- */

typedef struct {
    void *row;           /* [width][inner] */
    const void *at;      /* max with indices: the image row each element of `row` came from, in
                          * integers of real_size; else NULL */
    void *out;           /* [out_width][inner] */
    int64_t *indices;    /* [out_width][inner], or NULL */
    void *scratch;       /* 2 * max(inner, out_width) reals */
    const fc_size *start, *end; /* [out_width]: each window's columns */
    fc_size step;        /* dilation */
    const double *divisor; /* mean: [out_width] */
    fc_size width, out_width, inner;
    fc_size row_number; /* max with indices: the image row that `row` is, where `at` is NULL */
    fc_size lo, hi, stride, taps; /* outputs [lo, hi) have whole windows, evenly spaced */
} fc_pool_slide;

/* Windows of few taps, all of them inside a plane whose rows are contiguous; strides in bytes. */
typedef struct {
    const char *x;
    fc_size x_h, x_r; /* from window to window below; from row to row of a window */
    char *out;
    fc_size out_h, out_height, out_width;
    fc_size rows, taps, step, stride; /* of a window; along a row, in elements: stride 1 or 2 */
    double divisor;                   /* mean */
} fc_pool_few_taps;

/* The windows of one output row, every pixel's channels contiguous; other strides in bytes. */
typedef struct {
    const char *x; /* column 0 of the windows' first row; NULL where they have none */
    fc_size x_d, x_h, x_w; /* from one of their slices, rows, pixels to the next */
    fc_size slices, rows, channels, out_width;
    const fc_size *start, *end; /* [out_width]: columns of each window */
    fc_size step;               /* dilation */
    char *out, *indices;        /* indices: of int64_t, or NULL */
    fc_size out_w, indices_w;
    fc_size index, index_d, index_h; /* of the first row's column 0, between slices, between rows;
                                      * a window's span fits an integer of real_size */
    const double *divisor;  /* mean: [out_width] */
} fc_pool_windows;

/* dx[index] += dy over planes of an image, or = dy; strides in elements */
typedef struct {
    void *dx;
    const void *dy;
    const int64_t *indices; /* -1 for no element */
    fc_size planes, pixels; /* of dy */
    fc_size x_c, y_c, i_c, x_pixel, y_pixel, i_pixel;
    fc_size plane;   /* pixels of dx */
    fc_size cleared; /* so many of them hold what they should, zeros at first; it grows with the
                      * indices. Less than all only for one plane, or channels that lie together */
    int assign;    /* the last dy of an index takes its place, instead of being added */
} fc_max_scatter;

/* The gradient of maxima over windows that lie side by side: dx is written, not added to. Of one row
 * of them, where every pixel's channels are contiguous; or of some rows of one channel, where their
 * pixels are. Other strides in bytes. */
typedef struct {
    char *dx;
    const char *dy, *indices;
    fc_size dx_d, dx_h, dx_w, dy_w, indices_w;
    fc_size out_width, channels;
    fc_size out_height, dy_h, indices_h; /* along rows */
    fc_size slices, rows, cols;          /* of a window; along rows cols <= lanes */
    fc_size index, index_d, index_h; /* of the first window's first pixel, between slices, between
                                      * rows; indices are integers that real can tell apart */
} fc_max_tiles;

/* ---- steps of the optimisers: n contiguous elements, in place ---- */

/* step = grad + weight_decay data, and with a velocity
 * velocity = momentum velocity + one_minus_dampening step, which is the step then, or, where
 * `nesterov` is not 0, step + nesterov velocity is; data -= lr step */
typedef struct {
    void *data;
    const void *grad;
    void *velocity; /* or NULL */
    fc_size n;
    double lr, weight_decay, momentum, one_minus_dampening, nesterov;
} fc_sgd;

/* data *= decay_factor; grad += weight_decay data; mean and square move by 1 - beta1 and 1 - beta2;
 * data -= step_size mean / (sqrt(square) / bias_correction2_sqrt + eps) */
typedef struct {
    void *data;
    const void *grad;
    void *mean, *square; /* running, of the gradient and of its square */
    fc_size n;
    double decay_factor, weight_decay, beta1, beta2, step_size, bias_correction2_sqrt, eps;
} fc_adam;

/* ---- activations: n contiguous elements; out overlaps neither input ---- */

enum {
    FC_RELU,
    FC_LEAKY_RELU,
    FC_SIGMOID,
    FC_TANH,
    FC_SILU,
    FC_GELU,
    FC_GELU_TANH,
    FC_SOFTPLUS,
    FC_ACTIVATIONS
};

/* `saved` is the output for sigmoid and tanh, the input for the others; `param` is leaky ReLU's
 * slope, unused by the others */
typedef struct {
    void (*forward)(const void *x, void *y, fc_size n, double param);
    void (*backward)(const void *g, const void *saved, void *dx, fc_size n, double param);
} fc_activation;

/* ---- softmax: positions x classes, strides in bytes; one of the two strides is itemsize ---- */

typedef struct {
    const void *x; /* the input; backward, the output */
    const void *g; /* backward: the output's gradient */
    void *out;     /* overlaps neither */
    fc_size positions, classes;
    fc_size position_stride, class_stride; /* of all three */
    int log;                               /* log-softmax */
} fc_softmax;

/* ---- cross-entropy with labels ---- */

typedef struct {
    fc_softmax logits;     /* x; out: forward, [positions] losses or NULL; backward, the gradient */
    const int64_t *labels; /* [positions] */
    int64_t ignore;        /* the label of positions that do not count */
    const void *weight;    /* [classes], or NULL for ones */
    const void *scale;     /* backward: [positions], or one for all of them */
    int one_scale;
    double total, weights; /* forward: losses and weights are added to these */
} fc_cross_entropy;

/* ---- batch normalisation: lines of contiguous elements ----
 * A line crosses all channels (len = channels), or lies in one. Lines that lie in one channel are
 * all of the same channel for the sums, and of consecutive channels for the maps. */

typedef struct {
    const void *x;
    const void *g; /* gradient of the output; as x */
    void *out;     /* overlaps neither; as x */
    fc_size lines, len, stride;
    int crossing;
    fc_size channel, channels;    /* maps: of the first line, after the last of which comes 0 */
    const void *shift, *scale; /* reals: [channels]; sums: [len] when crossing, or [1] */
    const void *offset, *slope; /* reals: [channels] */
    double *first, *second;       /* sums: [len] when crossing, or [1] */
    double count;                 /* moments: elements that first and second stand for */
    int relu;     /* norm_apply: only what is positive */
} fc_norm;

/* ---- Winograd's transforms: grids of vectors, multiplied by a matrix from both sides,
 * and lines of vectors, multiplied from one ---- */

typedef struct {
    const void *x; /* grids of n x n vectors, or lines of n, which have no use for x_i and y_i */
    fc_size x_i, x_j, x_next; /* from row to row, column to column, grid to grid */
    fc_size x_prefetch; /* of input tiles and gradients: what lies so far beyond is prefetched */
    void *y; /* grids of m x m vectors, or lines of m */
    fc_size y_i, y_j, y_next;
    fc_size count;    /* of grids */
    const void *bias; /* one vector, added to the outputs, or NULL */
    int relu;
    int stream; /* outputs go past the caches: y and its strides are whole lines */
} fc_grids;

/* For output tiles of tile x tile, input tiles and points of (tile + 2) x (tile + 2); or, of one
 * axis, for lines of tile, tile + 2 and 3: */
typedef struct {
    int tile;
    int axes;
    void (*input)(const fc_grids *);    /* B^T d B: input tiles to points */
    void (*filter)(const fc_grids *);   /* G g G^T: 3 x 3 taps to points */
    void (*output)(const fc_grids *);   /* A^T m A: points to output tiles */
    void (*gradient)(const fc_grids *); /* A y A^T: tiles of the output's gradient to points */
    void (*weight)(const fc_grids *);   /* G^T m G: points to 3 x 3 taps */
} fc_winograd;

typedef struct fc_kernels {
    const char *isa;
    int dtype;
    int itemsize;  /* bytes of an element */
    int real_size; /* bytes of a real */
    int lanes;     /* reals of a vector */
    int mr, nr; /* largest register tile */
#define FC_KERNEL(result, name, parameters) result(*name) parameters;
#define FC_SUBTABLE(type, name, count) const type *name;
#include "kernel_list.h"
} fc_kernels;

/* The instruction sets of this machine's kind, best first; NULL for an i beyond the last. */
const char *fc_isa_name(int i);
/* Whether this build and this processor have instruction set i. */
int fc_isa_is_available(int i);
/* Take the tables of instruction set i, which is available. */
void fc_select(int i);
/* The table of a dtype, of the instruction set taken last. */
const fc_kernels *fc_table(int dtype);

#endif
