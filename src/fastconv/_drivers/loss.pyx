"""Losses and their gradients: a task is a chunk of elements or of positions.

Sums of chunks are added in pairs, neighbour to neighbour, in double.
"""

from fastconv._drivers.kernels cimport fc_cross_entropy, fc_kernels, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport INDEX_OUT_OF_RANGE, OK, OUT_OF_MEMORY, kernels, parallel_for

cdef enum:
    CHUNK = 16384  # elements of a task
    BLOCK = 128    # positions of a cross-entropy task come in multiples of this

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

ctypedef struct Map:
    const fc_kernels *kernels
    const char *x
    const char *yes  # the target
    const char *no
    char *out
    fc_size n
    double scale
    bint logistic, backward
    double *sums     # [chunks]

cdef int map_chunk(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Map *m = <const Map *> context
    cdef fc_size n = min(<fc_size> CHUNK, m.n - task * CHUNK)
    cdef fc_size at = task * CHUNK * m.kernels.itemsize
    cdef const char *x = m.x + at
    cdef const char *yes = m.yes + at
    cdef const char *no = m.no + at if m.no != NULL else NULL
    cdef char *out = m.out + at if m.out != NULL else NULL
    if m.logistic and m.backward:
        m.sums[task] = m.kernels.logistic_loss_backward(x, yes, no, out, n, m.scale)
    elif m.logistic:
        m.sums[task] = m.kernels.logistic_loss(x, yes, no, out, n)
    elif m.backward:
        m.kernels.squared_error_backward(x, yes, out, n, m.scale)
        m.sums[task] = 0
    else:
        m.sums[task] = m.kernels.squared_error(x, yes, out, n)
    return OK


cdef int run_map(Map *m, const fc_kernels *kernels, double cost, double *total, int num_threads) noexcept nogil:
    cdef fc_size chunks = (m.n + CHUNK - 1) // CHUNK
    cdef int status
    m.kernels = kernels
    m.sums = <double *> allocate(chunks * sizeof(double))
    if m.sums == NULL:
        return OUT_OF_MEMORY
    status = parallel_for(map_chunk, m, chunks, 0, m.n * cost, num_threads)
    total[0] = sum_pairs(m.sums, chunks)
    release(<char *> m.sums)
    return status


cdef int squared_error(const fc_kernels *kernels, const void *x, const void *t, void *losses, fc_size n,
                       double *total, int num_threads) noexcept nogil:
    cdef Map m
    m.x, m.yes, m.no, m.out, m.n = <const char *> x, <const char *> t, NULL, <char *> losses, n
    m.logistic, m.backward, m.scale = False, False, 0
    return run_map(&m, kernels, 2, total, num_threads)


cdef int squared_error_backward(const fc_kernels *kernels, const void *x, const void *t, void *dx, fc_size n,
                                double scale, int num_threads) noexcept nogil:
    cdef Map m
    cdef double unused
    m.x, m.yes, m.no, m.out, m.n = <const char *> x, <const char *> t, NULL, <char *> dx, n
    m.logistic, m.backward, m.scale = False, True, scale
    return run_map(&m, kernels, 3, &unused, num_threads)


cdef int logistic_loss(const fc_kernels *kernels, const void *x, const void *yes, const void *no, void *losses,
                       fc_size n, double *total, int num_threads) noexcept nogil:
    cdef Map m
    m.x, m.yes, m.no = <const char *> x, <const char *> yes, <const char *> no
    m.out, m.n = <char *> losses, n
    m.logistic, m.backward, m.scale = True, False, 0
    return run_map(&m, kernels, 20, total, num_threads)


cdef int logistic_loss_backward(const fc_kernels *kernels, const void *x, const void *yes, const void *no,
                                void *dx, fc_size n, double scale, double *sum_yes,
                                int num_threads) noexcept nogil:
    cdef Map m
    m.x, m.yes, m.no = <const char *> x, <const char *> yes, <const char *> no
    m.out, m.n = <char *> dx, n
    m.logistic, m.backward, m.scale = True, True, scale
    return run_map(&m, kernels, 15, sum_yes, num_threads)


# ---------------------------------------------------------------- cross-entropy

ctypedef struct Plan:
    const CrossEntropy *c
    const fc_kernels *kernels
    const char *scale              # NULL forward
    bint one_scale
    fc_size outer_step, inner_step  # what one task does
    fc_size inner_tasks
    double *totals                 # [tasks]
    double *weights

cdef int cross_entropy_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Plan *p = <const Plan *> context
    cdef const CrossEntropy *c = p.c
    cdef fc_size first = task // p.inner_tasks * p.outer_step
    cdef fc_size last = min(first + p.outer_step, c.outer)
    cdef fc_size start = task % p.inner_tasks * p.inner_step
    cdef fc_size i, at, position
    cdef int status = OK
    cdef fc_cross_entropy k
    k.logits.classes, k.logits.log = c.classes, False
    k.logits.class_stride = c.inner * c.kernels.itemsize
    if c.inner == 1:  # one class after the other in memory: `outer` is the positions
        k.logits.positions, k.logits.position_stride = last - first, c.classes * c.kernels.itemsize
        last = first + 1
    else:
        k.logits.positions = min(p.inner_step, c.inner - start)
        k.logits.position_stride = c.kernels.itemsize
    k.weight, k.ignore, k.one_scale = c.weight, c.ignore, p.one_scale
    k.total = k.weights = 0
    for i in range(first, last):
        at = (i * c.classes * c.inner + start) * c.kernels.itemsize
        position = i * c.inner + start
        k.logits.x, k.labels = c.x + at, c.labels + position
        if p.scale != NULL:
            k.logits.out = c.out + at
            k.scale = p.scale if p.one_scale else p.scale + position * c.kernels.itemsize
            if p.kernels.cross_entropy_backward(&k) != 0:
                status = INDEX_OUT_OF_RANGE
            continue
        k.logits.out = c.out + position * c.kernels.itemsize if c.out != NULL else NULL
        if p.kernels.cross_entropy(&k) != 0:
            status = INDEX_OUT_OF_RANGE
    p.totals[task], p.weights[task] = k.total, k.weights
    return status


cdef int run_cross_entropy(Plan *p, double *total, double *weights, int num_threads) noexcept nogil:
    cdef const CrossEntropy *c = p.c
    cdef int status
    p.kernels = c.kernels
    p.inner_step = min(c.inner, max(<fc_size> 1, CHUNK // c.classes // BLOCK) * BLOCK)
    p.outer_step = max(<fc_size> 1, CHUNK // (c.classes * c.inner))
    p.inner_tasks = (c.inner + p.inner_step - 1) // p.inner_step
    cdef fc_size tasks = (c.outer + p.outer_step - 1) // p.outer_step * p.inner_tasks
    p.totals = <double *> allocate(2 * tasks * sizeof(double))
    if p.totals == NULL:
        return OUT_OF_MEMORY
    p.weights = p.totals + tasks
    status = parallel_for(cross_entropy_block, p, tasks, 0,
                          10.0 * c.outer * c.classes * c.inner, num_threads)
    total[0], weights[0] = sum_pairs(p.totals, tasks), sum_pairs(p.weights, tasks)
    release(<char *> p.totals)
    return status


cdef int cross_entropy(const CrossEntropy *c, double *total, double *weights,
                       int num_threads) noexcept nogil:
    cdef Plan p
    p.c, p.scale, p.one_scale = c, NULL, False
    return run_cross_entropy(&p, total, weights, num_threads)


cdef int cross_entropy_backward(const CrossEntropy *c, const char *scale, bint one_scale,
                                int num_threads) noexcept nogil:
    cdef Plan p
    cdef double total, weights
    p.c, p.scale, p.one_scale = c, scale, one_scale
    return run_cross_entropy(&p, &total, &weights, num_threads)
