/* Mathematical functions of one `real` that a compiler turns into whole-vector code: no branches,
 * no tables, no calls; a comparison only ever picks between two values. Loops over them vectorise
 * for every instruction set.
 *
 * Errors, measured over the whole range against exact values: at most 1 ulp, subnormal results
 * included. NaN in gives NaN out; nothing overflows on the way.
 *
 * Polynomials: minimax fits by the Remez exchange in 50 digits, each minimising the error relative
 * to the function that it serves; the bound stands beside it. They are evaluated by Horner's rule:
 * the next vector's work hides the latency.
 */
#ifndef FASTCONV_VMATH_H
#define FASTCONV_VMATH_H

#include <math.h>
#include <string.h>

#include "simd.h"

#define R(x) ((real)(x))

#if defined(FC_F32)
typedef uint32_t bits; /* the element as a bit pattern */
enum { FC_MANTISSA = 23, FC_BIAS = 127 };
#define FC_ROUND R(0x1.8p23)  /* added, it leaves no bit for a fraction */
#define FC_EXP_MIN R(-170) /* x^3 e^x is 0 below, and e^x all the more; e^x is infinite above */
#define FC_EXP_MAX R(89)
#define FC_LN2_HI R(0x1.62e4p-1) /* few bits, so that n * FC_LN2_HI is exact */
#define FC_LN2_LO R(0x1.7f7d1cp-20)
#define FC_SQRT_HALF R(0x1.6a09e6p-1)
#define FC_HEAD_BITS 12 /* mantissa bits that may be cleared to make a square exact */
#define FC_TANH_MAX R(10)    /* tanh is 1 from here on */
#define FC_NORMAL_MAX R(14.6) /* the normal distribution's tail is 0 from here on */
#else
typedef uint64_t bits;
enum { FC_MANTISSA = 52, FC_BIAS = 1023 };
#define FC_ROUND R(0x1.8p52)
#define FC_EXP_MIN R(-1400)
#define FC_EXP_MAX R(710)
#define FC_LN2_HI R(0x1.62e42feep-1)
#define FC_LN2_LO R(0x1.a39ef35793c76p-33)
#define FC_SQRT_HALF R(0x1.6a09e667f3bcdp-1)
#define FC_HEAD_BITS 27
#define FC_TANH_MAX R(20)
#define FC_NORMAL_MAX R(38.7)
#endif

FC_INLINE bits bits_of(real x) {
    bits b;
    memcpy(&b, &x, sizeof b);
    return b;
}

