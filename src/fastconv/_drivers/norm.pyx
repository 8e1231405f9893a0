"""Batch normalisation over arrays seen as (outer, channels, inner).

Where inner is 1 the channels are contiguous and a line of the kernels crosses them all; otherwise a
line is the inner part of one channel. Sums are taken over chunks, of a size at which float32 keeps
its digits, and chunks are joined in double, in order: first those of a segment, which is a task,
then the segments.

Memory is read as seldom as can be. Where a channel fits the second-level cache, one task sums it
and then maps it; in evaluation, whose gradient needs no sums, every chunk is mapped as soon as it
is summed.
"""

from libc.math cimport sqrt
from libc.string cimport memset

from fastconv._drivers.blocking cimport TASKS, ceil_div
from fastconv._drivers.kernels cimport FC_FLOAT32, fc_kernels, fc_norm, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for

cdef enum:
    LINES = 64          # of a chunk, where lines cross the channels
    CHUNK = 4096        # elements of a chunk, where they do not
    SEGMENT = 65536     # elements of a task that sums
    MAP = 16384         # elements of a task that maps
    CACHED = 900 * 1024  # bytes of a channel that one task reads twice; of several, half of that


ctypedef struct Plan:
    const BatchNorm *b
    const fc_kernels *kernels
    double elements    # of a channel
    # of the element type, [channels]: what is subtracted from x (while the moments are summed, any
    # value of the channel), and what the maps multiply and add
    char *shift
    char *scale
    char *offset
    char *slope
    char *zeros
    void (*sum)(const fc_norm *) noexcept nogil
    void (*map)(const fc_norm *) noexcept nogil
    bint map_chunks    # as soon as they are summed
    bint backward
    # what the sums come to
    const double *bias
    double eps
    double *mean
    double *var
    double *invstd
    double *sum_g
    double *sum_gx
    double *first      # [segments][channels]
    double *second
    fc_size chunks     # of a channel
    fc_size per_segment
    fc_size lines      # of a chunk, and
    fc_size pieces     # chunks of a line
    fc_size channels   # of a task that sums and maps


cdef inline double number(const BatchNorm *b, const char *vector, fc_size i) noexcept nogil:
    return (<const float *> vector)[i] if b.kernels.dtype == FC_FLOAT32 else (<const double *> vector)[i]


cdef inline double put(const BatchNorm *b, char *vector, fc_size i, double value) noexcept nogil:
    """Store a value and return what is left of it in the element type."""
    if b.kernels.dtype == FC_FLOAT32:
        (<float *> vector)[i] = <float> value
    else:
        (<double *> vector)[i] = value
    return number(b, vector, i)


