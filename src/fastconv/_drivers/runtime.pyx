"""Threads, scratch memory and the kernel table: what every driver stands on."""

from cython.parallel cimport prange

from fastconv._drivers.atomic cimport (
    fc_add_size, fc_load_int, fc_load_size, fc_store_int, fc_store_size)
from fastconv._drivers.blocking cimport round_up
from fastconv._drivers.kernels cimport (
    FC_FLOAT32, fc_isa_is_available, fc_isa_name, fc_kernels, fc_select, fc_size, fc_table)
from fastconv._drivers.memory cimport allocate, has_arena, measuring, release

import threading


cdef extern from "system_threads.h" nogil:
    int fc_openmp_version()
    int fc_max_threads()
    int fc_num_processors()
    int fc_at_fork(void (*child)() noexcept nogil)
    long long fc_milliseconds()
    void fc_hold(int by)
    bint fc_is_held()
    const int *fc_get_call_status()
    void fc_set_call_status(const int *status)
    int fc_handlers_raise()  # with the exception left pending, if so
    unsigned long PyThread_get_thread_ident()
    const char *FC_COMPILER


# A parallel region costs 2 to 5 microseconds to open and close, more where other cores are busy.
# `work` is counted in elements moved, about four a nanosecond: below some 25 microseconds of it,
# one thread is as fast and disturbs nobody.
cdef double SERIAL_WORK = 100_000

# Any thread may read these at any time, so they are loaded and stored as wholes.
cdef int chosen_threads = 0  # 0 where nobody chose
cdef int available_threads = 1
cdef int strict = False
# Bytes of the largest scratch memory of a thread, for tests, and in every build as `failing` is in
# memory.pyx; where threads race, one of the sizes stays.
cdef fc_size largest = 0


# ---------------------------------------------------------------- settings

def set_threads(int n):
    """Set how many threads a call without a count of its own uses; 0 leaves it to the machine."""
    fc_store_int(&chosen_threads, n)


def processors():  # -> int
    """How many processors OpenMP may run this process's threads on."""
    return fc_num_processors()


def get_threads():  # -> int
    """What set_threads was told last, 0 at first."""
    return fc_load_int(&chosen_threads)


def set_available_threads(int n):
    """Set how many threads this process may run at once (n >= 1)."""
    fc_store_int(&available_threads, n)


cdef int default_threads() noexcept nogil:
    if fc_load_int(&forked):
        return 1
    cdef int n = fc_load_int(&chosen_threads)
    return n if n else min(fc_load_int(&available_threads), fc_max_threads())


def get_default_threads():  # -> int
    """How many threads a call of this thread's without a count of its own uses."""
    return default_threads()


def set_strict_accuracy(bint on):
    """Set whether a choice of algorithm is limited to plain sums of products."""
    fc_store_int(&strict, on)


def get_strict_accuracy():  # -> bool
    """Whether a choice of algorithm is limited to plain sums of products."""
    return strict_accuracy()


cdef bint strict_accuracy() noexcept nogil:
    return fc_load_int(&strict)


def build_info():  # -> dict[str, Any]
    """Compiler and OpenMP version of this build, and the instruction set in use."""
    return {
        "compiler": FC_COMPILER.decode(),
        "openmp": fc_openmp_version(),
        "isa": fc_table(FC_FLOAT32).isa.decode(),
    }


def known_isas():  # -> tuple[str, ...]
    """Names of the instruction sets that this kind of machine may have, best first."""
    names = []
    while fc_isa_name(len(names)) != NULL:
        names.append(fc_isa_name(len(names)).decode())
    return tuple(names)


def available_isas():  # -> tuple[str, ...]
    """Names of the instruction sets that this build and this processor have, best first."""
    return tuple(name for i, name in enumerate(known_isas()) if fc_isa_is_available(i))


def select_isa(name):
    """Take the kernels of instruction set `name`; None takes the best that is available.

    Raises
    ------
    ValueError
        When there is no such instruction set, or this processor or build lacks it.
    """
    known, available = known_isas(), available_isas()
    if name is None:
        name = available[0]
    if name not in known:
        raise ValueError(f"unknown instruction set {name!r}: expected one of {known}")
    if name not in available:
        raise ValueError(f"instruction set {name!r} is not available on this processor or in this "
                         f"build: expected one of {available}")
    fc_select(known.index(name))


cdef const fc_kernels *kernels(int dtype) noexcept nogil:
    return fc_table(dtype)


def largest_scratch():  # -> int
    """Bytes of the largest scratch memory a thread was given since this was last asked."""
    nbytes = fc_load_size(&largest)
    fc_store_size(&largest, 0)
    return nbytes


# ---------------------------------------------------------------- forks

# The threads of GNU's OpenMP do not survive a fork, and waiting for them would hang the child. They
# may have been started by another library that shares it, so a forked child always computes on the
# one thread that is left.
cdef int forked = False
cdef unsigned long main_thread = 0  # the thread on which Python handles signals


cdef void after_fork_in_child() noexcept nogil:
    global main_thread
    main_thread = PyThread_get_thread_ident()
    fc_store_int(&forked, True)


main_thread = threading.main_thread().ident
if fc_at_fork(after_fork_in_child):
    raise MemoryError("fastconv could not register what a forked child must know")


# ---------------------------------------------------------------- signals
#
# Python calls a signal's handler on its main thread, and only between bytecodes: a call would not
# be interrupted before its end. So that thread, between tasks, now and then lets Python look.

cdef enum:
    POLL_EVERY = 50  # milliseconds

cdef long long next_poll = 0  # only the main thread touches it


