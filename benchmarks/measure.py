"""Check that the sides agree on a case, time them, and note down what came out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np

from benchmarks.cases import Array, Case, cases
from benchmarks.rows import FORMATS, PASSES, Row
from benchmarks.sides import Side
from benchmarks.timing import best_times

OWN = "fastconv"
# Largest difference of two results, beside their root mean square: sums of 10^5 products of either
# dtype, in any order, differ by less.
TOLERANCE = {"float32": 1e-3, "float64": 1e-11}


@dataclass(frozen=True)
class Record:
    """One line of the results."""

    group: str
    label: str
    kind: str
    op: str
    step: str
    batch: int
    threads: int
    dtype: str
    format: str
    work: int  # operations, or bytes read and written
    unit: str  # "GF/s" or "GB/s"
    seconds: dict[str, float]  # by side
    error: str | None = None  # what the sides disagree about; nothing is timed then

    @property
    def row(self) -> str:
        return f"{self.group} {self.label}"

    @property
    def case(self) -> Hashable:
        """What two records share that differ in the memory format alone."""
        return self.group, self.label, self.step, self.batch, self.threads, self.dtype

    def speed(self, side: str) -> float:
        """In `unit`."""
        return self.work / self.seconds[side] * 1e-9

    def ratio(self, other: str) -> float | None:
        """The other's time over fastconv's; None where the other has no such op."""
        if other not in self.seconds:
            return None
        return self.seconds[other] / self.seconds[OWN]


def measure(
    rows: Iterable[Row],
    sides: Mapping[str, Side],
    threads: int,
    batches: Iterable[int] = (8,),
    dtypes: Iterable[str] = ("float32",),
    passes: tuple[str, ...] = PASSES,
    formats: tuple[str, ...] = FORMATS,
    seconds: float = 0.1,
    repeat: int = 3,
) -> Iterator[Record]:
    """Records of all cases, one by one as they are measured."""
    for row in rows:
        for batch in batches if row.batch is None else [row.batch]:
            for dtype in dtypes:
                for case in cases(row, batch, dtype, passes):
                    if case.format in formats:
                        yield measure_case(case, sides, threads, seconds, repeat)


def measure_case(
    case: Case, sides: Mapping[str, Side], threads: int, seconds: float, repeat: int
) -> Record:
    prepared = {name: side.prepare(case) for name, side in sides.items()}
    calls = {name: call for name, call in prepared.items() if call is not None}
    own = sides[OWN].arrays(calls[OWN]())
    others = (name for name in calls if name != OWN)
    wrong = (disagreement(own, sides[n].arrays(calls[n]()), n, case.dtype) for n in others)
    error = next(filter(None, wrong), None)
    moved = sum(a.nbytes for a in [*case.arguments.values(), *own] if isinstance(a, np.ndarray))
    return Record(
        group=case.row.group,
        label=case.row.label,
        kind=case.row.kind,
        op=case.row.op,
        step=case.step,
        batch=case.batch,
        threads=threads,
        dtype=case.dtype,
        format=case.format,
        work=case.flops or moved,
        unit="GF/s" if case.flops else "GB/s",
        seconds={} if error else best_times(calls, seconds, repeat),
        error=error,
    )


def disagreement(own: list[Array], other: list[Array], name: str, dtype: str) -> str | None:
    """How another side's results differ from fastconv's; None if they agree."""
    shapes = [a.shape for a in own], [a.shape for a in other]
    if shapes[0] != shapes[1]:
        return f"fastconv gives shapes {shapes[0]}, {name} {shapes[1]}"
    for index, (a, b) in enumerate(zip(own, other, strict=True)):
        error = _difference(a, b)
        if not error <= TOLERANCE[dtype]:  # NaN is a disagreement too
            return f"result {index} differs from {name}'s by {error:.1e} of its root mean square"
    return None


def _difference(a: Array, b: Array) -> float:
    if a.dtype.kind in "iub":
        return 0.0 if np.array_equal(a, b) else inf
    worst = float(np.abs(a - b).max(initial=0.0))
    scale = float(np.linalg.norm(b)) / max(1, b.size) ** 0.5
    return worst / scale if scale else inf if worst else 0.0
