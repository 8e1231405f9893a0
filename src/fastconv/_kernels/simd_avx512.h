/* AVX-512 F, BW, CD, DQ and VL: vectors of 64 bytes, and masks. */
#include <immintrin.h>

#define FC_MR 14
#define FC_REGISTERS 32
#define FC_WIDTH _mm512
#define FC_SI si512
typedef __m512i vbits;
#if FC_REAL_BITS == 32
#define VL 16
typedef __m512 vreal;
#define FC_MASK(n) ((__mmask16)((1u << (n)) - 1u)) /* n <= 16 */
#else
#define VL 8
typedef __m512d vreal;
#define FC_MASK(n) ((__mmask8)((1u << (n)) - 1u))
#endif
#include "simd_x86.h"

FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return FC_V(fmadd)(a, b, c); }

#define v_load_real_n v_load_real_n
FC_INLINE vreal v_load_real_n(const real *p, int n) { return FC_V(maskz_loadu)(FC_MASK(n), p); }
#define v_store_real_n v_store_real_n
FC_INLINE void v_store_real_n(real *p, vreal v, int n) { FC_V(mask_storeu)(p, FC_MASK(n), v); }
#define v_first v_first
FC_INLINE vreal v_first(vreal v, int n) { return FC_V(maskz_mov)(FC_MASK(n), v); }
#define v_stream_real v_stream_real
FC_INLINE void v_stream_real(real *p, vreal v) { FC_V(stream)(p, v); }

/* ---- choices ---- */

#define FC_CMP(a, b, how) FC_CAT3(FC_WIDTH, cmp, FC_CAT2(FC_PS, mask))(a, b, how)
FC_INLINE vreal v_less(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(mask_blend)(FC_CMP(a, b, _CMP_LT_OQ), y, x);
}
FC_INLINE vreal v_less_equal(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(mask_blend)(FC_CMP(a, b, _CMP_LE_OQ), y, x);
}
FC_INLINE vreal v_equal(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(mask_blend)(FC_CMP(a, b, _CMP_EQ_OQ), y, x);
}
FC_INLINE vreal v_max_nan(vreal a, vreal b) {
    return FC_V(mask_mov)(v_max(a, b), FC_CMP(a, a, _CMP_UNORD_Q), a);
}

#define v_scale v_scale
FC_INLINE vreal v_scale(vreal x, vreal n) { return FC_V(scalef)(x, n); }

/* ---- lanes ---- */

#if FC_REAL_BITS == 32
#define FC_EACH_LANE _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#define FC_EVEN_LANES \
    _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#else
#define FC_EACH_LANE _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)
#define FC_EVEN_LANES _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14)
#endif

#define v_permute v_permute
typedef __m512i vindex;
FC_INLINE vindex v_picker(int group, int u) {
    return FC_B(add)(_mm512_and_si512(FC_EACH_LANE, FC_B(set1)(-group)), FC_B(set1)(u));
}
FC_INLINE vindex v_lanes(const intreal *lane) { return _mm512_loadu_si512(lane); }
FC_INLINE vreal v_permute(vreal v, vindex i) { return FC_V(permutexvar)(i, v); }
#define v_permute_some v_permute_some
FC_INLINE vreal v_permute_some(vreal y, int from, int to, vreal v, vindex i) {
    return FC_V(mask_permutexvar)(y, FC_MASK(to) & (FC_MASK(from) ^ FC_MASK(VL)), i, v);
}

/* not by way of memory: halves that are stored one by one would have to be there before all is read
 */
#define v_integers v_integers
FC_INLINE vreal v_integers(const int64_t *p, int64_t base, int n) {
    const __m512i b = _mm512_set1_epi64(base);
    const __mmask8 low = (__mmask8)((1u << (n < 8 ? n : 8)) - 1u);
    const __m512i first = _mm512_sub_epi64(_mm512_maskz_loadu_epi64(low, p), b);
#if FC_REAL_BITS == 32
    const __mmask8 high = (__mmask8)(((1u << n) - 1u) >> 8);
    const __m512i second = _mm512_sub_epi64(_mm512_maskz_loadu_epi64(high, p + 8), b);
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtepi64_ps(first)),
                              _mm512_cvtepi64_ps(second), 1);
#else
    return _mm512_cvtepi64_pd(first);
#endif
}

#define v_even v_even
FC_INLINE vreal v_even(vreal low, vreal high) {
    return FC_V(permutex2var)(low, FC_EVEN_LANES, high);
}
FC_INLINE vreal v_even_low(vreal low) {
    return FC_V(maskz_permutexvar)(FC_MASK(VL / 2), FC_EVEN_LANES, low);
}

#define v_transpose v_transpose
#if FC_REAL_BITS == 32
#define v_load_pair_real v_load_pair_real
FC_INLINE vreal v_load_pair_real(const real *p) {
    double pair;
    memcpy(&pair, p, sizeof pair); /* which need not be aligned as a double */
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
}
FC_INLINE vreal v_pair_first(vreal v) { return _mm512_moveldup_ps(v); }
FC_INLINE vreal v_pair_second(vreal v) { return _mm512_movehdup_ps(v); }

FC_INLINE real v_sum(vreal v) {
    const __m256 w = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return fc_sum_128(_mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1)));
}

FC_INLINE void v_transpose(vreal *r) {
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
}
#else
FC_INLINE real v_sum(vreal v) {
    const __m256d w = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    return fc_sum_128(_mm_add_pd(_mm256_castpd256_pd128(w), _mm256_extractf128_pd(w, 1)));
}

FC_INLINE void v_transpose(vreal *r) {
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
}
#endif
