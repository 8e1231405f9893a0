"""Whole training steps of networks beside PyTorch's, and what fastconv's own are made of.

A step is the forward pass, the loss, the backward pass and plain SGD, on one batch of images again
and again. The sides start from the same weights; that they learn the same is checked apart from
the timing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import unwrap
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch

import fastconv
import fastconv.functional as F
from benchmarks import machine
from benchmarks.cases import Array
from benchmarks.measure import OWN
from benchmarks.report import Saved, markdown
from benchmarks.rows import FORMATS, TRAINING
from benchmarks.sides import torch_training
from benchmarks.timing import best_times
from fastconv import nn, optim


@dataclass(frozen=True)
class Network:
    """A network of ten classes, and the images (C, H, W) that it takes."""

    build: Callable[..., nn.Module]
    shape: tuple[int, int, int] = (3, 32, 32)


NETWORKS: Mapping[str, Network] = {
    "LeNet-5": Network(nn.models.lenet5, (1, 28, 28)),
    "VGG-11": Network(nn.models.vgg11),
    "ResNet-18": Network(nn.models.resnet18),
    "MobileNet": Network(nn.models.mobilenet),
}

RATE = 0.001  # learns; with ten times it, twenty steps multiply rounding errors by hundreds
STEPS = 20  # after which the losses are compared
TOLERANCE = 1e-3  # of the losses' difference, relative


@dataclass(frozen=True)
class Step:
    """The shortest time of a training step."""

    network: str
    threads: int
    side: str
    format: str
    seconds: float


@dataclass(frozen=True)
class Losses:
    """What both sides' losses were after the same steps."""

    network: str
    format: str
    steps: int
    own: float
    torch: float

    @property
    def difference(self) -> float:
        return abs(self.own - self.torch) / abs(self.torch)


@dataclass(frozen=True)
class Part:
    """What the calls of one function took, in the fastest of the steps looked at."""

    network: str
    threads: int
    format: str
    function: str
    calls: int
    seconds: float


@dataclass
class Results(Saved):
    """A whole run."""

    machine: dict[str, Any]
    sides: dict[str, str]  # name to version
    batch: int
    steps: list[Step]
    losses: list[Losses]
    parts: list[Part]

    @classmethod
    def load(cls, path: Path) -> Results:
        stored = json.loads(path.read_text("utf-8"))
        return cls(
            stored["machine"],
            stored["sides"],
            stored["batch"],
            [Step(**s) for s in stored["steps"]],
            [Losses(**s) for s in stored["losses"]],
            [Part(**p) for p in stored["parts"]],
        )


def join(runs: Sequence[Results]) -> Results:
    """Several runs as one: the shortest times, the losses of the last, the fastest steps' parts."""
    steps: dict[Hashable, Step] = {}
    losses: dict[Hashable, Losses] = {}
    parts: dict[Hashable, list[Part]] = {}
    for run in runs:
        for s in run.steps:
            key = s.network, s.threads, s.side, s.format
            steps[key] = min(s, steps.get(key, s), key=lambda s: s.seconds)
        losses |= {(s.network, s.format): s for s in run.losses}
        for key, members in _by(run.parts, "network", "threads", "format").items():
            parts[key] = min(members, parts.get(key, members), key=_total)
    sides = {name: version for run in runs for name, version in run.sides.items()}
    return Results(
        runs[0].machine,
        sides,
        runs[0].batch,
        list(steps.values()),
        list(losses.values()),
        [p for members in parts.values() for p in members],
    )


def _by(items: Iterable[Any], *names: str) -> dict[Any, list[Any]]:
    """Items with the same attributes together."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(tuple(getattr(item, name) for name in names), []).append(item)
    return groups


def _total(parts: Iterable[Part]) -> float:
    return sum(p.seconds for p in parts)


# ------------------------------------------------------------------- steps


class OwnStep:
    """fastconv's training step; calling it returns the loss."""

    def __init__(self, model: nn.Module, images: Array, labels: Array) -> None:
        self.model = model
        self.images = images
        self.labels = labels
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(model.parameters(), RATE)

    def __call__(self) -> float:
        loss = self.criterion(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss)


