"""A number that tells whether memory has changed since it was taken last.

Words are mixed into eight numbers side by side, so that multiplications overlap: faster than main
memory on one core. A change of one word always changes the result, any other but once in 2**64.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from fastconv._drivers.blocking cimport ceil_div
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for

cdef enum:
    LANES = 8
    LINE = 64             # bytes of a word for each lane
    TASK_BYTES = 1 << 18

cdef uint64_t FACTOR = 0x9E3779B97F4A7C15  # odd, so that the product forgets nothing

ctypedef struct Memory:
    const char *data
    Py_ssize_t nbytes
    uint64_t *parts  # [tasks]


cdef inline uint64_t mix(uint64_t seen, uint64_t word) noexcept nogil:
    cdef uint64_t x = (seen ^ word) * FACTOR
    return (x << 29) | (x >> 35)


cdef inline uint64_t word_at(const char *data) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, data, sizeof(uint64_t))
    return word


cdef int task_part(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Memory *m = <const Memory *> context
    cdef const char *at = m.data + task * TASK_BYTES
    cdef Py_ssize_t left = min(<Py_ssize_t> TASK_BYTES, m.nbytes - task * TASK_BYTES)
    cdef uint64_t lanes[LANES]
    cdef uint64_t words[LANES]
    cdef int i
    memset(lanes, 0, LINE)
    while left >= LINE:
        for i in range(LANES):
            lanes[i] = mix(lanes[i], word_at(at + i * sizeof(uint64_t)))
        at += LINE
        left -= LINE
    memset(words, 0, LINE)
    memcpy(words, at, left)
    m.parts[task] = 0
    for i in range(LANES):
        m.parts[task] = mix(mix(m.parts[task], lanes[i]), words[i])
    return OK


cdef int fingerprint(const char *data, Py_ssize_t nbytes, uint64_t *out,
                     int num_threads) noexcept nogil:
    cdef Memory m
    cdef Py_ssize_t tasks = ceil_div(nbytes, TASK_BYTES), i
    cdef int status
    m.data, m.nbytes = data, nbytes
    m.parts = <uint64_t *> allocate(max(1, tasks) * sizeof(uint64_t))
    if m.parts == NULL:
        return OUT_OF_MEMORY
    status = parallel_for(task_part, &m, tasks, 0, <double> nbytes / 4, num_threads)
    out[0] = nbytes
    for i in range(tasks):
        out[0] = mix(out[0], m.parts[i])
    release(<char *> m.parts)
    return status
