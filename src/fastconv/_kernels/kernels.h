/* The kernel table: what the drivers can call, whatever the instruction set.
 *
 * One table per (instruction set, dtype). Elements are float or double according to the table, so
 * pointers are void and every stride is in BYTES: a driver is written once for both dtypes.
 * table.c picks at import; drivers never see an instruction set.
 */
#ifndef FASTCONV_KERNELS_H
#define FASTCONV_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef ptrdiff_t fc_size;

/* the types of elements */
enum { FC_FLOAT32, FC_FLOAT64, FC_DTYPES };

/* What v_stream stored comes before what this thread stores next. */
#if defined(__SSE__) || defined(_M_X64)
#include <xmmintrin.h>
#define fc_fence() _mm_sfence()
#else
#define fc_fence() (void)0
#endif

/* ---- register tile: c[m][n] = act(sum over segments and k of a * b, plus bias[n] or c[m][n]) ---- */

enum { FC_TILE_ACCUMULATE = 1, FC_TILE_RELU = 2, FC_TILE_BIAS_PER_ROW = 4 };

typedef struct {
    /* [segments][m]: start of each row's run of `len` elements */
    const void *const *a;
    fc_size a_k;          /* from one element of a run to the next */
    const void *b;        /* [segments][len][n], unless */
    const void *const *b_at; /* where each segment of b starts is given here */
    fc_size b_k, b_segment;
    fc_size segments, len;
    const void *bias; /* [n], or [m] with FC_TILE_BIAS_PER_ROW, or NULL; unused when accumulating */
    void *c;          /* [m][n] */
    fc_size c_m;
    int m, n;  /* 1 <= m <= mr, 1 <= n <= nr */
    int flags; /* FC_TILE_... */
    fc_size a_prefetch, c_prefetch; /* fetched meanwhile: what lies so far beyond rows of a and c, unless 0 */
    fc_size b_prefetch;          /* and beyond columns, where it should be memory of ours */
} fc_tile;

/* ---- outer products: c[m][n] (added to, or written) = sum over segments and k of
 * a[row * a_m + k * a_k] * b[k * b_k + column] ---- */

