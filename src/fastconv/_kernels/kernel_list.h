/* Every kernel, once. What a row says becomes the field of the table (kernels.h), the declaration
 * that the definition in its k_*.c is held to (simd.h), the entry of every instruction set's table
 * (k_table.c), and the declaration for Cython (codegen/kernels.py).
 *
 *   FC_KERNEL(result, name, (parameters))   a function: FC_NAME(name) in some k_*.c
 *   FC_SUBTABLE(type, name, count)          an array of structs of functions: FC_NAME(name) too
 *
 * Whoever includes this file defines both; they are undefined at its end. */

/* ---- matrix products (k_tile.c, k_pixels.c, k_outer.c, k_dots.c) ---- */

FC_KERNEL(void, tile, (const fc_tile *tile))
FC_KERNEL(void, pixels, (const fc_pixels *pixels))
FC_KERNEL(void, outer, (const fc_outer *tile))
FC_KERNEL(void, dots, (const fc_dots *rows))

/* ---- copies that rearrange (k_pack.c) ---- */

/* dst[i][j] = src[i][j], any strides */
FC_KERNEL(void, copy2d, (void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i,
                         fc_size s_j, fc_size rows, fc_size cols))
/* copy2d for what the caches could not keep: where it transposes, whole lines are written past
 * them. fc_fence comes before others read dst. */
FC_KERNEL(void, stream2d, (void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i,
                           fc_size s_j, fc_size rows, fc_size cols))
/* filters [n][channels][taps_h][taps_w] of any strides to [taps_h][taps_w][channels][nr], zero
 * beyond n; or, of one row of taps that lie side by side, tap t is number slots[t] there */
FC_KERNEL(void, pack_filters, (void *dst, const void *src, fc_size n, fc_size channels,
                               fc_size taps_h, fc_size taps_w, fc_size s_n, fc_size s_c,
                               fc_size s_h, fc_size s_w, fc_size nr, const fc_size *slots))
/* [taps][channels] rows of n filters (whole vectors readable), s_row apart, to
 * [n][channels][taps], the taps of a channel contiguous */
FC_KERNEL(void, unpack_filters, (void *dst, fc_size d_n, fc_size d_c, const void *src,
                                 fc_size s_row, fc_size n, fc_size channels, fc_size taps))

/* ---- convolution in narrow groups (k_grouped.c) ---- */

FC_KERNEL(void, grouped, (const fc_grouped *rows))
FC_KERNEL(void, grouped_weight, (const fc_grouped_grad *rows))

/* ---- convolution of planes (k_planes.c) ---- */

FC_KERNEL(void, planes, (const fc_planes *rows))
FC_KERNEL(void, planes_weight, (const fc_planes_grad *rows))

/* ---- Winograd's transforms (k_winograd.c) ---- */

/* tiles of 4 x 4 and of 2 x 2 */
FC_SUBTABLE(fc_winograd, winograd, 3)

/* ---- sums that any driver may ask for (k_sums.c) ---- */

/* sum[i] (from zero if first) += the sum over `count` rows of n elements, `next` bytes apart */
FC_KERNEL(void, add_fold, (void *sum, const void *rows, fc_size next, fc_size n, fc_size count,
                           int first))
/* dst[i][j] += src[i][j], any strides. Where one of dst's is 0 and there is much to sum, its partial
 * sums are short, and added in double. */
FC_KERNEL(void, add2d, (void *dst, fc_size d_i, fc_size d_j, const void *src, fc_size s_i,
                        fc_size s_j, fc_size rows, fc_size cols))
/* sum[channels] += every line of channels */
FC_KERNEL(void, column_sums, (double *sum, const void *x, fc_size x_line, fc_size lines,
                              fc_size channels))

/* ---- pooling by rows (k_pool_rows.c) ---- */

/* best[i] = the maximum over rows h, h + step, ... < end of n elements, `next` bytes apart, and of
 * best[i] unless it is the first; at[i] (unless NULL) the row it was in, in integers of real_size
 */
FC_KERNEL(void, max_fold, (void *best, void *at, const void *rows, fc_size next, fc_size n,
                           fc_size h, fc_size end, fc_size step, int first))
FC_KERNEL(void, max_slide, (const fc_pool_slide *row))
FC_KERNEL(void, mean_slide, (const fc_pool_slide *row))
/* both at once, in the same order, for some rows of outputs: what is folded stays in registers */
FC_KERNEL(void, max_few_taps, (const fc_pool_few_taps *windows))
FC_KERNEL(void, mean_few_taps, (const fc_pool_few_taps *windows))
/* backward: `row` from `out` (k_pool_spread.c). Where taps is not 0, columns are single, and window
 * j is the `taps` columns from lo + j * stride on, as far as they exist; scratch then has room for
 * out_width + 2 width + 4 taps + (6 stride + 4) lanes reals. */
