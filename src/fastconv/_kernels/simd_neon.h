/* NEON, which every 64-bit ARM has: vectors of 16 bytes. */
#include <arm_neon.h>

#define FC_MR 12
#define FC_REGISTERS 32
#if FC_REAL_BITS == 32
#define VL 4
typedef float32x4_t vreal;
typedef uint32x4_t vbits;
#define FC_V(op) v##op##q_f32
#define FC_U(op) v##op##q_u32
FC_INLINE vreal v_set1(real x) { return vdupq_n_f32(x); }
FC_INLINE vbits v_bits(vreal v) { return vreinterpretq_u32_f32(v); }
FC_INLINE vreal v_real(vbits v) { return vreinterpretq_f32_u32(v); }
FC_INLINE vbits fc_shift(vbits a, int n) { return vshlq_u32(a, vdupq_n_s32(n)); }
#else
#define VL 2
typedef float64x2_t vreal;
typedef uint64x2_t vbits;
#define FC_V(op) v##op##q_f64
#define FC_U(op) v##op##q_u64
FC_INLINE vreal v_set1(real x) { return vdupq_n_f64(x); }
FC_INLINE vbits v_bits(vreal v) { return vreinterpretq_u64_f64(v); }
FC_INLINE vreal v_real(vbits v) { return vreinterpretq_f64_u64(v); }
FC_INLINE vbits fc_shift(vbits a, int n) { return vshlq_u64(a, vdupq_n_s64(n)); }
#endif
FC_INLINE vreal v_zero(void) { return v_set1((real)0); }
FC_INLINE vreal v_load_real(const real *p) { return FC_V(ld1)(p); }
FC_INLINE void v_store_real(real *p, vreal v) { FC_V(st1)(p, v); }
FC_INLINE vreal v_add(vreal a, vreal b) { return FC_V(add)(a, b); }
FC_INLINE vreal v_sub(vreal a, vreal b) { return FC_V(sub)(a, b); }
FC_INLINE vreal v_mul(vreal a, vreal b) { return FC_V(mul)(a, b); }
FC_INLINE vreal v_div(vreal a, vreal b) { return FC_V(div)(a, b); }
FC_INLINE vreal v_min(vreal a, vreal b) { return FC_V(min)(a, b); }
FC_INLINE vreal v_max(vreal a, vreal b) { return FC_V(max)(a, b); }
FC_INLINE vreal v_max_nan(vreal a, vreal b) { return v_max(a, b); } /* NaN where either is */
FC_INLINE vreal v_sqrt(vreal a) { return FC_V(sqrt)(a); }
FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return FC_V(fma)(c, a, b); }

FC_INLINE vreal v_less(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(bsl)(FC_V(clt)(a, b), x, y);
}
FC_INLINE vreal v_less_equal(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(bsl)(FC_V(cle)(a, b), x, y);
}
FC_INLINE vreal v_equal(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(bsl)(FC_V(ceq)(a, b), x, y);
}

FC_INLINE vbits vb_add(vbits a, vbits b) { return FC_U(add)(a, b); }
FC_INLINE vbits vb_sub(vbits a, vbits b) { return FC_U(sub)(a, b); }
FC_INLINE vbits vb_and(vbits a, vbits b) { return FC_U(and)(a, b); }
FC_INLINE vbits vb_or(vbits a, vbits b) { return FC_U(orr)(a, b); }
FC_INLINE vbits vb_left(vbits a, int n) { return fc_shift(a, n); }
FC_INLINE vbits vb_right(vbits a, int n) { return fc_shift(a, -n); }

#if defined(__GNUC__)
#define FC_KEEP_VECTOR(x) __asm__("" : "+w"(x))
#endif
