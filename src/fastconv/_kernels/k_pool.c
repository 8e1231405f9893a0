/* Pooling, one output row at a time, every window already clipped to the image. */
#include <math.h>

#include "simd.h"
#include "kernels.h"

enum { CHANNELS = 64 }; /* channels kept on the stack at a time when they are contiguous */

FC_INLINE const char *pixel(const fc_pool_row *p, fc_size h, fc_size w) {
    return (const char *)p->x + h * p->x_h + w * p->x_w;
}

/* The rule of every framework: a larger value or a NaN takes over, so NaN wins and ties keep the
 * first. */
FC_INLINE int takes_over(real v, real best) { return v > best || v != v; }

/* The first element of output j's window, or -1: dilated windows can step over the whole image. */
FC_INLINE fc_size first_element(const fc_pool_row *p, fc_size j) {
    const int empty = p->h_start >= p->h_end || p->w_start[j] >= p->w_end[j];
    return empty ? -1 : p->h_start * p->width + p->w_start[j];
}

static void max_channels(const fc_pool_row *p, fc_size c0, int n, fc_size j) {
    real best[CHANNELS];
    intreal at[CHANNELS];
    const fc_size w0 = p->w_start[j], w1 = p->w_end[j];
    const intreal first = (intreal)first_element(p, j);
    for (int c = 0; c < n; c++) best[c] = -(real)INFINITY, at[c] = first;
    for (fc_size h = p->h_start; h < p->h_end; h += p->h_step)
        for (fc_size w = w0; w < w1; w += p->w_step) {
            const real *FC_RESTRICT x = (const real *)pixel(p, h, w) + c0;
            const intreal here = (intreal)(h * p->width + w);
            for (int c = 0; c < n; c++) {
                const real v = x[c];
                const int take = (v > best[c]) | (v != v);
                best[c] = take ? v : best[c];
                at[c] = take ? here : at[c];
            }
        }
    real *out = (real *)((char *)p->out + j * p->out_w) + c0;
    for (int c = 0; c < n; c++) out[c] = best[c];
    if (p->indices) {
        int64_t *idx = (int64_t *)((char *)p->indices + j * p->idx_w) + c0;
        for (int c = 0; c < n; c++) idx[c] = at[c];
    }
}

void FC_NAME(max_pool_row)(const fc_pool_row *p) {
    if (p->x_c == sizeof(real) && p->out_c == sizeof(real) &&
        (!p->indices || p->idx_c == sizeof(int64_t)) && p->plane == (fc_size)(intreal)p->plane) {
        for (fc_size j = 0; j < p->out_width; j++)
            for (fc_size c = 0; c < p->channels; c += CHANNELS)
                max_channels(p, c, p->channels - c < CHANNELS ? (int)(p->channels - c) : CHANNELS,
                             j);
        return;
    }
    for (fc_size c = 0; c < p->channels; c++)
        for (fc_size j = 0; j < p->out_width; j++) {
            fc_size at = first_element(p, j);
            real best = -(real)INFINITY;
            for (fc_size h = p->h_start; h < p->h_end; h += p->h_step)
                for (fc_size w = p->w_start[j]; w < p->w_end[j]; w += p->w_step) {
                    const real v = *(const real *)(pixel(p, h, w) + c * p->x_c);
                    if (takes_over(v, best)) best = v, at = h * p->width + w;
                }
            *(real *)((char *)p->out + c * p->out_c + j * p->out_w) = best;
            if (p->indices)
                *(int64_t *)((char *)p->indices + c * p->idx_c + j * p->idx_w) = at;
        }
}

int FC_NAME(max_pool_row_backward)(const fc_pool_row *p) {
    int status = 0;
    for (fc_size j = 0; j < p->out_width; j++)
        for (fc_size c = 0; c < p->channels; c++) {
            const fc_size at = *(const int64_t *)((const char *)p->indices + c * p->idx_c +
                                                  j * p->idx_w);
            if (at < 0 || at >= p->plane) {
                if (at != -1) status = -1;
                continue;
            }
            char *x = (char *)pixel(p, at / p->width, at % p->width) + c * p->x_c;
            *(real *)x += *(const real *)((const char *)p->out + c * p->out_c + j * p->out_w);
        }
    return status;
}

void FC_NAME(avg_pool_row)(const fc_pool_row *p) {
    for (fc_size j = 0; j < p->out_width; j++) {
        const real divisor = (real)p->divisor[j];
        if (p->x_c == sizeof(real) && p->out_c == sizeof(real)) {
            for (fc_size c0 = 0; c0 < p->channels; c0 += CHANNELS) {
                const int n = p->channels - c0 < CHANNELS ? (int)(p->channels - c0) : CHANNELS;
                real sum[CHANNELS] = {0};
                for (fc_size h = p->h_start; h < p->h_end; h++)
                    for (fc_size w = p->w_start[j]; w < p->w_end[j]; w++) {
                        const real *FC_RESTRICT x = (const real *)pixel(p, h, w) + c0;
                        for (int c = 0; c < n; c++) sum[c] += x[c];
                    }
                real *out = (real *)((char *)p->out + j * p->out_w) + c0;
                for (int c = 0; c < n; c++) out[c] = sum[c] / divisor;
            }
        } else {
            for (fc_size c = 0; c < p->channels; c++) {
                real sum = 0;
                for (fc_size h = p->h_start; h < p->h_end; h++) {
                    real row = 0; /* a sum per row: short chains, and less rounding on big windows */
                    for (fc_size w = p->w_start[j]; w < p->w_end[j]; w++)
                        row += *(const real *)(pixel(p, h, w) + c * p->x_c);
                    sum += row;
                }
                *(real *)((char *)p->out + c * p->out_c + j * p->out_w) = sum / divisor;
            }
        }
    }
}

void FC_NAME(avg_pool_row_backward)(const fc_pool_row *p) {
    const int contiguous = p->x_c == sizeof(real) && p->out_c == sizeof(real);
    for (fc_size j = 0; j < p->out_width; j++) {
        const real divisor = (real)p->divisor[j];
        const char *dy = (const char *)p->out + j * p->out_w;
        for (fc_size h = p->h_start; h < p->h_end; h++)
            for (fc_size w = p->w_start[j]; w < p->w_end[j]; w++) {
                char *x = (char *)pixel(p, h, w);
                if (contiguous) {
                    real *FC_RESTRICT to = (real *)x;
                    const real *FC_RESTRICT from = (const real *)dy;
                    for (fc_size c = 0; c < p->channels; c++) to[c] += from[c] / divisor;
                } else {
                    for (fc_size c = 0; c < p->channels; c++)
                        *(real *)(x + c * p->x_c) += *(const real *)(dy + c * p->out_c) / divisor;
                }
            }
    }
}