def _batch(network: str, size: int, format: str) -> tuple[Array, Array]:
    """Seeded images, in a memory format, and their labels."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((size, *NETWORKS[network].shape), np.float32)
    labels = rng.integers(10, size=size)
    if format == "channels_last":
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return images, labels


def _calls(network: str, batch: int) -> dict[tuple[str, str], Callable[[], float]]:
    """A step for each side and format, all from the same weights."""
    make = partial(NETWORKS[network].build, rng=0)
    calls: dict[tuple[str, str], Callable[[], float]] = {}
    for format in FORMATS:
        images, labels = _batch(network, batch, format)
        calls[OWN, format] = OwnStep(make(), images, labels)
        for side, compiled in _torch_sides().items():
            calls[side, format] = torch_training.training_step(
                make(), images, labels, RATE, format, compiled
            )
    return calls


def _torch_sides() -> dict[str, bool]:
    """Name, and whether it is compiled."""
    sides = {"torch": False, "torch.compile": True}
    return sides if torch_training.can_compile() else {"torch": False}


# ------------------------------------------------------------- measurement


def measure(
    networks: Iterable[str],
    threads: Iterable[int],
    batch: int = 32,
    what: Sequence[str] = TRAINING,
    seconds: float = 1.0,
    repeat: int = 5,
) -> Results:
    """Losses, times and parts, or some of these, of every network."""
    sides = {OWN: fastconv.__version__} | dict.fromkeys(_torch_sides(), torch.__version__)
    results = Results(machine.describe(), sides, batch, [], [], [])
    for network in networks:
        for n in threads:
            machine.set_threads(n)
            torch.set_num_threads(n)
            if "times" in what:
                results.steps += times(network, n, batch, seconds, repeat)
            if "parts" in what:
                results.parts += parts(network, n, batch, seconds, repeat)
        if "losses" in what:
            results.losses += losses(network, batch)
    return results


def times(network: str, threads: int, batch: int, seconds: float, repeat: int) -> list[Step]:
    """Every side's shortest time in each format; the sides take turns."""
    torch._dynamo.reset()  # compiled code has its number of threads built in
    calls = _calls(network, batch)
    for call in calls.values():
        call()  # compiles
    best = best_times(calls, seconds, repeat)
    return [Step(network, threads, side, format, s) for (side, format), s in best.items()]


def losses(network: str, batch: int, steps: int = STEPS) -> Iterator[Losses]:
    """Both sides' losses after some steps from the same weights, in each format."""
    make = partial(NETWORKS[network].build, rng=0)
    for format in FORMATS:
        images, labels = _batch(network, batch, format)
        sides = (
            OwnStep(make(), images, labels),
            torch_training.training_step(make(), images, labels, RATE, format, compiled=False),
        )
        own, theirs = ([step() for _ in range(steps)][-1] for step in sides)
        yield Losses(network, format, steps, own, theirs)


def parts(network: str, threads: int, batch: int, seconds: float, repeat: int) -> Iterator[Part]:
    """What fastconv's fastest step of many spends in each function, in each format."""
    for format in FORMATS:
        step = OwnStep(NETWORKS[network].build(rng=0), *_batch(network, batch, format))
        step()
        looked_at: list[dict[str, list[float]]] = []
        begin = time.perf_counter()
        while len(looked_at) < repeat or time.perf_counter() - begin < seconds:
            looked_at.append(_look_at(step))
        fastest = min(looked_at, key=lambda spent: sum(map(sum, spent.values())))
        for function, spent in fastest.items():
            yield Part(network, threads, format, function, len(spent), sum(spent))


