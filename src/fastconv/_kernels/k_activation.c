/* Activations, forward and backward, over runs of contiguous elements.
 *
 * Each is a function of one element, written without branches, and a loop over blocks that the
 * compiler vectorises. A last partial block is padded and takes the same loop, so that an element's
 * result does not depend on where in the array it stands. */
#include "kernels.h"
#include "vmath.h"

enum { BLOCK = 32 }; /* elements; a multiple of every VL */

/* Defines name##_forward(x, y, n, param) from y = name##_of(x, param). */
#define FORWARD(name)                                                                             \
    FC_INLINE void name##_block(const real *FC_RESTRICT x, real *FC_RESTRICT y, real param) {     \
        for (int j = 0; j < BLOCK; j++) y[j] = name##_of(x[j], param);                            \
    }                                                                                             \
    static void name##_forward(const void *x_, void *y_, fc_size n, double param) {               \
        const real *x = (const real *)x_;                                                         \
        real *y = (real *)y_, x_end[BLOCK] = {0}, y_end[BLOCK];                                   \
        for (; n > 0; n -= BLOCK, x += BLOCK, y += BLOCK) {                                       \
            const int whole = n >= BLOCK;                                                         \
            if (!whole) memcpy(x_end, x, (size_t)n * sizeof(real));                               \
            name##_block(whole ? x : x_end, whole ? y : y_end, (real)param);                      \
            if (!whole) memcpy(y, y_end, (size_t)n * sizeof(real));                               \
        }                                                                                         \
    }

/* Defines name##_backward(g, saved, dx, n, param) from dx = name##_gradient(g, saved, param). */
#define BACKWARD(name)                                                                            \
    FC_INLINE void name##_gradient_block(const real *FC_RESTRICT g, const real *FC_RESTRICT saved, \
                                         real *FC_RESTRICT dx, real param) {                      \
        for (int j = 0; j < BLOCK; j++) dx[j] = name##_gradient(g[j], saved[j], param);           \
    }                                                                                             \
    static void name##_backward(const void *g_, const void *saved_, void *dx_, fc_size n,         \
                                double param) {                                                   \
        const real *g = (const real *)g_, *saved = (const real *)saved_;                          \
        real *dx = (real *)dx_, g_end[BLOCK] = {0}, saved_end[BLOCK] = {0}, dx_end[BLOCK];        \
        for (; n > 0; n -= BLOCK, g += BLOCK, saved += BLOCK, dx += BLOCK) {                      \
            const int whole = n >= BLOCK;                                                         \
            if (!whole) memcpy(g_end, g, (size_t)n * sizeof(real));                               \
            if (!whole) memcpy(saved_end, saved, (size_t)n * sizeof(real));                       \
            name##_gradient_block(whole ? g : g_end, whole ? saved : saved_end,                   \
                                  whole ? dx : dx_end, (real)param);                              \
            if (!whole) memcpy(dx, dx_end, (size_t)n * sizeof(real));                             \
        }                                                                                         \
    }

#define UNUSED(param) (void)(param)

/* ---- relu ---- */

FC_INLINE real relu_of(real x, real param) {
    UNUSED(param);
    return x <= 0 ? 0 : x;
}

FC_INLINE real relu_gradient(real g, real x, real param) {
    UNUSED(param);
    return x <= 0 ? 0 : g;
}

/* ---- leaky relu: param is the negative slope ---- */

FC_INLINE real leaky_relu_of(real x, real slope) { return x > 0 ? x : slope * x; }
FC_INLINE real leaky_relu_gradient(real g, real x, real slope) { return x > 0 ? g : slope * g; }

/* ---- sigmoid: 1 / (1 + e^-x), through e^-|x| so that both tails keep their digits ---- */

/* What sigmoid and its kin share: with e = e^-|x|, s = sigmoid(|x|) and e s = sigmoid(-|x|). */
typedef struct {
    power power;
    real e, s;
} logistic;

FC_INLINE logistic logistic_of(real x) {
    logistic l;
    l.power = exp_parts(at_least(-magnitude(x), FC_EXP_MIN), 0);
    l.e = times_power(1, l.power);
    l.s = 1 / (1 + l.e);
    return l;
}

/* x as far as it can matter beside e^-|x|: an infinity would make NaN of 0 * inf */
FC_INLINE real bounded(real x) { return at_most(at_least(x, FC_EXP_MIN), -FC_EXP_MIN); }

