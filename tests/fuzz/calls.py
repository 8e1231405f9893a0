"""Call number n of a seed: made, run and validated."""

import contextlib
import gc
import inspect
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

import fastconv
from fastconv._drivers import memory
from fuzz.draws import HUGE, LAYOUTS, Draw, described, overlapping, twisted
from fuzz.recipes import RECIPES
from fuzz.targets import targets

REFUSALS = (ValueError, TypeError, MemoryError)
TARGETS = targets()
NAMES = sorted(TARGETS)
MAX_FAILURES = 200
MAX_COPIED = 1 << 20  # elements of an array that is copied, to see whether it was changed
SCANS = (
    "pool",
    "Pool",
    "data.",
    "Tensor",
)  # may read an array to its end before they allocate anything
HEAVY = {"nn.models.lenet5"}  # milliseconds each: one in ten of those drawn


@dataclass
class Call:
    """Arguments of a target and, where they only look strange, the plain ones they are equal to."""

    name: str
    arguments: dict
    plain: dict | None
    notes: list = field(default_factory=list)
    again: Callable | None = None  # makes the same call afresh

    def __str__(self):
        arguments = ", ".join(f"{k}={described(v)}" for k, v in self.arguments.items())
        return f"{self.name}({arguments})  # {', '.join(self.notes) or 'well-formed'}"


def make(seed, number, name=None):
    """The call of this number: of any target, or of the one called `name`."""
    call = _drawn(Draw(seed, number), name)
    call.again = partial(make, seed, number, name)
    return call


def _drawn(d, name):
    if name is None:
        name = d.choice(NAMES)
        if name in HEAVY and d.chance(0.9):
            name = d.choice(NAMES)
    if any(word in name for word in SCANS):
        d.huge = HUGE[:3]
    kind = d.integer(0, 9)
    if kind < 4:
        return _well_formed(d, name)
    arguments = RECIPES[name](d)
    if kind < 7:  # one or two arguments are strange
        return _twisted(d, name, arguments, d.integer(1, 2))
    for key in arguments:  # each from a call of its own, so that nothing fits, and some strange
        if d.chance(0.5):
            d.dtype = d.choice((np.float32, np.float64))
            arguments[key] = RECIPES[name](d).get(key, arguments[key])
    return _twisted(d, name, arguments, d.integer(0, len(arguments)))


def _well_formed(d, name):
    arguments = RECIPES[name](d)
    plain, notes = dict(arguments), []
    for key, value in arguments.items():
        if isinstance(value, np.ndarray) and key not in TARGETS[name].mutates and d.chance(0.4):
            layout = d.choice(list(LAYOUTS))
            arguments[key] = LAYOUTS[layout](d, value)
            notes.append(f"{key}: {layout}")
        elif key == "arrays":
            layouts = [d.choice(list(LAYOUTS)) for _ in value]
            arguments[key] = [LAYOUTS[name](d, a) for name, a in zip(layouts, value, strict=True)]
            notes.append(f"{key}: {', '.join(layouts)}")
    return Call(name, arguments, plain, notes)


def _twisted(d, name, arguments, count):
    notes = []
    for _ in range(min(count, len(arguments))):
        key = d.choice(list(arguments))
        with contextlib.suppress(Exception):
            notes.append(_twist(d, arguments, key, key in TARGETS[name].mutates))
    return Call(name, arguments, None, notes)


def _twist(d, arguments, key, written):
    """Make one argument strange, where that can be done to it; what was done."""
    value = arguments[key]
    if isinstance(value, np.ndarray):
        arrays = [k for k, v in arguments.items() if isinstance(v, np.ndarray) and k != key]
        if written and arrays and d.chance(0.5):
            other = d.choice(arrays)
            arguments[key], arguments[other] = overlapping(d, value, arguments[other])
            return f"{key} overlaps {other}"
        if d.chance(0.2):
            layout = d.choice(list(LAYOUTS))
            arguments[key] = LAYOUTS[layout](d, value)
            return f"{key}: {layout}"
    arguments[key] = twisted(d, value, arguments.values())
    return f"{key} strange"


@dataclass
class Verdict:
    outcome: str  # "ok", "right" (the reference agrees), or an exception's name
    finding: str = ""  # what must not be


def run(call):
    """Run a call and validate what comes of it."""
    target = TARGETS[call.name]
    before = _copies(call.arguments)
    settings = _settings()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = target.call(**call.arguments)
    except REFUSALS as error:
        _restore(settings)
        written = () if not isinstance(error, MemoryError) else target.mutates
        changed = _changed(before, call.arguments, written)
        finding = f"refused, and yet changed {changed}" if changed else ""
        if call.plain is not None and not isinstance(error, MemoryError):
            finding = f"well-formed, and yet {type(error).__name__}: {error}"
        return Verdict(_kind(error), finding)
    except Exception as error:
        _restore(settings)
        where = traceback.format_exception(error)[-4:]
        return Verdict(type(error).__name__, f"{type(error).__name__}: {error}\n{''.join(where)}")
    _restore(settings)
    changed = _changed(before, call.arguments, target.mutates)
    if changed:
        return Verdict("ok", f"changed its arguments {changed}")
    if call.plain is None or target.reference is None:
        return Verdict("ok")
    return _compared(call, target, result, before)


