/* Softmax and its logarithm, forward and backward, over one axis. Either the classes are contiguous
 * and vectors run along them, one position after the other; or the positions are, and vectors run
 * over a block of them, one class after the other. */
#include <math.h>

#include "kernels.h"
#include "vmath.h"

enum { BLOCK = 8 * VL }; /* positions at a time */

/* The vector at p of a run that ends after n > 0 more elements; past the end, zeros. */
FC_INLINE vreal get(const real *p, fc_size n) { return n < VL ? v_load_n(p, (int)n) : v_load(p); }

FC_INLINE void put(real *p, vreal v, fc_size n) {
    if (n < VL)
        v_store_n(p, v, (int)n);
    else
        v_store(p, v);
}

/* ---- classes contiguous: n of them ---- */

/* NaN is passed over: its exponential makes the sum NaN */
static real row_max(const real *x, fc_size n) {
    real lane[VL];
    vreal best = v_set1(-(real)INFINITY);
    fc_size i = 0;
    for (; i + VL <= n; i += VL) best = v_max(v_load(x + i), best);
    v_store(lane, best);
    real result = lane[0];
    for (int k = 1; k < VL; k++) result = lane[k] > result ? lane[k] : result;
    for (; i < n; i++) result = x[i] > result ? x[i] : result;
    return result;
}

static void row_forward(const real *x, real *y, fc_size n, int log) {
    const vreal max = v_set1(row_max(x, n));
    vreal sum = v_zero();
    fc_size i = 0;
    for (; i + VL <= n; i += VL) {
        const vreal e = v_exp(v_sub(v_load(x + i), max));
        if (!log) v_store(y + i, e);
        sum = v_add(sum, e);
    }
    if (i < n) {
        const int rest = (int)(n - i);
        v_store_n(y + i, v_exp(v_sub(v_load_n(x + i, rest), max)), rest);
        sum = v_add(sum, v_load_n(y + i, rest));
    }
    const vreal total = v_set1(v_sum(sum));
    const vreal correction = log ? v_log(total) : v_div(v_set1(1), total);
    for (i = 0; i < n; i += VL)
        put(y + i,
            log ? v_sub(v_sub(get(x + i, n - i), max), correction)
                : v_mul(get(y + i, n - i), correction),
            n - i);
}

static void row_backward(const real *g, const real *y, real *dx, fc_size n, int log) {
    vreal sum = v_zero();
    for (fc_size i = 0; i < n; i += VL) {
        const vreal v = get(g + i, n - i);
        sum = log ? v_add(sum, v) : v_fma(v, get(y + i, n - i), sum);
    }
    sum = v_set1(v_sum(sum));
    for (fc_size i = 0; i < n; i += VL) {
        const vreal gi = get(g + i, n - i), yi = get(y + i, n - i);
        put(dx + i, log ? v_sub(gi, v_mul(v_exp(yi), sum)) : v_mul(yi, v_sub(gi, sum)), n - i);
    }
}

/* ---- positions contiguous: n <= BLOCK of them, classes `step` elements apart ---- */

static void block_forward(const real *x, real *y, fc_size classes, fc_size step, fc_size n,
                          int log) {
    real max[BLOCK], sum[BLOCK]; /* and then what corrects for the sum */
    for (fc_size j = 0; j < n; j += VL) {
        v_store(max + j, get(x + j, n - j));
        v_store(sum + j, v_zero());
    }
    for (fc_size c = 1; c < classes; c++)
        for (fc_size j = 0; j < n; j += VL)
            v_store(max + j, v_max(get(x + c * step + j, n - j), v_load(max + j)));
    for (fc_size c = 0; c < classes; c++)
        for (fc_size j = 0; j < n; j += VL) {
            const vreal e = v_exp(v_sub(get(x + c * step + j, n - j), v_load(max + j)));
            if (!log) put(y + c * step + j, e, n - j);
            v_store(sum + j, v_add(v_load(sum + j), e));
        }
    for (fc_size j = 0; j < n; j += VL) {
        const vreal total = v_load(sum + j);
        v_store(sum + j, log ? v_log(total) : v_div(v_set1(1), total));
    }
    for (fc_size c = 0; c < classes; c++, x += step, y += step)
        for (fc_size j = 0; j < n; j += VL)
            put(y + j,
                log ? v_sub(v_sub(get(x + j, n - j), v_load(max + j)), v_load(sum + j))
                    : v_mul(get(y + j, n - j), v_load(sum + j)),
                n - j);
}

static void block_backward(const real *g, const real *y, real *dx, fc_size classes, fc_size step,
                           fc_size n, int log) {
    real sum[BLOCK];
    for (fc_size j = 0; j < n; j += VL) v_store(sum + j, v_zero());
    for (fc_size c = 0; c < classes; c++)
        for (fc_size j = 0; j < n; j += VL) {
            const vreal v = get(g + c * step + j, n - j), s = v_load(sum + j);
            v_store(sum + j, log ? v_add(s, v) : v_fma(v, get(y + c * step + j, n - j), s));
        }
    for (fc_size c = 0; c < classes; c++, g += step, y += step, dx += step)
        for (fc_size j = 0; j < n; j += VL) {
            const vreal gj = get(g + j, n - j), yj = get(y + j, n - j), s = v_load(sum + j);
            put(dx + j, log ? v_sub(gj, v_mul(v_exp(yj), s)) : v_mul(yj, v_sub(gj, s)), n - j);
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
        const fc_size n = s->positions - i < BLOCK ? s->positions - i : BLOCK;
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
        const fc_size n = s->positions - i < BLOCK ? s->positions - i : BLOCK;
        block_backward(AT(const real, s->g, i), AT(const real, s->x, i), AT(real, s->out, i),
                       s->classes, s->class_stride / (fc_size)sizeof(real), n, s->log);
    }
}
