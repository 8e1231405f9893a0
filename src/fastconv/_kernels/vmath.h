/* Mathematical functions of whole vectors: no branches, tables or calls, the same steps for every
 * instruction set. NaN in gives NaN out, nothing overflows on the way to a finite result, and
 * subnormal results keep the digits that they have. Measured against 50 digits: v_exp and v_log err
 * by less than 1 ulp, v_tanh and the normal tail by less than 5.
 */
#ifndef FASTCONV_VMATH_H
#define FASTCONV_VMATH_H

#include "simd.h"

/* ---- bit patterns ---- */

#define SIGN_BIT ((bits)1 << (8 * sizeof(bits) - 1))
FC_INLINE vreal v_abs(vreal x) { return v_real(vb_and(v_bits(x), vb_set1(SIGN_BIT - 1))); }
FC_INLINE vreal v_neg_abs(vreal x) { return v_real(vb_or(v_bits(x), vb_set1(SIGN_BIT))); }

/* NaN passes through. */
FC_INLINE vreal v_clamp(vreal x, real low, real high) {
    return v_min(v_set1(high), v_max(v_set1(low), x));
}

/* ---- constants and coefficients ---- */

#if FC_REAL_BITS == 32
enum { MANTISSA = 23, BIAS = 127 };
#define ROUND 0x1.8p23       /* added, it leaves no bit for a fraction */
#define EXP_MIN -170         /* x^3 e^x is 0 below, and e^x all the more */
#define EXP_MAX 89           /* e^x is infinite above */
#define LN2_HI 0x1.62e4p-1   /* few bits, so that a product with an exponent is exact */
#define LN2_LO 0x1.7f7d1cp-20
#define SQRT_HALF 0x1.6a09e6p-1
#define HEAD_BITS 12         /* last bits of a mantissa without which its square is exact */
#define TANH_MAX 9.02f       /* tanh rounds to 1 from here on */
#define NORMAL_MAX 14.6f     /* x times the normal distribution's tail at -x is 0 from here on */
#else
enum { MANTISSA = 52, BIAS = 1023 };
#define ROUND 0x1.8p52
#define EXP_MIN -1400
#define EXP_MAX 710
#define LN2_HI 0x1.62e42feep-1
#define LN2_LO 0x1.a39ef35793c76p-33
#define SQRT_HALF 0x1.6a09e667f3bcdp-1
#define HEAD_BITS 27
#define TANH_MAX 19.1
#define NORMAL_MAX 38.7
#endif

/* Minimax fits by the Remez exchange in 50 digits, of the error relative to the function that each
 * serves: its bound stands beside it. Lowest power first.
 *   EXP      (e^r - 1 - r) / r^2 for |r| < ln(2) / 2, relative to e^r
 *   LOG      (2 artanh(s) - 2 s) / s^3 as a function of s^2, |s| < 0.172
 *   NORMAL   (a + k) e^(a^2 / 2) Phi(-a) as a function of (a - k) / (a + k), 0 <= a <= NORMAL_MAX:
 *            the mapping of Shepherd and Laframboise, Mathematics of Computation 36 (1981)
 *   TANH_P / TANH_Q   tanh(x) / x as a function of x^2, x < TANH_MAX */
#if FC_REAL_BITS == 32
#define NORMAL_K 4
static const real EXP[] = { /* 3.2e-9 */
    0.49999993224479860984f, 0.16666517310718382725f, 0.041668426656528459962f,
    0.008369117934449847694f, 0.0013813799081326426058f};
static const real LOG[] = { /* 4.8e-12 */
    0.66666665646168456243f, 0.40000335107777990328f, 0.28537310908598229416f,
    0.23582140514641856145f};
static const real NORMAL[] = { /* 8.7e-9 */
    0.75528513536290564072f, -0.60789658658608862737f, 0.38713690384754215059f,
    -0.18652348579710086769f, 0.060403764553555409723f, -0.0075250037833282089361f,
    -0.003512075250762491293f, 0.0015695903502116541361f, 0.00017836573198321183315f,
    -0.00013243735224716191815f};
static const real TANH_P[] = { /* 1.3e-9 */
    0.99999999869113043811f, 0.13679914461234811268f, 0.0038683270152199135499f,
    0.000028007445831008264365f, 3.0584996649695142115e-8f, -1.2203450724518859233e-11f};
static const real TANH_Q[] = {
    1.0f, 0.47013246521568689781f, 0.027245836051611668688f, 0.00039386298901727604451f,
    1.2873657668879708987e-6f};