cdef void hold_signals() noexcept nogil:
    """Let nothing that this thread calls be interrupted, until as many calls of release_signals."""
    fc_hold(1)


cdef void release_signals() noexcept nogil:
    fc_hold(-1)


cdef bint may_interrupt() noexcept nogil:
    return PyThread_get_thread_ident() == main_thread and not fc_is_held()


cdef int poll_signals() noexcept nogil:
    """INTERRUPTED if a signal's handler raised; its exception is pending then."""
    global next_poll
    cdef long long now = fc_milliseconds()
    if now < next_poll:
        return OK
    next_poll = now + POLL_EVERY
    return INTERRUPTED if fc_handlers_raise() else OK


cdef int check_signals() noexcept nogil:
    cdef const int *of_call = fc_get_call_status()
    cdef int status = OK if of_call == NULL else fc_load_int(of_call)
    return poll_signals() if status == OK and may_interrupt() else status


# ---------------------------------------------------------------- the loop

cdef int thread_count(Py_ssize_t n_tasks, double work, int num_threads) noexcept nogil:
    if n_tasks <= 1 or work < SERIAL_WORK or fc_load_int(&forked):
        return 1
    cdef int n = num_threads if num_threads > 0 else default_threads()
    return <int> n_tasks if n > n_tasks else n


cdef enum:
    MAX_SHARES = 64


# Tasks in a row, for one worker to begin with.
ctypedef struct Share:
    fc_size next  # the first that nobody has taken
    fc_size end
    char rest_of_line[48]  # so that workers do not write to one line


ctypedef struct Loop:
    task_fn task
    void *context
    size_t scratch_bytes
    char *lent    # scratch of all workers in one piece, from a caller's memory; or NULL
    bint may_interrupt
    int failure   # any of them
    int n_shares
    Share share[MAX_SHARES]


cdef void share_out(Loop *loop, fc_size n_tasks, int workers) noexcept nogil:
    """Tasks in order: a worker's outputs lie together, and in the next call, of an op as large, it
    reads and writes what its processor's cache holds."""
    cdef int n = min(workers, MAX_SHARES), i
    cdef fc_size more = n_tasks % n, start = 0
    loop.n_shares = n
    for i in range(n):
        loop.share[i].next = start
        start += n_tasks // n + (i < more)
        loop.share[i].end = start


cdef fc_size take_task(Loop *loop, int *share) noexcept nogil:
    """The next task of a share or, once that is done, of those after it; -1 where none is left."""
    cdef Share *at
    cdef fc_size i
    cdef int tried = 0
    while tried < loop.n_shares:
        at = &loop.share[share[0]]
        i = fc_add_size(&at.next, 1)
        if i < at.end:
            return i
        share[0] = (share[0] + 1) % loop.n_shares
        tried += 1
    return -1


cdef void take_tasks(Loop *loop, int worker) noexcept nogil:
    """One task after another, until none is left or one has failed."""
    cdef bint polls = loop.may_interrupt and may_interrupt()  # the calling thread alone
    cdef const int *outer = fc_get_call_status()
    cdef char *scratch = NULL
    cdef fc_size i
    cdef int status, share = worker % loop.n_shares
    fc_set_call_status(&loop.failure)
    if loop.lent != NULL:
        scratch = loop.lent + worker * round_up(loop.scratch_bytes)
    elif loop.scratch_bytes:
        scratch = allocate(loop.scratch_bytes)
        if scratch == NULL:
            fc_store_int(&loop.failure, OUT_OF_MEMORY)
    while fc_load_int(&loop.failure) == OK:
        i = take_task(loop, &share)
        if i < 0:
            break
        status = poll_signals() if polls else OK
        if status == OK:
            status = loop.task(loop.context, i, scratch)
        if status != OK:
            fc_store_int(&loop.failure, status)
    fc_set_call_status(outer)
    if loop.lent == NULL:
        release(scratch)


cdef int run_once(task_fn task, void *context) noexcept nogil:
    """What a driver does itself with the caller's arrays; left out while memory is measured."""
    return OK if measuring() else task(context, 0, NULL)


cdef int parallel_for(task_fn task, void *context, Py_ssize_t n_tasks, size_t scratch_bytes,
                      double work, int num_threads) noexcept nogil:
    """Run task(context, i, scratch) for every i < n_tasks; the package's only parallel loop.

    A task owns what it writes, so it does not matter which thread runs it or when: the bits are
    the same for any number of threads. `scratch` has scratch_bytes, one piece per thread, and
    holds nothing of use when a task starts. `num_threads` 0 means the default.

    After a task's failure, or a signal whose handler raised, tasks that have not begun are left
    out.
    """
    if <fc_size> scratch_bytes > fc_load_size(&largest):
        fc_store_size(&largest, <fc_size> scratch_bytes)
    cdef Loop loop
    cdef Loop *shared = &loop
    cdef int n = thread_count(n_tasks, work, num_threads), worker
    loop.task, loop.context, loop.scratch_bytes = task, context, scratch_bytes
    loop.may_interrupt = work >= SERIAL_WORK and may_interrupt()
    loop.lent, loop.failure = NULL, OK
    share_out(shared, n_tasks, n)
    if scratch_bytes and has_arena():
        loop.lent = allocate(n * round_up(scratch_bytes))
        if loop.lent == NULL:
            return OUT_OF_MEMORY
    if measuring():
        pass
    elif n == 1:
        take_tasks(shared, 0)
    else:
        # workers take tasks as they get done with others, so that a failure leaves the rest out,
        # and who has done his share goes on with what another has left
        for worker in prange(n, num_threads=n, schedule="static", chunksize=1):
            take_tasks(shared, worker)
    release(loop.lent)
    return loop.failure
