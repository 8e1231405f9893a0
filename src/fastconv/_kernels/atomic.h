/* What threads share without a lock: numbers and pointers that are read and written as wholes, in
 * one order that all threads agree on (sequential consistency). */
#ifndef FASTCONV_ATOMIC_H
#define FASTCONV_ATOMIC_H

#include "kernels.h"

/* One of a variable for every thread. */
#if defined(_MSC_VER)
#define FC_THREAD_LOCAL __declspec(thread)
#else
#define FC_THREAD_LOCAL _Thread_local
#endif

/* fc_add_size returns what was there before. fc_fill_pointer puts a pointer where NULL is, and says
 * whether NULL was there; fc_take_pointer leaves NULL, and returns what was there. */
#if defined(_MSC_VER)
#include <intrin.h>
#if defined(_WIN64)
#define FC_SIZE(op) _Interlocked##op##64
typedef __int64 fc_interlocked;
#else
#define FC_SIZE(op) _Interlocked##op
typedef long fc_interlocked;
#endif
#if defined(_M_ARM64)
#define FC_LOADED() __dmb(_ARM64_BARRIER_ISH)
#else
#define FC_LOADED() _ReadWriteBarrier() /* the processor keeps loads in order itself */
#endif
static inline int fc_load_int(const int *n) {
    const int value = *(const volatile int *)n;
    FC_LOADED();
    return value;
}
static inline void fc_store_int(int *n, int value) {
    _InterlockedExchange((long volatile *)n, value);
}
static inline fc_size fc_load_size(const fc_size *n) {
    const fc_size value = *(const volatile fc_size *)n;
    FC_LOADED();
    return value;
}
static inline void fc_store_size(fc_size *n, fc_size value) {
    FC_SIZE(Exchange)((fc_interlocked volatile *)n, value);
}
static inline fc_size fc_add_size(fc_size *n, fc_size by) {
    return (fc_size)FC_SIZE(ExchangeAdd)((fc_interlocked volatile *)n, by);
}
static inline void *fc_load_pointer(void **slot) {
    void *const pointer = *(void *const volatile *)slot;
    FC_LOADED();
    return pointer;
}
static inline int fc_fill_pointer(void **slot, void *pointer) {
    return _InterlockedCompareExchangePointer(slot, pointer, NULL) == NULL;
}
static inline void *fc_take_pointer(void **slot) {
    return _InterlockedExchangePointer(slot, NULL);
}
#else
static inline int fc_load_int(const int *n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }
static inline void fc_store_int(int *n, int value) {
    __atomic_store_n(n, value, __ATOMIC_SEQ_CST);
}
static inline fc_size fc_load_size(const fc_size *n) {
    return __atomic_load_n(n, __ATOMIC_SEQ_CST);
}
static inline void fc_store_size(fc_size *n, fc_size value) {
    __atomic_store_n(n, value, __ATOMIC_SEQ_CST);
}
static inline fc_size fc_add_size(fc_size *n, fc_size by) {
    return __atomic_fetch_add(n, by, __ATOMIC_SEQ_CST);
}
static inline void *fc_load_pointer(void **slot) {
    return __atomic_load_n(slot, __ATOMIC_SEQ_CST);
}
static inline int fc_fill_pointer(void **slot, void *pointer) {
    void *empty = NULL;
    return __atomic_compare_exchange_n(slot, &empty, pointer, 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}
static inline void *fc_take_pointer(void **slot) {
    return __atomic_exchange_n(slot, NULL, __ATOMIC_SEQ_CST);
}
#endif

#endif