FC_INLINE real real_of(bits b) {
    real x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* NaN passes through these two: every comparison with it is false. */
FC_INLINE real at_least(real x, real low) { return x < low ? low : x; }
FC_INLINE real at_most(real x, real high) { return x > high ? high : x; }

FC_INLINE bits sign_of(real x) { return bits_of(x) & ~(~(bits)0 >> 1); }
FC_INLINE real magnitude(real x) { return real_of(bits_of(x) & (~(bits)0 >> 1)); }

/* (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, and a little more */
FC_INLINE real exp_tail(real r) {
    real p;
#if defined(FC_F32) /* 3.2e-9 of e^r */
    p = R(0.0013813799081326426058);
    p = p * r + R(0.008369117934449847694);
    p = p * r + R(0.041668426656528459962);
    p = p * r + R(0.16666517310718382725);
    p = p * r + R(0.49999993224479860984);
#else /* 3.9e-18 of e^r */
    p = R(2.4999480653870069849e-8);
    p = p * r + R(2.7631071372430762725e-7);
    p = p * r + R(2.755759242037818721e-6);
    p = p * r + R(0.000024801490964982094599);
    p = p * r + R(0.00019841269495148076042);
    p = p * r + R(0.0013888888945496122923);
    p = p * r + R(0.0083333333335018317805);
    p = p * r + R(0.04166666666652394186);
    p = p * r + R(0.16666666666666397946);
    p = p * r + R(0.50000000000000112312);
#endif
    return p;
}

/* e^x as value * scale * rest, the last two powers of two: multiplied in that order, a result that
 * is subnormal is rounded once, and a factor that joins at `value` loses none of its digits. */
typedef struct {
    real value, scale, rest;
    real less_one; /* value - 1, to its own last digit */
} power;

/* e^(x + low), |low| small beside ln 2, FC_EXP_MIN <= x <= FC_EXP_MAX */
FC_INLINE power exp_parts(real x, real low) {
    const real shifted = (x + low) * R(1.4426950408889634074) + FC_ROUND;
    const real n = shifted - FC_ROUND;
    const real r = ((x - n * FC_LN2_HI) - n * FC_LN2_LO) + low;
    const bits exponent = bits_of(shifted) - bits_of(FC_ROUND) + 2 * FC_BIAS;
    const bits half = exponent >> 1;
    power e;
    e.less_one = r + r * r * exp_tail(r);
    e.value = 1 + e.less_one;
    e.scale = real_of(half << FC_MANTISSA);
    e.rest = real_of((exponent - half) << FC_MANTISSA);
    return e;
}

FC_INLINE real times_power(real x, power e) { return x * e.value * e.scale * e.rest; }

FC_INLINE real exp_of(real x) {
    return times_power(1, exp_parts(at_most(at_least(x, FC_EXP_MIN), FC_EXP_MAX), 0));
}

/* log x for a positive, normal, finite x */
FC_INLINE real log_of(real x) {
    const bits shifted = bits_of(x) + (bits_of(1) - bits_of(FC_SQRT_HALF));
    const bits fraction = shifted & (((bits)1 << FC_MANTISSA) - 1);
    const real two_m = real_of((bits)(FC_BIAS + FC_MANTISSA) << FC_MANTISSA);
    const real n = real_of(bits_of(two_m) | (shifted >> FC_MANTISSA)) - (two_m + FC_BIAS);
    /* x = 2^n (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), and log(1 + f) = 2 artanh(s) */
    const real f = real_of(fraction + bits_of(FC_SQRT_HALF)) - 1;
    const real s = f / (2 + f), z = s * s, half_square = R(0.5) * f * f;
    real p;
#if defined(FC_F32) /* 4.8e-12 of the logarithm */
    p = R(0.23582140514641856145);
    p = p * z + R(0.28537310908598229416);
    p = p * z + R(0.40000335107777990328);
    p = p * z + R(0.66666665646168456243);
#else /* 1.2e-18 */
    p = R(0.14795949969430409921);
    p = p * z + R(0.15314050642962139673);
    p = p * z + R(0.18183564317587507323);
    p = p * z + R(0.22222198573451616856);
    p = p * z + R(0.2857142874238391238);
    p = p * z + R(0.3999999999941470133);
    p = p * z + R(0.66666666666667344074);
#endif
    const real low = s * (half_square + z * p) + n * FC_LN2_LO;
    const real result = n * FC_LN2_HI + (f - (half_square - low));
    return x != x ? x : result;
}

/* With phi the normal density, Phi its distribution function and a = |x| at most FC_NORMAL_MAX:
 * density = sqrt(2 pi) phi(a), and Phi(-a) = ratio * density. The ratio is erfcx(a / sqrt 2) / 2,
 * fitted as a polynomial in (a - k) / (a + k) over a + k, which is smooth to infinity: the mapping
 * of Shepherd and Laframboise, Mathematics of Computation 36 (1981), with coefficients for this
 * function and this range. */
typedef struct {
    power density;
    real ratio;
} normal_tail;

FC_INLINE normal_tail normal_tail_of(real a) {
    normal_tail result;
    real p;
#if defined(FC_F32) /* 8.8e-9 of the ratio */
    const real u = 1 / (a + 4), t = (a - 4) * u;
    p = R(-0.00013243735224716191815);
    p = p * t + R(0.00017836573198321183315);
    p = p * t + R(0.0015695903502116541361);
    p = p * t + R(-0.003512075250762491293);
    p = p * t + R(-0.0075250037833282089361);
    p = p * t + R(0.060403764553555409723);
    p = p * t + R(-0.18652348579710086769);
    p = p * t + R(0.38713690384754215059);
    p = p * t + R(-0.60789658658608862737);
    p = p * t + R(0.75528513536290564072);
#else /* 1.3e-17 */
    const real u = 1 / (a + 5), t = (a - 5) * u;
    p = R(2.0225196033119402435e-9);
    p = p * t + R(7.2020119918057391052e-9);
    p = p * t + R(-1.0223024298183628715e-8);
    p = p * t + R(-6.5376283656592716953e-8);
    p = p * t + R(4.3607234595755376579e-8);
    p = p * t + R(4.3275412977250441717e-7);
    p = p * t + R(-3.3772183219203085386e-7);
    p = p * t + R(-2.7691003620167191021e-6);
    p = p * t + R(3.9814726039602987578e-6);
    p = p * t + R(0.000016681163198594447189);
    p = p * t + R(-0.000049763001981350956104);
    p = p * t + R(-0.000059375715971940649852);
    p = p * t + R(0.00054489910378953516837);
    p = p * t + R(-0.00079786940073480861873);
    p = p * t + R(-0.0029933767753986238588);
    p = p * t + R(0.020795066800172407099);
    p = p * t + R(-0.069118638705974449588);
    p = p * t + R(0.16502036617036499541);
    p = p * t + R(-0.31353315667131497909);
    p = p * t + R(0.49530561596997693047);
    p = p * t + R(-0.66538250289005660731);
    p = p * t + R(0.76919304975006295639);
#endif
    result.ratio = p * u;
    /* a^2 = head^2 + (a - head)(a + head), the first exact: one rounding of a^2 would be scaled by
     * a^2 / 2 in the exponential */
    const real head = real_of(bits_of(a) & ~(((bits)1 << FC_HEAD_BITS) - 1));
    result.density = exp_parts(R(-0.5) * head * head, R(-0.5) * ((a - head) * (a + head)));
    return result;
}

#endif
