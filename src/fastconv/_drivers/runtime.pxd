from fastconv._drivers.kernels cimport fc_kernels
from fastconv._drivers.status cimport INDEX_OUT_OF_RANGE, INTERRUPTED, OK, OUT_OF_MEMORY

# One task of a driver. `scratch` is this thread's own memory; the result is a Status.
ctypedef int (*task_fn)(void *context, Py_ssize_t task, char *scratch) noexcept nogil

cdef int parallel_for(task_fn task, void *context, Py_ssize_t n_tasks, size_t scratch_bytes,
                      double work, int num_threads) noexcept nogil
# task(context, 0, NULL), on this thread, unless the call is a query that only measures memory.
cdef int run_once(task_fn task, void *context) noexcept nogil

# A call on Python's main thread is INTERRUPTED where a signal's handler raises, unless that thread
# holds signals. Held, they wait: whoever cannot take an exception, or is halfway through changing
# what must change as a whole, holds them for as long.
cdef void hold_signals() noexcept nogil
cdef void release_signals() noexcept nogil
# For loops of many small calls, and in long tasks: OK, or the status to return at once.
cdef int check_signals() noexcept nogil

cdef bint strict_accuracy() noexcept nogil
cdef const fc_kernels *kernels(int dtype) noexcept nogil
