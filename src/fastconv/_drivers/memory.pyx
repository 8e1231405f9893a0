"""Memory that is used again: scratch, packed filters, and the results of ops.

A page that comes fresh from the operating system costs a fault when it is first touched, more than
it takes to compute a few hundred results on it; and the C library gives large blocks back at once.
So what is released is kept, in classes of size, up to a limit, and the next call of a network's
loop finds it. Blocks of megabytes lie on huge pages where the system has them.

There is no lock. A slot holds a kept block or NULL: whoever exchanges the block for NULL owns it.
Before a block goes into a slot its bytes are counted in `kept`, and only after it was taken out are
they subtracted, so no fewer are counted than lie in the slots. All atomics are sequentially
consistent: a thread that sets the limit sees every block put under the old one, or the thread that
puts the block sees the new limit.

While a thread has an arena, memory that a caller of the C level lent it, its calls take all they
need from there: drivers release in the reverse of the order they allocate in, so an arena is a
stack. An arena without memory measures: its blocks come from where they always come from, and what
an arena would have to hold for them is counted.

Built with AddressSanitizer, a block ends for it where the caller's bytes do, and a kept one is out
of bounds, so that it sees what the classes of size and the keeping would hide.
"""

from cpython.buffer cimport PyBuffer_FillInfo

cdef extern from *:
    """
    #include <stdlib.h>

    #if defined(_MSC_VER)
    #include <intrin.h>
    #if defined(_WIN64)
    #define FC_ADD(n, by) _InterlockedExchangeAdd64(n, by)
    #define FC_SET(n, value) _InterlockedExchange64(n, value)
    #else
    #define FC_ADD(n, by) _InterlockedExchangeAdd((long volatile *)(n), by)
    #define FC_SET(n, value) _InterlockedExchange((long volatile *)(n), value)
    #endif
    static Py_ssize_t fc_add(Py_ssize_t *n, Py_ssize_t by) { return FC_ADD(n, by) + by; }
    static Py_ssize_t fc_load(Py_ssize_t *n) { return FC_ADD(n, 0); }
    static Py_ssize_t fc_load_relaxed(Py_ssize_t *n) { return *(Py_ssize_t volatile *)n; }
    static void fc_store(Py_ssize_t *n, Py_ssize_t value) { FC_SET(n, value); }
    static void *fc_peek(void **slot) { return *(void *volatile *)slot; }
    static void *fc_take(void **slot) { return _InterlockedExchangePointer(slot, NULL); }
    static int fc_put(void **slot, void *block) {
        return _InterlockedCompareExchangePointer(slot, block, NULL) == NULL;
    }
    #else
    static Py_ssize_t fc_add(Py_ssize_t *n, Py_ssize_t by) {
        return __atomic_add_fetch(n, by, __ATOMIC_SEQ_CST);
    }
    static Py_ssize_t fc_load(Py_ssize_t *n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }
    static Py_ssize_t fc_load_relaxed(Py_ssize_t *n) {
        return __atomic_load_n(n, __ATOMIC_RELAXED);
    }
    static void fc_store(Py_ssize_t *n, Py_ssize_t value) {
        __atomic_store_n(n, value, __ATOMIC_SEQ_CST);
    }
    static void *fc_peek(void **slot) { return __atomic_load_n(slot, __ATOMIC_SEQ_CST); }
    static void *fc_take(void **slot) { return __atomic_exchange_n(slot, NULL, __ATOMIC_SEQ_CST); }
    static int fc_put(void **slot, void *block) {
        void *empty = NULL;
        return __atomic_compare_exchange_n(slot, &empty, block, 0, __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED);
    }
    #endif

    #if defined(_MSC_VER)
    static __declspec(thread) void *fc_arena = NULL;
    #else
    static _Thread_local void *fc_arena = NULL;
    #endif
    static void *fc_get_arena(void) { return fc_arena; }
    static void fc_set_arena(void *arena) { fc_arena = arena; }

    #if defined(_WIN32)
    #include <malloc.h>
    static void *fc_system_take(size_t n) { return _aligned_malloc(n, 64); }
    static void fc_system_give(void *p) { _aligned_free(p); }
    #else
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    static void *fc_system_take(size_t n) {
        const size_t huge = (size_t)2 << 20;
        void *p = NULL;
        if (posix_memalign(&p, n < 2 * huge ? 64 : huge, n)) return NULL;
    #if defined(MADV_HUGEPAGE)
        if (n >= 2 * huge) madvise(p, n, MADV_HUGEPAGE); /* a wish: what comes back is of no use */
    #endif
        return p;
    }
    static void fc_system_give(void *p) { free(p); }
    #endif

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
    """
    Py_ssize_t fc_add(Py_ssize_t *n, Py_ssize_t by) noexcept nogil
    Py_ssize_t fc_load(Py_ssize_t *n) noexcept nogil
    Py_ssize_t fc_load_relaxed(Py_ssize_t *n) noexcept nogil
    void fc_store(Py_ssize_t *n, Py_ssize_t value) noexcept nogil
    void *fc_peek(void **slot) noexcept nogil  # what it holds, at some instant
    void *fc_take(void **slot) noexcept nogil  # what it holds, NULL for nothing
    bint fc_put(void **slot, void *block) noexcept nogil  # whether it was empty
    void *fc_get_arena() noexcept nogil
    void fc_set_arena(void *arena) noexcept nogil
    void *fc_system_take(size_t n) noexcept nogil
    void fc_system_give(void *p) noexcept nogil
    void fc_hide(void *p, size_t n) noexcept nogil  # from AddressSanitizer: out of bounds
    void fc_show(void *p, size_t n) noexcept nogil


