"""Fast convolutional networks on NumPy arrays."""

from fastconv.runtime import (
    get_memory_cache,
    get_num_threads,
    set_memory_cache,
    set_num_threads,
    show_config,
    threads,
)

__version__ = "0.1.0"
__all__ = [
    "get_memory_cache",
    "get_num_threads",
    "set_memory_cache",
    "set_num_threads",
    "show_config",
    "threads",
]
