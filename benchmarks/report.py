"""Results as tables (Markdown, so that they can go into docs/performance.md) and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp, log
from pathlib import Path
from typing import Any

from benchmarks.measure import OWN, Record
from benchmarks.peak import Peak

BEST = "best format"  # stands where a format would: each side in its better one


class Saved:
    """A dataclass of results that can be saved."""

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = asdict(self)  # type: ignore[call-overload]
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", "utf-8")


@dataclass
class Results(Saved):
    """A whole run."""

    machine: dict[str, Any]
    sides: dict[str, str]  # name to version; fastconv first
    peaks: list[Peak]
    records: list[Record]

    @property
    def others(self) -> list[str]:
        return [name for name in self.sides if name != OWN]

    def peak(self, record: Record) -> float:
        return next(
            p.best for p in self.peaks if (p.threads, p.dtype) == (record.threads, record.dtype)
        )

    @classmethod
    def load(cls, path: Path) -> Results:
        stored = json.loads(path.read_text("utf-8"))
        return cls(
            stored["machine"],
            stored["sides"],
            [Peak(**p) for p in stored["peaks"]],
            [Record(**r) for r in stored["records"]],
        )


def join(runs: Sequence[Results]) -> Results:
    """Several runs as one: of each time the shortest, of each peak the largest."""
    first = runs[0]
    records: dict[Hashable, Record] = {}
    peaks: dict[Hashable, Peak] = {}
    for run in runs:
        for r in run.records:
            known = records.setdefault((r.case, r.format), r)
            seconds = {
                side: min(times[side] for times in (known.seconds, r.seconds) if side in times)
                for side in known.seconds | r.seconds
            }
            error = known.error or r.error
            records[r.case, r.format] = replace(
                known, seconds={} if error else seconds, error=error
            )
        for p in run.peaks:
            key = p.threads, p.dtype
            peaks[key] = peaks.get(key, p).better(p)
    sides = {name: version for run in runs for name, version in run.sides.items()}
    return Results(first.machine, sides, list(peaks.values()), list(records.values()))


# ------------------------------------------------------------ ratios


@dataclass(frozen=True)
class Pair:
    """fastconv and one other side on the same case, in every memory format."""

    records: list[Record]  # one for each format; some may lack the other side
    other: str

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def convolves(self) -> bool:
        return self.first.op.startswith("conv") and self.first.step != "bias"

    @property
    def fastest(self) -> Record:
        return min(self.records, key=lambda r: r.seconds[OWN])

    @property
    def ratios(self) -> dict[str, float]:
        """By format, then BEST: the other's better time over fastconv's."""
        found = {r.format: r.ratio(self.other) for r in self.records}
        present = {format: ratio for format, ratio in found.items() if ratio is not None}
        theirs = min(r.seconds[self.other] for r in self.records if self.other in r.seconds)
        return present | {BEST: theirs / self.fastest.seconds[OWN]}


def pairs(records: Iterable[Record], other: str) -> list[Pair]:
    """The cases that both sides did, in the order they were measured."""
    by_case: dict[Hashable, list[Record]] = {}
    for r in records:
        if not r.error:
            by_case.setdefault(r.case, []).append(r)
    return [Pair(same, other) for same in by_case.values() if any(other in r.seconds for r in same)]


def geometric_mean(values: Iterable[float]) -> float:
    logs = [log(v) for v in values]
    return exp(sum(logs) / len(logs))


# ------------------------------------------------------------------ tables


def head(others: Sequence[str]) -> str:
    """The columns of `line`."""
    cells = (
        f"{'row':<48} {'pass':<8} {'format':<13} {'N':>3} {'thr':>3} {'fastconv':>12} {'peak':>5}"
    )
    return cells + "".join(f" {other:>12} {'ratio':>6}" for other in others)


def line(record: Record, others: Sequence[str], peak: float) -> str:
    """One record, as it is printed while a run goes on."""
    r = record
    cells = f"{r.row:<48} {r.step:<8} {r.format:<13} {r.batch:>3} {r.threads:>3}"
    if r.error:
        return f"{cells} NOT TIMED: {r.error}"
    own = r.speed(OWN)
    share = f"{own / peak:.0%}" if r.unit == "GF/s" else ""
    cells += f" {own:>7.3g} {r.unit} {share:>5}"
    for other in others:
        ratio = r.ratio(other)
        cells += " " * 20 if ratio is None else f" {r.speed(other):>7.3g} {r.unit} {ratio:>6.2f}"
    return cells


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table whose columns after the first hold figures."""
    rows = [head, ["---", *["--:"] * (len(head) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def about(results: Results) -> str:
    """The machine, the versions and the peak."""
    machine = results.machine
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; {machine['system']}; {machine['date']}",
        ", ".join(f"{name} {version}" for name, version in results.sides.items()),
        ", ".join(f"{name} {value}" for name, value in machine["config"].items()),
        f"NumPy's BLAS: {machine['blas']}",
    ]
    for peak in results.peaks:
        fma = "not measured, no C compiler" if peak.fma is None else f"{peak.fma:.0f} GF/s"
        lines.append(
            f"peak of {peak.threads} threads, {peak.dtype}: multiply-adds in registers {fma}, "
            f"NumPy's matrix product {peak.matmul:.0f} GF/s"
        )
    return "\n".join(f"- {text}" for text in lines)


def _cell(values: Sequence[float]) -> str:
    return f"{geometric_mean(values):.2f}" if values else ""


def _mean_table(title: str, pairs: Sequence[Pair], by: Callable[[Pair], str]) -> str:
    """Geometric mean by memory format, and how many rows fastconv lost."""
    classes = {by(p): [q for q in pairs if by(q) == by(p)] for p in pairs}
    lines = []
    for name, members in [*classes.items(), ("all", list(pairs))]:
        means = [
            _cell([p.ratios[format] for p in members if format in p.ratios])
            for format in ("contiguous", "channels_last", BEST)
        ]
        same = [r for p in members for format, r in p.ratios.items() if format != BEST]
        lines.append([name, *means, str(len(same)), str(sum(r < 1 for r in same))])
    return markdown(
        [title, "contiguous", "channels-last", BEST, "measured", "fastconv slower"], lines
    )


def summary(results: Results, other: str) -> str:
    """Geometric means of the ratios to one other side, and fastconv's worst rows."""
    found = pairs(results.records, other)
    if not found:
        return f"{other} has none of these ops."
    convolutions = [p for p in found if p.convolves]
    rest = [p for p in found if not p.convolves]
    parts = [f"### fastconv and {other} {results.sides[other]}: their time over fastconv's"]
    if convolutions:
        parts += [
            _mean_table("convolution", convolutions, lambda p: p.first.step),
            _kind_table(convolutions),
        ]
    if rest:
        parts.append(_mean_table("op", rest, lambda p: f"{p.first.group}, {p.first.step}"))
    return "\n\n".join([*parts, _worst_table(found)])


def _kind_table(convolutions: Sequence[Pair]) -> str:
    """Geometric mean in the better format, by kind of convolution and pass."""
    steps = list(dict.fromkeys(p.first.step for p in convolutions))
    kinds = sorted({p.first.kind for p in convolutions})
    lines = [
        [
            kind,
            *(
                _cell(
                    [
                        p.ratios[BEST]
                        for p in convolutions
                        if (p.first.kind, p.first.step) == (kind, step)
                    ]
                )
                for step in steps
            ),
        ]
        for kind in kinds
    ]
    return markdown([f"convolution, {BEST}", *steps], lines)


def _worst_table(found: Sequence[Pair], minimum: int = 5) -> str:
    """Every row that fastconv lost; at least the `minimum` closest."""
    ranked = sorted(
        ((p.ratios[r.format], r) for p in found for r in p.records if r.format in p.ratios),
        key=lambda item: item[0],
    )
    lost = sum(ratio < 1 for ratio, _ in ranked)
    return markdown(
        ["worst rows", "pass", "format", "N", "threads", "ratio"],
        (
            [r.row, r.step, r.format, str(r.batch), str(r.threads), f"{ratio:.2f}"]
            for ratio, r in ranked[: max(lost, minimum)]
        ),
    )


def full_table(results: Results, other: str) -> str:
    """A line for each row, a column for each pass."""
    found = pairs(results.records, other)
    settings = {(r.batch, r.threads, r.dtype) for r in results.records}
    parts = [
        "fastconv's speed in its better memory format (and share of the peak): the ratio with both "
        "sides C-contiguous / with both channels-last"
    ]
    for members in (
        [p for p in found if p.convolves],
        [p for p in found if not p.convolves],
    ):
        steps = list(dict.fromkeys(p.first.step for p in members))
        lines: dict[str, dict[str, str]] = {}
        for p in members:
            r = p.first
            setting = f", N={r.batch}, {r.threads} threads, {r.dtype}" * (len(settings) > 1)
            lines.setdefault(r.row + setting, {})[r.step] = _pair_cell(p, results)
        if lines:
            body = ([n, *(cells.get(step, "") for step in steps)] for n, cells in lines.items())
            parts.append(markdown(["row", *steps], body))
    return "\n\n".join(parts)


def _pair_cell(pair: Pair, results: Results) -> str:
    best = pair.fastest
    share = f" ({best.speed(OWN) / results.peak(best):.0%})" if best.unit == "GF/s" else ""
    same = " / ".join(f"{r:.2f}" for format, r in pair.ratios.items() if format != BEST)
    return f"{best.speed(OWN):.3g} {best.unit}{share}: {same}"
