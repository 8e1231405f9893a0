"""Threads, accuracy and memory: the settings of a process."""

from fuzz.recipes.common import recipe


@recipe("get_num_threads", "get_accuracy", "get_include", "get_memory_cache", "show_config",
        "no_grad", "nn.no_grad", "nn.is_grad_enabled", "autograd.no_grad",
        "autograd.is_grad_enabled")  # fmt: skip
def nothing(d):
    return {}


@recipe("set_num_threads", "threads")
def thread_count(d):
    return {"n": d.integer(1, 8)}


@recipe("set_accuracy", "accuracy")
def accuracy(d):
    return {"mode": d.choice(("fast", "strict"))}


@recipe("set_memory_cache")
def memory_cache(d):
    return {"nbytes": d.choice((0, 2**20, 2**28))}