#else
#define NORMAL_K 5
static const real EXP[] = { /* 3.9e-18 */
    0.50000000000000112312, 0.16666666666666397946, 0.04166666666652394186,
    0.0083333333335018317805, 0.0013888888945496122923, 0.00019841269495148076042,
    0.000024801490964982094599, 2.755759242037818721e-6, 2.7631071372430762725e-7,
    2.4999480653870069849e-8};
static const real LOG[] = { /* 1.2e-18 */
    0.66666666666667344074, 0.3999999999941470133, 0.2857142874238391238, 0.22222198573451616856,
    0.18183564317587507323, 0.15314050642962139673, 0.14795949969430409921};
static const real NORMAL[] = { /* 1.3e-17 */
    0.76919304975006295639, -0.66538250289005660731, 0.49530561596997693047,
    -0.31353315667131497909, 0.16502036617036499541, -0.069118638705974449588,
    0.020795066800172407099, -0.0029933767753986238588, -0.00079786940073480861873,
    0.00054489910378953516837, -0.000059375715971940649852, -0.000049763001981350956104,
    0.000016681163198594447189, 3.9814726039602987578e-6, -2.7691003620167191021e-6,
    -3.3772183219203085386e-7, 4.3275412977250441717e-7, 4.3607234595755376579e-8,
    -6.5376283656592716953e-8, -1.0223024298183628715e-8, 7.2020119918057391052e-9,
    2.0225196033119402435e-9};
static const real TANH_P[] = { /* 4.2e-18 */
    0.99999999999999999585, 0.15255679880350880353, 0.0060877894733385247013,
    0.000097943931972799221275, 7.4780599087011574372e-7, 2.8744023782963687897e-9,
    5.5155057802314247502e-12, 4.8745195993002377746e-15, 1.6089051303008957357e-18,
    9.973086628320370024e-23, -2.6403403956767085143e-27};
static const real TANH_Q[] = {
    1.0, 0.48589013213684208159, 0.034717833518952673417, 0.00085345812163193345005,
    9.3428930155951940782e-6, 5.0467739611272176986e-8, 1.377549149560675191e-10,
    1.8224282093035301574e-13, 1.0241693900890305043e-16, 1.7234734459190252154e-20};
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define FC_UNROLL _Pragma("GCC unroll 32")
#else
#define FC_UNROLL
#endif

/* The polynomial with these coefficients, by Horner's rule: other vectors hide the latency. */
#define POLYNOMIAL(x, c) horner(x, c, (int)(sizeof c / sizeof c[0]))
FC_INLINE vreal horner(vreal x, const real *c, int n) {
    vreal p = v_set1(c[n - 1]);
    FC_UNROLL
    for (int i = n - 2; i >= 0; i--) p = v_fma(p, x, v_set1(c[i]));
    return p;
}

/* ---- exponential and logarithm ---- */

/* e^x as value times a power of two, which is multiplied in last: a result that is subnormal is
 * rounded once, and a factor that joins at `value` loses none of its digits. The power is 2^n where
 * the instruction set scales by exponents, and scale * rest elsewhere: its half alone is in
 * range. */
typedef struct {
    vreal value;
#ifdef v_scale
    vreal n;
#else
    vreal scale, rest;
#endif
} power;

/* x times the power of two of e */
FC_INLINE vreal v_scaled(vreal x, power e) {
#ifdef v_scale
    return v_scale(x, e.n);
#else
    return v_mul(v_mul(x, e.scale), e.rest);
#endif
}

FC_INLINE vreal v_times_power(vreal x, power e) { return v_scaled(v_mul(x, e.value), e); }

/* e^r 2^n for shifted = n + ROUND */
FC_INLINE power power_of(vreal r, vreal shifted) {
    power e;
    e.value = v_add(v_set1(1), v_fma(v_mul(r, r), POLYNOMIAL(r, EXP), r));
#ifdef v_scale
    e.n = v_sub(shifted, v_set1((real)ROUND));
#else
    const vbits exponent = vb_add(v_bits(shifted), vb_set1(2 * BIAS - bits_of((real)ROUND)));
    const vbits half = vb_right(exponent, 1);
    e.scale = v_real(vb_left(half, MANTISSA));
    e.rest = v_real(vb_left(vb_sub(exponent, half), MANTISSA));
#endif
    return e;
}

/* n + ROUND for the n that leaves x - n ln 2 smallest */
FC_INLINE vreal exponent_of(vreal x) {
    return v_fma(x, v_set1((real)1.4426950408889634074), v_set1((real)ROUND));
}

FC_INLINE vreal less_exponent(vreal x, vreal shifted) {
    const vreal n = v_sub(shifted, v_set1((real)ROUND));
    return v_fma(n, v_set1((real)-LN2_LO), v_fma(n, v_set1((real)-LN2_HI), x));
}

