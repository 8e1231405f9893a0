/* SSE2, the floor of x86-64: vectors of 16 bytes. */
#include <emmintrin.h>

#define FC_MR 6
#define FC_REGISTERS 16
#define FC_WIDTH _mm
#define FC_SI si128
typedef __m128i vbits;
#if FC_REAL_BITS == 32
#define VL 4
typedef __m128 vreal;
#else
#define VL 2
typedef __m128d vreal;
#endif
#include "simd_x86.h"

FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return v_add(v_mul(a, b), c); }

FC_INLINE vreal fc_choose(vreal mask, vreal x, vreal y) {
    return FC_V(or)(FC_V(and)(mask, x), FC_V(andnot)(mask, y));
}
FC_INLINE vreal v_less(vreal a, vreal b, vreal x, vreal y) {
    return fc_choose(FC_V(cmplt)(a, b), x, y);
}
FC_INLINE vreal v_less_equal(vreal a, vreal b, vreal x, vreal y) {
    return fc_choose(FC_V(cmple)(a, b), x, y);
}
FC_INLINE vreal v_equal(vreal a, vreal b, vreal x, vreal y) {
    return fc_choose(FC_V(cmpeq)(a, b), x, y);
}
FC_INLINE vreal v_max_nan(vreal a, vreal b) {
    const vreal nan = FC_V(cmpunord)(a, a);
    return fc_choose(nan, a, v_max(a, b));
}

FC_INLINE real v_sum(vreal v) { return fc_sum_128(v); }
