/* What the register tiles of k_tile.c and k_outer.c have in common: m rows by nv vectors, of which
 * the last one has n columns if the tile is `partial`. All but n are constants, so loops unroll. */
#ifndef FASTCONV_REGISTER_TILE_H
#define FASTCONV_REGISTER_TILE_H

#include "simd.h"

FC_INLINE vreal load_part(const stored *p, const int partial, const int n) {
    return partial ? v_load_n(p, n) : v_load(p);
}

/* acc += c. Sums of blocks round less than one long sum, so that comes at the end of each. */
FC_INLINE void add_tile(vreal (*acc)[2], const char *c, fc_size c_m, const int m, const int nv,
                        const int partial, const int n) {
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            const stored *p = (const stored *)(c + i * c_m) + j * VL;
            acc[i][j] = v_add(acc[i][j], load_part(p, partial && j == nv - 1, n));
        }
}

FC_INLINE void store_tile(vreal (*acc)[2], char *c, fc_size c_m, const int m, const int nv,
                          const int partial, const int n) {
#pragma GCC unroll 16
    for (int i = 0; i < m; i++, c += c_m)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            if (partial && j == nv - 1)
                v_store_n((stored *)c + j * VL, acc[i][j], n);
            else
                v_store((stored *)c + j * VL, acc[i][j]);
        }
}

#endif
