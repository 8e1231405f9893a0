# What _kernels/kernels.h declares: pointers are to float or double as the table says, and every
# stride is in bytes.
from libc.stdint cimport int64_t

cdef extern from "kernels.h" nogil:
    ctypedef Py_ssize_t fc_size

    enum:
        FC_FLOAT32
        FC_FLOAT64

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
        fc_size a_prefetch, b_prefetch, c_prefetch

    ctypedef struct fc_outer:
        const void **a
        const void **b
        fc_size a_from, b_from
        fc_size a_prefetch, b_prefetch
        fc_size a_m, a_k
        fc_size b_k
        void *panel
        bint packed
        fc_size segments, len
        void *c
        fc_size c_m
        int m, n
        bint accumulate

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
        fc_size x_at, x_w, width
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
        bint log

    ctypedef struct fc_cross_entropy:
        fc_softmax logits
        const int64_t *labels
        int64_t ignore
        const void *weight
        const void *scale
        bint one_scale
        double total, weights

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

    ctypedef struct fc_norm:
        const void *x
        const void *g
        void *out
        fc_size lines, len, stride
        bint crossing
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
        fc_size x_i, x_j, x_next, x_prefetch
        void *y
        fc_size y_i, y_j, y_next
        fc_size count
        const void *bias
        bint relu, stream

    ctypedef struct fc_winograd:
        int tile
        void (*input)(const fc_grids *) noexcept nogil
        void (*filter)(const fc_grids *) noexcept nogil
        void (*output)(const fc_grids *) noexcept nogil
        void (*gradient)(const fc_grids *) noexcept nogil
        void (*weight)(const fc_grids *) noexcept nogil

    ctypedef struct fc_kernels:
        const char *isa
        int dtype, itemsize, lanes, mr, nr
        void (*tile)(const fc_tile *) noexcept nogil
        void (*outer)(const fc_outer *) noexcept nogil
        void (*copy2d)(void *, fc_size, fc_size, const void *, fc_size, fc_size,
                       fc_size, fc_size) noexcept nogil
        void (*stream2d)(void *, fc_size, fc_size, const void *, fc_size, fc_size,
                         fc_size, fc_size) noexcept nogil
        void (*pack_filters)(void *, const void *, fc_size, fc_size, fc_size, fc_size,
                             fc_size, fc_size, fc_size, fc_size, fc_size) noexcept nogil
        void (*unpack_filters)(void *, fc_size, const void *, fc_size, fc_size, fc_size,
                               fc_size) noexcept nogil
        void (*dots)(const fc_dots *) noexcept nogil
        void (*grouped)(const fc_grouped *) noexcept nogil
        void (*grouped_weight)(const fc_grouped_grad *) noexcept nogil
        void (*max_fold)(void *, void *, const void *, fc_size, fc_size, fc_size, fc_size,
                         fc_size) noexcept nogil
        void (*max_slide)(const fc_pool_slide *) noexcept nogil
        void (*add_fold)(void *, const void *, fc_size, fc_size, fc_size, int) noexcept nogil
        void (*mean_slide)(const fc_pool_slide *) noexcept nogil
        void (*mean_spread)(const fc_pool_slide *) noexcept nogil
        void (*plane_maxima)(void *, fc_size, const void *, fc_size, fc_size,
                             fc_size) noexcept nogil
        void (*plane_means)(void *, fc_size, const void *, fc_size, fc_size, fc_size,
                            double) noexcept nogil
        void (*plane_fills)(void *, fc_size, const void *, fc_size, fc_size, fc_size,
                            double) noexcept nogil
        void (*max_windows)(const fc_pool_windows *) noexcept nogil
        void (*mean_windows)(const fc_pool_windows *) noexcept nogil
        int (*max_scatter)(const fc_max_scatter *) noexcept nogil
        int (*max_tiles)(const fc_max_tiles *) noexcept nogil
        const fc_winograd *winograd
        void (*sgd)(const fc_sgd *) noexcept nogil
        void (*adam)(const fc_adam *) noexcept nogil
        const fc_activation *activations
        void (*add)(const void *, const void *, void *, fc_size, int) noexcept nogil
        void (*softmax)(const fc_softmax *) noexcept nogil
        void (*softmax_backward)(const fc_softmax *) noexcept nogil
        int (*cross_entropy)(fc_cross_entropy *) noexcept nogil
        int (*cross_entropy_backward)(const fc_cross_entropy *) noexcept nogil
        double (*squared_error)(const void *, const void *, void *, fc_size) noexcept nogil
        double (*logistic_loss)(const void *, const void *, const void *, void *,
                                fc_size) noexcept nogil
        void (*squared_error_backward)(const void *, const void *, void *, fc_size,
                                       double) noexcept nogil
        double (*logistic_loss_backward)(const void *, const void *, const void *, void *,
                                         fc_size, double) noexcept nogil
        void (*column_sums)(double *, const void *, fc_size, fc_size, fc_size) noexcept nogil
        void (*norm_moments)(const fc_norm *) noexcept nogil
        void (*norm_apply)(const fc_norm *) noexcept nogil
        void (*norm_gradient_sums)(const fc_norm *) noexcept nogil
        void (*norm_gradient)(const fc_norm *) noexcept nogil

    int fc_select(const char *isa)
    const fc_kernels *fc_table(int dtype)
