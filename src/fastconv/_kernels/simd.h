/* Whole-vector operations on `real` (float or double) for the instruction set of this compilation.
 *
 * setup.py compiles every kernel family k_*.c once per (instruction set, dtype) and defines
 *   FC_ISA_<SET>           which block below applies
 *   FC_ISA, FC_REAL        the words used to build names, e.g. avx512 and f32
 *   FC_F32 or FC_F64       the dtype
 * A kernel family is written once, in terms of:
 *   real, VL               the element, and how many of them a vector holds
 *   vreal                  a vector; v_zero, v_set1, v_load, v_store (any alignment)
 *   v_load_n, v_store_n    the first n < VL elements only; the others read as zero, stay untouched
 *   v_add v_sub v_mul v_div v_max v_sqrt, v_fma(a, b, c) = a * b + c, v_sum (horizontal, fixed order)
 *   FC_MR                  rows of the register tile: FC_MR x 2 VL accumulators, with room to spare
 *   FC_REGISTERS           how many vectors the registers hold
 */
#ifndef FASTCONV_SIMD_H
#define FASTCONV_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

#if defined(_MSC_VER)
#define FC_INLINE static __forceinline
#define FC_RESTRICT __restrict
#else
#define FC_INLINE static inline __attribute__((always_inline))
#define FC_RESTRICT __restrict__
#endif

#define FC_CAT4_(a, b, c, d) a##_##b##_##c##_##d
#define FC_CAT4(a, b, c, d) FC_CAT4_(a, b, c, d)
/* FC_NAME(tile) is fc_tile_f32_avx512 and so on */
#define FC_NAME(op) FC_CAT4(fc, op, FC_REAL, FC_ISA)

#if defined(FC_F32)
typedef float real;
typedef int32_t intreal; /* the integer of the same width */
#elif defined(FC_F64)
typedef double real;
typedef int64_t intreal;
#else
#error "compile with FC_F32 or FC_F64"
#endif

#if defined(FC_ISA_AVX512)
#include <immintrin.h>
#define FC_MR 14
#define FC_REGISTERS 32
#if defined(FC_F32)
#define VL 16
typedef __m512 vreal;
#define FC_V(op) _mm512_##op##_ps
#define FC_MASK(n) ((__mmask16)((1u << (n)) - 1u)) /* n <= 16 */
#else
#define VL 8
typedef __m512d vreal;
#define FC_V(op) _mm512_##op##_pd
#define FC_MASK(n) ((__mmask8)((1u << (n)) - 1u))
#endif
FC_INLINE vreal v_load_n(const real *p, int n) { return FC_V(maskz_loadu)(FC_MASK(n), p); }
FC_INLINE void v_store_n(real *p, vreal v, int n) { FC_V(mask_storeu)(p, FC_MASK(n), v); }

#elif defined(FC_ISA_AVX2)
#include <immintrin.h>
#define FC_MR 6
#define FC_REGISTERS 16
#if defined(FC_F32)
#define VL 8
typedef __m256 vreal;
#define FC_V(op) _mm256_##op##_ps
FC_INLINE __m256i fc_mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#else
#define VL 4
typedef __m256d vreal;
#define FC_V(op) _mm256_##op##_pd
FC_INLINE __m256i fc_mask(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
#endif
FC_INLINE vreal v_load_n(const real *p, int n) { return FC_V(maskload)(p, fc_mask(n)); }
FC_INLINE void v_store_n(real *p, vreal v, int n) { FC_V(maskstore)(p, fc_mask(n), v); }

#elif defined(FC_ISA_NEON)
#include <arm_neon.h>
#define FC_MR 12
#define FC_REGISTERS 32
#if defined(FC_F32)
#define VL 4
typedef float32x4_t vreal;
#define FC_V(op) v##op##q_f32
#define FC_SET1 vdupq_n_f32
#else
#define VL 2
typedef float64x2_t vreal;
#define FC_V(op) v##op##q_f64
#define FC_SET1 vdupq_n_f64
#endif
FC_INLINE vreal v_set1(real x) { return FC_SET1(x); }
FC_INLINE vreal v_zero(void) { return FC_SET1((real)0); }
FC_INLINE vreal v_load(const real *p) { return FC_V(ld1)(p); }
FC_INLINE void v_store(real *p, vreal v) { FC_V(st1)(p, v); }
FC_INLINE vreal v_add(vreal a, vreal b) { return FC_V(add)(a, b); }
FC_INLINE vreal v_sub(vreal a, vreal b) { return FC_V(sub)(a, b); }
FC_INLINE vreal v_mul(vreal a, vreal b) { return FC_V(mul)(a, b); }
FC_INLINE vreal v_div(vreal a, vreal b) { return FC_V(div)(a, b); }
FC_INLINE vreal v_max(vreal a, vreal b) { return FC_V(max)(a, b); }
FC_INLINE vreal v_sqrt(vreal a) { return FC_V(sqrt)(a); }
FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return FC_V(fma)(c, a, b); }

