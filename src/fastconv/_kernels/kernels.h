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

/* ---- register tile: c[m][n] = act(bias[n] or c[m][n], plus sum over segments and k of a * b) ---- */

enum { FC_TILE_ACCUMULATE = 1, FC_TILE_RELU = 2, FC_TILE_BIAS_PER_ROW = 4 };

typedef struct {
    /* [segments][m]: start of each row's run of `len` elements; where rows are adjacent elements,
     * [segments]: start of the first row's */
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
} fc_tile;

/* ---- depthwise: one output row, every channel its own filter ---- */

typedef struct {
    const void *const *rows; /* [taps_h]: input row of each filter row, or NULL outside the image */
    fc_size taps_h, taps_w;
    fc_size x_w;                /* input stride */
    fc_size width;              /* columns of the input */
    fc_size col0, step, col_dx; /* output j, tap s reads column col0 + j * step + s * col_dx */
    const void *w;              /* [taps_h][taps_w][channels] */
    const void *bias;           /* [channels] or NULL */
    void *out;
    fc_size out_w, out_width;
    fc_size channels;
    int relu;
} fc_depthwise_row;

/* A plane as one long row: out[p] = act(bias + sum over taps of w[t] * x[p + at[t]]) for p < n.
 * Whole vectors are read and written beyond n: both buffers have room. */
typedef struct {
    const void *x;
    const fc_size *at; /* [taps], in elements */
    fc_size taps;
    const void *w; /* [taps] */
    void *out;
    fc_size n;
    double bias;
    int relu;
} fc_depthwise_flat;

/* Its weight gradient, row by row: what lies between rows must not count. */
typedef struct {
    const void *x;
    const fc_size *at;
    fc_size taps;
    void *dw; /* [taps], added to */
    const void *dy;
    fc_size rows, width;
    fc_size x_row, dy_row; /* bytes */
} fc_depthwise_flat_grad;

typedef struct {
    const void *x; /* input row that filter row meets */
    fc_size x_w, width;
    const void *dy; /* output-gradient row */
    fc_size dy_w, dy_width;
    fc_size col0, step, col_dx, taps_w; /* as above */
    void *dw;                           /* [taps_w][channels], added to */
    fc_size channels;
} fc_depthwise_weight_row;

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
} fc_norm;

typedef struct fc_kernels {
    const char *isa;
    int itemsize;
    int lanes; /* elements of a vector */
    int mr, nr; /* largest register tile */

    void (*tile)(const fc_tile *);
    void (*tile_adjacent)(const fc_tile *);

    /* dst[i][j] = src[i][j], any strides */
    void (*copy2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i, fc_size s_j,
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

    /* channels contiguous */
    void (*depthwise_row_nhwc)(const fc_depthwise_row *);
    void (*depthwise_weight_row_nhwc)(const fc_depthwise_weight_row *);
    void (*depthwise_flat)(const fc_depthwise_flat *);
    void (*depthwise_flat_weight)(const fc_depthwise_flat_grad *);

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
    /* of contiguous planes of n elements: out = sum / divisor; and back, every x = out / divisor */
    void (*plane_means)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                        fc_size n, double divisor);
    void (*plane_fills)(void *x, fc_size x_c, const void *out, fc_size out_c, fc_size planes,
                        fc_size n, double divisor);
    /* dx[index] += dy; pixels are x_pixel, y_pixel, idx_pixel elements apart. Index -1 stands for no
     * element; -1 is returned when one lies outside the plane. */
    int (*max_scatter)(void *dx, const void *dy, const int64_t *indices, fc_size pixels,
                       fc_size inner, fc_size x_pixel, fc_size y_pixel, fc_size idx_pixel,
                       fc_size plane);

    const fc_activation *activations; /* [FC_ACTIVATIONS] */
    void (*softmax)(const fc_softmax *);
    void (*softmax_backward)(const fc_softmax *);

    /* first, second: mean less shift, and sum of squares about the mean, joined by this tile's;
     * shift is any value of the channel */
    void (*norm_moments)(const fc_norm *);
    /* out = (x - shift) scale + offset */
    void (*norm_apply)(const fc_norm *);
    /* first += sum of g, second += sum of g (x - shift) */
    void (*norm_gradient_sums)(const fc_norm *);
    /* out = g scale + ((x - shift) slope + offset) */
    void (*norm_gradient)(const fc_norm *);
} fc_kernels;

/* The tables for float and double: the best this processor has, or the one asked for by name.
 * Returns 0; -1 when `isa` is unknown, -2 when this build or processor lacks it. NULL: the best. */
int fc_select(const char *isa);
const fc_kernels *fc_table_f32(void);
const fc_kernels *fc_table_f64(void);

#endif
