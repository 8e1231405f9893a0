"""Tensors, their operators and methods, checkpoints and registered ops."""

import numpy as np

from fastconv import functional as F
from fuzz.recipes.common import recipe, shape
from fuzz.recipes.joins import repeated

ARITHMETIC = ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow",
              "eq", "ne", "lt", "le", "gt", "ge")  # fmt: skip
PLAIN = ("exp", "log", "sqrt", "abs", "numpy", "detach", "zero_grad", "squeeze", "__neg__",
         "__abs__", "__repr__", "__array__", "__hash__", "transpose")  # fmt: skip
NUMBERS = ("item", "__float__", "__int__", "__bool__")


def index(d, s):
    """An index of an array of this shape."""
    parts = []
    for n in s[: d.integer(0, len(s))]:
        parts.append(
            d.choice(
                (
                    slice(None),
                    slice(d.integer(0, n), None),
                    slice(None, None, -2),
                    d.integer(-n, n - 1) if n else slice(0),
                )
            )
        )
    if s and s[0] and d.chance(0.2):
        return d.rng.integers(0, s[0], d.integer(1, 5))  # some more than once
    return (*parts, *d.choice(((), (None,), (...,), (..., None))))


@recipe("Tensor", "autograd.Tensor")
def tensor(d):
    kind = d.integer(0, 9)
    s = (1,) * d.integer(0, 3) if kind == 0 else shape(d)
    axis = d.integer(-len(s), len(s) - 1) if s else None
    array, arguments = d.array(*s), ()
    if kind == 0:
        method = d.choice(NUMBERS)
    elif kind < 4:
        method = f"__{d.choice(ARITHMETIC)}__"
        arguments = (d.choice((d.array(*repeated(d, s)), 2, 0.5, d.dtype(3))),)
    elif kind == 4:
        method, arguments = "__getitem__", (index(d, s),)
    elif kind < 7:
        array = d.array(*(max(1, n) for n in s))
        method = d.choice(("sum", "mean", "var", "max", "min", "argmax"))
        axis, keepdims = d.choice((None, axis)), d.chance(0.5)
        arguments = {"var": (axis, 0, keepdims), "argmax": (axis,)}.get(method, (axis, keepdims))
    elif kind == 7:
        s = s or (3,)
        array = d.array(*s)
        method = d.choice(("__matmul__", "__rmatmul__", "__len__"))
        inner = s[-1] if method == "__matmul__" or len(s) == 1 else s[-2]
        other = (inner, d.integer(1, 4)) if method == "__matmul__" else (d.integer(1, 4), inner)
        arguments = (d.array(*other),) if method != "__len__" else ()
    elif kind == 8:
        method = d.choice(("reshape", "transpose", "moveaxis", "clip", "pow", "accumulate"))
        arguments = {
            "reshape": lambda: (d.choice(((-1,), s, (1, *s))) if array.size else s,),
            "transpose": lambda: tuple(d.random.sample(range(len(s)), len(s))),
            "moveaxis": lambda: (axis, 0) if s else ((), ()),
            "clip": lambda: (d.choice((None, -1, -0.5)), d.choice((None, 1, 0.25))),
            "pow": lambda: (d.choice((2, 3.0, 0.5)),),
            "accumulate": lambda: (d.array(*s),),
        }[method]()
    else:
        method = d.choice(PLAIN)
    return {
        "array": array,
        "requires_grad": d.chance(0.8),
        "method": method,
        "arguments": arguments,
    }


def scaled(x, *others):
    return F.tanh(x) * 2 + sum(F.flatten(other, 0).sum() for other in others if other.ndim)


def dropped(x, *_):
    return F.dropout(x, 0.5, rng=3)


@recipe("autograd.checkpoint")
def checkpoint(d):
    arrays = [d.array(*shape(d)) for _ in range(d.integer(1, 3))]
    return {"function": d.choice((scaled, dropped, lambda x, *_: x)), "inputs": arrays}


def square(input):
    return input * input


@recipe("autograd.register")
def register(d):
    return {
        "forward": square,
        "gradients": {"input": lambda grad, input: np.asarray(2 * grad * input, grad.dtype)},
        "input": d.array(*shape(d)),
    }