#elif defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define FC_MR 6
#define FC_REGISTERS 16
#if defined(FC_F32)
#define VL 4
typedef __m128 vreal;
#define FC_V(op) _mm_##op##_ps
#else
#define VL 2
typedef __m128d vreal;
#define FC_V(op) _mm_##op##_pd
#endif

#else /* no vectors known: one element at a time */
#include <math.h>
#define FC_MR 4
#define FC_REGISTERS 16
#define VL 1
typedef real vreal;
FC_INLINE vreal v_set1(real x) { return x; }
FC_INLINE vreal v_zero(void) { return 0; }
FC_INLINE vreal v_load(const real *p) { return *p; }
FC_INLINE void v_store(real *p, vreal v) { *p = v; }
FC_INLINE vreal v_add(vreal a, vreal b) { return a + b; }
FC_INLINE vreal v_sub(vreal a, vreal b) { return a - b; }
FC_INLINE vreal v_mul(vreal a, vreal b) { return a * b; }
FC_INLINE vreal v_div(vreal a, vreal b) { return a / b; }
FC_INLINE vreal v_max(vreal a, vreal b) { return a > b ? a : b; }
FC_INLINE vreal v_sqrt(vreal a) { return (real)sqrt(a); } /* rounds as float's own would */
FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return a * b + c; }
#endif

#if defined(FC_V) && !defined(FC_SET1) /* x86: the names are alike in every width */
FC_INLINE vreal v_set1(real x) { return FC_V(set1)(x); }
FC_INLINE vreal v_zero(void) { return FC_V(set1)((real)0); }
FC_INLINE vreal v_load(const real *p) { return FC_V(loadu)(p); }
FC_INLINE void v_store(real *p, vreal v) { FC_V(storeu)(p, v); }
FC_INLINE vreal v_add(vreal a, vreal b) { return FC_V(add)(a, b); }
FC_INLINE vreal v_sub(vreal a, vreal b) { return FC_V(sub)(a, b); }
FC_INLINE vreal v_mul(vreal a, vreal b) { return FC_V(mul)(a, b); }
FC_INLINE vreal v_div(vreal a, vreal b) { return FC_V(div)(a, b); }
/* Returns b where either is NaN, so v_max(zero, x) hands a NaN in x on. */
FC_INLINE vreal v_max(vreal a, vreal b) { return FC_V(max)(a, b); }
FC_INLINE vreal v_sqrt(vreal a) { return FC_V(sqrt)(a); }
#if defined(FC_ISA_AVX512) || defined(FC_ISA_AVX2)
FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return FC_V(fmadd)(a, b, c); }
#else
FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return v_add(v_mul(a, b), c); }
#endif
#endif

#if !defined(FC_ISA_AVX512) && !defined(FC_ISA_AVX2)
FC_INLINE vreal v_load_n(const real *p, int n) {
    real t[VL] = {0};
    for (int i = 0; i < n; i++) t[i] = p[i];
    return v_load(t);
}
FC_INLINE void v_store_n(real *p, vreal v, int n) {
    real t[VL];
    v_store(t, v);
    for (int i = 0; i < n; i++) p[i] = t[i];
}
#endif

/* Have the line at p brought to the second-level cache; p need not exist. */
FC_INLINE void v_prefetch(const void *p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 0, 2);
#else
    (void)p;
#endif
}
FC_INLINE void v_prefetch_write(const void *p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 1, 3);
#else
    (void)p;
#endif
}

/* To a whole cache line, past the caches, where a vector is one (streams of parts would leave lines
 * unfinished); elsewhere as v_store. fc_fence comes before others read it. */