def run_failing(call):
    """Run a call as often as it allocates, and let each time another allocation fail."""
    verdict = run(call)
    if verdict.finding or verdict.outcome not in ("ok", "right"):
        return verdict
    failed = 0
    used = memory.used_bytes()
    for n in range(1, MAX_FAILURES + 1):
        fresh = call.again()
        memory.fail_after(n)
        broken = run(fresh)
        if memory.fail_after(0):  # it did not allocate as often as that
            break
        failed += 1
        if broken.finding or broken.outcome not in ("MemoryError", verdict.outcome):
            return Verdict(broken.outcome, f"allocation {n} failed: {broken.finding}")
        del fresh
        if memory.used_bytes() != used:
            gc.collect()
        if memory.used_bytes() != used:
            return Verdict("ok", f"allocation {n} failed: {memory.used_bytes() - used} bytes lost")
    after = run(call.again())
    if after != verdict:
        return Verdict(after.outcome, f"after {failed} failures: {after}, before: {verdict}")
    return Verdict(f"{verdict.outcome}, {min(failed, 10)} failures")


def _kind(error):
    return next(kind.__name__ for kind in REFUSALS if isinstance(error, kind))


def _settings():
    return (
        fastconv.get_num_threads(),
        fastconv.get_accuracy(),
        fastconv.get_memory_cache(),
        np.geterr(),
    )


def _restore(settings):
    fastconv.set_num_threads(settings[0])
    fastconv.set_accuracy(settings[1])
    fastconv.set_memory_cache(settings[2])
    if np.geterr() != settings[3]:
        raise AssertionError("a call changed NumPy's error state")


def _copies(arguments):
    return {
        key: np.array(value, subok=False)
        for key, value in arguments.items()
        if isinstance(value, np.ndarray) and value.size <= MAX_COPIED and not value.dtype.hasobject
    }


def _changed(before, arguments, may):
    """Names of arrays that hold other bytes now, but for those that share what may be written."""
    written = [arguments[key] for key in may if isinstance(arguments.get(key), np.ndarray)]
    return [
        key
        for key, copied in before.items()
        if np.array(arguments[key], subok=False).tobytes() != copied.tobytes()
        and not any(np.may_share_memory(arguments[key], array) for array in written)
    ]


def _compared(call, target, result, before):
    plain = {key: value for key, value in call.plain.items()
             if key in inspect.signature(target.reference).parameters}  # fmt: skip
    for key in target.mutates:
        if key in plain and key in before:
            plain[key] = before[key]
    if "rng" in plain:
        plain["rng"] = np.random.default_rng(plain["rng"])
    if not isinstance(plain.get("weight"), np.ndarray | None):
        plain["weight"] = plain["weight"].__reduce__()[1][0]  # of a PackedWeight
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            expected = target.reference(**plain)
        except ValueError:  # it takes no empty arrays where there is nothing to compute
            return Verdict("ok")
    updated = [key for key in target.mutates if key in plain]
    got = [*_flat(result), *(call.arguments[key] for key in updated)]
    want = [*_flat(expected), *(plain[key] for key in updated)]
    if len(got) != len(want):
        return Verdict("ok", f"{len(got)} results, the reference has {len(want)}")
    for i, (a, e) in enumerate(zip(got, want, strict=True)):
        wrong = _difference(a, e)
        if wrong:
            return Verdict("ok", f"wrong result {i}: {wrong}")
    return Verdict("right")


def _flat(result):
    return result if isinstance(result, tuple | list) else (result,)


def _difference(a, e):
    """What is wrong with `a`, where `e` is expected; "" if nothing."""
    if a is None or e is None:
        return "" if a is e else f"{a}, expected {e}"
    a, e = np.asarray(a), np.asarray(e)
    if a.shape != e.shape or a.dtype.kind != e.dtype.kind:
        return f"{a.dtype}{a.shape}, expected {e.dtype}{e.shape}"
    if a.dtype.kind != "f":
        return "" if np.array_equal(a, e) else "other integers"
    scale = 1 + np.max(np.abs(e), initial=0, where=np.isfinite(e))
    tolerance = scale * (2e-4 if a.dtype == np.float32 else 1e-9)
    if np.array_equal(np.isnan(a), np.isnan(e)) and not np.any(np.abs(a - e) > tolerance):
        return ""
    return f"off by {np.nanmax(np.abs(a - e))}, scale {scale}"
