"""Fast convolutional networks on NumPy arrays."""

from fastconv.runtime import (
    accuracy,
    get_accuracy,
    get_memory_cache,
    get_num_threads,
    set_accuracy,
    set_memory_cache,
    set_num_threads,
    show_config,
    threads,
)

__version__ = "0.1.0"
__all__ = [
    "accuracy",
    "get_accuracy",
    "get_memory_cache",
    "get_num_threads",
    "set_accuracy",
    "set_memory_cache",
    "set_num_threads",
    "show_config",
    "threads",
]
