/* Steps of the optimisers over runs of contiguous elements, each in one pass. An element's result
 * does not depend on where in the run it stands. */
#include "simd.h"

/* Weight decay as a part of the gradient; without any, an infinite parameter must not matter. */
FC_INLINE vreal decayed(vreal g, vreal p, double decay) {
    return decay != 0 ? v_fma(v_set1((real)decay), p, g) : g;
}

FC_INLINE void sgd(const fc_sgd *s, fc_size i, const int n) {
    stored *data = (stored *)s->data + i, *velocity = (stored *)s->velocity;
    const vreal p = v_load_upto(data, n);
    vreal step = decayed(v_load_upto((const stored *)s->grad + i, n), p, s->weight_decay);
    if (velocity) {
        const vreal old = v_mul(v_set1((real)s->momentum), v_load_upto(velocity + i, n));
        const vreal v = v_fma(v_set1((real)s->one_minus_dampening), step, old);
        v_store_upto(velocity + i, v, n);
        step = s->nesterov != 0 ? v_fma(v_set1((real)s->nesterov), v, step) : v;
    }
    v_store_upto(data, v_fma(v_set1((real)-s->lr), step, p), n);
}

void FC_NAME(sgd)(const fc_sgd *s) {
    fc_size i = 0;
    for (; i + VL <= s->n; i += VL) sgd(s, i, VL);
    if (i < s->n) sgd(s, i, (int)(s->n - i));
}

FC_INLINE void adam(const fc_adam *s, fc_size i, const int n) {
    stored *data = (stored *)s->data + i, *mean = (stored *)s->mean + i,
           *square = (stored *)s->square + i;
    const vreal p = v_mul(v_set1((real)s->decay_factor), v_load_upto(data, n));
    const vreal g = decayed(v_load_upto((const stored *)s->grad + i, n), p, s->weight_decay);
    const vreal old_m = v_load_upto(mean, n), old_v = v_load_upto(square, n);
    const vreal m = v_fma(v_set1((real)(1 - s->beta1)), v_sub(g, old_m), old_m);
    const vreal v = v_fma(v_mul(v_set1((real)(1 - s->beta2)), g), g,
                          v_mul(v_set1((real)s->beta2), old_v));
    const vreal scale =
        v_add(v_div(v_sqrt(v), v_set1((real)s->bias_correction2_sqrt)), v_set1((real)s->eps));
    v_store_upto(mean, m, n);
    v_store_upto(square, v, n);
    v_store_upto(data, v_fma(v_set1((real)-s->step_size), v_div(m, scale), p), n);
}

void FC_NAME(adam)(const fc_adam *s) {
    fc_size i = 0;
    for (; i + VL <= s->n; i += VL) adam(s, i, VL);
    if (i < s->n) adam(s, i, (int)(s->n - i));
}
