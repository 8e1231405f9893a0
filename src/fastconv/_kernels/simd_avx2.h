/* AVX2 and FMA: vectors of 32 bytes. */
#include <immintrin.h>

#define FC_MR 6
#define FC_REGISTERS 16
#define FC_WIDTH _mm256
#define FC_SI si256
typedef __m256i vbits;
#if FC_REAL_BITS == 32
#define VL 8
typedef __m256 vreal;
#else
#define VL 4
typedef __m256d vreal;
#endif
#include "simd_x86.h"

FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return FC_V(fmadd)(a, b, c); }

/* All bits of the first n lanes. */
FC_INLINE __m256i fc_mask(int n) {
#if FC_REAL_BITS == 32
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
#else
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
#endif
}
#define v_load_real_n v_load_real_n
FC_INLINE vreal v_load_real_n(const real *p, int n) { return FC_V(maskload)(p, fc_mask(n)); }
#define v_store_real_n v_store_real_n
FC_INLINE void v_store_real_n(real *p, vreal v, int n) { FC_V(maskstore)(p, fc_mask(n), v); }
#define v_first v_first
FC_INLINE vreal v_first(vreal v, int n) { return FC_V(and)(v, v_real(fc_mask(n))); }

/* ---- choices ---- */

FC_INLINE vreal v_less(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(blendv)(y, x, FC_V(cmp)(a, b, _CMP_LT_OQ));
}
FC_INLINE vreal v_less_equal(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(blendv)(y, x, FC_V(cmp)(a, b, _CMP_LE_OQ));
}
FC_INLINE vreal v_equal(vreal a, vreal b, vreal x, vreal y) {
    return FC_V(blendv)(y, x, FC_V(cmp)(a, b, _CMP_EQ_OQ));
}
FC_INLINE vreal v_max_nan(vreal a, vreal b) {
    return FC_V(blendv)(v_max(a, b), a, FC_V(cmp)(a, a, _CMP_UNORD_Q));
}

/* ---- lanes ---- */

#define v_transpose v_transpose
#if FC_REAL_BITS == 32
#define v_load_pair_real v_load_pair_real
FC_INLINE vreal v_load_pair_real(const real *p) {
    double pair;
    memcpy(&pair, p, sizeof pair); /* which need not be aligned as a double */
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
}
FC_INLINE vreal v_pair_first(vreal v) { return _mm256_moveldup_ps(v); }
FC_INLINE vreal v_pair_second(vreal v) { return _mm256_movehdup_ps(v); }

#define v_permute v_permute
typedef __m256i vindex;
FC_INLINE vindex v_picker(int group, int u) {
    const vindex i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_add_epi32(_mm256_and_si256(i, _mm256_set1_epi32(-group)), _mm256_set1_epi32(u));
}
FC_INLINE vindex v_lanes(const intreal *lane) { return _mm256_loadu_si256((const __m256i *)lane); }
FC_INLINE vreal v_permute(vreal v, vindex i) { return _mm256_permutevar8x32_ps(v, i); }

FC_INLINE real v_sum(vreal v) {
    return fc_sum_128(_mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}

FC_INLINE void v_transpose(vreal *r) {
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
}
#else
FC_INLINE real v_sum(vreal v) {
    return fc_sum_128(_mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1)));
}

FC_INLINE void v_transpose(vreal *r) {
    vreal t[4];
    for (int i = 0; i < 4; i += 2) {
        t[i] = _mm256_unpacklo_pd(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_pd(r[i], r[i + 1]);
    }
    for (int k = 0; k < 2; k++) {
        r[k] = _mm256_permute2f128_pd(t[k], t[2 + k], 0x20);
        r[2 + k] = _mm256_permute2f128_pd(t[k], t[2 + k], 0x31);
    }
}
#endif
