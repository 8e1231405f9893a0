"""``python -m benchmarks``: measure, print, save."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import SPINNING, THREAD_VARIABLES
from benchmarks.layers import ROWS
from benchmarks.rows import FORMATS, PASSES, TRAINING, select
from benchmarks.sides import PEERS, installed

if TYPE_CHECKING:
    from benchmarks.report import Results

# What imports NumPy or a peer is imported in the functions below, after the environment is set.

_EPILOG = """\
examples:
  python -m benchmarks                                all ops against the NumPy reference
  python -m benchmarks --against peers --threads 1 2 --batch 1 8
  python -m benchmarks --rows "ResNet-50 3x3" --passes forward --against torch
  python -m benchmarks --overhead                     what a call costs beside its kernel
  python -m benchmarks --training --threads 1 2       whole training steps beside PyTorch's
  python -m benchmarks --algorithms --channels 64 --maps 14 28 --batch 1
  python -m benchmarks --show benchmarks/results/reference.json --full
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time fastconv beside the NumPy reference and its peers, call by call.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--against",
        action="append",
        choices=("reference", *PEERS, "peers"),
        help="whom to compare with; may be repeated; 'peers' is every peer that is installed "
        "(default: reference)",
    )
    p.add_argument("--threads", type=_positive, nargs="+", metavar="T", help="default: all cores")
    p.add_argument(
        "--batch",
        type=_positive,
        nargs="+",
        metavar="N",
        help="default: 8; 32 of --training, 1 8 32 of --algorithms",
    )
    p.add_argument("--dtype", choices=("float32", "float64"), nargs="+", default=["float32"])
    p.add_argument("--rows", nargs="+", default=[], metavar="WORD", help="names with any of these")
    p.add_argument(
        "--passes",
        nargs="+",
        choices=PASSES,
        default=PASSES,
        help="a convolution's gradients are input and weight; other ops have backward",
    )
    p.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    p.add_argument(
        "--packed",
        action="store_true",
        help="pack fastconv's weights before forward convolutions, as for inference",
    )
    p.add_argument(
        "--seconds",
        type=float,
        help="minimum time for a side and a row (default: 0.1; of --training 1)",
    )
    p.add_argument(
        "--repeat", type=_positive, default=3, help="minimum number of timed calls of a side"
    )
    p.add_argument(
        "--quick", action="store_true", help="the first row of each kind, N = 1, few calls"
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="save the results")
    p.add_argument("--picture", type=Path, metavar="FILE", help="save bars of the ratios")
    p.add_argument(
        "--show",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="report on saved results instead; of several runs of one build, the shortest times",
    )
    p.add_argument(
        "--overhead",
        action="store_true",
        help="time small convolutions at every level from the C function to nn instead",
    )
    p.add_argument(
        "--training",
        nargs="*",
        choices=TRAINING,
        help="whole training steps of networks against PyTorch instead: their times, the parts of "
        "fastconv's, and the losses they come to (default: all three); --rows names networks",
    )
    p.add_argument(
        "--algorithms",
        action="store_true",
        help="the algorithms of 3x3 convolutions beside each other and beside auto instead, on the "
        "networks' layers and on a grid of channels and sizes",
    )
    p.add_argument(
        "--cliffs",
        action="store_true",
        help="sizes of kernels, channels and groups that cost much more than their neighbours "
        "instead, on one thread; --rows names sweeps",
    )
    p.add_argument("--channels", type=_positive, nargs="+", default=[], help="of --algorithms")
    p.add_argument("--maps", type=_positive, nargs="+", default=[], help="sizes, of --algorithms")
    p.add_argument("--full", action="store_true", help="end with a table of every row")
    return p


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    training = arguments.training is not None
    if arguments.batch is None:
        arguments.batch = [32] if training else [1, 8, 32] if arguments.algorithms else [8]
    if arguments.seconds is None:
        arguments.seconds = 1.0 if training else 0.1
    if arguments.overhead:
        from benchmarks.overhead import report

        print(report(arguments.seconds, arguments.repeat))
        return 0
    arguments.threads = [1] if arguments.cliffs else arguments.threads or [_cores()]
    if not arguments.show:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(max(arguments.threads))))
        os.environ.setdefault(*SPINNING)
    if training:
        return _training(arguments)
    if arguments.algorithms:
        return _algorithms(arguments)
    if arguments.cliffs:
        return _cliffs(arguments)
    if arguments.show:
        from benchmarks.report import Results, join

        results = join([Results.load(file) for file in arguments.show])
    else:
        results = _run(arguments)
    _report(results, arguments)
    failed = [r for r in results.records if r.error]
    for record in failed:
        print(f"{record.row}, {record.step}, {record.format}: {record.error}", file=sys.stderr)
    return 1 if failed else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(arguments: argparse.Namespace) -> Results:
    against = set(arguments.against or ["reference"])
    if "peers" in against:
        against.update(name for name in PEERS if installed(name))
    others = [name for name in ("reference", *PEERS) if name in against]
    missing = [name for name in others if not installed(name)]
    if missing:
        packages = [package for name in missing for package in PEERS[name]]
        raise SystemExit(f"not installed: pip install {' '.join(packages)}")
    rows = select(ROWS, arguments.rows, first_only=arguments.quick)
    if not rows:
        raise SystemExit(f"no row's name has any of {arguments.rows}")
    if arguments.quick:
        arguments.batch, arguments.seconds = [1], 0.02

    # before fastconv: an OpenMP runtime that they share then waits as the peer's users know it
    for name in others:
        for package in PEERS.get(name, ()):
            import_module(package)

    from benchmarks import machine, sides
    from benchmarks.measure import OWN, measure
    from benchmarks.peak import measure_peak
    from benchmarks.report import Results, head, line

    results = Results(machine.describe(), {}, [], [])
    if machine.busy():
        print("Other processes are busy: expect times that are too long.", file=sys.stderr)
    for threads in arguments.threads:
        machine.set_threads(threads)
        loaded = {name: sides.load(name, threads) for name in others}
        loaded = {OWN: sides.load("packed" if arguments.packed else OWN, threads), **loaded}
        results.sides.update({name: side.version for name, side in loaded.items()})
        peaks = {dtype: measure_peak(threads, dtype) for dtype in arguments.dtype}
        print(head(others))
        for record in measure(
            rows,
            loaded,
            threads,
            batches=arguments.batch,
            dtypes=arguments.dtype,
            passes=arguments.passes,
            formats=arguments.formats,
            seconds=arguments.seconds,
            repeat=arguments.repeat,
        ):
            results.records.append(record)
            print(line(record, others, peaks[record.dtype].best), flush=True)
        # again, for a machine that was busy or not yet warm
        results.peaks += [
            peak.better(measure_peak(threads, dtype)) for dtype, peak in peaks.items()
        ]
    return results


