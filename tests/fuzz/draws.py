"""Random values, and twists that make them strange."""

import array
import decimal
import fractions
import random
import types

import numpy as np

DTYPES = (np.float32, np.float64)
HUGE = (2**31 - 1, 2**31, 2**31 + 7, 2**32, 2**33, 2**40, 2**61)


class Draw:
    """The random choices of one call: the same for the same seed and number."""

    def __init__(self, seed, number):
        self.random = random.Random(f"{seed} {number}")
        self.rng = np.random.default_rng(self.random.getrandbits(64))
        self.choice = self.random.choice
        self.integer = self.random.randint
        self.dtype = self.choice(DTYPES)
        self.huge = HUGE

    def chance(self, p):
        return self.random.random() < p

    def array(self, *shape, dtype=None):
        """Eighths from -2 to 2: they add up without rounding, and some are equal."""
        values = self.rng.integers(-16, 17, shape) / 8
        return np.asarray(values, self.dtype if dtype is None else dtype)

    def pair(self, low, high):
        if self.chance(0.5):
            return self.integer(low, high)
        return self.integer(low, high), self.integer(low, high)

    def image_shape(self, batched=None):
        """(N, C, H, W) or (C, H, W); now and then large enough for several threads."""
        if self.chance(0.05):
            shape = (self.integer(1, 3), self.integer(8, 40), self.integer(20, 40), 32)
        else:
            shape = tuple(self.integer(1, n) for n in (3, 20, 12, 20))
        if batched is None:
            batched = self.chance(0.8)
            if self.chance(0.03):
                shape = (0, *shape[1:])
        return shape if batched else shape[1:]


# ---- twists that leave an array's values, shape and dtype alone: its result must stay the same


def channels_last(_, a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -3, -1)), -1, -3) if a.ndim > 2 else a


def backwards(_, a):
    every = (..., *[slice(None, None, -1)] * a.ndim)
    return a[every].copy()[every]


def read_only(_, a):
    a = a.copy()
    a.flags.writeable = False
    return a


def gaps(d, a):
    step = d.integer(2, 3)
    wide = np.zeros([step * n for n in a.shape], a.dtype)
    view = wide[(..., *[slice(None, None, step)] * a.ndim)]
    view[...] = a
    return view


def misaligned(d, a):
    at = d.integer(1, 7)
    raw = np.zeros(a.nbytes + 8, np.uint8)
    view = raw[at : at + a.nbytes].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def swapped(_, a):
    return a.astype(a.dtype.newbyteorder())


class Strange(np.ndarray):
    """A subclass that answers with other strides, lengths and truth than arrays do."""

    def __len__(self):
        return 10**6

    def __bool__(self):
        return False

    def __getitem__(self, key):
        return self

    def copy(self, *_, **__):
        return self[...]


LAYOUTS = {
    "C order": lambda _, a: a.copy(order="C"),
    "channels last": channels_last,
    "Fortran order": lambda _, a: a.copy(order="F"),
    "backwards": backwards,
    "read-only": read_only,
    "gaps": gaps,
    "misaligned": misaligned,
    "swapped bytes": swapped,
    "a view of a subclass": lambda _, a: a.view(type("Plain", (np.ndarray,), {})),
}


# ---- twists of an array that make it another one, or none


def _reshaped(d, a):
    shape = list(a.shape)
    if not shape:
        return a.reshape(1, 1)
    at = d.integer(0, len(shape) - 1)
    shape[at] = max(0, shape[at] + d.choice((-1, 1, 7)))
    return np.resize(a, shape).astype(a.dtype)


def _rank(d, a):
    return d.choice(
        (
            lambda: a[None],
            lambda: a.reshape(-1),
            lambda: a.reshape((1,) * min(40, 32 - a.ndim) + a.shape),
            lambda: np.zeros((), a.dtype),
            lambda: a[..., None, None],
        )
    )()


def _empty(d, a):
    shape = list(a.shape)
    if shape:
        shape[d.integer(0, len(shape) - 1)] = 0
    return np.zeros(shape, a.dtype)