/* e^x for EXP_MIN <= x <= EXP_MAX */
FC_INLINE power exp_parts(vreal x) {
    const vreal shifted = exponent_of(x);
    return power_of(less_exponent(x, shifted), shifted);
}

/* The same of x + low, low being small beside ln 2. */
FC_INLINE power exp_parts_of_sum(vreal x, vreal low) {
    const vreal shifted = exponent_of(v_add(x, low));
    return power_of(v_add(less_exponent(x, shifted), low), shifted);
}

FC_INLINE vreal v_exp(vreal x) {
    const power e = exp_parts(v_clamp(x, EXP_MIN, EXP_MAX));
    return v_scaled(e.value, e);
}

/* log x for a positive, normal, finite x, and NaN */
FC_INLINE vreal v_log(vreal x) {
    /* x = 2^n (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), and log(1 + f) = 2 artanh(s) */
    const vbits low = vb_set1(bits_of((real)SQRT_HALF));
    const vbits shifted = vb_add(v_bits(x), vb_sub(vb_set1(bits_of(1)), low));
    const vbits fraction = vb_and(shifted, vb_set1(((bits)1 << MANTISSA) - 1));
    const real unit = real_of((bits)(BIAS + MANTISSA) << MANTISSA); /* whose last bit is 1 */
    const vreal n = v_sub(v_real(vb_or(v_bits(v_set1(unit)), vb_right(shifted, MANTISSA))),
                          v_set1(unit + BIAS));
    const vreal f = v_sub(v_real(vb_add(fraction, low)), v_set1(1));
    const vreal s = v_div(f, v_add(f, v_set1(2))), z = v_mul(s, s);
    const vreal half_square = v_mul(v_mul(f, f), v_set1((real)0.5));
    const vreal rest = v_fma(s, v_fma(z, POLYNOMIAL(z, LOG), half_square),
                             v_mul(n, v_set1((real)LN2_LO)));
    const vreal result = v_fma(n, v_set1((real)LN2_HI), v_sub(f, v_sub(half_square, rest)));
    return v_less_equal(x, x, result, x);
}

/* ---- functions ---- */

/* 1 / (1 + e^-x) and its kin, through e^-|x| so that both tails keep their digits: with e = e^-|x|,
 * s = sigmoid(|x|) and e s = sigmoid(-|x|). */
typedef struct {
    power power;
    vreal e, s;
} logistic;

FC_INLINE logistic logistic_of(vreal x) {
    logistic l;
    l.power = exp_parts(v_max(v_set1(EXP_MIN), v_neg_abs(x)));
    l.e = v_scaled(l.power.value, l.power);
    l.s = v_div(v_set1(1), v_add(v_set1(1), l.e));
    return l;
}

/* log(1 + e^x) for x <= 0 */
FC_INLINE vreal v_log1p_exp(vreal x) {
    /* what 1 + e rounded off of e is put back */
    const vreal e = v_exp(x), u = v_add(v_set1(1), e);
    return v_add(v_log(u), v_div(v_sub(e, v_sub(u, v_set1(1))), u));
}

FC_INLINE vreal v_tanh(vreal x) {
    const vreal one = v_set1(1), bound = v_set1(TANH_MAX);
    const vreal a = v_min(bound, v_abs(x)), z = v_mul(a, a);
    const vreal t = v_div(v_mul(a, POLYNOMIAL(z, TANH_P)), POLYNOMIAL(z, TANH_Q));
    /* exactly 1 where it rounds to that, and never more */
    const vreal result = v_less_equal(bound, a, one, v_min(one, t));
    return v_real(vb_or(v_bits(result), vb_and(v_bits(x), vb_set1(SIGN_BIT))));
}

/* With phi the normal density, Phi its distribution function and 0 <= a <= NORMAL_MAX:
 * density = sqrt(2 pi) phi(a), and Phi(-a) = ratio * density. */
typedef struct {
    power density;
    vreal ratio;
} normal_tail;

FC_INLINE normal_tail normal_tail_of(vreal a) {
    normal_tail tail;
    const vreal u = v_div(v_set1(1), v_add(a, v_set1(NORMAL_K)));
    tail.ratio = v_mul(POLYNOMIAL(v_mul(v_sub(a, v_set1(NORMAL_K)), u), NORMAL), u);
    /* a^2 = head^2 + (a - head)(a + head), the first exact: the exponential would multiply the one
     * rounding of a^2 by as much */
    const vreal head = v_real(vb_and(v_bits(a), vb_set1(~(((bits)1 << HEAD_BITS) - 1))));
    const vreal half = v_set1((real)-0.5);
    tail.density = exp_parts_of_sum(v_mul(half, v_mul(head, head)),
                                    v_mul(half, v_mul(v_sub(a, head), v_add(a, head))));
    return tail;
}

#endif
