from libc.stdint cimport uint64_t

# A number that tells whether memory has changed: of nbytes, the same for any number of threads.
cdef int fingerprint(const char *data, Py_ssize_t nbytes, uint64_t *out,
                     int num_threads) noexcept nogil