cdef int prepare(Plan *p, const BatchNorm *b) noexcept nogil:
    """Cut channels into chunks, and make room for vectors."""
    cdef fc_size size = b.channels * sizeof(double)
    p.b = b
    p.kernels = b.kernels
    p.elements = <double> b.outer * b.inner
    p.map_chunks = False
    p.pieces = 1
    if b.inner == 1:
        p.lines = LINES
        p.per_segment = max(<fc_size> 1, SEGMENT // (LINES * b.channels))
    else:
        p.lines = max(<fc_size> 1, CHUNK // b.inner)
        p.pieces = ceil_div(b.inner, CHUNK)
        p.per_segment = SEGMENT // CHUNK
    p.chunks = ceil_div(b.outer, p.lines) * p.pieces
    p.shift = allocate(5 * size)
    if p.shift == NULL:
        return OUT_OF_MEMORY
    p.scale, p.offset = p.shift + size, p.shift + 2 * size
    p.slope, p.zeros = p.shift + 3 * size, p.shift + 4 * size
    memset(p.zeros, 0, size)
    return OK


# ---- sums, chunk by chunk ----

cdef fc_size find_chunk(const Plan *p, fc_size chunk, fc_size channel, fc_norm *k) noexcept nogil:
    """Point the kernels at a chunk of a channel, or of all; returns its elements of a channel."""
    cdef const BatchNorm *b = p.b
    cdef fc_size line = chunk // p.pieces * p.lines
    cdef fc_size start = chunk % p.pieces * CHUNK
    cdef fc_size inner = min(<fc_size> CHUNK, b.inner - start)
    cdef fc_size at = (line * b.channels * b.inner + channel * b.inner + start) * b.kernels.itemsize
    k.lines = min(p.lines, b.outer - line)
    k.len = b.channels if b.inner == 1 else inner
    k.x, k.g, k.out = b.x + at, b.g + at, b.out + at
    return k.lines * inner


cdef fc_norm of_channel(const Plan *p, fc_size channel) noexcept nogil:
    """What all chunks of a channel have in common, or of all channels where lines cross them."""
    cdef const BatchNorm *b = p.b
    cdef fc_norm k
    cdef fc_size at = channel * b.kernels.itemsize
    k.stride, k.crossing = b.channels * b.inner * b.kernels.itemsize, b.inner == 1
    k.channel, k.channels = 0, 1
    k.shift, k.scale, k.offset, k.slope = p.shift + at, p.scale + at, p.offset + at, p.slope + at
    k.x = k.g = k.out = NULL
    k.first = k.second = NULL
    k.lines = k.len = 0
    k.count = 0
    k.relu = b.relu
    return k


cdef void sum_chunks(const Plan *p, fc_size start, fc_size end, fc_size channel, double *first,
                     double *second) noexcept nogil:
    cdef fc_norm k = of_channel(p, channel), map
    cdef fc_size chunk, elements
    k.first, k.second = first, second
    for chunk in range(start, end):
        elements = find_chunk(p, chunk, channel, &k)
        p.sum(&k)
        k.count += elements
        if p.map_chunks:
            map = k
            map.x = k.g
            map.shift = map.offset = p.zeros
            p.map(&map)


cdef int sum_segment(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Plan *p = <const Plan *> context
    cdef const BatchNorm *b = p.b
    cdef fc_size channels = 1 if b.inner == 1 else b.channels  # tasks of a segment
    cdef fc_size segment = task // channels, channel = task % channels
    cdef fc_size start = segment * p.per_segment, at = segment * b.channels + channel
    sum_chunks(p, start, min(start + p.per_segment, p.chunks), channel, p.first + at,
               p.second + at)
    return OK


cdef double segment_elements(const Plan *p, fc_size segment) noexcept nogil:
    cdef fc_norm k
    cdef fc_size chunk, first = segment * p.per_segment
    cdef double n = 0
    for chunk in range(first, min(first + p.per_segment, p.chunks)):
        n += find_chunk(p, chunk, 0, &k)
    return n


cdef void join_segments(const Plan *p) noexcept nogil:
    """To the first."""
    cdef fc_size segments = ceil_div(p.chunks, p.per_segment), channels = p.b.channels, i, c
    cdef double count = segment_elements(p, 0), n, delta
    for i in range(1, segments):
        n = segment_elements(p, i)
        for c in range(channels):
            if p.backward:
                p.first[c] += p.first[i * channels + c]
                p.second[c] += p.second[i * channels + c]
            else:  # the rule of the kernel's join()
                delta = p.first[i * channels + c] - p.first[c]
                p.first[c] += delta * (n / (count + n))
                p.second[c] += (p.second[i * channels + c]
                                + delta * delta * (count * (n / (count + n))))
        count += n


# ---- what the sums come to ----

cdef void finish(const Plan *p, fc_size start, fc_size end, const double *first,
                 const double *second) noexcept nogil:
    """The vectors of the map, for the channels from start on, of which these are the sums."""
    cdef const BatchNorm *b = p.b
    cdef double scale, origin, mean, shift, rest
    cdef fc_size c, i
    for i in range(end - start):
        c = start + i
        if p.backward:
            p.sum_g[c], p.sum_gx[c] = first[i], second[i]
            # scale (g - mean(g) - u mean(g u)), u = (x - mean) invstd
            scale = b.weight[c] * p.invstd[c]
            rest = -scale / p.elements
            put(b, p.slope, c, rest * p.invstd[c] * p.invstd[c] * second[i])
            put(b, p.offset, c, rest * first[i])
            put(b, p.scale, c, scale)
            continue
        # the mean in two parts, which together keep more digits than one would: what is
        # subtracted from the input is of its dtype, and what that lacks comes after
        origin = mean = p.mean[c]
        if b.training:
            origin = number(b, p.shift, c)
            mean = p.mean[c] = origin + first[i]
            p.var[c] = second[i] / p.elements
        shift = put(b, p.shift, c, mean)
        rest = first[i] + (origin - shift) if b.training else mean - shift
        p.invstd[c] = 1 / sqrt(p.var[c] + p.eps)
        scale = p.invstd[c] * b.weight[c]
        put(b, p.scale, c, scale)
        put(b, p.offset, c, p.bias[c] - rest * scale)


# ---- maps ----

cdef int map_lines(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Plan *p = <const Plan *> context
    cdef const BatchNorm *b = p.b
    cdef bint crossing = b.inner == 1
    cdef fc_size lines = b.outer if crossing else b.outer * b.channels
    cdef fc_size per_task = map_lines_of_task(b), pieces = 1 if crossing else ceil_div(b.inner, MAP)
    cdef fc_norm k = of_channel(p, 0)
    cdef fc_size line = task // pieces * per_task, start = task % pieces * MAP, at
    k.len = b.channels if crossing else b.inner
    k.stride = k.len * b.kernels.itemsize
    k.lines = min(per_task, lines - line)
    k.channel, k.channels = 0 if crossing else line % b.channels, b.channels
    at = line * k.stride + start * b.kernels.itemsize
    if pieces > 1:
        k.len = min(<fc_size> MAP, k.len - start)
    k.x, k.g, k.out = b.x + at, b.g + at, b.out + at
    p.map(&k)
    return OK


cdef fc_size map_lines_of_task(const BatchNorm *b) noexcept nogil:
    return max(<fc_size> 1, MAP // (b.channels if b.inner == 1 else b.inner))


cdef int run_map(Plan *p) noexcept nogil:
    cdef const BatchNorm *b = p.b
    cdef fc_size tasks = ceil_div(b.outer, map_lines_of_task(b))
    if b.inner > 1:
        tasks = (ceil_div(b.outer * b.channels, map_lines_of_task(b)) * ceil_div(b.inner, MAP))
    return parallel_for(map_lines, p, tasks, 0, 3 * p.elements * b.channels, b.num_threads)


# ---- sums and maps ----

cdef int whole_channels(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Sum some channels, then map them, side by side as they are, while they are in the cache."""
    cdef const Plan *p = <const Plan *> context
    cdef const BatchNorm *b = p.b
    cdef fc_size start = task * p.channels, end = min(start + p.channels, b.channels)
    cdef fc_size c, n, at
    cdef double *first = <double *> scratch
    cdef double *second = first + p.channels
    cdef fc_norm k
    memset(first, 0, 2 * p.channels * sizeof(double))
    for c in range(start, end):
        sum_chunks(p, 0, p.chunks, c, first + c - start, second + c - start)
    finish(p, start, end, first, second)
    if p.map_chunks:
        return OK
    k = of_channel(p, 0)
    k.lines, k.len, k.stride = end - start, b.inner, b.inner * b.kernels.itemsize
    k.channel, k.channels = start, b.channels
    for n in range(b.outer):
        at = (n * b.channels + start) * k.stride
        k.x, k.g, k.out = b.x + at, b.g + at, b.out + at
        p.map(&k)
    return OK


cdef int sum_and_map(Plan *p) noexcept nogil:
    cdef const BatchNorm *b = p.b
    cdef double elements = p.elements * b.channels
    cdef fc_size segments = ceil_div(p.chunks, p.per_segment)
    cdef double bytes = p.elements * b.kernels.itemsize * (2 if p.backward else 1)
    cdef int status
    if b.inner > 1 and b.channels >= TASKS // 2 and bytes <= CACHED:
        p.channels = max(<fc_size> 1, min(b.channels // TASKS, <fc_size> (CACHED / 2 / bytes)))
        return parallel_for(whole_channels, p, ceil_div(b.channels, p.channels),
                            2 * p.channels * sizeof(double), 6 * elements, b.num_threads)
    cdef fc_size room = 2 * segments * b.channels * sizeof(double)
    p.first = <double *> allocate(room)
    if p.first == NULL:
        return OUT_OF_MEMORY
    p.second = p.first + segments * b.channels
    memset(p.first, 0, room)
    status = parallel_for(sum_segment, p, segments if b.inner == 1 else segments * b.channels, 0,
                          4 * elements, b.num_threads)
    if status == OK:
        join_segments(p)
        finish(p, 0, b.channels, p.first, p.second)
        if not p.map_chunks:
            status = run_map(p)
    release(<char *> p.first)
    return status


cdef int forward(const BatchNorm *b, const double *bias, double eps, double *mean, double *var,
                 double *invstd) noexcept nogil:
    cdef Plan p
    cdef fc_size c
    cdef int status = prepare(&p, b)
    if status != OK:
        return status
    p.sum, p.map, p.backward = p.kernels.norm_moments, p.kernels.norm_apply, False
    p.bias, p.eps, p.mean, p.var, p.invstd = bias, eps, mean, var, invstd
    if b.training:
        for c in range(b.channels):
            put(b, p.shift, c, number(b, b.x, c * b.inner))
        status = sum_and_map(&p)
    else:
        finish(&p, 0, b.channels, <double *> p.zeros, <double *> p.zeros)
        status = run_map(&p)
    release(p.shift)
    return status


cdef int backward(const BatchNorm *b, const double *mean, const double *invstd, double *sum_g,
                  double *sum_gx) noexcept nogil:
    cdef Plan p
    cdef fc_size c
    cdef int status = prepare(&p, b)
    if status != OK:
        return status
    p.sum, p.map, p.backward = p.kernels.norm_gradient_sums, p.kernels.norm_gradient, True
    p.invstd, p.sum_g, p.sum_gx = <double *> invstd, sum_g, sum_gx
    for c in range(b.channels):
        put(b, p.shift, c, mean[c])
    if not b.training:  # scale g
        p.map, p.map_chunks = p.kernels.norm_apply, True
        for c in range(b.channels):
            put(b, p.scale, c, b.weight[c] * invstd[c])
    status = sum_and_map(&p)
    release(p.shift)
    return status
