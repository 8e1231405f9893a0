# What a driver, and a function of the C level, returns. `status_text` in _ops.pyx says it in words,
# include/fastconv.h in C, docs/c-api.md at length. Numbers are never used again.
cdef enum Status:
    OK = 0
    OUT_OF_MEMORY = 1
    INDEX_OUT_OF_RANGE = 2
    INTERRUPTED = 3  # a signal's handler raised, and its exception is pending; not at the C level
    # what follows is for the C level alone: drivers get what was validated before
    NULL_POINTER = 4
    INVALID_SIZE = 5
    INVALID_STRIDE = 6
    INVALID_PADDING = 7
    INVALID_GROUPS = 8
    INVALID_OPTION = 9
    KERNEL_TOO_LARGE = 10
    TOO_LARGE = 11
    SHAPE_NOT_CHECKED = 12
    WEIGHT_MISMATCH = 13
    WORKSPACE_TOO_SMALL = 14
