"""The benchmark harness: its table, its arguments, its clock and its reports, on tiny shapes."""

import json
import sys
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

import benchmarks  # noqa: E402
from benchmarks import (  # noqa: E402
    algorithms,
    cliffs,
    measure,
    overhead,
    peak,
    picture,
    report,
    rows,
    sides,
    timing,
)
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.cases import cases, conv_output_size  # noqa: E402
from benchmarks.layers import ROWS  # noqa: E402
from benchmarks.rows import Row  # noqa: E402

import fastconv  # noqa: E402
import fastconv.functional as F  # noqa: E402
from fastconv import nn, reference  # noqa: E402
from fastconv.functional.packing import PackedWeight  # noqa: E402


def shrunk(row: Row) -> Row:
    """The row with few channels and pixels, and all else as it was."""
    groups = row.options.get("groups", 1)
    if row.convolves:
        _, second, *kernel = row.weight
        transposed = "transpose" in row.op
        per_group = min(2, second)
        depthwise = groups > 1 and second == 1
        groups = min(3, groups)
        channels = groups * per_group
        filters = channels if depthwise else groups * 2
        inputs, outputs = (filters, channels) if transposed else (channels, filters)
        kernel = [min(k, 9) for k in kernel]
        size = 2 * row.options.get("dilation", 1) * max(kernel) + 1
        weight = (inputs if transposed else outputs, per_group, *kernel)
        padding = row.options["padding"]
        padding = tuple(min(p, 4) for p in padding) if isinstance(padding, tuple) else 0
        return replace(
            row,
            shape=(inputs, *[size] * len(kernel)),
            weight=weight,
            options=row.options | {"groups": groups, "padding": padding},
            batch=None,
        )
    if row.op == "linear":
        return replace(row, shape=(7,), weight=(3, 7))
    return replace(row, shape=tuple(min(size, 9) for size in row.shape), batch=None)


DISTINCT = {(r.op, str(sorted(r.options)), r.kind): r for r in reversed(ROWS)}.values()