def _repeated(_, a):
    return np.broadcast_to(a.reshape(-1)[:1].reshape(()) if a.size else a, a.shape)


def _huge(d, a):
    """A view that repeats one element billions of times."""
    shape = [1, *a.shape] if d.chance(0.1) else list(a.shape) or [1]
    few = d.huge is not HUGE  # for something that may read it all, which takes seconds
    if few:
        if d.chance(0.9):
            return _reshaped(d, a)
        shape = [1] * len(shape)
    for _ in range(1 if few else d.integer(1, 2)):
        shape[d.integer(0, len(shape) - 1)] = d.choice(d.huge)
    return np.lib.stride_tricks.as_strided(np.ones(1, a.dtype), shape, (0,) * len(shape))


def _values(d, a):
    a = a.copy()
    if a.dtype.kind == "f" and a.size:
        limits = np.finfo(a.dtype)
        odd = (np.nan, np.inf, -np.inf, limits.max, -limits.max, limits.tiny / 2, -0.0)
        for _ in range(d.integer(1, 4)):
            a.reshape(-1)[d.integer(0, a.size - 1)] = d.choice(odd)
    elif a.dtype.kind in "iu" and a.size:
        limits = np.iinfo(a.dtype)
        for _ in range(d.integer(1, 4)):
            odd = (limits.max, limits.min, -1, -2, 10**6, -100)
            a.reshape(-1)[d.integer(0, a.size - 1)] = np.array(d.choice(odd)).astype(a.dtype)
    return a


DTYPE_NAMES = ("f2", "f4", "f8", "g", "i1", "i4", "i8", "u1", "u8", "?", "F", "D", "O", "S3", "U3",
               "M8[s]", "m8[s]", "V4", [("a", "f4")])  # fmt: skip


def _retyped(d, a):
    dtype = np.dtype(d.choice(DTYPE_NAMES))
    if dtype.kind in "fiu?cOSU" and not dtype.names:
        with np.errstate(all="ignore"):
            return a.astype(dtype)
    return np.zeros(a.shape, dtype)


def _exported(d, a):
    """What is no array, but has its numbers."""
    return d.choice(
        (
            lambda: a.tolist(),
            lambda: memoryview(np.ascontiguousarray(a)),
            lambda: array.array("d", [1.0, 2.0]),
            lambda: a.tobytes(),
            lambda: [a, a],
            lambda: np.ma.masked_less(a, 0),
            lambda: a.view(Strange),
            lambda: iter(a.reshape(-1)[:4]),
            lambda: types.SimpleNamespace(shape=a.shape, dtype=a.dtype, ndim=a.ndim, strides=()),
            lambda: _Array(a.astype(np.float16)),
            lambda: _Interface(a),
        )
    )()


class _Array:
    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return self.value


