/* What threads share without a lock. */
#ifndef FASTCONV_ATOMIC_H
#define FASTCONV_ATOMIC_H

#include "kernels.h"

/* fc_load_..., fc_store_..., fc_add_...: numbers, read and written as a whole, in no order with
 * anything else; what was there before something was added is returned.
 * fc_fill_pointer: put a pointer where NULL is, and say whether NULL was there; whoever reads it with
 * fc_load_pointer sees what had been written behind it. */
#if defined(_MSC_VER)
#include <intrin.h>
static inline int fc_load_int(const int *n) { return *(const volatile int *)n; }
static inline void fc_store_int(int *n, int value) { *(volatile int *)n = value; }
static inline fc_size fc_load_size(const fc_size *n) { return *(const volatile fc_size *)n; }
static inline void fc_store_size(fc_size *n, fc_size value) { *(volatile fc_size *)n = value; }
#if defined(_WIN64)
static inline fc_size fc_add_size(fc_size *n, fc_size by) { return _InterlockedExchangeAdd64(n, by); }
#else
static inline fc_size fc_add_size(fc_size *n, fc_size by) {
    return _InterlockedExchangeAdd((long volatile *)n, (long)by);
}
#endif
static inline void *fc_load_pointer(void **slot) {
    return _InterlockedCompareExchangePointer(slot, NULL, NULL);
}
static inline int fc_fill_pointer(void **slot, void *pointer) {
    return _InterlockedCompareExchangePointer(slot, pointer, NULL) == NULL;
}
#else
static inline int fc_load_int(const int *n) { return __atomic_load_n(n, __ATOMIC_RELAXED); }
static inline void fc_store_int(int *n, int value) { __atomic_store_n(n, value, __ATOMIC_RELAXED); }
static inline fc_size fc_load_size(const fc_size *n) { return __atomic_load_n(n, __ATOMIC_RELAXED); }
static inline void fc_store_size(fc_size *n, fc_size value) {
    __atomic_store_n(n, value, __ATOMIC_RELAXED);
}
static inline fc_size fc_add_size(fc_size *n, fc_size by) {
    return __atomic_fetch_add(n, by, __ATOMIC_RELAXED);
}
static inline void *fc_load_pointer(void **slot) { return __atomic_load_n(slot, __ATOMIC_ACQUIRE); }
static inline int fc_fill_pointer(void **slot, void *pointer) {
    void *empty = NULL;
    return __atomic_compare_exchange_n(slot, &empty, pointer, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
#endif

#endif
