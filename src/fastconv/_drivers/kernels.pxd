# Made by codegen/kernels.py from _kernels/kernels.h and the lists it includes: edit those.
# They say what every field means; pointers are to float or double as the table says, and strides
# are in bytes.
from libc.stdint cimport int64_t

cdef extern from "kernels.h" nogil:
    ctypedef Py_ssize_t fc_size

    enum:
        FC_FLOAT32
        FC_FLOAT64
        FC_DTYPES

    void fc_fence()

    enum:
        FC_TILE_ACCUMULATE
        FC_TILE_RELU
        FC_TILE_BIAS_PER_ROW

    ctypedef struct fc_tile:
        const void **a
        fc_size a_k
        const void *b
        const void **b_at
        fc_size b_k, b_segment
        fc_size segments, len
        const void *bias
        void *c
        fc_size c_m
        int m, n
        int flags
        fc_size a_prefetch
        fc_size b_prefetch
        fc_size c_prefetch

    ctypedef struct fc_outer:
        const void **a
        const void **b
        fc_size a_from, b_from
        fc_size a_prefetch, b_prefetch
        fc_size a_m, a_k
        fc_size b_k
        void *panel
        int packed
        fc_size segments, len
        void *c
        fc_size c_m
        int m, n
        int accumulate

    ctypedef struct fc_dots:
        const void *a
        const void *b
        fc_size b_n
        void *c
        fc_size n, k

    ctypedef struct fc_grouped:
        const void **rows
        fc_size count
        fc_size taps_h, taps_w
        fc_size x_at
        fc_size x_w, width
        fc_size col0, step, col_dx
        const void *w
        const void *bias
        void *out
        fc_size out_h, out_w, out_width
        fc_size channels, group
        int relu

    ctypedef struct fc_grouped_grad:
        const void **rows
        fc_size count
        fc_size taps_h, taps_w
        fc_size x_at, x_w, width
        fc_size col0, step, col_dx
        const void *dy
        fc_size dy_h, dy_w, dy_width
        void *dw
        fc_size dw_block
        fc_size channels, group

    ctypedef struct fc_pool_slide:
        void *row
        const void *at
        void *out
        int64_t *indices
        void *scratch
        const fc_size *start
        const fc_size *end
        fc_size step
        const double *divisor
        fc_size width, out_width, inner
        fc_size lo, hi, stride, taps

    ctypedef struct fc_pool_windows:
        const char *x
        fc_size x_h, x_w
        fc_size rows, channels, out_width
        const fc_size *start
        const fc_size *end
        fc_size step
        char *out
        char *indices
        fc_size out_w, indices_w
        fc_size index, index_h
        const double *divisor

    ctypedef struct fc_max_scatter:
        void *dx
        const void *dy
        const int64_t *indices
        fc_size planes, pixels
        fc_size x_c, y_c, i_c, x_pixel, y_pixel, i_pixel
        fc_size plane

    ctypedef struct fc_max_tiles:
        char *dx
        const char *dy
        const char *indices
        fc_size dx_h, dx_w, dy_w, indices_w
        fc_size out_width, channels
        fc_size rows, cols
        fc_size index, index_h

    ctypedef struct fc_sgd:
        void *data
        const void *grad
        void *velocity
        fc_size n
        double lr, weight_decay, momentum, one_minus_dampening, nesterov

    ctypedef struct fc_adam:
        void *data
        const void *grad
        void *mean
        void *square
        fc_size n
        double decay_factor, weight_decay, beta1, beta2, step_size, bias_correction2_sqrt, eps

    enum:
        FC_RELU
        FC_LEAKY_RELU
        FC_SIGMOID
        FC_TANH
        FC_SILU
        FC_GELU
        FC_GELU_TANH
        FC_SOFTPLUS
        FC_ACTIVATIONS

    ctypedef struct fc_activation:
        void (*forward)(const void *x, void *y, fc_size n, double param) noexcept nogil
        void (*backward)(const void *g, const void *saved, void *dx, fc_size n,
                         double param) noexcept nogil

    ctypedef struct fc_softmax:
        const void *x
        const void *g
        void *out
        fc_size positions, classes
        fc_size position_stride, class_stride
        int log

    ctypedef struct fc_cross_entropy:
        fc_softmax logits
        const int64_t *labels
        int64_t ignore
        const void *weight
        const void *scale
        int one_scale
        double total, weights

    ctypedef struct fc_norm:
        const void *x
        const void *g
        void *out
        fc_size lines, len, stride
        int crossing
        fc_size channel, channels
        const void *shift
        const void *scale
        const void *offset
        const void *slope
        double *first
        double *second
        double count
        int relu

    ctypedef struct fc_grids:
        const void *x
        fc_size x_i, x_j, x_next
        fc_size x_prefetch
        void *y
        fc_size y_i, y_j, y_next
        fc_size count
        const void *bias
        int relu
        int stream

    ctypedef struct fc_winograd:
        int tile
        void (*input)(const fc_grids *) noexcept nogil
        void (*filter)(const fc_grids *) noexcept nogil
        void (*output)(const fc_grids *) noexcept nogil
        void (*gradient)(const fc_grids *) noexcept nogil
        void (*weight)(const fc_grids *) noexcept nogil

    ctypedef struct fc_kernels:
        const char *isa
        int dtype
        int itemsize
        int real_size
        int lanes
        int mr, nr
        void (*tile)(const fc_tile *tile) noexcept nogil
        void (*outer)(const fc_outer *tile) noexcept nogil
        void (*dots)(const fc_dots *rows) noexcept nogil
        void (*copy2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i,
                       fc_size s_j, fc_size rows, fc_size cols) noexcept nogil
        void (*stream2d)(void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i,
                         fc_size s_j, fc_size rows, fc_size cols) noexcept nogil
        void (*pack_filters)(void *dst, const void *src, fc_size n, fc_size channels,
                             fc_size taps_h, fc_size taps_w, fc_size s_n, fc_size s_c, fc_size s_h,
                             fc_size s_w, fc_size nr) noexcept nogil
        void (*unpack_filters)(void *dst, fc_size d_n, const void *src, fc_size s_row, fc_size n,
                               fc_size channels, fc_size taps) noexcept nogil
        void (*grouped)(const fc_grouped *rows) noexcept nogil
        void (*grouped_weight)(const fc_grouped_grad *rows) noexcept nogil
        const fc_winograd *winograd
        void (*add_fold)(void *sum, const void *rows, fc_size next, fc_size n, fc_size count,
                         int first) noexcept nogil
        void (*column_sums)(double *sum, const void *x, fc_size x_line, fc_size lines,
                            fc_size channels) noexcept nogil
        void (*max_fold)(void *best, void *at, const void *rows, fc_size next, fc_size n, fc_size h,
                         fc_size end, fc_size step) noexcept nogil
        void (*max_slide)(const fc_pool_slide *row) noexcept nogil
        void (*mean_slide)(const fc_pool_slide *row) noexcept nogil
        void (*mean_spread)(const fc_pool_slide *row) noexcept nogil
        void (*plane_maxima)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                             fc_size n) noexcept nogil
        void (*plane_means)(void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                            fc_size n, double divisor) noexcept nogil
        void (*plane_fills)(void *x, fc_size x_c, const void *out, fc_size out_c, fc_size planes,
                            fc_size n, double divisor) noexcept nogil
        void (*max_windows)(const fc_pool_windows *row) noexcept nogil
        void (*mean_windows)(const fc_pool_windows *row) noexcept nogil
        int (*max_scatter)(const fc_max_scatter *planes) noexcept nogil
        int (*max_tiles)(const fc_max_tiles *row) noexcept nogil
        void (*sgd)(const fc_sgd *step) noexcept nogil
        void (*adam)(const fc_adam *step) noexcept nogil
        const fc_activation *activations
        void (*add)(const void *a, const void *b, void *out, fc_size n, int relu) noexcept nogil
        void (*softmax)(const fc_softmax *block) noexcept nogil
        void (*softmax_backward)(const fc_softmax *block) noexcept nogil
        int (*cross_entropy)(fc_cross_entropy *block) noexcept nogil
        int (*cross_entropy_backward)(const fc_cross_entropy *block) noexcept nogil
        double (*squared_error)(const void *x, const void *t, void *losses,
                                fc_size n) noexcept nogil
        void (*squared_error_backward)(const void *x, const void *t, void *dx, fc_size n,
                                       double scale) noexcept nogil
        double (*logistic_loss)(const void *x, const void *yes, const void *no, void *losses,
                                fc_size n) noexcept nogil
        double (*logistic_loss_backward)(const void *x, const void *yes, const void *no, void *dx,
                                         fc_size n, double scale) noexcept nogil
        void (*norm_moments)(const fc_norm *tile) noexcept nogil
        void (*norm_apply)(const fc_norm *tile) noexcept nogil
        void (*norm_gradient_sums)(const fc_norm *tile) noexcept nogil
        void (*norm_gradient)(const fc_norm *tile) noexcept nogil

    const char *fc_isa_name(int i)

    int fc_isa_is_available(int i)

    void fc_select(int i)

    const fc_kernels *fc_table(int dtype)
