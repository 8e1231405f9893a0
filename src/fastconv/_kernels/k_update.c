/* Steps of the optimisers over runs of contiguous elements, each in one pass. An element's result
 * does not depend on where in the run it stands. */
#include "vmath.h"

FC_INLINE vreal load_upto(const real *p, const int n) {
    return n == VL ? v_load(p) : v_load_n(p, n);
}

FC_INLINE void store_upto(real *p, vreal v, const int n) {
    if (n == VL)
        v_store(p, v);
    else
        v_store_n(p, v, n);
}

/* Weight decay as a part of the gradient; without any, an infinite parameter must not matter. */
FC_INLINE vreal decayed(vreal g, vreal p, double decay) {
    return decay != 0 ? v_fma(v_set1((real)decay), p, g) : g;
}

FC_INLINE void sgd(const fc_sgd *s, fc_size i, const int n) {
    real *data = (real *)s->data + i, *velocity = (real *)s->velocity;
    const vreal p = load_upto(data, n);
    vreal step = decayed(load_upto((const real *)s->grad + i, n), p, s->weight_decay);
    if (velocity) {
        const vreal old = v_mul(v_set1((real)s->momentum), load_upto(velocity + i, n));
        const vreal v = v_fma(v_set1((real)s->one_minus_dampening), step, old);
        store_upto(velocity + i, v, n);
        step = s->nesterov != 0 ? v_fma(v_set1((real)s->nesterov), v, step) : v;
    }
    store_upto(data, v_fma(v_set1((real)-s->lr), step, p), n);
}

void FC_NAME(sgd)(const fc_sgd *s) {
    fc_size i = 0;
    for (; i + VL <= s->n; i += VL) sgd(s, i, VL);
    if (i < s->n) sgd(s, i, (int)(s->n - i));
}

FC_INLINE void adam(const fc_adam *s, fc_size i, const int n) {
    real *data = (real *)s->data + i, *mean = (real *)s->mean + i, *square = (real *)s->square + i;
    const vreal p = v_mul(v_set1((real)s->decay_factor), load_upto(data, n));
    const vreal g = decayed(load_upto((const real *)s->grad + i, n), p, s->weight_decay);
    const vreal old_m = load_upto(mean, n), old_v = load_upto(square, n);
    const vreal m = v_fma(v_set1((real)(1 - s->beta1)), v_sub(g, old_m), old_m);
    const vreal v = v_fma(v_mul(v_set1((real)(1 - s->beta2)), g), g,
                          v_mul(v_set1((real)s->beta2), old_v));
    const vreal scale = v_add(v_div(v_sqrt(v), v_set1((real)s->bias_correction2_sqrt)), v_set1((real)s->eps));
    store_upto(mean, m, n);
    store_upto(square, v, n);
    store_upto(data, v_fma(v_set1((real)-s->step_size), v_div(m, scale), p), n);
}

void FC_NAME(adam)(const fc_adam *s) {
    fc_size i = 0;
    for (; i + VL <= s->n; i += VL) adam(s, i, VL);
    if (i < s->n) adam(s, i, (int)(s->n - i));
}
