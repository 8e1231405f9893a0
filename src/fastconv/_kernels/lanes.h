/* Elements of a row that lie evenly apart, to the lanes of a vector and back. */
#ifndef FASTCONV_LANES_H
#define FASTCONV_LANES_H

#include "simd.h"

/* ---- one of every `stride` elements ---- */

/* How vectors of a row are picked from: element i of a result is element i * stride of the row, and
 * lies in vector v of it for lanes [from[v], from[v + 1]). Strides are from 1 to VL. */
typedef struct {
#ifdef v_permute_some
    vindex lanes;
    int from[VL + 1];
#else
    int none;
#endif
} apart;

FC_INLINE apart make_apart(fc_size stride) {
    apart a;
#ifdef v_permute_some
    intreal lane[VL];
    int v = 0;
    a.from[0] = 0;
    for (int i = 0; i < VL; i++) {
        lane[i] = (intreal)(i * stride % VL);
        while (i * stride / VL > v) a.from[++v] = i;
    }
    while (v < stride) a.from[++v] = VL;
    a.lanes = v_lanes(lane);
#else
    a.none = (int)stride;
#endif
    return a;
}

/* n <= VL elements, p[0], p[stride], ...; strides 1 and 2 do without an `a` */
FC_INLINE vreal load_apart(const stored *p, const fc_size stride, const apart *a, int n) {
    if (stride == 1) return v_load_upto(p, n);
    if (stride == 2) return v_load_even(p, n);
#ifdef v_permute_some
    const fc_size end = (n - 1) * stride + 1;
    vreal picked = v_load_upto(p, end);
    picked = v_permute(picked, a->lanes);
    for (int v = 1; v * VL < end; v++)
        picked = v_permute_some(picked, a->from[v], a->from[v + 1],
                                v_load_upto(p + v * VL, end - v * VL), a->lanes);
    return picked;
#else
    real t[VL] = {0};
    (void)a;
    for (int i = 0; i < n; i++) t[i] = widen(p[i * stride]);
    return v_load_real(t);
#endif
}

/* ---- every element `times` over ---- */

/* A vector becomes `times` of them, 1 to VL: lane i of part v is lane (v * VL + i) / times. */
typedef struct {
#ifdef v_permute
    vindex part[VL];
#else
    int times;
#endif
} repeated;

FC_INLINE void make_repeated(repeated *r, fc_size times) {
#ifdef v_permute
    intreal lane[VL];
    fc_size from = 0, left = times;
    for (fc_size v = 0; v < times; v++) {
        for (int i = 0; i < VL; i++) {
            lane[i] = (intreal)from;
            if (--left == 0) from++, left = times;
        }
        r->part[v] = v_lanes(lane);
    }
#else
    r->times = (int)times;
#endif
}

FC_INLINE vreal repeated_part(vreal v, const repeated *r, fc_size part) {
#ifdef v_permute
    return v_permute(v, r->part[part]);
#else
    real from[VL], to[VL];
    v_store_real(from, v);
    for (int i = 0; i < VL; i++) to[i] = from[(part * VL + i) / r->times];
    return v_load_real(to);
#endif
}

#endif
