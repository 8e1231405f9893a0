/* Which of two values is the maximum: the rule of every framework. A larger value or a NaN takes
 * over, so that NaN wins, ties keep the first and the last of several NaNs is the one found. */
#ifndef FASTCONV_MAXIMA_H
#define FASTCONV_MAXIMA_H

#include "simd.h"

FC_INLINE int takes_over(real v, real best) { return (v > best) | (v != v); }

/* x where v takes over from best, else y */
FC_INLINE vreal v_takes_over(vreal v, vreal best, vreal x, vreal y) {
    return v_less_equal(v, v, v_less(best, v, x, y), x);
}

#endif
