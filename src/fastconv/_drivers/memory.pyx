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

from fastconv._drivers.atomic cimport (
    fc_add_size, fc_fill_pointer, fc_load_pointer, fc_load_size, fc_store_size, fc_take_pointer)
from fastconv._drivers.blocking cimport LINE, round_up
from fastconv._drivers.kernels cimport fc_size

cdef extern from "system_memory.h" nogil:
    void *fc_system_take(size_t n)
    void fc_system_give(void *p)
    void fc_hide(void *p, size_t n)  # from AddressSanitizer: out of bounds
    void fc_show(void *p, size_t n)
    void *fc_get_arena()
    void fc_set_arena(void *arena)


# before what the caller gets lies a LINE, with the block's Header
cdef enum:
    MIN_SIZE = 4096  # bytes of the smallest class
    STEPS = 4        # classes from a power of two to the next
    CLASSES = STEPS * (8 * sizeof(size_t) - 13)  # up to 7/16 of what a size_t counts
    SLOTS = 64       # of a class: a training step releases dozens of one size

    LENT = -1        # the class of a block from an arena

ctypedef struct Header:
    int size_class
    size_t lent  # bytes that an arena gave, or would have given, for the block and this

cdef void *slots[CLASSES * SLOTS]
cdef fc_size kept = 0   # bytes
cdef fc_size taken = 0  # bytes of blocks that the system has given and not got back
cdef fc_size limit = 256 << 20
cdef fc_size hand = 0   # slots that `trim` has looked into
# Allocations until one fails, for tests; 0: none does. It is in every build, so that the very wheel
# that is released can be tested; it costs an allocation one load.
cdef fc_size failing = 0


cdef size_t size_of(int n) noexcept nogil:
    """What a block of class n holds: at most a quarter more than was asked for, and MIN_SIZE."""
    return <size_t> MIN_SIZE // STEPS * (STEPS + n % STEPS) << n // STEPS


cdef int class_of(size_t nbytes) noexcept nogil:
    """The smallest class that holds so much, or -1 beyond the last."""
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
        fc_add_size(&taken, <fc_size> size_of(n))
    return block


cdef void system_give(char *block, int n) noexcept nogil:
    fc_add_size(&taken, -<fc_size> size_of(n))
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
    if fc_load_pointer(&slots[i]) != NULL:
        block = <char *> fc_take_pointer(&slots[i])
    if block != NULL:
        fc_add_size(&kept, -<fc_size> size_of(i // SLOTS))
    return block


cdef void trim(fc_size allowed) noexcept nogil:
    """Blocks back to the system until at most so many bytes are kept.

    Each time from where the last one ended, so that sizes nobody asks for any more go too.
    """
    cdef char *block
    cdef int i
    for _ in range(CLASSES * SLOTS):
        if fc_load_size(&kept) <= allowed:
            return
        i = <int> (<size_t> fc_add_size(&hand, 1) % (CLASSES * SLOTS))
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
    lent = LINE + round_up(nbytes)
    memory = take_lent(arena, lent) if arena.data != NULL else take(nbytes, lent)
    if memory != NULL:
        arena.used += lent
        arena.most = max(arena.most, arena.used)
    return memory


cdef char *take(size_t nbytes, size_t lent) noexcept nogil:
    """Memory that was kept from before, or from the system, or NULL."""
    cdef int n = class_of(nbytes), i
    cdef char *block = NULL
    if n < 0 or (fc_load_size(&failing) > 0 and fc_add_size(&failing, -1) == 1):
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
    cdef fc_size size = <fc_size> size_of(n)
    fc_hide(block, LINE + <size_t> size)
    if size <= fc_load_size(&limit):
        fc_add_size(&kept, size)
        for i in range(n * SLOTS, (n + 1) * SLOTS):
            if fc_load_pointer(&slots[i]) == NULL and fc_fill_pointer(&slots[i], block):
                trim(fc_load_size(&limit))
                return
        fc_add_size(&kept, -size)
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
    fc_store_size(&limit, nbytes)
    trim(nbytes)


def get_limit():  # -> int
    """At most so many released bytes are kept."""
    return fc_load_size(&limit)


def kept_bytes():  # -> int
    """Released bytes that are kept now."""
    return fc_load_size(&kept)


def used_bytes():  # -> int
    """Bytes of the blocks that are in use now, each of the size of its class."""
    return fc_load_size(&taken) - fc_load_size(&kept)


def fail_after(Py_ssize_t n):  # -> int
    """Let the n-th allocation from now on fail, in whichever thread; 0: none.

    Returns how many were left of what was set before.
    """
    cdef fc_size left = fc_load_size(&failing)
    fc_store_size(&failing, n)
    return left
