"""Short forms of the fuzzer's runs, and planted faults that it must find."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzz import calls, growth, recipes, targets

import fastconv.functional as F
from fastconv import nn, optim
from fastconv._drivers import memory
from fastconv.autograd.rules import Rule

limited = pytest.mark.skipif(
    sys.platform != "linux", reason="calls of billions of elements need a limit on memory"
)


def fuzz(module, *arguments):
    """Run the fuzzer in a process of its own, and return what it said."""
    run = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=Path(__file__).parent, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_every_public_function_has_a_recipe():
    assert list(recipes.unknown()) == []


@limited
def test_random_calls_give_right_results_or_documented_errors():
    said = fuzz("fuzz", "--calls", 2000, "--jobs", 1)
    outcomes = json.loads(said.splitlines()[-1])
    assert outcomes.keys() == {"ok", "right", "ValueError", "TypeError", "MemoryError"}
    assert outcomes["right"] > 200


@limited
def test_every_allocation_of_random_calls_fails_once():
    said = fuzz("fuzz", "--calls", 600, "--jobs", 1, "--fail")
    assert "right, 1 failures" in said


@limited
def test_memory_does_not_grow_over_repeated_calls():
    assert "no growth" in fuzz("fuzz.growth", "--calls", 400, "--rounds", 4)


def small_network():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, rng=0),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, rng=1, algorithm="winograd"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1, groups=16, rng=2),
        nn.Conv2d(16, 64, 1, rng=3),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10, rng=4),
    )


def test_training_survives_every_failing_allocation(rng):
    """Of a step's allocations the n-th fails, for every n; the next step gives the usual bits."""
    x = rng.standard_normal((2, 3, 32, 32)).astype(np.float32)
    target = rng.integers(0, 10, 2)

    def step(model):
        criterion, optimizer = nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1, 0.9)
        criterion(model(x), target).backward()
        optimizer.step()
        with nn.no_grad(), nn.packed(model):
            return model.eval()(x).data

    expected, used = step(small_network()), None
    for n in range(1, 201):
        model = small_network()
        memory.fail_after(n)
        try:
            step(model)
        except MemoryError:
            pass
        finally:
            unspent = memory.fail_after(0)
        if unspent:
            break
        del model
        used = memory.used_bytes() if used is None else used
        assert memory.used_bytes() == used, f"allocation {n} failed, and memory was lost"
        np.testing.assert_array_equal(step(small_network()), expected)
    assert n > 50


# ---- the fuzzer can find something


def planted(monkeypatch, name, call):
    """The verdicts on calls of `name`, which does something else now."""
    target = calls.TARGETS[name]
    monkeypatch.setitem(calls.TARGETS, name, targets.Target(call, target.reference, target.mutates))
    return [calls.run(calls.make(0, n, name)).finding for n in range(60)]


def test_fuzzer_finds_an_undocumented_exception(monkeypatch):
    def relu(input):
        return F.relu(input) if input.shape else {}["shape"]

    found = planted(monkeypatch, "functional.relu", relu)
    assert any("AttributeError" in finding for finding in found)
    assert any("KeyError" in finding for finding in found)


def test_fuzzer_finds_a_wrong_result(monkeypatch):
    def relu(input):
        return np.nextafter(F.relu(input), 1) + np.asarray(1e-3, input.dtype)

    assert any("wrong result" in f for f in planted(monkeypatch, "functional.relu", relu))


def test_fuzzer_finds_a_wrong_gradient_and_another_result_on_the_tape(monkeypatch):
    def found():
        return [calls.run(calls.make(0, n, "functional.relu")).finding for n in range(60)]

    rule = Rule(F.relu, {"input": lambda grad: grad[None]})
    monkeypatch.setattr(F.relu, "rule", rule)
    assert any("the gradient of" in finding for finding in found())
    rule.prepare = lambda values: values.__setitem__(0, values[0] * 2)
    assert any("Tensors give other bits" in finding for finding in found())


def test_fuzzer_finds_a_modified_argument(monkeypatch):
    def relu(input):
        output = F.relu(input)
        if isinstance(input, np.ndarray) and input.flags.writeable:
            np.maximum(input, 0, out=input)
        return output

    assert any("changed" in finding for finding in planted(monkeypatch, "functional.relu", relu))


def test_fuzzer_finds_a_warning(monkeypatch):
    def exp(input):
        F.relu(input)
        return np.exp(np.asarray(input) * 1e300)

    assert any("Warning" in finding for finding in planted(monkeypatch, "functional.relu", exp))


def test_fuzzer_finds_memory_leaked_by_a_failed_allocation(monkeypatch):
    lost = []

    def pair(input):
        lost.append(F.relu(input))
        lost.append(F.relu(input))
        lost.clear()

    monkeypatch.setitem(calls.TARGETS, "functional.relu", targets.Target(pair))
    verdicts = (calls.run_failing(calls.make(0, n, "functional.relu")) for n in range(60))
    assert any("bytes lost" in verdict.finding for verdict in verdicts)


def test_fuzzer_finds_growing_memory():
    kept = []
    before, after = growth.rounds(
        range(20), 2, check=lambda call: kept.append((str(call), F.relu(np.ones(5000))))
    )
    found = after.grown_from(before)
    assert "bytes of fastconv's memory" in found
    grown = growth.Held(before.used, before.blocks + 1000, before.resident + (1 << 30))
    assert "Python blocks" in grown.grown_from(before)
    assert "resident" in grown.grown_from(before)
