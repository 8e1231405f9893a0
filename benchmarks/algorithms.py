"""The algorithms of a convolution beside each other, and whether "auto" takes the faster one.

The saved times are what the cost model behind "auto" is calibrated with: beside the layers of
networks there is a grid of channels and sizes that they leave out.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import fastconv
import fastconv.functional as F
from benchmarks.cases import Case, cases
from benchmarks.measure import disagreement
from benchmarks.report import Saved, geometric_mean, markdown
from benchmarks.rows import IMAGE_ROWS, Row, conv
from benchmarks.timing import best_times
from fastconv import _geometry, _ops

ALGORITHMS = ("direct", "winograd")
LOSS = 0.05  # what "auto" may lose
LARGEST = 2e10  # operations of a convolution in the grid; larger ones behave as networks' do

SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 28, 32, 40)
CHANNELS = (8, 16, 32, 64, 96, 128, 256, 512)
# to as many filters, to twice and to eight times as many, and back
FACTORS = ((1, 1), (1, 2), (2, 1), (1, 8), (8, 1))


@dataclass(frozen=True)
class Record:
    """One convolution, pass and setting."""

    row: str
    channels: int
    filters: int
    height: int  # of the input
    width: int
    padding: int
    step: str  # forward, input or weight
    batch: int
    threads: int
    dtype: str
    format: str
    operations: int
    seconds: dict[str, float]  # by algorithm, and "auto"
    chosen: str | None = None  # what "auto" says it takes
    error: str | None = None  # what the algorithms disagree about

    @property
    def case(self) -> Hashable:
        """All but what was measured."""
        return replace(self, seconds={}, chosen=None, error=None).__repr__()

    @property
    def best(self) -> str | None:
        """The faster algorithm; None where there is one only."""
        times = {name: self.seconds[name] for name in ALGORITHMS if name in self.seconds}
        return min(times, key=lambda name: times[name]) if len(times) > 1 else None

    @property
    def loss(self) -> float | None:
        """What "auto" takes longer than the faster algorithm, as a share of that one's time."""
        if self.best is None:
            return None
        auto = self.seconds["auto"]
        if self.chosen is not None:  # measured twice
            auto = min(auto, self.seconds[self.chosen])
        return max(0.0, auto / self.seconds[self.best] - 1)

    def speed(self, name: str) -> float:
        """In GF/s."""
        return self.operations / self.seconds[name] * 1e-9


@dataclass
class Results(Saved):
    """A whole run."""

    machine: dict[str, Any]
    records: list[Record]

    @classmethod
    def load(cls, path: Path) -> Results:
        stored = json.loads(path.read_text("utf-8"))
        return cls(stored["machine"], [Record(**r) for r in stored["records"]])


def join(runs: Sequence[Results]) -> Results:
    """Several runs as one: of each time the shortest."""
    records: dict[Hashable, Record] = {}
    for run in runs:
        for r in run.records:
            known = records.setdefault(r.case, r)
            seconds = {
                name: min(times[name] for times in (known.seconds, r.seconds) if name in times)
                for name in known.seconds | r.seconds
            }
            records[r.case] = replace(r, seconds=seconds, error=known.error or r.error)
    return Results(runs[0].machine, list(records.values()))


# -------------------------------------------------------------------- rows


def rows(channels: Sequence[int] = (), sizes: Sequence[int] = ()) -> list[Row]:
    """The networks' layers and the grid's that Winograd can do; only of these sizes, if given."""
    pairs = {(c * a, c * b) for c in CHANNELS for a, b in FACTORS}
    largest = max(CHANNELS)
    grid = [
        conv("grid", c, k, 3, size)
        for c, k in sorted(pairs)
        for size in SIZES
        if max(c, k) <= largest
    ]
    found = {(r.shape, r.weight): r for r in [*grid, *filter(possible, IMAGE_ROWS)]}
    return [
        r
        for r in found.values()
        if (not channels or r.shape[0] in channels) and (not sizes or r.shape[1] in sizes)
    ]


def possible(row: Row) -> bool:
    """Whether Winograd's algorithm can do it: 3x3, stride 1, dilation 1, ungrouped."""
    if row.weight is None or row.op != "conv2d":
        return False
    o = row.options
    return row.weight[2:] == (3, 3) and o["stride"] == o["dilation"] == o["groups"] == 1


# ------------------------------------------------------------- measurement


def measure(
    rows: Iterable[Row],
    threads: int,
    batches: Iterable[int],
    dtypes: Iterable[str],
    passes: tuple[str, ...],
    formats: tuple[str, ...],
    seconds: float,
    repeat: int,
) -> Iterator[Record]:
    """Records of all cases, one by one as they are measured."""
    with fastconv.threads(threads):  # nobody else takes part
        for row in rows:
            for batch in batches:
                for dtype in dtypes:
                    for case in cases(row, batch, dtype, passes):
                        too_large = row.group == "grid" and (case.flops or 0) > LARGEST
                        if case.format in formats and not too_large:
                            yield measure_case(case, threads, seconds, repeat)


