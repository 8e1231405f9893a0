"""Losses and their gradients: a task is a chunk of elements or of positions.

Sums of chunks are added in pairs, neighbour to neighbour, in double.
"""

from fastconv._drivers.blocking cimport CHUNK, chunk_size, chunks_of
from fastconv._drivers.classes cimport ClassArray, ClassBlock, class_array, find_class_block
from fastconv._drivers.kernels cimport fc_cross_entropy, fc_kernels, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport INDEX_OUT_OF_RANGE, OK, OUT_OF_MEMORY, parallel_for, task_fn


cdef double sum_pairs(double *values, fc_size n) noexcept nogil:
    cdef fc_size i
    while n > 1:
        for i in range(n // 2):
            values[i] = values[2 * i] + values[2 * i + 1]
        if n % 2:
            values[n // 2] = values[n - 1]
        n = (n + 1) // 2
    return values[0] if n else 0


# ---------------------------------------------------------------- losses of single elements

ctypedef struct ElementLoss:
    const fc_kernels *kernels
    const char *x
    const char *yes  # the target
    const char *no   # what speaks against it, or NULL
    char *out        # losses or NULL; backward, the gradient
    fc_size n
    double scale     # backward
    double *sums     # [chunks]


cdef ElementLoss element_loss(const fc_kernels *kernels, const void *x, const void *yes,
                              const void *no, void *out, fc_size n, double scale) noexcept nogil:
    cdef ElementLoss c
    c.kernels, c.n, c.scale, c.sums = kernels, n, scale, NULL
    c.x, c.yes, c.no = <const char *> x, <const char *> yes, <const char *> no
    c.out = <char *> out
    return c


cdef ElementLoss loss_chunk(const void *context, fc_size task) noexcept nogil:
    """The same call for one chunk."""
    cdef ElementLoss c = (<const ElementLoss *> context)[0]
    cdef fc_size at = task * CHUNK * c.kernels.itemsize
    c.n = chunk_size(c.n, task)
    c.x += at
    c.yes += at
    if c.no != NULL:
        c.no += at
    if c.out != NULL:
        c.out += at
    return c


cdef int add_chunks(task_fn task, ElementLoss *c, double work, double *total,
                    int num_threads) noexcept nogil:
    """Run the task of every chunk and add up what they come to."""
    cdef fc_size chunks = chunks_of(c.n)
    cdef int status
    c.sums = <double *> allocate(chunks * sizeof(double))
    if c.sums == NULL:
        return OUT_OF_MEMORY
    status = parallel_for(task, c, chunks, 0, work * c.n, num_threads)
    if status == OK:
        total[0] = sum_pairs(c.sums, chunks)
    release(<char *> c.sums)
    return status


cdef int squared_error_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef ElementLoss c = loss_chunk(context, task)
    c.sums[task] = c.kernels.squared_error(c.x, c.yes, c.out, c.n)
    return OK


cdef int squared_error_backward_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef ElementLoss c = loss_chunk(context, task)
    c.kernels.squared_error_backward(c.x, c.yes, c.out, c.n, c.scale)
    return OK


cdef int logistic_loss_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef ElementLoss c = loss_chunk(context, task)
    c.sums[task] = c.kernels.logistic_loss(c.x, c.yes, c.no, c.out, c.n)
    return OK


cdef int logistic_loss_backward_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef ElementLoss c = loss_chunk(context, task)
    c.sums[task] = c.kernels.logistic_loss_backward(c.x, c.yes, c.no, c.out, c.n, c.scale)
    return OK


cdef int squared_error(const fc_kernels *kernels, const void *x, const void *t, void *losses,
                       fc_size n, double *total, int num_threads) noexcept nogil:
    cdef ElementLoss c = element_loss(kernels, x, t, NULL, losses, n, 0)
    return add_chunks(squared_error_task, &c, 2, total, num_threads)


cdef int squared_error_backward(const fc_kernels *kernels, const void *x, const void *t, void *dx,
                                fc_size n, double scale, int num_threads) noexcept nogil:
    cdef ElementLoss c = element_loss(kernels, x, t, NULL, dx, n, scale)
    return parallel_for(squared_error_backward_task, &c, chunks_of(n), 0, <double> 3 * n,
                        num_threads)


cdef int logistic_loss(const fc_kernels *kernels, const void *x, const void *yes, const void *no,
                       void *losses, fc_size n, double *total, int num_threads) noexcept nogil:
    cdef ElementLoss c = element_loss(kernels, x, yes, no, losses, n, 0)
    return add_chunks(logistic_loss_task, &c, 20, total, num_threads)


cdef int logistic_loss_backward(const fc_kernels *kernels, const void *x, const void *yes,
                                const void *no, void *dx, fc_size n, double scale, double *sum_yes,
                                int num_threads) noexcept nogil:
    cdef ElementLoss c = element_loss(kernels, x, yes, no, dx, n, scale)
    return add_chunks(logistic_loss_backward_task, &c, 15, sum_yes, num_threads)


# ---------------------------------------------------------------- cross-entropy

ctypedef struct CrossEntropyPlan:
    const CrossEntropy *c
    const char *scale  # NULL forward
    bint one_scale
    ClassArray array
    double *totals     # [tasks]
    double *weights


cdef int cross_entropy_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const CrossEntropyPlan *p = <const CrossEntropyPlan *> context
    cdef const CrossEntropy *c = p.c
    cdef fc_size size = c.kernels.itemsize, i, at, position
    cdef int status = OK
    cdef fc_cross_entropy k
    cdef ClassBlock b = find_class_block(&p.array, task, &k.logits)
    k.logits.log = False
    k.weight, k.ignore, k.one_scale = c.weight, c.ignore, p.one_scale
    k.total = k.weights = 0
    for i in range(b.first, b.last):
        at = (i * c.classes * c.inner + b.start) * size
        position = i * c.inner + b.start
        k.logits.x, k.labels = c.x + at, c.labels + position
        if p.scale != NULL:
            k.logits.out = c.out + at
            k.scale = p.scale if p.one_scale else p.scale + position * size
            if c.kernels.cross_entropy_backward(&k) != 0:
                status = INDEX_OUT_OF_RANGE
        else:
            k.logits.out = c.out + position * size if c.out != NULL else NULL
            if c.kernels.cross_entropy(&k) != 0:
                status = INDEX_OUT_OF_RANGE
    p.totals[task], p.weights[task] = k.total, k.weights
    return status


cdef int run_cross_entropy(const CrossEntropy *c, const char *scale, bint one_scale, double *total,
                           double *weights, int num_threads) noexcept nogil:
    cdef CrossEntropyPlan p
    cdef int status
    p.c, p.scale, p.one_scale = c, scale, one_scale
    p.array = class_array(c.outer, c.classes, c.inner, c.kernels.itemsize)
    cdef fc_size tasks = p.array.tasks
    p.totals = <double *> allocate(2 * tasks * sizeof(double))
    if p.totals == NULL:
        return OUT_OF_MEMORY
    p.weights = p.totals + tasks
    status = parallel_for(cross_entropy_task, &p, tasks, 0, 10.0 * c.outer * c.classes * c.inner,
                          num_threads)
    if status == OK:
        total[0], weights[0] = sum_pairs(p.totals, tasks), sum_pairs(p.weights, tasks)
    release(<char *> p.totals)
    return status


cdef int cross_entropy(const CrossEntropy *c, double *total, double *weights,
                       int num_threads) noexcept nogil:
    return run_cross_entropy(c, NULL, False, total, weights, num_threads)


cdef int cross_entropy_backward(const CrossEntropy *c, const char *scale, bint one_scale,
                                int num_threads) noexcept nogil:
    cdef double total, weights
    return run_cross_entropy(c, scale, one_scale, &total, &weights, num_threads)
