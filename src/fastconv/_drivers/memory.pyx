"""Memory that is used again: scratch, packed filters, and the results of ops.

A page that comes fresh from the operating system costs a fault when it is first touched, more than it
takes to compute a few hundred results on it; and the C library gives large blocks back at once. So
what is released is kept, in classes of size, up to a limit, and the next call of a network's loop
finds it. Blocks of megabytes lie on huge pages where the system has them.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>

    #if defined(_MSC_VER)
    #include <intrin.h>
    #include <malloc.h>
    static void *fc_exchange(void **slot, void *p) { return _InterlockedExchangePointer(slot, p); }
    static int fc_put(void **slot, void *p) {
        return _InterlockedCompareExchangePointer(slot, p, NULL) == NULL;
    }
    static int64_t fc_add(int64_t *n, int64_t by) {
        return _InterlockedExchangeAdd64(n, by) + by;
    }
    static void *fc_system_take(size_t n) { return _aligned_malloc(n, 64); }
    static void fc_system_give(void *p) { _aligned_free(p); }
    #else
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    static void *fc_exchange(void **slot, void *p) {
        return __atomic_exchange_n(slot, p, __ATOMIC_ACQ_REL);
    }
    static int fc_put(void **slot, void *p) {
        void *empty = NULL;
        return __atomic_compare_exchange_n(slot, &empty, p, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
    static int64_t fc_add(int64_t *n, int64_t by) {
        return __atomic_add_fetch(n, by, __ATOMIC_RELAXED);
    }
    static void *fc_system_take(size_t n) {
        const size_t huge = (size_t)2 << 20;
        void *p = NULL;
        if (posix_memalign(&p, n < 2 * huge ? 64 : huge, n)) return NULL;
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (n >= 2 * huge) madvise(p, n, MADV_HUGEPAGE); /* a wish: what comes back is of no use */
    #endif
        return p;
    }
    static void fc_system_give(void *p) { free(p); }
    #endif
    """
    void *fc_exchange(void **slot, void *p) noexcept nogil
    bint fc_put(void **slot, void *p) noexcept nogil
    int64_t fc_add(int64_t *n, int64_t by) noexcept nogil
    void *fc_system_take(size_t n) noexcept nogil
    void fc_system_give(void *p) noexcept nogil


cdef enum:
    LINE = 64         # of the cache; a block's size stands in the line before what the caller gets
    LEAST = 4096
    STEPS = 4         # classes between two powers of two
    CLASSES = 27 * STEPS
    SLOTS = 16        # blocks of a class

cdef void *slots[CLASSES * SLOTS]
cdef int64_t kept = 0
cdef int64_t limit = 256 << 20


cdef size_t size_of(int n) noexcept nogil:
    """Of class n, in bytes: four classes to a power of two, so a block is at most a quarter too large."""
    return (<size_t> LEAST >> 2) * (STEPS + n % STEPS) << (n // STEPS)


cdef int class_of(size_t nbytes) noexcept nogil:
    """The least class that holds so much, or -1 beyond the last."""
    cdef int n = 0
    if nbytes > size_of(CLASSES - 1):
        return -1
    while size_of(n + STEPS - 1) < nbytes:
        n += STEPS
    while size_of(n) < nbytes:
        n += 1
    return n


cdef void drop_kept() noexcept nogil:
    """Everything kept back to the system."""
    cdef int i
    cdef char *block
    for i in range(CLASSES * SLOTS):
        block = <char *> fc_exchange(&slots[i], NULL)
        if block != NULL:
            fc_add(&kept, -<int64_t> size_of(i // SLOTS))
            fc_system_give(block)


cdef char *allocate(size_t nbytes) noexcept nogil:
    """Memory that starts on a cache line and holds anything, or NULL."""
    cdef int n = class_of(nbytes + LINE), i
    cdef char *block = NULL
    if n < 0:
        return NULL
    for i in range(n * SLOTS, (n + 1) * SLOTS):
        if slots[i] != NULL:
            block = <char *> fc_exchange(&slots[i], NULL)
            if block != NULL:
                fc_add(&kept, -<int64_t> size_of(n))
                break
    if block == NULL:
        block = <char *> fc_system_take(size_of(n))
    if block == NULL:
        drop_kept()
        block = <char *> fc_system_take(size_of(n))
    if block == NULL:
        return NULL
    (<int *> block)[0] = n
    return block + LINE


cdef void release(char *memory) noexcept nogil:
    """Take back what `allocate` gave; NULL is nothing."""
    if memory == NULL:
        return
    cdef char *block = memory - LINE
    cdef int n = (<int *> block)[0], i
    if fc_add(&kept, <int64_t> size_of(n)) <= limit:
        for i in range(n * SLOTS, (n + 1) * SLOTS):
            if slots[i] == NULL and fc_put(&slots[i], block):
                return
    fc_add(&kept, -<int64_t> size_of(n))
    fc_system_give(block)


cdef class Memory:
    """A block of `nbytes` for one array, released with it."""

    def __cinit__(self, Py_ssize_t nbytes):
        self.nbytes = nbytes
        self.data = allocate(<size_t> nbytes) if nbytes >= 0 else NULL
        if self.data == NULL:
            raise MemoryError(f"cannot allocate {nbytes} bytes")

    def __dealloc__(self):
        release(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.nbytes, 0, flags)


def set_kept_limit(int64_t nbytes):
    """Keep at most so many released bytes from now on; what is kept already goes."""
    global limit
    limit = nbytes
    drop_kept()


def get_kept_limit():
    """At most so many released bytes are kept."""
    return limit


def kept_bytes():
    """Released bytes that are kept now."""
    return kept