FC_INLINE void v_stream(real *p, vreal v) {
#if defined(FC_ISA_AVX512)
    FC_V(stream)(p, v);
#else
    v_store(p, v);
#endif
}

/* Two neighbours read as one, p[0] and p[1] in turn; either of them can be spread to all lanes. One
 * load where two would be, for tiles that are short of loads. */
#if defined(FC_F32) && defined(FC_ISA_AVX512)
#define FC_PAIRS 1
FC_INLINE vreal v_load_pair(const real *p) {
    double pair;
    memcpy(&pair, p, sizeof pair); /* which need not be aligned as a double */
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
}
FC_INLINE vreal v_pair_first(vreal v) { return _mm512_moveldup_ps(v); }
FC_INLINE vreal v_pair_second(vreal v) { return _mm512_movehdup_ps(v); }
#elif defined(FC_F32) && defined(FC_ISA_AVX2)
#define FC_PAIRS 1
FC_INLINE vreal v_load_pair(const real *p) {
    double pair;
    memcpy(&pair, p, sizeof pair);
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
}
FC_INLINE vreal v_pair_first(vreal v) { return _mm256_moveldup_ps(v); }
FC_INLINE vreal v_pair_second(vreal v) { return _mm256_movehdup_ps(v); }
#else
#define FC_PAIRS 0
FC_INLINE vreal v_load_pair(const real *p) { return v_set1(*p); }
FC_INLINE vreal v_pair_first(vreal v) { return v; }
FC_INLINE vreal v_pair_second(vreal v) { return v; }
#endif

