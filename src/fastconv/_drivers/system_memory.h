/* Memory as the system gives it, and what AddressSanitizer is told of it. */
#ifndef FASTCONV_SYSTEM_MEMORY_H
#define FASTCONV_SYSTEM_MEMORY_H

#include <stddef.h>
#include <stdlib.h>

#include "atomic.h"

/* n bytes from a cache line on, or NULL */
#if defined(_WIN32)
#include <malloc.h>
static void *fc_system_take(size_t n) { return _aligned_malloc(n, 64); }
static void fc_system_give(void *p) { _aligned_free(p); }
#else
#if defined(__linux__)
#include <sys/mman.h>
#endif
static void *fc_system_take(size_t n) {
    const size_t huge = (size_t)2 << 20; /* bytes of a huge page */
    void *p = NULL;
    if (posix_memalign(&p, n < 2 * huge ? 64 : huge, n)) return NULL;
#if defined(MADV_HUGEPAGE)
    if (n >= 2 * huge) madvise(p, n, MADV_HUGEPAGE); /* a wish: what comes back is of no use */
#endif
    return p;
}
static void fc_system_give(void *p) { free(p); }
#endif

/* To AddressSanitizer, where it is built in, n bytes are out of bounds, and in bounds again. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
static void fc_hide(void *p, size_t n) { ASAN_POISON_MEMORY_REGION(p, n); }
static void fc_show(void *p, size_t n) { ASAN_UNPOISON_MEMORY_REGION(p, n); }
#else
static void fc_hide(void *p, size_t n) { (void)p, (void)n; }
static void fc_show(void *p, size_t n) { (void)p, (void)n; }
#endif

/* The arena from which this thread takes its memory, or NULL. */
static FC_THREAD_LOCAL void *fc_arena = NULL;
static void *fc_get_arena(void) { return fc_arena; }
static void fc_set_arena(void *arena) { fc_arena = arena; }

#endif