cdef enum:
    LINE = 64         # of the cache; before what the caller gets lies one, with the block's Header
    MIN_SIZE = 4096      # bytes of the least class
    STEPS = 4         # classes from a power of two to the next
    CLASSES = STEPS * (8 * sizeof(size_t) - 13)  # up to 7/16 of what a size_t counts
    SLOTS = 16        # of a class

    LENT = -1         # the class of a block from an arena

ctypedef struct Header:
    int size_class
    size_t lent  # bytes that an arena gave, or would have given, for the block and this

cdef void *slots[CLASSES * SLOTS]
cdef Py_ssize_t kept = 0  # bytes
cdef Py_ssize_t taken = 0  # bytes of blocks that the system has given and not got back
cdef Py_ssize_t failing = 0  # allocations until one fails, for tests; 0: none does
cdef Py_ssize_t limit = 256 << 20
cdef Py_ssize_t hand = 0  # slots that `trim` has looked into


cdef size_t size_of(int n) noexcept nogil:
    """What a block of class n holds: at most a quarter more than was asked for, and MIN_SIZE."""
    return <size_t> MIN_SIZE // STEPS * (STEPS + n % STEPS) << n // STEPS


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


cdef char *system_take(int n) noexcept nogil:
    """A new block of class n, or NULL."""
    cdef char *block = <char *> fc_system_take(LINE + size_of(n))
    if block != NULL:
        (<Header *> block).size_class = n
        fc_add(&taken, <Py_ssize_t> size_of(n))
    return block


cdef void system_give(char *block, int n) noexcept nogil:
    fc_add(&taken, -<Py_ssize_t> size_of(n))
    fc_show(block, LINE + size_of(n))
    fc_system_give(block)


cdef char *handed(char *block, int n, size_t nbytes, size_t lent) noexcept nogil:
    """What the caller gets of a block: nbytes, and no more for AddressSanitizer."""
    fc_show(block, LINE + size_of(n))
    (<Header *> block).lent = lent
    fc_hide(block, LINE)
    fc_hide(block + LINE + nbytes, size_of(n) - nbytes)
    return block + LINE