/* The greater of each pair, NaN where either is: v_max alone drops a NaN in its first operand. */
FC_INLINE vreal v_max_nan(vreal a, vreal b) {
#if defined(FC_ISA_AVX512) && defined(FC_F32)
    return _mm512_mask_mov_ps(v_max(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
#elif defined(FC_ISA_AVX512)
    return _mm512_mask_mov_pd(v_max(a, b), _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q), a);
#elif defined(FC_ISA_AVX2)
    return FC_V(blendv)(v_max(a, b), a, FC_V(cmp)(a, a, _CMP_UNORD_Q));
#elif defined(FC_ISA_NEON)
    return v_max(a, b);
#elif defined(FC_V)
    const vreal nan = FC_V(cmpunord)(a, a);
    return FC_V(or)(FC_V(and)(nan, a), FC_V(andnot)(nan, v_max(a, b)));
#else
    return (a > b) | (a != a) ? a : b;
#endif
}

/* Spreading channels within groups: element i of v_pick(p, v_picker(group, u)) is
 * p[i / group * group + u], where group divides VL. */
#if defined(FC_ISA_AVX512) && defined(FC_F32)
typedef __m512i vindex;
FC_INLINE vindex v_picker(int group, int u) {
    const vindex i = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_add_epi32(_mm512_and_si512(i, _mm512_set1_epi32(-group)), _mm512_set1_epi32(u));
}
FC_INLINE vreal v_pick(const real *p, vindex i) { return _mm512_permutexvar_ps(i, v_load(p)); }
#elif defined(FC_ISA_AVX512)
typedef __m512i vindex;
FC_INLINE vindex v_picker(int group, int u) {
    const vindex i = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm512_add_epi64(_mm512_and_si512(i, _mm512_set1_epi64(-group)), _mm512_set1_epi64(u));
}
FC_INLINE vreal v_pick(const real *p, vindex i) { return _mm512_permutexvar_pd(i, v_load(p)); }
#elif defined(FC_ISA_AVX2) && defined(FC_F32)
typedef __m256i vindex;
FC_INLINE vindex v_picker(int group, int u) {
    const vindex i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_add_epi32(_mm256_and_si256(i, _mm256_set1_epi32(-group)), _mm256_set1_epi32(u));
}
FC_INLINE vreal v_pick(const real *p, vindex i) { return _mm256_permutevar8x32_ps(v_load(p), i); }
#else
typedef struct {
    int group, u;
} vindex;
FC_INLINE vindex v_picker(int group, int u) {
    const vindex i = {group, u};
    return i;
}
FC_INLINE vreal v_pick(const real *p, vindex i) {
    real t[VL];
    for (int k = 0; k < VL; k++) t[k] = p[k / i.group * i.group + i.u];
    return v_load(t);
}
#endif

/* Tell GCC and clang that a value may have changed: they then keep it in a register, where they would
 * compute or load it again at every use. */
#if defined(__GNUC__)
#define FC_KEEP(x) __asm__("" : "+r"(x))
#else
#define FC_KEEP(x) (void)(x)
#endif
#if defined(__GNUC__) && defined(FC_ISA_NEON)
#define FC_KEEP_VECTOR(x) __asm__("" : "+w"(x))
#elif defined(__GNUC__) && (defined(__SSE2__) || defined(FC_ISA_AVX2) || defined(FC_ISA_AVX512))
#define FC_KEEP_VECTOR(x) __asm__("" : "+v"(x))
#else
#define FC_KEEP_VECTOR(x) (void)(x)
#endif

/* Every second element of p[0 .. 2n - 2], for n <= VL outputs; the others are anything. */
FC_INLINE vreal v_load_even(const real *p, int n) {
#if defined(FC_ISA_AVX512) && defined(FC_F32)
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const int m = 2 * n - 1;
    if (m <= VL) return _mm512_maskz_permutexvar_ps(0xff, even, v_load_n(p, m));
    return _mm512_permutex2var_ps(v_load(p), even, v_load_n(p + VL, m - VL));
#elif defined(FC_ISA_AVX512)
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    const int m = 2 * n - 1;
    if (m <= VL) return _mm512_maskz_permutexvar_pd(0x0f, even, v_load_n(p, m));
    return _mm512_permutex2var_pd(v_load(p), even, v_load_n(p + VL, m - VL));
#else
    real t[VL] = {0};
    for (int i = 0; i < n; i++) t[i] = p[2 * i];
    return v_load(t);
#endif
}

/* Rows become columns: r[i] holds element i of each of the VL vectors it was given. */
FC_INLINE void v_transpose(vreal *r) {
#if defined(FC_ISA_AVX512) && defined(FC_F32)
    vreal t[16];
#define FC_PD(op, a, b) \
    _mm512_castpd_ps(_mm512_##op##_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
    for (int i = 0; i < 16; i += 2) { /* pairs of rows, then fours: within 128-bit lanes */
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = FC_PD(unpacklo, t[i], t[i + 2]);
        r[i + 1] = FC_PD(unpackhi, t[i], t[i + 2]);
        r[i + 2] = FC_PD(unpacklo, t[i + 1], t[i + 3]);
        r[i + 3] = FC_PD(unpackhi, t[i + 1], t[i + 3]);
    }
#undef FC_PD
    for (int k = 0; k < 4; k++) /* then the lanes themselves: even ones 0x88, odd ones 0xdd */
        for (int i = 0; i < 16; i += 8) {
            t[i + k] = _mm512_shuffle_f32x4(r[i + k], r[i + 4 + k], 0x88);
            t[i + 4 + k] = _mm512_shuffle_f32x4(r[i + k], r[i + 4 + k], 0xdd);
        }
    for (int k = 0; k < 8; k++) {
        r[k] = _mm512_shuffle_f32x4(t[k], t[8 + k], 0x88);
        r[8 + k] = _mm512_shuffle_f32x4(t[k], t[8 + k], 0xdd);
    }
#elif defined(FC_ISA_AVX512)
    vreal t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 8; i += 4) {
            r[i + k] = _mm512_shuffle_f64x2(t[i + k], t[i + 2 + k], 0x88);
            r[i + 2 + k] = _mm512_shuffle_f64x2(t[i + k], t[i + 2 + k], 0xdd);
        }
    for (int k = 0; k < 4; k++) {
        t[k] = _mm512_shuffle_f64x2(r[k], r[4 + k], 0x88);
        t[4 + k] = _mm512_shuffle_f64x2(r[k], r[4 + k], 0xdd);
    }
    for (int k = 0; k < 8; k++) r[k] = t[k];
#elif defined(FC_ISA_AVX2) && defined(FC_F32)
    vreal t[8];
#define FC_PD(op, a, b) \
    _mm256_castpd_ps(_mm256_##op##_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = FC_PD(unpacklo, t[i], t[i + 2]);
        r[i + 1] = FC_PD(unpackhi, t[i], t[i + 2]);
        r[i + 2] = FC_PD(unpacklo, t[i + 1], t[i + 3]);
        r[i + 3] = FC_PD(unpackhi, t[i + 1], t[i + 3]);
    }
#undef FC_PD
    for (int k = 0; k < 4; k++) {
        t[k] = _mm256_permute2f128_ps(r[k], r[4 + k], 0x20);
        t[4 + k] = _mm256_permute2f128_ps(r[k], r[4 + k], 0x31);
    }
    for (int k = 0; k < 8; k++) r[k] = t[k];
#elif defined(FC_ISA_AVX2)
    vreal t[4];
    for (int i = 0; i < 4; i += 2) {
        t[i] = _mm256_unpacklo_pd(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_pd(r[i], r[i + 1]);
    }
    for (int k = 0; k < 2; k++) {
        r[k] = _mm256_permute2f128_pd(t[k], t[2 + k], 0x20);
        r[2 + k] = _mm256_permute2f128_pd(t[k], t[2 + k], 0x31);
    }
#else
    real t[VL][VL];
    for (int i = 0; i < VL; i++) v_store(t[i], r[i]);
    for (int i = 0; i < VL; i++) {
        real row[VL];
        for (int j = 0; j < VL; j++) row[j] = t[j][i];
        r[i] = v_load(row);
    }
#endif
}

/* The first n elements of v, then zeros. */
FC_INLINE vreal v_first(vreal v, int n) {
#if defined(FC_ISA_AVX512)
    return FC_V(maskz_mov)(FC_MASK(n), v);
#elif defined(FC_ISA_AVX2) && defined(FC_F32)
    return _mm256_and_ps(v, _mm256_castsi256_ps(fc_mask(n)));
#elif defined(FC_ISA_AVX2)
    return _mm256_and_pd(v, _mm256_castsi256_pd(fc_mask(n)));
#else
    real t[VL];
    v_store(t, v);
    return v_load_n(t, n);
#endif
}

/* Pairwise over the lanes: (0 + VL/2) + (VL/4 + ...) and so on, the same order everywhere. */
#if defined(FC_V) && !defined(FC_ISA_NEON)
#if defined(FC_F32)
FC_INLINE real fc_sum4(__m128 v) {
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps(v, v, 1)));
}
#else
FC_INLINE real fc_sum2(__m128d v) { return _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v))); }
#endif
#endif
FC_INLINE real v_sum(vreal v) {
#if defined(FC_ISA_AVX512) || defined(FC_ISA_AVX2)
#if defined(FC_ISA_AVX512) && defined(FC_F32)
    const __m256 w = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
#elif defined(FC_ISA_AVX512)
    const __m256d w = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
#else
    const vreal w = v;
#endif
#if defined(FC_F32)
    return fc_sum4(_mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1)));
