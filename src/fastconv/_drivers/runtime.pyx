"""Threads, scratch memory and the kernel table: what every driver stands on."""

from cython.parallel cimport parallel, prange, threadid

from fastconv._drivers.kernels cimport fc_kernels, fc_select, fc_table_f32, fc_table_f64
from fastconv._drivers.memory cimport allocate, has_arena, measuring, release, whole_lines


cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    static int fc_openmp_version(void) { return _OPENMP; }
    static int fc_max_threads(void) { return omp_get_max_threads(); }
    #else
    static int fc_openmp_version(void) { return 0; }
    static int fc_max_threads(void) { return 1; }
    #endif

    #ifdef _WIN32
    static long fc_process_id(void) { return 0; } /* Windows does not fork */
    #else
    #include <unistd.h>
    static long fc_process_id(void) { return (long)getpid(); }
    #endif

    #if defined(__clang__)
    #define FC_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FC_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define FC_COMPILER "msvc"
    #else
    #define FC_COMPILER "unknown"
    #endif
    """
    int fc_openmp_version() noexcept nogil
    int fc_max_threads() noexcept nogil
    long fc_process_id() noexcept nogil
    const char *FC_COMPILER


# A parallel region costs 2 to 5 microseconds to open and close, more where other cores are busy.
# `work` is counted in elements moved, about four a nanosecond: below some 25 microseconds of it,
# one thread is as fast and disturbs nobody.
cdef double SERIAL_WORK = 100_000

cdef int default_threads = 1
cdef bint strict = False
cdef long pool_owner = 0  # the process in which OpenMP's threads were started


def set_default_threads(int n):
    """Set how many threads a call without a count of its own uses (n >= 1)."""
    global default_threads
    default_threads = n


def get_default_threads():
    """How many threads a call without a count of its own uses."""
    return default_threads


def set_strict_accuracy(bint on):
    """Set whether a choice of algorithm is limited to plain sums of products."""
    global strict
    strict = on


def get_strict_accuracy():
    """Whether a choice of algorithm is limited to plain sums of products."""
    return strict


cdef bint strict_accuracy() noexcept nogil:
    return strict


def openmp_max_threads():
    """The OpenMP runtime's own limit, 1 without OpenMP."""
    return fc_max_threads()


def build_info():
    """Compiler and OpenMP version of this build, and the instruction set in use."""
    return {
        "compiler": FC_COMPILER.decode(),
        "openmp": fc_openmp_version(),
        "isa": fc_table_f32().isa.decode(),
    }


def select_isa(name):
    """Take the kernels of instruction set `name`; None takes the best the processor has.

    Raises
    ------
    ValueError
        When there is no such instruction set, or this processor or build lacks it.
    """
    cdef bytes encoded
    cdef int status
    if name is None:
        status = fc_select(NULL)
    else:
        encoded = name.encode()
        status = fc_select(encoded)
    if status == -1:
        raise ValueError(f"unknown instruction set {name!r}: "
                         "expected 'baseline', 'avx2', 'avx512' or 'neon'")
    if status == -2:
        raise ValueError(f"instruction set {name!r} is not available on this processor or "
                         "in this build")


cdef const fc_kernels *kernels(int itemsize) noexcept nogil:
    return fc_table_f32() if itemsize == 4 else fc_table_f64()


cdef size_t largest = 0  # a witness for tests; where threads race, one of the sizes stays


def largest_scratch():
    """Bytes of the largest scratch memory a thread was given since this was last asked."""
    global largest
    nbytes = largest
    largest = 0
    return nbytes


cdef int thread_count(Py_ssize_t n_tasks, double work, int num_threads) noexcept nogil:
    global pool_owner
    cdef int n = num_threads if num_threads > 0 else default_threads
    if n > n_tasks:
        n = <int> n_tasks
    if n <= 1 or work < SERIAL_WORK:
        return 1
    # libgomp's threads do not survive a fork, and waiting for them would hang the child: there,
    # everything runs on the one thread that is left.
    cdef long process = fc_process_id()
    if pool_owner == 0:
        pool_owner = process
    return n if pool_owner == process else 1


cdef int run_serial(task_fn task, void *context, Py_ssize_t n_tasks,
                    size_t scratch_bytes) noexcept nogil:
    cdef char *scratch = NULL
    cdef int status = OK
    cdef Py_ssize_t i
    if scratch_bytes:
        scratch = allocate(scratch_bytes)
        if scratch == NULL:
            return OUT_OF_MEMORY
    if measuring():
        n_tasks = 0
    for i in range(n_tasks):
        status = task(context, i, scratch)
        if status != OK:
            break
    release(scratch)
    return status


cdef int parallel_for(task_fn task, void *context, Py_ssize_t n_tasks, size_t scratch_bytes,
                      double work, int num_threads) noexcept nogil:
    """Run task(context, i, scratch) for every i < n_tasks; the package's only parallel loop.

    A task owns what it writes, so it does not matter which thread runs it or when: the bits are
    the same for any number of threads. `scratch` has scratch_bytes, one piece per thread, and
    holds nothing of use when a task starts. `num_threads` 0 means the default.
    """
    global largest
    if scratch_bytes > largest:
        largest = scratch_bytes
    cdef int n = thread_count(n_tasks, work, num_threads)
    if n == 1:
        return run_serial(task, context, n_tasks, scratch_bytes)
    if measuring():
        return run_serial(task, context, 0, n * whole_lines(scratch_bytes))
    cdef int failure = OK
    cdef int *shared = &failure  # through a pointer, so that threads share it; any failure will do
    cdef int status
    cdef char *scratch
    cdef char *lent = NULL  # the scratch of all threads, where the caller's memory is to be used
    cdef Py_ssize_t i
    if scratch_bytes and has_arena():
        lent = allocate(n * whole_lines(scratch_bytes))
        if lent == NULL:
            return OUT_OF_MEMORY
    with parallel(num_threads=n):
        scratch = NULL
        if lent != NULL:
            scratch = lent + threadid() * whole_lines(scratch_bytes)
        elif scratch_bytes:
            scratch = allocate(scratch_bytes)
        for i in prange(n_tasks, schedule="dynamic", chunksize=1):
            if scratch_bytes and scratch == NULL:
                status = OUT_OF_MEMORY
            else:
                status = task(context, i, scratch)
            if status != OK:
                shared[0] = status
        if lent == NULL:
            release(scratch)
    release(lent)
    return failure