class Clock:
    """Time that passes only when a call says so."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        self.now += 1e-9
        return self.now

    def call(self, *durations):
        """A call that takes each duration in turn, then the last one for ever."""
        left = list(durations)

        def run():
            self.now += left.pop(0) if len(left) > 1 else left[0]
            self.log.append(run)

        return run


# ------------------------------------------------------------------- table


def test_rows_have_distinct_names_and_known_ops():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(hasattr(reference, row.op) for row in ROWS)


def test_networks_have_as_many_distinct_convolutions_as_published():
    def distinct(table):
        return len({(r.shape, r.weight, str(r.options)) for r in table})

    assert distinct(rows.RESNET_50) == len(rows.RESNET_50) == 23
    assert distinct(rows.VGG_16) == len(rows.VGG_16) == 9
    assert distinct(rows.MOBILENET_V2) == len(rows.MOBILENET_V2) == 30


@pytest.mark.parametrize(
    ("table", "image"), [(rows.RESNET_50, 224), (rows.VGG_16, 224), (rows.MOBILENET_V2, 224)]
)
def test_each_convolution_takes_what_another_puts_out(table, image):
    """A wrong size or channel count breaks the chain (pooling may halve a size)."""
    made = {(3, image)} | {(r.weight[0], conv_output_size(r)[0]) for r in table}
    made |= {(channels, size // 2) for channels, size in made}
    assert {(r.shape[0], r.shape[1]) for r in table} <= made


def test_select_filters_rows_by_name():
    chosen = rows.select(ROWS, ["resnet-50 3x3", "LeNet-5"])
    assert {r.group for r in chosen} == {"ResNet-50", "LeNet-5", "linear"}
    assert rows.select(ROWS, []) == ROWS
    few = rows.select(ROWS, [], first_only=True)
    assert {(r.group, r.op) for r in few} == {(r.group, r.op) for r in ROWS}
    assert len({(r.group, r.op) for r in few}) == len(few)


# ------------------------------------------------------------------- cases


@pytest.mark.parametrize("row", DISTINCT, ids=lambda row: row.name)
def test_reference_agrees_in_every_case(row):
    loaded = {name: sides.load(name, 1) for name in ("fastconv", "reference")}
    seen = set()
    with fastconv.threads(1):
        for case in cases(shrunk(row), 2, "float64"):
            record = measure.measure_case(case, loaded, 1, seconds=0.0, repeat=1)
            assert record.error is None
            assert set(record.seconds) == {"fastconv", "reference"}
            assert record.work > 0
            seen.add((case.step, case.format))
    assert {format for _, format in seen} == set(row.formats)
    steps = 3 if row.convolves else 1 if row.op == "conv2d_backward_bias" else 2
    assert len(seen) == steps * len(row.formats)


@pytest.mark.peer("torch")
@pytest.mark.parametrize("row", DISTINCT, ids=lambda row: row.name)
def test_torch_agrees(row):
    loaded = {name: sides.load(name, 1) for name in ("fastconv", "torch")}
    with fastconv.threads(1):
        for case in cases(shrunk(row), 2, "float64"):
            record = measure.measure_case(case, loaded, 1, seconds=0.0, repeat=1)
            assert record.error is None
            assert "torch" in record.seconds or case.function == "dropout"


@pytest.mark.parametrize(
    "peer",
    [pytest.param(p, marks=pytest.mark.peer(*sides.PEERS[p])) for p in ("onnxruntime", "ncnn")],
)
def test_forward_peers_agree(peer):
    loaded = {name: sides.load(name, 1) for name in ("fastconv", peer)}
    with fastconv.threads(1):
        for row in [r for r in DISTINCT if r.op == "conv2d"]:
            for case in cases(shrunk(row), 2, "float32"):
                record = measure.measure_case(case, loaded, 1, seconds=0.0, repeat=1)
                assert record.error is None
                can = case.step == "forward" and case.format == "contiguous"
                assert (peer in record.seconds) == can


def test_packed_cases_have_the_results_of_unpacked_ones():
    loaded = {"fastconv": sides.load("packed", 1), "reference": sides.load("reference", 1)}
    packed = []
    for case in cases(rows.conv("net", 4, 6, 3, 5, groups=2), 2, "float64"):
        assert measure.measure_case(case, loaded, 1, seconds=0.0, repeat=1).error is None
        call = loaded["fastconv"].prepare(case)
        packed.append(isinstance(call.keywords.get("weight"), PackedWeight))
    assert packed == [True, True, False, False, False, False]


def test_formats_hold_equal_values_in_another_memory_order():
    row = shrunk(next(r for r in ROWS if r.op == "conv2d" and r.shape[0] > 1))
    contiguous, last = list(cases(row, 2, "float32", ("weight",)))
    for name in ("input", "grad_output"):
        a, b = contiguous.arguments[name], last.arguments[name]
        np.testing.assert_array_equal(a, b)
        assert a.flags.c_contiguous
        assert b.transpose(0, 2, 3, 1).flags.c_contiguous


def test_operations_of_a_convolution_are_counted():
    row = rows.conv("net", 4, 6, 3, 5, stride=2, groups=2)
    case = next(cases(row, 2, "float32"))
    output = reference.conv2d(**case.arguments)
    assert output.shape[2:] == conv_output_size(row)
    assert case.flops == 2 * output.size * (4 // 2) * 3 * 3


def test_bytes_are_of_operands_and_results():
    row = rows.plain("activation", "relu", "relu", (3, 4, 5))
    loaded = {"fastconv": sides.load("fastconv", 1)}
    records = [measure.measure_case(c, loaded, 1, 0.0, 1) for c in cases(row, 2, "float32")]
    one = 2 * prod(row.shape) * 4
    assert [(r.step, r.work, r.unit) for r in records] == [
        ("forward", 2 * one, "GB/s"),
        ("backward", 3 * one, "GB/s"),
    ]


# ------------------------------------------------------------ agreement


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda y: y[:, :1], "shapes"),
        (lambda y: y + np.eye(*y.shape[-2:]), "differs from other's"),
        (lambda y: np.where(y == y.max(), np.nan, y), "nan"),
    ],
)
def test_disagreeing_results_are_reported_and_not_timed(wrong, words):
    class Other(sides.load("reference", 1).__class__):
        def arrays(self, result):
            return [wrong(y) for y in super().arrays(result)]

    loaded = {"fastconv": sides.load("fastconv", 1), "other": Other(1)}
    case = next(cases(rows.conv("net", 2, 3, 3, 6), 1, "float64"))
    record = measure.measure_case(case, loaded, 1, 0.0, 1)
    assert words in record.error
    assert record.seconds == {}
    assert record.error in report.line(record, ["other"], 1.0)


def test_integers_must_be_equal():
    a = np.array([1000, 2000])
    assert measure.disagreement([a], [a.copy()], "other", "float32") is None
    assert measure.disagreement([a], [a + np.eye(2, dtype=int)[1]], "other", "float32") is not None


# ------------------------------------------------------------------ timing


def test_best_time_is_the_minimum_over_alternating_calls():
    clock = Clock()
    calls = {"a": clock.call(9.0, 5.0, 3.0, 4.0), "b": clock.call(2.0)}
    best = timing.best_times(calls, seconds=0.0, repeat=5, clock=clock)
    assert best == {"a": pytest.approx(3.0, abs=1e-6), "b": pytest.approx(2.0, abs=1e-6)}
    assert clock.log == [calls["a"], calls["b"]] * 5  # long calls alternate one by one


def test_timing_ends_when_the_best_time_recurs():
    clock = Clock()
    calls = {"noisy": clock.call(1.0, 0.8, 0.5, 0.9, 0.51, 2.0)}
    best = timing.best_times(calls, seconds=0.4, repeat=1, clock=clock)
    assert best == {"noisy": pytest.approx(0.5, abs=1e-6)}
    assert len(clock.log) == 5


def test_timing_ends_after_its_patience():
    clock = Clock()
    calls = {"ever faster": clock.call(*[1.0 / n for n in range(1, 9)], *[0.01] * 99)}
    timing.best_times(calls, seconds=2.5 / timing.PATIENCE, repeat=1, clock=clock)
    assert len(clock.log) == 7  # 1 + 1/2 + ... + 1/7 is the first sum over 2.5


def test_slow_side_does_not_prolong_the_timing_of_a_fast_one():
    clock = Clock()
    calls = {"slow": clock.call(1.0), "fast": clock.call(timing.LONG)}
    timing.best_times(calls, seconds=timing.LONG * 4.5, repeat=2, clock=clock)
    assert [clock.log.count(call) for call in calls.values()] == [2, 5]


def test_short_calls_are_timed_in_bursts_after_an_untimed_call():
    clock = Clock()
    slow_start = clock.call(*[1e-3] * 40)
    calls = {"a": slow_start, "b": clock.call(1e-3)}
    timing.best_times(calls, seconds=timing.TURN * 1.5, repeat=1, clock=clock)
    turns = [clock.log[0]] + [b for a, b in zip(clock.log, clock.log[1:], strict=False) if a != b]
    assert turns == [calls["a"], calls["b"]] * 2
    # the first turn has nothing to settle; the second does
    timed, settling = timing.TURN / 1e-3, timing.SETTLE / 1e-3
    assert len(clock.log) == pytest.approx(2 * (2 * timed + settling), abs=4)


# ------------------------------------------------------------------ reports


def record(label, step, format, seconds, **rest):
    given = {"group": "net", "kind": "3x3", "op": "conv2d", "batch": 1, "threads": 2}
    given |= {"dtype": "float32", "work": 10**9, "unit": "GF/s"}
    return measure.Record(label=label, step=step, format=format, seconds=seconds, **given | rest)


@pytest.fixture
def results():
    return report.Results(
        {
            "cpu": "a CPU",
            "cores": 2,
            "system": "a system",
            "date": "a day",
            "config": {},
            "blas": "",
        },
        {"fastconv": "1", "other": "2"},
        [peak.Peak(2, "float32", 400.0, 100.0)],
        [
            record("a", "forward", "contiguous", {"fastconv": 0.01, "other": 0.04}),
            record("a", "forward", "channels_last", {"fastconv": 0.02, "other": 0.02}),
            record("b", "forward", "contiguous", {"fastconv": 0.1, "other": 0.05}),
            record("b", "forward", "channels_last", {"fastconv": 0.1}),
            record("c", "input", "contiguous", {"fastconv": 0.1}),
            record("d", "input", "contiguous", {}, error="wrong"),
            record("e", "backward", "contiguous", {"fastconv": 1.0, "other": 3.0}, op="relu"),
        ],
    )


def test_ratios_by_format_and_of_the_better_formats(results):
    found = report.pairs(results.records, "other")
    assert [p.first.label for p in found] == ["a", "b", "e"]
    assert found[0].ratios == pytest.approx(
        {"contiguous": 4.0, "channels_last": 1.0, report.BEST: 2.0}
    )
    assert found[1].ratios == pytest.approx({"contiguous": 0.5, report.BEST: 0.5})
    assert report.geometric_mean([2.0, 0.5, 8.0]) == pytest.approx(2.0)


def test_tables_show_the_records(results):
    text = report.summary(results, "other")
    # geometric means 1.41, 1.00, 1.00 of three measured, one of them slower
    assert "| forward | 1.41 | 1.00 | 1.00 | 3 | 1 |" in text
    assert "| net b | forward | contiguous | 1 | 2 | 0.50 |" in text
    assert "| net, backward | 3.00 |  | 3.00 | 1 | 0 |" in text
    full = report.full_table(results, "other")
    assert "| net a | 100 GF/s (25%): 4.00 / 1.00 |" in full
    assert report.summary(results, "absent") == "absent has none of these ops."


def test_results_survive_json(results, tmp_path):
    results.save(tmp_path / "new" / "results.json")
    assert report.Results.load(tmp_path / "new" / "results.json") == results


def test_joined_runs_have_the_minimum_times(results):
    again = replace(
        results,
        peaks=[peak.Peak(2, "float32", 500.0, 90.0), peak.Peak(1, "float32", 1.0, 1.0)],
        records=[
            record("a", "forward", "contiguous", {"fastconv": 0.02, "other": 0.03}),
            record("b", "forward", "channels_last", {"third": 1.0}),
            record("d", "input", "contiguous", {"fastconv": 1.0}),
            record("z", "forward", "contiguous", {"fastconv": 2.0}),
        ],
    )
    both = report.join([results, again])
    found = {(r.label, r.format): r for r in both.records}
    assert found["a", "contiguous"].seconds == {"fastconv": 0.01, "other": 0.03}
    assert found["b", "channels_last"].seconds == {"fastconv": 0.1, "third": 1.0}
    assert found["d", "contiguous"].error == "wrong"
    assert found["d", "contiguous"].seconds == {}
    assert [r.label for r in both.records] == ["a", "a", "b", "b", "c", "d", "e", "z"]
    assert both.peaks == [peak.Peak(2, "float32", 500.0, 100.0), peak.Peak(1, "float32", 1.0, 1.0)]


def test_joined_peaks_have_the_larger_rates():
    first, second = peak.Peak(1, "float32", 10.0, 9.0), peak.Peak(1, "float32", 11.0, 8.0)
    assert first.better(second) == peak.Peak(1, "float32", 11.0, 9.0)
    assert replace(first, fma=None).best == 9.0


def test_fma_peak_counts_its_operations():
    measured = peak.fma_peak(1, "float64", seconds=0.0)
    assert measured is None or measured > 0


def test_overhead_is_measured_for_every_level():
    times = overhead.measure(1, 3, 1, 3, seconds=0.0, repeat=1)
    assert set(times) - {"C"} == {"_ops", "functional", "out", "nn"}
    assert "functional" in overhead.report(seconds=0.0, repeat=1)


def test_picture_is_written_as_png(results, tmp_path):
    pytest.importorskip("matplotlib")
    picture.draw(results, "other", tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")


# ----------------------------------------------------------- training steps


@pytest.fixture
def training(monkeypatch):
    """The module, on small networks and images, nothing compiled, with the threads put back."""
    import torch
    from benchmarks import training

    def residual(rng):
        body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False, rng=rng), nn.BatchNorm2d(4))
        shortcut = nn.Conv2d(4, 4, 1, rng=rng)
        stem = nn.Conv2d(3, 4, 3, stride=2, rng=rng), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        blocks = nn.Residual(body, shortcut), nn.ReLU(), nn.Residual(nn.BatchNorm2d(4))
        return nn.Sequential(
            *stem, *blocks, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(4, 10, rng=rng)
        )

    network = training.Network(residual, (3, 9, 9))
    monkeypatch.setattr(training, "NETWORKS", {"A": network, "B": network})
    monkeypatch.setattr(training.torch_training, "can_compile", lambda: False)
    threads = fastconv.get_num_threads(), torch.get_num_threads()
    yield training
    fastconv.set_num_threads(threads[0])
    torch.set_num_threads(threads[1])


@pytest.mark.peer("torch")
def test_fastconv_and_torch_have_the_same_losses_in_training(training):
    found = list(training.losses("A", batch=4, steps=5))
    assert [s.format for s in found] == list(rows.FORMATS)
    assert all(s.difference < 1e-5 for s in found)
    first = next(training.losses("A", batch=4, steps=1))
    assert found[0].own < first.own


@pytest.mark.peer("torch")
@pytest.mark.parametrize("name", ["LeNet-5", "VGG-11", "ResNet-18", "MobileNet"])
def test_translated_torch_networks_compute_the_same(name):
    import torch
    from benchmarks.sides.torch_training import translated
    from benchmarks.training import NETWORKS

    model = NETWORKS[name].build(rng=0)
    network = translated(model)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})
    names = [name for name, _ in model.named_parameters()]
    assert names == [name for name, _ in network.named_parameters()]
    x = np.random.default_rng(0).standard_normal((2, *NETWORKS[name].shape), np.float32)
    with torch.no_grad():
        theirs = network.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.eval()(x), theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.peer("torch")
def test_layer_without_a_torch_counterpart_is_refused():
    from benchmarks.sides.torch_training import translated

    with pytest.raises(TypeError, match="GELU"):
        translated(nn.Sequential(nn.GELU()))


@pytest.mark.peer("torch")
def test_parts_cover_a_training_step_and_leave_nothing_behind(training):
    before = sys.getprofile()
    found = [p for p in training.parts("A", 1, 2, 0.0, 2) if p.format == "contiguous"]
    assert sys.getprofile() is before
    calls = {p.function: p.calls for p in found}
    assert calls["conv2d"] == calls["conv2d_backward_weight"] == 3
    assert calls["conv2d_backward_input"] == 2  # nobody needs that of the first layer
    assert calls["batch_norm_backward"] == 3
    assert calls["relu_backward"] == 2  # forward, it rides in batch_norm
    assert calls["optimizer"] == calls["cross_entropy"] == calls["rest"] == 1
    assert all(p.seconds > 0 for p in found)


@pytest.mark.peer("torch")
def test_training_results_survive_and_join(training, tmp_path):
    machine = {"cpu": "a CPU"}
    sides = {"fastconv": "1", "torch": "2"}

    def run(own, theirs, part):
        steps = [
            training.Step("A", 2, side, format, seconds)
            for side, seconds in (("fastconv", own), ("torch", theirs))
            for format in rows.FORMATS
        ]
        losses = [training.Losses("A", "contiguous", 20, 1.0, 1.01)]
        parts = [training.Part("A", 2, "contiguous", "conv2d", 3, part)]
        return training.Results(machine, sides, 32, steps, losses, parts)

    first, second = run(0.1, 0.3, 0.2), run(0.2, 0.25, 0.1)
    first.save(tmp_path / "new" / "training.json")
    assert training.Results.load(tmp_path / "new" / "training.json") == first
    assert training.join([first, second]) == run(0.1, 0.25, 0.1)
    text = training.report(first)
    assert "| torch, 2 threads | 300.0 (3.00) | 300.0 (3.00) |" in text
    assert "| **torch's best, 2 threads** | **3.00** |" in text
    assert "relative difference 9.9e-03 (more than 0.001)" in text
    assert "| conv2d | 3 | 200.00 (100%) |" in text


@pytest.mark.peer("torch")
def test_training_command_prints_and_saves(training, tiny, tmp_path, capsys):
    file = tmp_path / "training.json"
    options = ["--training", "--rows", "a", "--batch", "4", "--threads", "1", "--json", str(file)]
    assert main([*options, "--seconds", "0", "--repeat", "1"]) == 0
    printed = capsys.readouterr().out
    stored = training.Results.load(file)
    assert {(s.network, s.side) for s in stored.steps} == {("A", "fastconv"), ("A", "torch")}
    assert stored.losses
    assert stored.parts
    assert main(["--training", "--show", str(file)]) == 0
    assert capsys.readouterr().out == printed
    assert main(["--training", "parts", "--rows", "B", "--seconds", "0", "--threads", "1"]) == 0
    assert "conv2d" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no network"):
        main(["--training", "--rows", "C"])
    with pytest.raises(SystemExit, match="one batch size"):
        main(["--training", "--batch", "1", "2"])


# --------------------------------------------------------------- algorithms


def choice(row="a", step="forward", seconds=None, **rest):
    given = {"channels": 8, "filters": 8, "height": 4, "width": 4, "padding": 1, "batch": 1}
    given |= {"threads": 2, "dtype": "float32", "format": "contiguous", "operations": 10**9}
    return algorithms.Record(row=row, step=step, seconds=seconds or {}, **given | rest)


@pytest.fixture
def winograd(monkeypatch):
    """fastconv with a second algorithm, if only by name, for images of even sizes."""

    def with_winograd(name):
        function = getattr(F, name)

        def call(*args, algorithm, **options):
            if algorithm == "winograd" and next(iter(options.values())).shape[-1] % 2:
                raise ValueError("odd")
            return function(*args, **options)

        monkeypatch.setattr(F, name, call)

    for name in ("conv2d", "conv2d_backward_input", "conv2d_backward_weight"):
        with_winograd(name)


def test_grid_has_every_3x3_layer_once():
    table = algorithms.rows()
    assert len({(r.shape, r.weight) for r in table}) == len(table) == len({r.name for r in table})
    assert all(map(algorithms.possible, table))
    layers = {(r.shape, r.weight) for r in ROWS if r.kind == "3x3"}
    assert layers <= {(r.shape, r.weight) for r in table}
    few = algorithms.rows([64], [14])
    assert {r.shape for r in few} == {(64, 14, 14)}
    assert {r.weight[0] for r in few} >= {8, 32, 64, 128, 512}
    strided, dilated = rows.conv("n", 4, 4, 3, 8, stride=2), rows.conv("n", 4, 4, 3, 8, dilation=2)
    others = rows.conv("n", 4, 4, 3, 8, groups=2), rows.conv("n", 4, 4, 5, 8), ROWS[-1]
    assert not any(map(algorithms.possible, (strided, dilated, *others)))


@pytest.mark.parametrize("size", [4, 5])
def test_every_algorithm_of_a_case_is_timed(winograd, size):
    table = [rows.conv("net", 2, 3, 3, size)]
    setting = {"batches": [2], "dtypes": ["float64"], "passes": rows.PASSES, "repeat": 1}
    found = list(algorithms.measure(table, 1, formats=rows.FORMATS, seconds=0.0, **setting))
    assert [(r.step, r.format) for r in found] == [
        (step, format) for step in ("forward", "input", "weight") for format in rows.FORMATS
    ]
    names = {"auto", "direct"} if size % 2 else {"auto", "direct", "winograd"}
    for r in found:
        assert r.error is None
        assert set(r.seconds) == names
        assert (r.loss is None) == bool(size % 2)
        assert (r.channels, r.filters, r.height, r.width) == (2, 3, size, size)
        assert r.operations == 2 * 2 * 2 * 3 * 9 * size * size


def test_loss_of_auto_is_relative_to_the_best_algorithm():
    slow = choice(seconds={"auto": 1.5, "direct": 1.6, "winograd": 1.0})
    assert slow.best == "winograd"
    assert slow.loss == pytest.approx(0.5)
    # times of one and the same algorithm
    assert replace(slow, chosen="winograd").loss == 0
    assert replace(slow, seconds={"auto": 1.0, "direct": 1.0}).loss is None
    wrong = choice(error="differs")
    assert "NOT TIMED: differs" in algorithms.line(wrong)
    assert "50.0%" in algorithms.line(slow)


def test_report_shows_every_algorithm():
    records = [
        choice("a", seconds={"auto": 1.5, "direct": 1.5, "winograd": 1.0}),
        choice("b", seconds={"auto": 1.0, "direct": 1.0, "winograd": 4.0}),
        choice("c", seconds={"auto": 1.0, "direct": 1.0}),
        choice("d", error="wrong"),
    ]
    text = algorithms.report(algorithms.Results({}, records))
    assert "| forward, N=1, 2 threads | 2 | 1 | 0.61 | 1.00 | 1 | 50.0% |" in text
    assert "| a | forward | contiguous | 1 | 2 | float32 |  | winograd | 50.0% |" in text
    assert "one algorithm" in algorithms.report(algorithms.Results({}, records[2:]))


def test_joined_algorithm_runs_have_the_minimum_times(tmp_path):
    first = algorithms.Results({"cpu": "c"}, [choice(seconds={"auto": 2.0, "direct": 1.0})])
    second = algorithms.Results({}, [choice(seconds={"auto": 1.0, "direct": 3.0}), choice("b")])
    first.save(tmp_path / "a.json")
    both = algorithms.join([algorithms.Results.load(tmp_path / "a.json"), second])
    assert both.machine == {"cpu": "c"}
    assert both.records == [choice(seconds={"auto": 1.0, "direct": 1.0}), choice("b")]


def test_algorithms_command_prints_and_saves(winograd, tiny, tmp_path, capsys):
    file = tmp_path / "out.json"
    options = ["--algorithms", "--channels", "8", "--maps", "2", "--batch", "1", "--threads", "1"]
    options += ["--seconds", "0", "--repeat", "1", "--rows", "8→8", "--json", str(file)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert len(algorithms.Results.load(file).records) == 6
    assert main(["--algorithms", "--show", str(file)]) == 0
    assert printed.endswith(capsys.readouterr().out)
    with pytest.raises(SystemExit, match="no 3x3 convolution"):
        main(["--algorithms", "--channels", "7"])


# ------------------------------------------------------------- command line


@pytest.fixture
def tiny(monkeypatch):
    """The command on two tiny rows, with the environment and the threads put back after it."""
    for name in (*benchmarks.THREAD_VARIABLES, benchmarks.SPINNING[0]):
        monkeypatch.setenv(name, "22" if name in benchmarks.SPINNING else "1")
    table = [rows.conv("net", 2, 3, 3, 6), rows.plain("activation", "relu", "relu", (3, 4, 5))]
    monkeypatch.setattr("benchmarks.__main__.ROWS", table)
    monkeypatch.setattr(
        peak, "measure_peak", lambda threads, dtype: peak.Peak(threads, dtype, None, 1.0)
    )
    threads = fastconv.get_num_threads()
    yield
    fastconv.set_num_threads(threads)


def test_command_prints_saves_and_shows_again(tiny, tmp_path, capsys):
    file = tmp_path / "out.json"
    options = ["--threads", "1", "--seconds", "0", "--repeat", "1", "--batch", "1", "2"]
    assert main([*options, "--json", str(file), "--full"]) == 0
    printed = capsys.readouterr().out
    stored = json.loads(file.read_text("utf-8"))
    assert len(stored["records"]) == 2 * (3 * 2 + 2)
    assert {r["threads"] for r in stored["records"]} == {1}
    assert main(["--show", str(file), "--full"]) == 0
    shown = capsys.readouterr().out
    assert printed.endswith(shown)


def test_command_fails_when_results_disagree(tiny, monkeypatch, capsys):
    monkeypatch.setattr(reference, "relu", lambda input: input)
    assert main(["--threads", "1", "--rows", "relu", "--quick"]) == 1
    assert "differs from reference's" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--rows", "nothing"], ["--threads", "0"], ["--against", "nobody"], ["--batch", "-1"]],
)
def test_command_refuses_invalid_arguments(tiny, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code not in (0, None)


def test_command_names_a_peer_that_is_not_installed(tiny, monkeypatch):
    monkeypatch.setattr("benchmarks.__main__.installed", lambda name: name != "ncnn")
    with pytest.raises(SystemExit, match="pip install ncnn"):
        main(["--against", "ncnn"])


def test_cliffs_are_neighbours_whose_costs_differ():
    assert cliffs.cliffs("taps", [3, 4, 5], [1.0, 1.4, 1.3]) == []
    assert cliffs.cliffs("taps", [3, 4, 5], [1.0, 2.0, 1.1]) == [
        "taps: 3 to 4, 2.00 times",
        "taps: 4 to 5, 1.82 times",
    ]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_sweeps_of_cliffs_count_what_a_pass_multiplies(layout):
    size = cliffs.Size(3, (1, 2, 6, 7), (2, 1, 3, 3), {"groups": 2, "padding": 0})
    for step in ("forward", "input", "weight"):
        call, products, elements = cliffs.measured(size, layout, step)
        assert call().size
        assert (products, elements) == (4 * 5 * 18, 2 * 42 + 2 * 20)


def test_sweeps_of_cliffs_are_convolutions():
    for _, sizes in cliffs.sweeps():
        for size in sizes:
            groups = size.options.get("groups", 1)
            assert size.shape[1] == size.weight[1] * groups
            assert size.weight[0] % groups == 0