def _look_at(step: OwnStep) -> dict[str, list[float]]:
    """Seconds of each call of each function in one step, then of what is left.

    The tape calls gradients by itself, so calls are seen by the interpreter's hook; one within
    another counts as part of it.
    """
    names = _function_names() | {type(step.optimizer).step.__code__: "optimizer"}
    spent: dict[str, list[float]] = {}
    within: FrameType | None = None
    begun = 0.0

    def look(frame: FrameType, event: str, _: Any) -> None:
        nonlocal within, begun
        if within is None and event == "call" and frame.f_code in names:
            within, begun = frame, time.perf_counter()
        elif frame is within and event == "return":
            spent.setdefault(names[frame.f_code], []).append(time.perf_counter() - begun)
            within = None

    before = sys.getprofile()
    begin = time.perf_counter()
    sys.setprofile(look)
    try:
        step()
    finally:
        sys.setprofile(before)
    whole = time.perf_counter() - begin
    return spent | {"rest": [whole - sum(map(sum, spent.values()))]}


def _function_names() -> dict[CodeType, str]:
    """The code of every function of fastconv.functional, as the interpreter runs it."""
    functions = {name: unwrap(getattr(F, name)) for name in F.__all__}
    return {f.__code__: name for name, f in functions.items() if hasattr(f, "__code__")}


# ------------------------------------------------------------------ tables


def report(results: Results) -> str:
    """Times and ratios of each network, losses, and the parts of fastconv's step."""
    sections = [
        f"Training steps on {results.batch} images; "
        + ", ".join(f"{name} {version}" for name, version in results.sides.items())
    ]
    found = (
        (_times, _by(results.steps, "network")),
        (_losses, _by(results.losses, "network")),
        (_parts, _by(results.parts, "network")),
    )
    for network in NETWORKS:
        tables = [table(groups[network,]) for table, groups in found if (network,) in groups]
        shape = "x".join(map(str, NETWORKS[network].shape))
        sections += [f"### {network}, {shape}", *tables] if tables else []
    return "\n\n".join(sections)


def _times(steps: Sequence[Step]) -> str:
    """Milliseconds of each side, and in brackets how many times fastconv's better format's."""
    lines = []
    for (threads, side), same in _by(steps, "threads", "side").items():
        at_once = [s for s in steps if s.threads == threads]
        own = min(s.seconds for s in at_once if s.side == OWN)
        by_format = {s.format: s.seconds for s in same}
        cells = [
            f"{by_format[format] * 1e3:.1f} ({by_format[format] / own:.2f})" for format in FORMATS
        ]
        lines.append([f"{side}, {threads} threads", *cells])
        if same[-1] is at_once[-1]:
            theirs = min(s.seconds for s in at_once if s.side != OWN)
            lines.append([f"**torch's best, {threads} threads**", f"**{theirs / own:.2f}**", ""])
    return markdown(["milliseconds of a step", "contiguous", "channels-last"], lines)


def _losses(losses: Iterable[Losses]) -> str:
    return "\n".join(
        f"- loss after {s.steps} steps, {s.format}: fastconv {s.own:.6f}, torch {s.torch:.6f}, "
        f"relative difference {s.difference:.1e}"
        + f" (more than {TOLERANCE:g})"
        * (s.difference > TOLERANCE)
        for s in losses
    )


def _parts(parts: Sequence[Part]) -> str:
    """Milliseconds, and share, of each function in each setting."""
    settings = _by(parts, "threads", "format")
    lines = [
        [
            function,
            str(calls),
            *(
                _part([p for p in same if p.function == function], same)
                for same in settings.values()
            ),
        ]
        for (function, calls) in _by(parts, "function", "calls")
    ]
    whole = [f"{_total(same) * 1e3:.1f}" for same in settings.values()]
    head = [f"{format}, {threads} threads, ms" for threads, format in settings]
    return markdown(["part of fastconv's step", "calls", *head], [*lines, ["all", "", *whole]])


def _part(found: Sequence[Part], whole: Sequence[Part]) -> str:
    return f"{_total(found) * 1e3:.2f} ({_total(found) / _total(whole):.0%})" if found else ""
