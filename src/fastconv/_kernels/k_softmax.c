/* Softmax, its logarithm and cross-entropy, forward and backward, over one axis. Either the classes
 * are contiguous and vectors run along them, one position after the other; or the positions are,
 * and vectors run over a block of them, one class after the other. A few contiguous classes are
 * transposed to be like the latter: a vector of positions then costs one sum and one maximum, not
 * one each. */
#include <math.h>

#include "vmath.h"

enum { BLOCK = 8 * VL }; /* positions at a time */
enum { FEW = 4 * VL };   /* contiguous classes that are transposed */

/* ---- classes contiguous: n of them ---- */

/* NaN is passed over: its exponential makes the sum NaN */
static real row_max(const stored *x, fc_size n) {
    real lane[VL];
    vreal best = v_set1(-(real)INFINITY);
    fc_size i = 0;
    for (; i + VL <= n; i += VL) best = v_max(v_load(x + i), best);
    v_store_real(lane, best);
    real result = lane[0];
    for (int k = 1; k < VL; k++) result = lane[k] > result ? lane[k] : result;
    for (; i < n; i++) result = widen(x[i]) > result ? widen(x[i]) : result;
    return result;
}

/* The sum of e^(x - max), the terms going to y unless that is NULL. */
FC_INLINE real row_sum(const stored *x, stored *y, fc_size n, real max_) {
    const vreal max = v_set1(max_);
    vreal sum = v_zero();
    fc_size i = 0;
    for (; i + VL <= n; i += VL) {
        const vreal e = v_exp(v_sub(v_load(x + i), max));
        if (y) v_store(y + i, e);
        sum = v_add(sum, e);
    }
    if (i < n) {
        const int rest = (int)(n - i);
        const vreal e = v_first(v_exp(v_sub(v_load_n(x + i, rest), max)), rest);
        if (y) v_store_n(y + i, e, rest);
        sum = v_add(sum, e);
    }
    return v_sum(sum);
}

static void row_forward(const stored *x, stored *y, fc_size n, int log) {
    const real best = row_max(x, n);
    const vreal max = v_set1(best);
    const vreal total = v_set1(log ? row_sum(x, NULL, n, best) : row_sum(x, y, n, best));
    const vreal correction = log ? v_log(total) : v_div(v_set1(1), total);
    for (fc_size i = 0; i < n; i += VL)
        v_store_upto(y + i,
                     log ? v_sub(v_sub(v_load_upto(x + i, n - i), max), correction)
                         : v_mul(v_load_upto(y + i, n - i), correction),
                     n - i);
}

static void row_backward(const stored *g, const stored *y, stored *dx, fc_size n, int log) {
    vreal sum = v_zero();
    for (fc_size i = 0; i < n; i += VL) {
        const vreal v = v_load_upto(g + i, n - i);
        sum = log ? v_add(sum, v) : v_fma(v, v_load_upto(y + i, n - i), sum);
    }
    sum = v_set1(v_sum(sum));
    for (fc_size i = 0; i < n; i += VL) {
        const vreal gi = v_load_upto(g + i, n - i), yi = v_load_upto(y + i, n - i);
        v_store_upto(dx + i, log ? v_sub(gi, v_mul(v_exp(yi), sum)) : v_mul(yi, v_sub(gi, sum)),
                     n - i);
    }
}

/* ---- positions contiguous: n <= BLOCK of them, classes `step` elements apart ---- */

/* A call with n for a constant where the block is whole: loops over it then have no ends to
 * mind. */
#define WHOLE_OR_NOT(n, call)   \
    do {                        \
        if (n == BLOCK) {       \
            enum { n = BLOCK }; \
            call;               \
        } else {                \
            call;               \
        }                       \
    } while (0)

/* The maximum and the sum of e^(x - max) of each position, the terms going to y unless NULL; whole
 * vectors of both are written. */
FC_INLINE void block_terms(const stored *x, stored *y, fc_size classes, fc_size step, fc_size n,
                           real *max, real *sum) {
    for (fc_size j = 0; j < n; j += VL) {
        v_store_real(max + j, v_load_upto(x + j, n - j));
        v_store_real(sum + j, v_zero());
    }
    for (fc_size c = 1; c < classes; c++)
        for (fc_size j = 0; j < n; j += VL)
            v_store_real(max + j,
                         v_max(v_load_upto(x + c * step + j, n - j), v_load_real(max + j)));
    for (fc_size c = 0; c < classes; c++)
        for (fc_size j = 0; j < n; j += VL) {
            const vreal e =
                v_exp(v_sub(v_load_upto(x + c * step + j, n - j), v_load_real(max + j)));
            if (y) v_store_upto(y + c * step + j, e, n - j);
            v_store_real(sum + j, v_add(v_load_real(sum + j), e));
        }
}