FC_KERNEL(void, mean_spread, (const fc_pool_slide *row))

/* ---- pooling of whole planes, of n contiguous elements each (k_pool_planes.c) ---- */

/* out = the maximum of a plane */
FC_KERNEL(void, plane_maxima, (void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                               fc_size n))
/* out = the sum of a plane / divisor */
FC_KERNEL(void, plane_means, (void *out, fc_size out_c, const void *x, fc_size x_c, fc_size planes,
                              fc_size n, double divisor))
/* backward: every x of a plane = out / divisor */
FC_KERNEL(void, plane_fills, (void *x, fc_size x_c, const void *out, fc_size out_c, fc_size planes,
                              fc_size n, double divisor))

/* ---- pooling window by window, channels contiguous (k_pool_windows.c) ---- */

FC_KERNEL(void, max_windows, (const fc_pool_windows *row))
FC_KERNEL(void, mean_windows, (const fc_pool_windows *row))

/* ---- the gradient of maxima (k_pool_scatter.c) ---- */

/* -1 when an index lies outside the plane */
FC_KERNEL(int, max_scatter, (fc_max_scatter *planes))
/* the other way: dy from dx */
FC_KERNEL(int, max_gather, (fc_max_scatter *planes))
/* -1 when an index lies outside its window */
FC_KERNEL(int, max_tiles, (const fc_max_tiles *row))
/* the same of rows of one channel, fewer than 2^24 outputs */
FC_KERNEL(int, max_row_tiles, (const fc_max_tiles *row))

/* ---- steps of the optimisers (k_update.c) ---- */

FC_KERNEL(void, sgd, (const fc_sgd *step))
FC_KERNEL(void, adam, (const fc_adam *step))

/* ---- activations, and sums of two arrays (k_activation.c) ---- */

FC_SUBTABLE(fc_activation, activations, FC_ACTIVATIONS)
/* out = a + b, or of that what is positive; out overlaps neither */
FC_KERNEL(void, add, (const void *a, const void *b, void *out, fc_size n, int relu))

/* ---- softmax and cross-entropy (k_softmax.c) ---- */

FC_KERNEL(void, softmax, (const fc_softmax *block))
FC_KERNEL(void, softmax_backward, (const fc_softmax *block))
/* -1 when a label is no class */
FC_KERNEL(int, cross_entropy, (fc_cross_entropy *block))
/* -1 when a label is no class */
FC_KERNEL(int, cross_entropy_backward, (const fc_cross_entropy *block))

/* ---- losses of n single elements (k_loss.c) ---- */

/* returns the sum of (x - t)^2; each goes to `losses` unless that is NULL */
FC_KERNEL(double, squared_error, (const void *x, const void *t, void *losses, fc_size n))
/* dx = 2 scale (x - t) */
FC_KERNEL(void, squared_error_backward, (const void *x, const void *t, void *dx, fc_size n,
                                         double scale))
/* returns the sum of -yes log sigmoid(x) - no log sigmoid(-x); each goes to `losses` unless that is
 * NULL. A `no` of NULL stands for 1 - yes. */
FC_KERNEL(double, logistic_loss, (const void *x, const void *yes, const void *no, void *losses,
                                  fc_size n))
/* dx = scale (no sigmoid(x) - yes sigmoid(-x)); returns the sum of `yes`, for its NaN */
FC_KERNEL(double, logistic_loss_backward, (const void *x, const void *yes, const void *no, void *dx,
                                           fc_size n, double scale))

/* ---- batch normalisation (k_norm.c) ---- */

/* first, second: mean less shift, and sum of squares about the mean, joined by this tile's; shift
 * is any value of the channel */
FC_KERNEL(void, norm_moments, (const fc_norm *tile))
/* out = (x - shift) scale + offset, or what is positive of it */
FC_KERNEL(void, norm_apply, (const fc_norm *tile))
/* first += sum of g, second += sum of g (x - shift) */
FC_KERNEL(void, norm_gradient_sums, (const fc_norm *tile))
/* out = g scale + ((x - shift) slope + offset) */
FC_KERNEL(void, norm_gradient, (const fc_norm *tile))

#undef FC_KERNEL
#undef FC_SUBTABLE
