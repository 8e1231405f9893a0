/* What the instruction sets of x86-64 have in common: intrinsics of one name in every width. A set
 * has defined FC_WIDTH, the prefix of its intrinsics, and FC_SI, the word for its vectors of
 * integers. */
#if FC_REAL_BITS == 32
#define FC_PS ps
#define FC_EPI epi32
#else
#define FC_PS pd
#define FC_EPI epi64
#endif
#define FC_CAT2_(a, b) a##_##b
#define FC_CAT2(a, b) FC_CAT2_(a, b)
#define FC_CAT3_(a, b, c) a##_##b##_##c
#define FC_CAT3(a, b, c) FC_CAT3_(a, b, c)
#define FC_CAST_(width, from, to) width##_cast##from##_##to
#define FC_CAST(width, from, to) FC_CAST_(width, from, to)
#define FC_V(op) FC_CAT3(FC_WIDTH, op, FC_PS)  /* of reals */
#define FC_B(op) FC_CAT3(FC_WIDTH, op, FC_EPI) /* of integers as wide */

FC_INLINE vreal v_set1(real x) { return FC_V(set1)(x); }
FC_INLINE vreal v_zero(void) { return FC_V(set1)((real)0); }
FC_INLINE vreal v_load_real(const real *p) { return FC_V(loadu)(p); }
FC_INLINE void v_store_real(real *p, vreal v) { FC_V(storeu)(p, v); }
FC_INLINE vreal v_add(vreal a, vreal b) { return FC_V(add)(a, b); }
FC_INLINE vreal v_sub(vreal a, vreal b) { return FC_V(sub)(a, b); }
FC_INLINE vreal v_mul(vreal a, vreal b) { return FC_V(mul)(a, b); }
FC_INLINE vreal v_div(vreal a, vreal b) { return FC_V(div)(a, b); }
FC_INLINE vreal v_min(vreal a, vreal b) { return FC_V(min)(a, b); }
FC_INLINE vreal v_max(vreal a, vreal b) { return FC_V(max)(a, b); }
FC_INLINE vreal v_sqrt(vreal a) { return FC_V(sqrt)(a); }

FC_INLINE vbits v_bits(vreal v) { return FC_CAST(FC_WIDTH, FC_PS, FC_SI)(v); }
FC_INLINE vreal v_real(vbits v) { return FC_CAST(FC_WIDTH, FC_SI, FC_PS)(v); }
FC_INLINE vbits vb_add(vbits a, vbits b) { return FC_B(add)(a, b); }
FC_INLINE vbits vb_sub(vbits a, vbits b) { return FC_B(sub)(a, b); }
FC_INLINE vbits vb_and(vbits a, vbits b) { return FC_CAT3(FC_WIDTH, and, FC_SI)(a, b); }
FC_INLINE vbits vb_or(vbits a, vbits b) { return FC_CAT3(FC_WIDTH, or, FC_SI)(a, b); }
FC_INLINE vbits vb_left(vbits a, int n) { return FC_B(slli)(a, n); }
FC_INLINE vbits vb_right(vbits a, int n) { return FC_B(srli)(a, n); }

/* Neighbours, then the other half, then ...: the last steps of v_sum in every width. */
#if FC_REAL_BITS == 32
FC_INLINE real fc_sum_128(__m128 v) {
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps(v, v, 1)));
}
#else
FC_INLINE real fc_sum_128(__m128d v) { return _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v))); }
#endif
#define v_sum v_sum

#if defined(__GNUC__)
#define FC_KEEP_VECTOR(x) __asm__("" : "+v"(x))
#endif
