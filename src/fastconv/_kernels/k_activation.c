/* Activations, forward and backward, and sums of two, over runs of contiguous elements. An
 * element's result does not depend on where in the run it stands. */
#include "vmath.h"

/* Defines name##_forward(x, y, n, param) from y = name(x, param). */
#define FORWARD(name)                                                                          \
    static void name##_forward(const void *x_, void *y_, fc_size n, double param_) {           \
        const stored *x = (const stored *)x_;                                                  \
        stored *y = (stored *)y_;                                                              \
        const vreal param = v_set1((real)param_);                                              \
        fc_size i = 0;                                                                         \
        for (; i + VL <= n; i += VL) v_store(y + i, name(v_load(x + i), param));               \
        if (i < n) v_store_n(y + i, name(v_load_n(x + i, (int)(n - i)), param), (int)(n - i)); \
    }

/* Defines name##_backward(g, saved, dx, n, param) from dx = name##_gradient(g, saved, param). */
#define BACKWARD(name)                                                                          \
    static void name##_backward(const void *g_, const void *saved_, void *dx_, fc_size n,       \
                                double param_) {                                                \
        const stored *g = (const stored *)g_, *saved = (const stored *)saved_;                  \
        stored *dx = (stored *)dx_;                                                             \
        const vreal param = v_set1((real)param_);                                               \
        fc_size i = 0;                                                                          \
        for (; i + VL <= n; i += VL)                                                            \
            v_store(dx + i, name##_gradient(v_load(g + i), v_load(saved + i), param));          \
        if (i < n) {                                                                            \
            const int rest = (int)(n - i);                                                      \
            v_store_n(dx + i,                                                                   \
                      name##_gradient(v_load_n(g + i, rest), v_load_n(saved + i, rest), param), \
                      rest);                                                                    \
        }                                                                                       \
    }

#define UNUSED(param) (void)(param)

/* ---- relu ---- */

FC_INLINE vreal relu(vreal x, vreal param) {
    UNUSED(param);
    return v_max(v_zero(), x);
}

FC_INLINE vreal relu_gradient(vreal g, vreal x, vreal param) {
    UNUSED(param);
    return v_less_equal(x, v_zero(), v_zero(), g);
}

/* ---- leaky relu ---- */

FC_INLINE vreal leaky_relu(vreal x, vreal slope) {
    return v_less(v_zero(), x, x, v_mul(slope, x));
}

FC_INLINE vreal leaky_relu_gradient(vreal g, vreal x, vreal slope) {
    return v_less(v_zero(), x, g, v_mul(slope, g));
}

/* ---- sigmoid ---- */

/* x as far as it can matter beside e^-|x|: an infinity would make NaN of inf * 0 */
FC_INLINE vreal bounded(vreal x) { return v_clamp(x, EXP_MIN, -EXP_MIN); }

FC_INLINE vreal sigmoid(vreal x, vreal param) {
    UNUSED(param);
    const logistic l = logistic_of(x);
    return v_mul(v_less(x, v_zero(), l.e, v_set1(1)), l.s);
}

FC_INLINE vreal sigmoid_gradient(vreal g, vreal y, vreal param) {
    UNUSED(param);
    return v_mul(g, v_mul(v_sub(v_set1(1), y), y));
}

/* ---- tanh ---- */

FC_INLINE vreal hyperbolic(vreal x, vreal param) {
    UNUSED(param);
    return v_tanh(x);
}

FC_INLINE vreal hyperbolic_gradient(vreal g, vreal y, vreal param) {
    UNUSED(param);
    return v_mul(g, v_sub(v_set1(1), v_mul(y, y)));
}

/* ---- silu and gelu's approximation: x sigmoid(u), u a function of x ---- */

FC_INLINE vreal x_sigmoid(vreal x, vreal u) {
    const logistic l = logistic_of(u);
    return v_mul(v_less(x, v_zero(), v_times_power(bounded(x), l.power), x), l.s);
}

/* The derivative, sigmoid(u) (1 + v sigmoid(-u)), for v = x du/dx. */
FC_INLINE vreal x_sigmoid_slope(vreal u, vreal v) {
    const logistic l = logistic_of(u);
    const vreal low = v_times_power(v_fma(v, l.s, v_set1(1)), l.power);
    return v_mul(v_less(u, v_zero(), low, v_fma(v, v_mul(l.e, l.s), v_set1(1))), l.s);
}

FC_INLINE vreal silu(vreal x, vreal param) {
    UNUSED(param);
    return x_sigmoid(x, x);
}

FC_INLINE vreal silu_gradient(vreal g, vreal x, vreal param) {
    UNUSED(param);
    return v_mul(g, x_sigmoid_slope(x, bounded(x)));
}

/* x (1 + tanh(u / 2)) / 2 with u = sqrt(8 / pi) (x + 0.044715 x^3) */
#define GELU_U1 ((real)1.5957691216057307118)
#define GELU_U3 ((real)0.071354816272600248776)

FC_INLINE vreal gelu_tanh(vreal x, vreal param) {
    UNUSED(param);
    const vreal y = bounded(x);
    return x_sigmoid(x, v_mul(y, v_fma(v_mul(y, y), v_set1(GELU_U3), v_set1(GELU_U1))));
}

FC_INLINE vreal gelu_tanh_gradient(vreal g, vreal x, vreal param) {
    UNUSED(param);
    const vreal y = bounded(x), square = v_mul(y, y);
    const vreal u = v_mul(y, v_fma(square, v_set1(GELU_U3), v_set1(GELU_U1)));
    const vreal v = v_mul(y, v_fma(square, v_set1(3 * GELU_U3), v_set1(GELU_U1)));
    return v_mul(g, x_sigmoid_slope(u, v));
}

/* ---- gelu: x Phi(x), Phi the normal distribution function ---- */

FC_INLINE vreal gelu(vreal x, vreal param) {
    UNUSED(param);
    const vreal a = v_min(v_set1(NORMAL_MAX), v_abs(x));
    const normal_tail tail = normal_tail_of(a);
    return v_sub(v_max(v_zero(), x), v_times_power(v_mul(a, tail.ratio), tail.density));
}

FC_INLINE vreal gelu_gradient(vreal g, vreal x, vreal param) {
    UNUSED(param);
    const vreal a = v_min(v_set1(NORMAL_MAX), v_abs(x));
    const normal_tail tail = normal_tail_of(a);
    /* Phi(-a) - a phi(a); for x > 0 the slope is 1 less that */
    const vreal low = v_times_power(
        v_fma(a, v_set1((real)-0.39894228040143267794), tail.ratio), tail.density);
    return v_mul(g, v_less(x, v_zero(), low, v_sub(v_set1(1), low)));
}

/* ---- softplus: log(1 + e^x) ---- */

FC_INLINE vreal softplus(vreal x, vreal param) {
    UNUSED(param);
    return v_add(v_max(v_zero(), x), v_log1p_exp(v_neg_abs(x)));
}

FC_INLINE vreal softplus_gradient(vreal g, vreal x, vreal param) {
    return v_mul(g, sigmoid(x, param));
}

#define BOTH(name) FORWARD(name) BACKWARD(name)
BOTH(relu)
BOTH(leaky_relu)
BOTH(sigmoid)
BOTH(hyperbolic)
BOTH(silu)
BOTH(gelu)
BOTH(gelu_tanh)
BOTH(softplus)

const fc_activation FC_NAME(activations)[FC_ACTIVATIONS] = {
    [FC_RELU] = {relu_forward, relu_backward},
    [FC_LEAKY_RELU] = {leaky_relu_forward, leaky_relu_backward},
    [FC_SIGMOID] = {sigmoid_forward, sigmoid_backward},
    [FC_TANH] = {hyperbolic_forward, hyperbolic_backward},
    [FC_SILU] = {silu_forward, silu_backward},
    [FC_GELU] = {gelu_forward, gelu_backward},
    [FC_GELU_TANH] = {gelu_tanh_forward, gelu_tanh_backward},
    [FC_SOFTPLUS] = {softplus_forward, softplus_backward},
};

FC_INLINE void add(const stored *a, const stored *b, stored *out, fc_size n, const int relu) {
    const vreal zero = v_zero();
    fc_size i = 0;
    for (; i + VL <= n; i += VL) {
        const vreal sum = v_add(v_load(a + i), v_load(b + i));
        v_store(out + i, relu ? v_max(zero, sum) : sum);
    }
    if (i < n) {
        const int rest = (int)(n - i);
        const vreal sum = v_add(v_load_n(a + i, rest), v_load_n(b + i, rest));
        v_store_n(out + i, relu ? v_max(zero, sum) : sum, rest);
    }
}

void FC_NAME(add)(const void *a, const void *b, void *out, fc_size n, int relu) {
    if (relu)
        add((const stored *)a, (const stored *)b, (stored *)out, n, 1);
    else
        add((const stored *)a, (const stored *)b, (stored *)out, n, 0);
}