class _Interface:
    """An array interface of other sizes than its memory has elements, but within it."""

    def __init__(self, a):
        self.array = np.ascontiguousarray(a)

    @property
    def __array_interface__(self):
        return {**self.array.__array_interface__, "shape": (self.array.size // 2,), "strides": None}


class _Capsule:
    """An array that promises DLPack and has something else to give."""

    def __init__(self, answer):
        self.answer = answer

    def __dlpack__(self, *_, **__):
        return self.answer

    def __dlpack_device__(self):
        return (1, 0)


ARRAY_TWISTS = (_reshaped, _reshaped, _rank, _empty, _repeated, _huge, _values, _values, _retyped,
                _retyped, _exported)  # fmt: skip


# ---- strange values of everything else


class _Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value

    __len__ = __bool__ = __index__


# The largest that fits into memory, 2**17, is for layers: with so many channels an instrumented
# build still answers within seconds.
INTEGERS = (-(2**63) - 1, -(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 2**15, 2**17, 2**31 - 1, 2**31,
            2**32, 2**61, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 10**400)  # fmt: skip
FLOATS = (float("nan"), float("inf"), float("-inf"), -1.0, -0.0, 0.0, 0.5, 1.0, 1 + 1e-9, 5e-324,
          1e308, -1e308, 1e-40)  # fmt: skip
STRINGS = ("", "none", "mean", "same", "valid", "relu", "auto", "winograd", "fan_in", "\0",
           "\ud800", "AUTO", "x" * 10_000)  # fmt: skip


def _junk(d):
    return d.choice(
        (
            lambda: None,
            lambda: d.choice(STRINGS),
            lambda: d.choice(STRINGS).encode(errors="replace"),
            lambda: d.choice((True, False)),
            lambda: d.choice(INTEGERS),
            lambda: d.choice(FLOATS),
            lambda: d.choice((1j, fractions.Fraction(1, 3), decimal.Decimal("0.5"))),
            lambda: d.choice((np.int8(3), np.uint64(2**63), np.float32(0.5), np.bool_(True))),
            lambda: d.choice((_Index("1"), _Index(2), _Index(-1), _Index(2**70))),
            lambda: d.choice(((), [], {}, set(), (1,), (1, 2), (1, 2, 3), [[1, 2], [3, 4]])),
            lambda: tuple(d.choice(INTEGERS) for _ in range(d.integer(1, 5))),
            lambda: d.choice((object(), object, len, Ellipsis, slice(None), range(3))),
            lambda: d.array(*[d.integer(0, 3) for _ in range(d.integer(0, 5))]),
            lambda: np.asarray(d.choice(INTEGERS), object),
            lambda: _Array(d.choice((None, "array", 3, [1.0]))),
            lambda: _Capsule(d.choice((None, 3, "capsule"))),
            lambda: d.choice(DTYPE_NAMES),
        )
    )()


def twisted(d, value, among=()):
    """Something else than `value`, of its kind more often than not; `among`: other arguments."""
    if isinstance(value, np.ndarray) and d.chance(0.9):
        others = [v for v in among if isinstance(v, np.ndarray) and v is not value]
        if others and d.chance(0.1):
            return d.choice(others)
        return d.choice(ARRAY_TWISTS)(d, value)
    if isinstance(value, tuple | list) and value and d.chance(0.6):
        items = list(value)
        at = d.integer(0, len(items) - 1)
        match d.integer(0, 3):
            case 0:
                del items[at]
            case 1:
                items.insert(at, items[at])
            case _:
                items[at] = twisted(d, items[at])
        return type(value)(items)
    if isinstance(value, int) and d.chance(0.7):
        return d.choice((d.choice(INTEGERS), value + d.choice((-1, 1, 1000)), str(value)[:9]))
    if isinstance(value, float) and d.chance(0.7):
        return d.choice(FLOATS)
    return _junk(d)


def overlapping(d, out, other):
    """(out, other), equal to what they were but for what they share."""
    size = max(out.nbytes, other.nbytes)
    if size > 1 << 24 or out.dtype.hasobject or other.dtype.hasobject:
        return out, other
    at = 8 * d.integer(0, size // 8)
    memory = np.zeros(2 * size + 16, np.uint8)
    first = memory[: other.nbytes].view(other.dtype).reshape(other.shape)
    first[...] = other
    return memory[at : at + out.nbytes].view(out.dtype).reshape(out.shape), first


def described(value):
    """What a report says of an argument."""
    if isinstance(value, np.ndarray):
        flags = "".join(
            name[0] for name in ("writeable", "aligned") if not getattr(value.flags, name)
        )
        return (
            f"{type(value).__name__}({value.dtype}{value.shape}, strides {value.strides}"
            f"{', not ' + flags if flags else ''})"
        )
    if isinstance(value, dict):
        return {k: described(v) for k, v in value.items()}
    if isinstance(value, tuple | list) and len(value) < 10:
        return f"{type(value).__name__}({', '.join(map(str, map(described, value)))})"
    text = ascii(value)
    return text if len(text) < 90 else f"{text[:80]}… ({type(value).__name__})"