FC_INLINE real sigmoid_of(real x, real param) {
    UNUSED(param);
    const real e = exp_of(-magnitude(x));
    return (x < 0 ? e : 1) / (1 + e);
}

FC_INLINE real sigmoid_gradient(real g, real y, real param) {
    UNUSED(param);
    return g * ((1 - y) * y);
}

/* ---- tanh: (1 - t) / (1 + t), t = e^-2|x|, through t - 1 so that small x keeps its digits ---- */

FC_INLINE real tanh_of(real x, real param) {
    UNUSED(param);
    const power t = exp_parts(-2 * at_most(magnitude(x), FC_TANH_MAX), 0);
    const real scale = t.scale * t.rest;
    const real less_one = scale * t.less_one + (scale - 1);
    return real_of(bits_of(magnitude(less_one / (2 + less_one))) | sign_of(x));
}

FC_INLINE real tanh_gradient(real g, real y, real param) {
    UNUSED(param);
    return g * (1 - y * y);
}

/* ---- silu and gelu's approximation: x sigmoid(u), u = u(x) ---- */

FC_INLINE real x_sigmoid(real x, real u) {
    const logistic l = logistic_of(u);
    return (x < 0 ? times_power(bounded(x), l.power) : x) * l.s;
}

/* The derivative, sigmoid(u) (1 + v sigmoid(-u)), for v = x du/dx. */
FC_INLINE real x_sigmoid_slope(real u, real v) {
    const logistic l = logistic_of(u);
    return (u < 0 ? times_power(1 + v * l.s, l.power) : 1 + v * (l.e * l.s)) * l.s;
}

FC_INLINE real silu_of(real x, real param) {
    UNUSED(param);
    return x_sigmoid(x, x);
}

FC_INLINE real silu_gradient(real g, real x, real param) {
    UNUSED(param);
    return g * x_sigmoid_slope(x, bounded(x));
}

/* x (1 + tanh(u / 2)) / 2 with u = sqrt(8 / pi) (x + 0.044715 x^3) */
#define GELU_U1 R(1.5957691216057307118)
#define GELU_U3 R(0.071354816272600248776)

FC_INLINE real gelu_tanh_of(real x, real param) {
    UNUSED(param);
    const real y = bounded(x);
    return x_sigmoid(x, y * (GELU_U1 + GELU_U3 * (y * y)));
}

FC_INLINE real gelu_tanh_gradient(real g, real x, real param) {
    UNUSED(param);
    const real y = bounded(x), square = y * y;
    return g * x_sigmoid_slope(y * (GELU_U1 + GELU_U3 * square),
                               y * (GELU_U1 + 3 * GELU_U3 * square));
}

/* ---- gelu: x Phi(x), Phi the normal distribution function ---- */

FC_INLINE real gelu_of(real x, real param) {
    UNUSED(param);
    const real a = at_most(magnitude(x), FC_NORMAL_MAX);
    const normal_tail tail = normal_tail_of(a);
    return (x < 0 ? 0 : x) - times_power(a * tail.ratio, tail.density);
}

FC_INLINE real gelu_gradient(real g, real x, real param) {
    UNUSED(param);
    const real a = at_most(magnitude(x), FC_NORMAL_MAX);
    const normal_tail tail = normal_tail_of(a);
    /* Phi(-a) - a phi(a); for x > 0 the slope is 1 less that */
    const real low = times_power(tail.ratio - R(0.39894228040143267794) * a, tail.density);
    return g * (x < 0 ? low : 1 - low);
}

#define BOTH(name) FORWARD(name) BACKWARD(name)
BOTH(relu)
BOTH(leaky_relu)
BOTH(sigmoid)
BOTH(tanh)
BOTH(silu)
BOTH(gelu_tanh)
BOTH(gelu)

const fc_activation FC_NAME(activations)[FC_ACTIVATIONS] = {
    [FC_RELU] = {relu_forward, relu_backward},
    [FC_LEAKY_RELU] = {leaky_relu_forward, leaky_relu_backward},
    [FC_SIGMOID] = {sigmoid_forward, sigmoid_backward},
    [FC_TANH] = {tanh_forward, tanh_backward},
    [FC_SILU] = {silu_forward, silu_backward},
    [FC_GELU] = {gelu_forward, gelu_backward},
    [FC_GELU_TANH] = {gelu_tanh_forward, gelu_tanh_backward},
};