/* Exponentials are long, and many ask for them: one function for blocks ... */
static void terms(const stored *x, stored *y, fc_size classes, fc_size step, fc_size n, real *max,
                  real *sum) {
    WHOLE_OR_NOT(n, block_terms(x, y, classes, step, n, max, sum));
}

/* ... and one for a transposed vector of positions, whose maxima and sums stay in registers. */
static void terms_of_tile(const stored *x, stored *y, fc_size classes, real *max, real *sum) {
    real m[VL], s[VL];
    block_terms(x, y, classes, VL, VL, m, s);
    v_store_real(max, v_load_real(m));
    v_store_real(sum, v_load_real(s));
}

/* what follows from the terms, in y unless log */
FC_INLINE void block_forward(const stored *x, stored *y, fc_size classes, fc_size step, fc_size n,
                             int log, const real *max, real *sum) {
    for (fc_size j = 0; j < n; j += VL) {
        const vreal total = v_load_real(sum + j);
        v_store_real(sum + j, log ? v_log(total) : v_div(v_set1(1), total));
    }
    for (fc_size c = 0; c < classes; c++, x += step, y += step)
        for (fc_size j = 0; j < n; j += VL)
            v_store_upto(y + j,
                         log ? v_sub(v_sub(v_load_upto(x + j, n - j), v_load_real(max + j)),
                                     v_load_real(sum + j))
                             : v_mul(v_load_upto(y + j, n - j), v_load_real(sum + j)),
                         n - j);
}

FC_INLINE void block_backward(const stored *g, const stored *y, stored *dx, fc_size classes,
                              fc_size step, fc_size n, int log) {
    real sum[BLOCK];
    for (fc_size j = 0; j < n; j += VL) v_store_real(sum + j, v_zero());
    for (fc_size c = 0; c < classes; c++)
        for (fc_size j = 0; j < n; j += VL) {
            const vreal v = v_load_upto(g + c * step + j, n - j), s = v_load_real(sum + j);
            v_store_real(sum + j,
                         log ? v_add(s, v) : v_fma(v, v_load_upto(y + c * step + j, n - j), s));
        }
    for (fc_size c = 0; c < classes; c++, g += step, y += step, dx += step)
        for (fc_size j = 0; j < n; j += VL) {
            const vreal gj = v_load_upto(g + j, n - j), yj = v_load_upto(y + j, n - j),
                        s = v_load_real(sum + j);
            v_store_upto(dx + j, log ? v_sub(gj, v_mul(v_exp(yj), s)) : v_mul(yj, v_sub(gj, s)),
                         n - j);
        }
}

/* ---- a few contiguous classes of n <= VL positions, `step` elements apart ---- */

/* tile[class][VL] from x[position][class]; lanes beyond n are 0 */
static void transpose_in(const stored *x, fc_size step, int n, fc_size classes, stored *tile) {
    for (fc_size c = 0; c < classes; c += VL) {
        vreal r[VL];
        for (int i = 0; i < VL; i++)
            r[i] = i < n ? v_load_upto(x + i * step + c, classes - c) : v_zero();
        v_transpose(r);
        for (int k = 0; k < VL && c + k < classes; k++) v_store(tile + (c + k) * VL, r[k]);
    }
}

static void transpose_out(stored *y, fc_size step, int n, fc_size classes, const stored *tile) {
    for (fc_size c = 0; c < classes; c += VL) {
        vreal r[VL];
        for (int k = 0; k < VL; k++)
            r[k] = c + k < classes ? v_load(tile + (c + k) * VL) : v_zero();
        v_transpose(r);
        for (int i = 0; i < n; i++) v_store_upto(y + i * step + c, r[i], classes - c);
    }
}