def _training(arguments: argparse.Namespace) -> int:
    if not installed("torch"):
        raise SystemExit("not installed: pip install torch")
    import_module("torch")  # before fastconv
    from benchmarks import training

    if arguments.show:
        results = training.join([training.Results.load(file) for file in arguments.show])
    else:
        words = [word.lower() for word in arguments.rows]
        networks = [n for n in training.NETWORKS if not words or any(w in n.lower() for w in words)]
        if not networks:
            raise SystemExit(f"no network's name has any of {arguments.rows}")
        if len(arguments.batch) > 1:
            raise SystemExit(f"--training takes one batch size, got {arguments.batch}")
        results = training.measure(
            networks,
            arguments.threads,
            arguments.batch[0],
            arguments.training or TRAINING,
            arguments.seconds,
            arguments.repeat,
        )
    if arguments.json:
        results.save(arguments.json)
    print(training.report(results))
    wrong = [s for s in results.losses if not s.difference <= training.TOLERANCE]
    return 1 if wrong else 0


def _algorithms(arguments: argparse.Namespace) -> int:
    from benchmarks import algorithms, machine

    if arguments.show:
        results = algorithms.join([algorithms.Results.load(file) for file in arguments.show])
    else:
        rows = select(algorithms.rows(arguments.channels, arguments.maps), arguments.rows)
        if not rows:
            raise SystemExit("no 3x3 convolution has these names, channels and sizes")
        results = algorithms.Results(machine.describe(), [])
        print(algorithms.HEAD)
        for threads in arguments.threads:
            for record in algorithms.measure(
                rows,
                threads,
                batches=arguments.batch,
                dtypes=arguments.dtype,
                passes=arguments.passes,
                formats=arguments.formats,
                seconds=arguments.seconds,
                repeat=arguments.repeat,
            ):
                results.records.append(record)
                print(algorithms.line(record), flush=True)
    if arguments.json:
        results.save(arguments.json)
    print(f"\n{algorithms.report(results)}")
    return 1 if any(r.error for r in results.records) else 0


def _cliffs(arguments: argparse.Namespace) -> int:
    from benchmarks import cliffs, machine

    machine.set_threads(1)
    passes = [step for step in ("forward", "input", "weight") if step in arguments.passes]
    found = cliffs.report(arguments.rows, arguments.formats, passes, arguments.seconds)
    print(f"\n{found}")
    return 0


def _report(results: Results, arguments: argparse.Namespace) -> None:
    from benchmarks.report import about, full_table, summary

    if arguments.json:
        results.save(arguments.json)
    print(f"\n{about(results)}")
    for other in results.others:
        print(f"\n{summary(results, other)}")
        if arguments.full:
            print(f"\n{full_table(results, other)}")
        if arguments.picture:
            from benchmarks.picture import draw

            # one picture for each side: reference.png, or NAME-torch.png beside NAME-ncnn.png
            several = len(results.others) > 1
            name = f"{arguments.picture.stem}-{other}" if several else arguments.picture.stem
            draw(results, other, arguments.picture.with_stem(name))


if __name__ == "__main__":
    sys.exit(main())
