/* Softmax and its logarithm, forward and backward, over one axis. Either the classes are contiguous
 * and vectors run along them, one position after the other; or the positions are, and vectors run
 * over a block of them, one class after the other. */
#include "kernels.h"
#include "vmath.h"

enum { BLOCK = 512 / sizeof(real) }; /* positions at a time */

/* ---- classes contiguous: n of them ---- */

/* NaN is passed over: its exponential makes the sum NaN */
static real row_max(const real *x, fc_size n) {
    real lane[VL], best;
    vreal v = v_set1(-(real)INFINITY);
    fc_size i = 0;
    for (; i + VL <= n; i += VL) v = v_max(v_load(x + i), v);
    v_store(lane, v);
    best = lane[0];
    for (int k = 1; k < VL; k++) best = lane[k] > best ? lane[k] : best;
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    return best;
}

static real row_sum(const real *x, fc_size n) {
    vreal s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();
    fc_size i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        s0 = v_add(s0, v_load(x + i));
        s1 = v_add(s1, v_load(x + i + VL));
        s2 = v_add(s2, v_load(x + i + 2 * VL));
        s3 = v_add(s3, v_load(x + i + 3 * VL));
    }
    for (; i + VL <= n; i += VL) s0 = v_add(s0, v_load(x + i));
    if (i < n) s1 = v_add(s1, v_load_n(x + i, (int)(n - i)));
    return v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));
}

static real row_dot(const real *x, const real *y, fc_size n) {
    vreal s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();
    fc_size i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        s0 = v_fma(v_load(x + i), v_load(y + i), s0);
        s1 = v_fma(v_load(x + i + VL), v_load(y + i + VL), s1);
        s2 = v_fma(v_load(x + i + 2 * VL), v_load(y + i + 2 * VL), s2);
        s3 = v_fma(v_load(x + i + 3 * VL), v_load(y + i + 3 * VL), s3);
    }
    for (; i + VL <= n; i += VL) s0 = v_fma(v_load(x + i), v_load(y + i), s0);
    if (i < n) {
        const int rest = (int)(n - i);
        s1 = v_fma(v_load_n(x + i, rest), v_load_n(y + i, rest), s1);
    }
    return v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));
}

static void row_forward(const real *FC_RESTRICT x, real *FC_RESTRICT y, fc_size n, int log) {
    const real max = row_max(x, n);
    for (fc_size i = 0; i < n; i++) y[i] = exp_of(x[i] - max);
    const real sum = row_sum(y, n);
    if (log) {
        const real log_sum = log_of(sum);
        for (fc_size i = 0; i < n; i++) y[i] = (x[i] - max) - log_sum;
    } else {
        const real scale = 1 / sum;
        for (fc_size i = 0; i < n; i++) y[i] *= scale;
    }
}

static void row_backward(const real *FC_RESTRICT g, const real *FC_RESTRICT y,
                         real *FC_RESTRICT dx, fc_size n, int log) {
    if (log) {
        const real sum = row_sum(g, n);
        for (fc_size i = 0; i < n; i++) dx[i] = g[i] - exp_of(y[i]) * sum;
    } else {
        const real dot = row_dot(g, y, n);
        for (fc_size i = 0; i < n; i++) dx[i] = y[i] * (g[i] - dot);
    }
}

/* ---- positions contiguous: n <= BLOCK of them, classes `step` elements apart ---- */

static void block_forward(const real *FC_RESTRICT x, real *FC_RESTRICT y, fc_size classes,
                          fc_size step, int n, int log) {
    real max[BLOCK], sum[BLOCK];
    for (int j = 0; j < n; j++) max[j] = x[j], sum[j] = 0;
    for (fc_size c = 1; c < classes; c++)
        for (int j = 0; j < n; j++)
            max[j] = x[c * step + j] > max[j] ? x[c * step + j] : max[j];
    for (fc_size c = 0; c < classes; c++)
        for (int j = 0; j < n; j++) {
            const real e = exp_of(x[c * step + j] - max[j]);
            if (!log) y[c * step + j] = e;
            sum[j] += e;
        }
    for (int j = 0; j < n; j++) sum[j] = log ? log_of(sum[j]) : 1 / sum[j];
    for (fc_size c = 0; c < classes; c++)
        for (int j = 0; j < n; j++)
            y[c * step + j] = log ? (x[c * step + j] - max[j]) - sum[j] : y[c * step + j] * sum[j];
}

static void block_backward(const real *FC_RESTRICT g, const real *FC_RESTRICT y,
                           real *FC_RESTRICT dx, fc_size classes, fc_size step, int n, int log) {
    real sum[BLOCK];
    for (int j = 0; j < n; j++) sum[j] = 0;
    for (fc_size c = 0; c < classes; c++)
        for (int j = 0; j < n; j++)
            sum[j] += log ? g[c * step + j] : g[c * step + j] * y[c * step + j];
    for (fc_size c = 0; c < classes; c++)
        for (int j = 0; j < n; j++) {
            const real gj = g[c * step + j], yj = y[c * step + j];
            dx[c * step + j] = log ? gj - exp_of(yj) * sum[j] : yj * (gj - sum[j]);
        }
}

#define AT(type, p, i) ((type *)((char *)(p) + (i) * s->position_stride))

void FC_NAME(softmax)(const fc_softmax *s) {
    if (s->class_stride == sizeof(real)) {
        for (fc_size i = 0; i < s->positions; i++)
            row_forward(AT(const real, s->x, i), AT(real, s->out, i), s->classes, s->log);
        return;
    }
    for (fc_size i = 0; i < s->positions; i += BLOCK) {
        const int n = s->positions - i < BLOCK ? (int)(s->positions - i) : BLOCK;
        block_forward(AT(const real, s->x, i), AT(real, s->out, i), s->classes,
                      s->class_stride / (fc_size)sizeof(real), n, s->log);
    }
}

void FC_NAME(softmax_backward)(const fc_softmax *s) {
    if (s->class_stride == sizeof(real)) {
        for (fc_size i = 0; i < s->positions; i++)
            row_backward(AT(const real, s->g, i), AT(const real, s->x, i), AT(real, s->out, i),
                         s->classes, s->log);
        return;
    }
    for (fc_size i = 0; i < s->positions; i += BLOCK) {
        const int n = s->positions - i < BLOCK ? (int)(s->positions - i) : BLOCK;
        block_backward(AT(const real, s->g, i), AT(const real, s->x, i), AT(real, s->out, i),
                       s->classes, s->class_stride / (fc_size)sizeof(real), n, s->log);
    }
}