static void few_forward(const fc_softmax *s) {
    const fc_size step = s->position_stride / (fc_size)sizeof(stored);
    stored tile[FEW * VL];
    for (fc_size i = 0; i < s->positions; i += VL) {
        const int n = upto(s->positions - i);
        transpose_in((const stored *)s->x + i * step, step, n, s->classes, tile);
        real max[VL], sum[VL];
        terms_of_tile(tile, s->log ? NULL : tile, s->classes, max, sum);
        block_forward(tile, tile, s->classes, VL, VL, s->log, max, sum);
        transpose_out((stored *)s->out + i * step, step, n, s->classes, tile);
    }
}

#define AT(type, p, i) ((type *)((char *)(p) + (i) * s->position_stride))

void FC_NAME(softmax)(const fc_softmax *s) {
    if (s->class_stride == sizeof(stored) && s->classes <= FEW) {
        few_forward(s);
        return;
    }
    if (s->class_stride == sizeof(stored)) {
        for (fc_size i = 0; i < s->positions; i++)
            row_forward(AT(const stored, s->x, i), AT(stored, s->out, i), s->classes, s->log);
        return;
    }
    for (fc_size i = 0; i < s->positions; i += BLOCK) {
        const fc_size n = s->positions - i < BLOCK ? s->positions - i : BLOCK;
        const fc_size step = s->class_stride / (fc_size)sizeof(stored);
        const stored *x = AT(const stored, s->x, i);
        stored *y = AT(stored, s->out, i);
        real max[BLOCK], sum[BLOCK];
        terms(x, s->log ? NULL : y, s->classes, step, n, max, sum);
        WHOLE_OR_NOT(n, block_forward(x, y, s->classes, step, n, s->log, max, sum));
    }
}

void FC_NAME(softmax_backward)(const fc_softmax *s) {
    if (s->class_stride == sizeof(stored)) {
        for (fc_size i = 0; i < s->positions; i++)
            row_backward(AT(const stored, s->g, i), AT(const stored, s->x, i),
                         AT(stored, s->out, i), s->classes, s->log);
        return;
    }
    for (fc_size i = 0; i < s->positions; i += BLOCK) {
        const fc_size n = s->positions - i < BLOCK ? s->positions - i : BLOCK;
        const fc_size step = s->class_stride / (fc_size)sizeof(stored);
        WHOLE_OR_NOT(n, block_backward(AT(const stored, s->g, i), AT(const stored, s->x, i),
                                       AT(stored, s->out, i), s->classes, step, n, s->log));
    }
}

/* ---- cross-entropy with the labels of classes ---- */

/* sum[j] = log of the sum over n classes of e^(x - max[j]), for `positions` <= BLOCK of them */
static void log_sums(const fc_softmax *s, fc_size first, int positions, real *max, real *sum) {
    const fc_size step = s->class_stride / (fc_size)sizeof(stored);
    if (step > 1) {
        terms(AT(const stored, s->x, first), NULL, s->classes, step, positions, max, sum);
    } else if (s->classes <= FEW) {
        stored tile[FEW * VL];
        for (int j = 0; j < positions; j += VL) {
            transpose_in(AT(const stored, s->x, first + j),
                         s->position_stride / (fc_size)sizeof(stored), upto(positions - j),
                         s->classes, tile);
            terms_of_tile(tile, NULL, s->classes, max + j, sum + j);
        }
    } else {
        for (int j = 0; j < positions; j++) {
            const stored *x = AT(const stored, s->x, first + j);
            max[j] = row_max(x, s->classes);
            sum[j] = row_sum(x, NULL, s->classes, max[j]);
        }
    }
    for (int j = 0; j < positions; j += VL)
        v_store_real_upto(sum + j, v_log(v_load_real_upto(sum + j, positions - j)), positions - j);
}

/* 1 for the label of a class that weighs, 0 for one of no weight or to be ignored, else -1 */
FC_INLINE int find_weight(const fc_cross_entropy *t, int64_t label, real *weight) {
    *weight = 0;
    if (label == t->ignore) return 0;
    if (label < 0 || label >= t->logits.classes) return -1;
    *weight = t->weight ? widen(((const stored *)t->weight)[label]) : 1;
    return *weight != 0;
}