def measure_case(case: Case, threads: int, seconds: float, repeat: int) -> Record:
    function = getattr(F, case.function)
    calls = {
        name: partial(function, **case.arguments, algorithm=name) for name in ("auto", *ALGORITHMS)
    }
    results = {}
    for name in ALGORITHMS:
        try:
            results[name] = calls[name]()
        except ValueError:
            del calls[name]  # not for this shape
    others = (name for name in results if name != "direct")
    wrong = (disagreement([results["direct"]], [results[n]], n, case.dtype) for n in others)
    error = next(filter(None, wrong), None)
    channels, height, width = case.row.shape
    assert case.row.weight is not None
    assert case.flops is not None
    return Record(
        row=case.row.name,
        channels=channels,
        filters=case.row.weight[0],
        height=height,
        width=width,
        padding=case.row.options["padding"],
        step=case.step,
        batch=case.batch,
        threads=threads,
        dtype=case.dtype,
        format=case.format,
        operations=case.flops,
        seconds={} if error else best_times(calls, seconds, repeat),
        chosen=_chosen(case),
        error=error,
    )


def _chosen(case: Case) -> str:
    """What "auto" takes, whatever its tiles."""
    assert case.row.weight is not None
    o = case.row.options
    geometry = o["stride"], o["padding"], o["dilation"], o["groups"]
    shape = _geometry.convolution((case.batch, *case.row.shape), case.row.weight, *geometry)
    return _ops.conv_algorithm(shape, case.step, case.dtype).split()[0]


# ------------------------------------------------------------------ tables

HEAD = (
    f"{'row':<32} {'pass':<8} {'format':<13} {'N':>3} {'thr':>3}"
    f" {'direct':>7} {'winograd':>8} {'auto':>7} {'chosen':>8} {'best':>8} {'auto loses':>10}"
)


def line(record: Record) -> str:
    """One record, as it is printed while a run goes on; speeds in GF/s."""
    r = record
    cells = f"{r.row:<32} {r.step:<8} {r.format:<13} {r.batch:>3} {r.threads:>3}"
    if r.error:
        return f"{cells} NOT TIMED: {r.error}"
    speeds = {name: f"{r.speed(name):.3g}" for name in r.seconds}
    cells += f" {speeds['direct']:>7} {speeds.get('winograd', ''):>8} {speeds['auto']:>7}"
    loss = "" if r.loss is None else f"{r.loss:.1%}"
    return f"{cells} {r.chosen or '':>8} {r.best or '':>8} {loss:>10}"


def report(results: Results, minimum: int = 10) -> str:
    """What each pass gains by Winograd, what "auto" loses, and where it loses most."""
    known = [r for r in results.records if r.loss is not None]
    if not known:
        return "There is one algorithm only for these convolutions."
    return f"{_pass_table(known)}\n\n{_worst_table(known, minimum)}"


def _pass_table(records: Sequence[Record]) -> str:
    classes: Mapping[str, list[Record]] = {
        f"{step}, N={batch}, {threads} threads": [
            r for r in records if (r.step, r.batch, r.threads) == (step, batch, threads)
        ]
        for step, batch, threads in dict.fromkeys((r.step, r.batch, r.threads) for r in records)
    }
    lines = [
        [
            name,
            str(len(members)),
            str(sum(r.best == "winograd" for r in members)),
            f"{geometric_mean(r.seconds['direct'] / r.seconds['winograd'] for r in members):.2f}",
            f"{geometric_mean(r.seconds['direct'] / r.seconds['auto'] for r in members):.2f}",
            str(sum(_loss(r) > LOSS for r in members)),
            f"{max(map(_loss, members)):.1%}",
        ]
        for name, members in [*classes.items(), ("all", list(records))]
    ]
    head = ["pass", "measured", "Winograd faster", "direct's time over Winograd's"]
    head += ["direct's over auto's", f"auto loses > {LOSS:.0%}", "auto loses at most"]
    return markdown(head, lines)


def _worst_table(records: Sequence[Record], minimum: int) -> str:
    """Every record where "auto" loses too much; at least the `minimum` worst."""
    ranked = sorted(records, key=_loss, reverse=True)
    lost = sum(_loss(r) > LOSS for r in records)
    return markdown(
        ["auto loses most", "pass", "format", "N", "threads", "dtype", "chosen", "best", "loss"],
        (
            [
                r.row,
                r.step,
                r.format,
                str(r.batch),
                str(r.threads),
                r.dtype,
                r.chosen or "",
                r.best or "",
                f"{_loss(r):.1%}",
            ]
            for r in ranked[: max(lost, minimum)]
        ),
    )


def _loss(record: Record) -> float:
    assert record.loss is not None
    return record.loss