typedef struct {
    const void *const *a, *const *b; /* [segments]: starts of runs of `len` outer products, */
    fc_size a_from, b_from;          /* and how far beyond them the first row and column lie */
    fc_size a_prefetch, b_prefetch;        /* prefetched for every k: what lies so far beyond it */
    fc_size a_m, a_k;                /* from one row and one k to the next */
    fc_size b_k;                     /* columns are contiguous */
    void *panel; /* unless NULL, [every k of all segments][nr]: columns are written there as well */
    int packed;  /* or, nonzero, read from there instead of b */
    fc_size segments, len;
    void *c;
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
 * vector's length and `group` divides the other. Filters and their gradient lie in blocks of a vector
 * of outputs, [blocks][taps_h][taps_w][group][lanes]; where blocks do not divide the channels (at
 * least a vector of them), the last one ends with the last channel. */

typedef struct {
    const void *const *rows; /* [count][taps_h]: input row under each row of taps, NULL outside */
    fc_size count;           /* of output rows */
    fc_size taps_h, taps_w;
    fc_size x_at;               /* where column 0 is in an input row, in bytes */
    fc_size x_w, width;         /* bytes from column to column; columns that exist */
    fc_size col0, step, col_dx; /* output j, tap s reads column col0 + j * step + s * col_dx */
    const void *w;
    const void *bias; /* [channels] or NULL */
    void *out;
    fc_size out_h, out_w, out_width;
    fc_size channels, group;
    int relu;
} fc_grouped;

typedef struct {
    const void *const *rows; /* as above */
    fc_size count;
    fc_size taps_h, taps_w;
    fc_size x_at, x_w, width;
    fc_size col0, step, col_dx;
    const void *dy; /* rows of the output's gradient */
    fc_size dy_h, dy_w, dy_width;
    void *dw;         /* added to; a block's part: [taps_h][taps_w][group][lanes] */
    fc_size dw_block; /* bytes from one block to the next */
    fc_size channels, group;
} fc_grouped_grad;

/* ---- pooling: windows slide along one row, [width][inner], already folded over their rows ---- */

typedef struct {
    void *row;           /* [width][inner] */
    const void *at;      /* max with indices: the image row each element of `row` came from */
    void *out;           /* [out_width][inner] */
    int64_t *indices;    /* [out_width][inner], or NULL */
    void *scratch;       /* 2 * max(inner, out_width) elements */
    const fc_size *start, *end; /* [out_width]: each window's columns */
    fc_size step;        /* dilation */
    const double *divisor; /* mean: [out_width] */
    fc_size width, out_width, inner;
    fc_size lo, hi, stride, taps; /* outputs [lo, hi) have whole windows, evenly spaced */
} fc_pool_slide;

/* The windows of one output row, every pixel's channels contiguous; other strides in bytes. */
typedef struct {
    const char *x; /* column 0 of the windows' first row; NULL where they have none */
    fc_size x_h, x_w; /* from one of their rows to the next, from one pixel to the next */
    fc_size rows, channels, out_width;
    const fc_size *start, *end; /* [out_width]: columns of each window */
    fc_size step;               /* dilation */
    char *out, *indices;        /* indices: of int64_t, or NULL */
    fc_size out_w, indices_w;
    fc_size index, index_h; /* of the first row's column 0, and between rows; a window's span fits
                             * the integer of real's width */
    const double *divisor;  /* mean: [out_width] */
} fc_pool_windows;

/* dx[index] += dy over planes of an image; strides in elements */
typedef struct {
    void *dx;
    const void *dy;
    const int64_t *indices; /* -1 for no element */
    fc_size planes, pixels; /* of dy */
    fc_size x_c, y_c, i_c, x_pixel, y_pixel, i_pixel;
    fc_size plane; /* pixels of dx */
} fc_max_scatter;

/* The same of one row of windows that lie side by side: dx is written, not added to. Every pixel's
 * channels are contiguous; other strides in bytes. */
typedef struct {
    char *dx;
    const char *dy, *indices;
    fc_size dx_h, dx_w, dy_w, indices_w;
    fc_size out_width, channels;
    fc_size rows, cols;     /* of a window */
    fc_size index, index_h; /* of the first window's first pixel, and between rows; indices are
                             * integers that real can tell apart */
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
    fc_softmax logits;     /* x; forward, out is [positions] losses or NULL; backward, the gradient */
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
    const void *shift, *scale, *offset, *slope; /* [channels]; sums: [len] when crossing, or [1] */
    double *first, *second;       /* sums: [len] when crossing, or [1] */
    double count;                 /* moments: elements that first and second stand for */
    int relu;     /* norm_apply: only what is positive */
} fc_norm;

/* ---- Winograd's transforms: grids of vectors, multiplied by a matrix from both sides ---- */

typedef struct {
    const void *x; /* grids of n x n vectors; rows, columns and the next grid are so far apart: */
    fc_size x_i, x_j, x_next;
    fc_size x_prefetch; /* of input tiles and gradients: what lies so far beyond is fetched meanwhile */
    void *y; /* grids of m x m vectors */
    fc_size y_i, y_j, y_next;
    fc_size count;    /* of grids */
    const void *bias; /* one vector, added to the outputs, or NULL */
    int relu;
    int stream; /* outputs go past the caches: y and its strides are whole lines */
} fc_grids;

/* For output tiles of tile x tile, input tiles and points of (tile + 2) x (tile + 2): */
typedef struct {
    int tile;
    void (*input)(const fc_grids *);    /* B^T d B: input tiles to points */
    void (*filter)(const fc_grids *);   /* G g G^T: 3 x 3 taps to points */
    void (*output)(const fc_grids *);   /* A^T m A: points to output tiles */
    void (*gradient)(const fc_grids *); /* A y A^T: tiles of the output's gradient to points */
    void (*weight)(const fc_grids *);   /* G^T m G: points to 3 x 3 taps */
} fc_winograd;

typedef struct fc_kernels {
    const char *isa;
    int dtype, itemsize;
    int lanes; /* elements of a vector */
    int mr, nr; /* largest register tile */

    void (*tile)(const fc_tile *);
    void (*outer)(const fc_outer *);

    /* dst[i][j] = src[i][j], any strides */
    void (*copy2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i, fc_size s_j,
                   fc_size rows, fc_size cols);
    /* the same past the caches, as far as whole lines are written by turning: for what they could
     * not keep; fc_fence comes before others read it */
    void (*stream2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i, fc_size s_j,
                     fc_size rows, fc_size cols);
    /* filters [n][channels][taps_h][taps_w] of any strides to [taps_h][taps_w][channels][nr],
     * zero beyond n */
    void (*pack_filters)(void *dst, const void *src, fc_size n, fc_size channels, fc_size taps_h,
                         fc_size taps_w, fc_size s_n, fc_size s_c, fc_size s_h, fc_size s_w,
                         fc_size nr);

    /* the way back: [taps][channels] rows of n filters (whole vectors readable) to
     * [n][channels][taps], contiguous but for d_n */
    void (*unpack_filters)(void *dst, fc_size d_n, const void *src, fc_size s_row, fc_size n,
                           fc_size channels, fc_size taps);

    void (*dots)(const fc_dots *);
    void (*grouped)(const fc_grouped *);
    void (*grouped_weight)(const fc_grouped_grad *);

    /* best[i] = the maximum over rows h, h + step, ... < end, `next` bytes apart; at[i] (unless NULL)
     * the row it was in */
    void (*max_fold)(void *best, void *at, const void *rows, fc_size next, fc_size n, fc_size h,
                     fc_size end, fc_size step);
    void (*max_slide)(const fc_pool_slide *);
    /* sum[i] (from zero if first) += the sum over `count` rows, `next` bytes apart */
    void (*add_fold)(void *sum, const void *rows, fc_size next, fc_size n, fc_size count,
                     int first);
    void (*mean_slide)(const fc_pool_slide *);
    void (*mean_spread)(const fc_pool_slide *); /* backward: row from out */
    /* of contiguous planes of n elements: out = maximum; out = sum / divisor; and back, every
     * x = out / divisor */
    void (*plane_maxima)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                         fc_size n);
    void (*plane_means)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                        fc_size n, double divisor);
    void (*plane_fills)(void *x, fc_size x_c, const void *out, fc_size out_c, fc_size planes,
                        fc_size n, double divisor);
    void (*max_windows)(const fc_pool_windows *);
    void (*mean_windows)(const fc_pool_windows *);
    /* -1 when an index lies outside the plane */
    int (*max_scatter)(const fc_max_scatter *);
    /* -1 when an index lies outside its window */
    int (*max_tiles)(const fc_max_tiles *);

    const fc_winograd *winograd; /* [2]: tiles of 4 x 4 and of 2 x 2 */
    void (*sgd)(const fc_sgd *);
    void (*adam)(const fc_adam *);

    const fc_activation *activations; /* [FC_ACTIVATIONS] */
    /* out = a + b, or of that what is positive; out overlaps neither */
    void (*add)(const void *a, const void *b, void *out, fc_size n, int relu);
    void (*softmax)(const fc_softmax *);
    void (*softmax_backward)(const fc_softmax *);
    /* -1 when a label is no class */
    int (*cross_entropy)(fc_cross_entropy *);
    int (*cross_entropy_backward)(const fc_cross_entropy *);

    /* of n elements, the sum; each goes to `losses` unless that is NULL */
    double (*squared_error)(const void *x, const void *t, void *losses, fc_size n);
    /* yes weighs -log sigmoid(x), `no` -log sigmoid(-x); NULL stands for 1 - yes */
    double (*logistic_loss)(const void *x, const void *yes, const void *no, void *losses,
                            fc_size n);
    void (*squared_error_backward)(const void *x, const void *t, void *dx, fc_size n,
                                   double scale);
    /* returns the sum of `yes`, for its NaN */
    double (*logistic_loss_backward)(const void *x, const void *yes, const void *no, void *dx,
                                     fc_size n, double scale);

    /* sum[channels] += every line of channels */
    void (*column_sums)(double *sum, const void *x, fc_size x_line, fc_size lines,
                        fc_size channels);
    /* first, second: mean less shift, and sum of squares about the mean, joined by this tile's;
     * shift is any value of the channel */
    void (*norm_moments)(const fc_norm *);
    /* out = (x - shift) scale + offset, or what is positive of it */
    void (*norm_apply)(const fc_norm *);
    /* first += sum of g, second += sum of g (x - shift) */
    void (*norm_gradient_sums)(const fc_norm *);
    /* out = g scale + ((x - shift) slope + offset) */
    void (*norm_gradient)(const fc_norm *);
} fc_kernels;

/* The tables for float and double: the best this processor has, or the one asked for by name.
 * Returns 0; -1 when `isa` is unknown, -2 when this build or processor lacks it. NULL: the best. */
int fc_select(const char *isa);
const fc_kernels *fc_table(int dtype);

#endif