int FC_NAME(cross_entropy)(fc_cross_entropy *t) {
    const fc_softmax *s = &t->logits;
    int status = 0;
    for (fc_size i = 0; i < s->positions; i += BLOCK) {
        const int n = (int)fc_min(s->positions - i, BLOCK);
        real max[BLOCK], sum[BLOCK];
        log_sums(s, i, n, max, sum);
        for (int j = 0; j < n; j++) {
            const int64_t label = t->labels[i + j];
            real weight, loss = 0;
            const int found = find_weight(t, label, &weight);
            if (found > 0) {
                const char *x =
                    (const char *)AT(const stored, s->x, i + j) + label * s->class_stride;
                loss = weight * (sum[j] - (widen(*(const stored *)x) - max[j]));
            } else if (found < 0) {
                status = -1;
            }
            t->total += loss;
            t->weights += weight;
            if (s->out) ((stored *)s->out)[i + j] = narrow(loss);
        }
    }
    return status;
}

/* v f, and 0 where f is 0, whatever v */
FC_INLINE vreal times_or_zero(vreal v, vreal f) {
    return v_less_equal(v_abs(f), v_zero(), v_zero(), v_mul(v, f));
}

/* (p - [class is at[j]]) factor[j] of n <= BLOCK positions, for the terms p sum[j] that y holds */
FC_INLINE void block_gradient(stored *y, fc_size classes, fc_size step, fc_size n,
                              const int64_t *at, const real *factor, real *sum) {
    real own[BLOCK] = {0}; /* what is due at the labels */
    for (fc_size j = 0; j < n; j += VL)
        v_store_real(sum + j, v_div(v_set1(1), v_load_real(sum + j)));
    for (fc_size j = 0; j < n; j++)
        if (at[j] >= 0) own[j] = (widen(y[at[j] * step + j]) * sum[j] - 1) * factor[j];
    for (fc_size c = 0; c < classes; c++)
        for (fc_size j = 0; j < n; j += VL) {
            stored *to = y + c * step + j;
            const vreal p = v_mul(v_load_upto(to, n - j), v_load_real(sum + j));
            v_store_upto(to, times_or_zero(p, v_load_real(factor + j)), n - j);
        }
    for (fc_size j = 0; j < n; j++)
        if (at[j] >= 0) y[at[j] * step + j] = narrow(own[j]);
}

static void row_gradient(const stored *x, stored *y, fc_size n, int64_t at, real factor_) {
    const real inverse = 1 / row_sum(x, y, n, row_max(x, n));
    const real own = at >= 0 ? (widen(y[at]) * inverse - 1) * factor_ : 0;
    const vreal scale = v_set1(inverse), factor = v_set1(factor_);
    for (fc_size i = 0; i < n; i += VL)
        v_store_upto(y + i, times_or_zero(v_mul(v_load_upto(y + i, n - i), scale), factor), n - i);
    if (at >= 0) y[at] = narrow(own);
}

int FC_NAME(cross_entropy_backward)(const fc_cross_entropy *t) {
    const fc_softmax *s = &t->logits;
    const fc_size classes = s->classes, step = s->class_stride / (fc_size)sizeof(stored);
    const fc_size apart = s->position_stride / (fc_size)sizeof(stored);
    int status = 0;
    for (fc_size i = 0; i < s->positions; i += BLOCK) {
        const int n = (int)fc_min(s->positions - i, BLOCK);
        const stored *x = AT(const stored, s->x, i);
        stored *y = AT(stored, s->out, i);
        real factor[BLOCK] = {0}, max[BLOCK], sum[BLOCK];
        int64_t at[BLOCK]; /* the label, or -1 */
        for (int j = 0; j < n; j++) {
            const int64_t label = t->labels[i + j];
            const int found = find_weight(t, label, factor + j);
            factor[j] *= widen(((const stored *)t->scale)[t->one_scale ? 0 : i + j]);
            at[j] = found > 0 ? label : -1;
            if (found < 0) status = -1;
        }
        if (step > 1) {
            terms(x, y, classes, step, n, max, sum);
            WHOLE_OR_NOT(n, block_gradient(y, classes, step, n, at, factor, sum));
        } else if (classes <= FEW) {
            for (int j = 0; j < n; j += VL) {
                const int m = upto(n - j);
                stored tile[FEW * VL];
                transpose_in(x + j * apart, apart, m, classes, tile);
                terms_of_tile(tile, tile, classes, max + j, sum + j);
                for (int k = m; k < VL; k++) at[j + k] = -1;
                block_gradient(tile, classes, VL, VL, at + j, factor + j, sum + j);
                transpose_out(y + j * apart, apart, m, classes, tile);
            }
        } else {
            for (int j = 0; j < n; j++)
                row_gradient(x + j * apart, y + j * apart, classes, at[j], factor[j]);
        }
    }
    return status;
}