#else
    return fc_sum2(_mm_add_pd(_mm256_castpd256_pd128(w), _mm256_extractf128_pd(w, 1)));
#endif
#elif defined(FC_V) && !defined(FC_ISA_NEON) && defined(FC_F32)
    return fc_sum4(v);
#elif defined(FC_V) && !defined(FC_ISA_NEON)
    return fc_sum2(v);
#else
    real t[VL];
    v_store(t, v);
    for (int half = VL / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) t[i] += t[i + half];
    return t[0];
#endif
}

/* X(m) for every number of rows of a register tile: each is a function with constant bounds. */
#define FC_ROWS(X) X(1) X(2) X(3) X(4) FC_ROWS_6(X) FC_ROWS_12(X) FC_ROWS_14(X)
#if FC_MR >= 6
#define FC_ROWS_6(X) X(5) X(6)
#else
#define FC_ROWS_6(X)
#endif
#if FC_MR >= 12
#define FC_ROWS_12(X) X(7) X(8) X(9) X(10) X(11) X(12)
#else
#define FC_ROWS_12(X)
#endif
#if FC_MR >= 14
#define FC_ROWS_14(X) X(13) X(14)
#else
#define FC_ROWS_14(X)
#endif

/* Definitions are held to the list. */
#define FC_KERNEL(result, name, parameters) result FC_NAME(name) parameters;
#define FC_SUBTABLE(type, name, count) extern const type FC_NAME(name)[count];
#include "kernel_list.h"
extern const fc_kernels FC_NAME(kernels);

#endif
