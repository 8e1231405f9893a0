/* Numbers that threads share: read and written as a whole, and in no order with anything else. */
#ifndef FASTCONV_ATOMIC_H
#define FASTCONV_ATOMIC_H

#include "kernels.h"

#if defined(_MSC_VER)
static inline int fc_load_int(const int *n) { return *(const volatile int *)n; }
static inline void fc_store_int(int *n, int value) { *(volatile int *)n = value; }
static inline fc_size fc_load_size(const fc_size *n) { return *(const volatile fc_size *)n; }
static inline void fc_store_size(fc_size *n, fc_size value) { *(volatile fc_size *)n = value; }
#else
static inline int fc_load_int(const int *n) { return __atomic_load_n(n, __ATOMIC_RELAXED); }
static inline void fc_store_int(int *n, int value) {
    __atomic_store_n(n, value, __ATOMIC_RELAXED);
}
static inline fc_size fc_load_size(const fc_size *n) {
    return __atomic_load_n(n, __ATOMIC_RELAXED);
}
static inline void fc_store_size(fc_size *n, fc_size value) {
    __atomic_store_n(n, value, __ATOMIC_RELAXED);
}
#endif

#endif