cdef char *take_kept(int i) noexcept nogil:
    """The block in slot i, or NULL."""
    cdef char *block = NULL
    if fc_peek(&slots[i]) != NULL:
        block = <char *> fc_take(&slots[i])
    if block != NULL:
        fc_add(&kept, -<Py_ssize_t> size_of(i // SLOTS))
    return block


cdef void trim(Py_ssize_t most) noexcept nogil:
    """Blocks back to the system until at most so many bytes are kept.

    Each time from where the last one ended, so that sizes nobody asks for any more go too.
    """
    cdef char *block
    cdef int i
    for _ in range(CLASSES * SLOTS):
        if fc_load(&kept) <= most:
            return
        i = <int> (<size_t> fc_add(&hand, 1) % (CLASSES * SLOTS))
        block = take_kept(i)
        if block != NULL:
            system_give(block, i // SLOTS)


cdef void use_arena(Arena *arena) noexcept nogil:
    """From now on this thread takes its memory from `arena`; NULL: from where all others do."""
    cdef size_t past
    if arena != NULL:
        past = <size_t> arena.data % LINE
        arena.most = arena.used = LINE - past if past and arena.data != NULL else 0
        arena.exhausted = False
    fc_set_arena(arena)


cdef bint has_arena() noexcept nogil:
    return fc_get_arena() != NULL


cdef bint measuring() noexcept nogil:
    cdef Arena *arena = <Arena *> fc_get_arena()
    return arena != NULL and arena.data == NULL


cdef char *take_lent(Arena *arena, size_t nbytes) noexcept nogil:
    """The next piece of the arena, after a line for its Header, or NULL."""
    cdef char *block = arena.data + arena.used
    if arena.used > arena.size or nbytes > arena.size - arena.used:
        arena.exhausted = True
        return NULL
    (<Header *> block).size_class, (<Header *> block).lent = LENT, nbytes
    return block + LINE


cdef char *allocate(size_t nbytes) noexcept nogil:
    """Memory that starts on a cache line and holds anything, or NULL."""
    cdef Arena *arena = <Arena *> fc_get_arena()
    cdef char *memory
    cdef size_t lent
    if arena == NULL:
        return take(nbytes, 0)
    if nbytes > size_of(CLASSES - 1):
        return NULL
    lent = LINE + whole_lines(nbytes)
    memory = take_lent(arena, lent) if arena.data != NULL else take(nbytes, lent)
    if memory != NULL:
        arena.used += lent
        arena.most = max(arena.most, arena.used)
    return memory


cdef char *take(size_t nbytes, size_t lent) noexcept nogil:
    """Memory that was kept from before, or from the system, or NULL."""
    cdef int n = class_of(nbytes), i
    cdef char *block = NULL
    if n < 0 or (fc_load_relaxed(&failing) > 0 and fc_add(&failing, -1) == 0):
        return NULL
    for i in range(n * SLOTS, (n + 1) * SLOTS):
        block = take_kept(i)
        if block != NULL:
            return handed(block, n, nbytes, lent)
    block = system_take(n)
    if block == NULL:
        trim(0)
        block = system_take(n)
        if block == NULL:
            return NULL
    return handed(block, n, nbytes, lent)


cdef void release(char *memory) noexcept nogil:
    """Take back what `allocate` gave; NULL is nothing."""
    if memory == NULL:
        return
    cdef char *block = memory - LINE
    fc_show(block, LINE)
    cdef int n = (<Header *> block).size_class, i
    cdef Arena *arena = <Arena *> fc_get_arena()
    if arena != NULL:
        arena.used -= (<Header *> block).lent
    if n == LENT:
        return
    cdef Py_ssize_t size = <Py_ssize_t> size_of(n), most = fc_load(&limit)
    fc_hide(block, LINE + <size_t> size)
    if size <= most:
        fc_add(&kept, size)
        for i in range(n * SLOTS, (n + 1) * SLOTS):
            if fc_peek(&slots[i]) == NULL and fc_put(&slots[i], block):
                trim(fc_load(&limit))
                return
        fc_add(&kept, -size)
    system_give(block, n)


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


def set_limit(Py_ssize_t nbytes):
    """Keep at most so many released bytes (>= 0); what is kept beyond goes at once."""
    fc_store(&limit, nbytes)
    trim(nbytes)


def get_limit():  # -> int
    """At most so many released bytes are kept."""
    return fc_load(&limit)


def kept_bytes():  # -> int
    """Released bytes that are kept now."""
    return fc_load(&kept)


def used_bytes():  # -> int
    """Bytes of the blocks that are in use now, each of the size of its class."""
    return fc_load(&taken) - fc_load(&kept)


def fail_after(Py_ssize_t n):  # -> int
    """Let the n-th allocation from now on fail, in whichever thread; 0: none.

    Returns how many were left of what was set before.
    """
    cdef Py_ssize_t left = fc_load(&failing)
    fc_store(&failing, n)
    return left
