"""The command line: what it prints, what it writes, how it fails."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import data
from fastconv.cli import main
from fastconv.training import Classifier, loop
from fastconv.training.checkpoint import Checkpoint

for package in ("safetensors", "tqdm", "matplotlib"):
    pytest.importorskip(package)

#: for commands that run outside this process
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fastconv.__file__).parents[1])}
#: what makes a run short; the pictures have tests of their own
QUICK = ("--quiet", "--no-plots", "--epochs", "2", "--batch-size", "128")
PICTURES = {"curves.png", "confusion.png", "misclassified.png", "filters.png", "features.png"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own, and leaves the threads as they were."""
    monkeypatch.chdir(tmp_path)
    with fastconv.threads(1):
        yield tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A digits model, trained for long enough to be right mostly."""
    out = tmp_path_factory.mktemp("model")
    options = ["--quiet", "--no-plots", "--epochs", "4", "--threads", "1", "--out", str(out)]
    assert main(["train", "digits", *options]) == 0
    return str(out / "model.safetensors")


def run(capsys, *arguments):
    """Exit status, stdout and stderr of a command, which ends without a traceback."""
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        status = stop.code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def interrupt_after(epochs, monkeypatch):
    """Have Ctrl-C pressed within the epoch after so many."""
    train_epoch = loop._train_epoch
    begun = []

    def interrupted(*args):
        begun.append(1)
        if len(begun) > epochs:
            raise KeyboardInterrupt
        return train_epoch(*args)

    monkeypatch.setattr(loop, "_train_epoch", interrupted)


# -- train ----------------------------------------------------------------------------------------


def test_train_digits_reaches_its_accuracy(capsys, folder):
    status, out, err = run(capsys, "train", "digits", "--seed", "0")
    assert status == 0
    written = folder / "runs" / "digits"
    metrics = json.loads((written / "metrics.json").read_text())
    assert metrics["test_accuracy"] >= 0.98
    assert f"test accuracy {metrics['test_accuracy']:.2%}" in out
    assert "confusion matrix" in out
    assert {path.name for path in written.iterdir()} == {
        "checkpoint.safetensors",
        "metrics.json",
        "model.safetensors",
        *PICTURES,
    }
    for path in written.iterdir():
        assert path.name in out or path.name == "checkpoint.safetensors"
    for word in ("epoch 30/30", "loss", "accuracy", "images/s"):
        assert word in err
    # the numbers hang together, and belong to the saved model
    matrix = np.array(metrics["confusion_matrix"])
    assert np.trace(matrix) / matrix.sum() == metrics["test_accuracy"]
    images, labels = data.load_digits()
    _, test = data.stratified_split(labels, 0.2, 0)
    assert matrix.sum(1).tolist() == np.bincount(labels[test]).tolist()
    saved = Classifier.load(written / "model.safetensors")
    predictions = saved.predict(data.normalize(images[test], 16)).argmax(1)
    assert np.mean(predictions == labels[test]) == metrics["test_accuracy"]


def test_quiet_and_without_pictures(capsys, folder):
    status, out, err = run(capsys, "train", "digits", *QUICK)
    assert status == 0
    assert err == ""
    assert not PICTURES & {path.name for path in (folder / "runs" / "digits").iterdir()}
    assert "test accuracy" in out


def test_same_seed_same_files_for_any_number_of_threads(capsys, folder):
    for name, options in (
        ("a", ("--threads", "1")),
        ("b", ("--threads", "3")),
        ("c", ("--seed", "1")),
    ):
        assert run(capsys, "train", "digits", *QUICK, *options, "--out", name)[0] == 0

    def content(name, file):
        return (folder / name / file).read_bytes()

    for file in ("model.safetensors", "metrics.json", "checkpoint.safetensors"):
        assert content("a", file) == content("b", file)
        assert content("a", file) != content("c", file)


def test_options_reach_the_run(capsys, folder):
    options = {
        "model": "resnet18",
        "optimizer": "sgd",
        "lr": 0.02,
        "weight_decay": 0.001,
        "label_smoothing": 0.05,
        "shift": 1,
        "validation": 0.9,
        "seed": 5,
        "epochs": 1,
        "batch_size": 64,
    }
    flags = {"flip": True, "drop_last": True}
    arguments = [
        text
        for name, value in options.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    arguments += ["--flip", "--drop-last", "--quiet", "--no-plots"]
    status, out, _ = run(capsys, "train", "digits", *arguments)
    assert status == 0
    assert "144 training and 359 test images" in out
    recipe = json.loads((folder / "runs/digits/metrics.json").read_text())["recipe"]
    assert recipe == {**options, **flags, "model_options": {}}


def test_changed_optimizer_brings_its_learning_rate(capsys, folder):
    assert run(capsys, "train", "digits", *QUICK, "--optimizer", "sgd")[0] == 0
    history = json.loads((folder / "runs/digits/metrics.json").read_text())["history"]
    assert history[0]["lr"] == 0.05


def idx_files(folder, train=60, test=20):
    """A dataset of the MNIST family: digits in the middle of 28x28 pixels."""
    folder.mkdir()
    images, labels = data.load_digits()
    parts = {"train": slice(0, train), "t10k": slice(train, train + test)}
    for name, part in parts.items():
        big = np.zeros((len(labels[part]), 28, 28), np.uint8)
        big[:, 10:18, 10:18] = images[part, 0] * 15
        for kind, array in (("images-idx3", big), ("labels-idx1", labels[part].astype(np.uint8))):
            head = bytes([0, 0, 8, array.ndim])
            head += b"".join(n.to_bytes(4, "big") for n in array.shape)
            path = folder / f"{name}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(head + array.tobytes()))
    return folder


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_train_from_idx_files(capsys, folder, name):
    where = idx_files(folder / "idx")
    status, out, _ = run(capsys, "train", name, "--data-dir", where, "--quiet", "--epochs", "1")
    assert status == 0
    assert "60 training and 20 test images of 28x28" in out
    assert {path.name for path in (folder / "runs" / name).iterdir()} > PICTURES
    assert ("Ankle boot" in out) == (name == "fashion-mnist")


# -- interruption ---------------------------------------------------------------------------------


def test_interrupted_and_resumed_is_unbroken_to_the_bit(capsys, folder, monkeypatch):
    options = ("--quiet", "--no-plots", "--epochs", "3", "--shift", "1")
    assert run(capsys, "train", "digits", *options, "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        status, _, err = run(capsys, "train", "digits", *options, "--out", "broken place")
    assert status == 130
    assert "after epoch 1" in err
    assert "fastconv train digits --resume --out 'broken place'" in err
    assert {path.name for path in (folder / "broken place").iterdir()} == {"checkpoint.safetensors"}
    status, _, _ = run(
        capsys, "train", "digits", "--resume", "--quiet", "--no-plots", "--out", "broken place"
    )
    assert status == 0
    for name in ("model.safetensors", "metrics.json", "checkpoint.safetensors"):
        assert (folder / "whole" / name).read_bytes() == (
            folder / "broken place" / name
        ).read_bytes()


def test_interrupted_before_anything_was_saved(capsys, folder, monkeypatch):
    interrupt_after(0, monkeypatch)
    status, _, err = run(capsys, "train", "digits", *QUICK)
    assert status == 130
    assert "nothing was saved" in err
    assert list((folder / "runs" / "digits").iterdir()) == []


def test_interrupted_run_is_not_overwritten_unasked(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        assert run(capsys, "train", "digits", *QUICK)[0] == 130
    status, _, err = run(capsys, "train", "digits", *QUICK)
    assert status == 2
    assert "interrupted after epoch 1 of 2" in err
    assert "--resume" in err
    assert run(capsys, "train", "digits", *QUICK, "--overwrite")[0] == 0
    # a finished run may be repeated
    assert run(capsys, "train", "digits", *QUICK)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("digits", "--seed", "1"), "seed 0, and cannot be resumed with 1"),
        (("digits", "--epochs", "1"), "the run has finished 2 epochs, not 1"),
        (("digits", "--drop-last"), "drop-last False, and cannot be resumed with True"),
        (("digits", "--batch-size", "8"), "batch-size 128"),
        (("mnist", "--out", "runs/digits"), "dataset digits"),
        (("mnist",), "no checkpoint in"),
    ],
)
def test_resume_refuses(capsys, arguments, wrong):
    assert run(capsys, "train", "digits", *QUICK)[0] == 0
    status, _, err = run(capsys, "train", *arguments, "--resume", "--quiet", "--no-plots")
    assert status == 2
    assert wrong in err


def test_a_finished_run_goes_on_for_more_epochs_at_another_rate(capsys, folder):
    assert run(capsys, "train", "digits", *QUICK)[0] == 0
    more = ("--resume", "--quiet", "--no-plots", "--epochs", "4", "--lr", "0.001")
    assert run(capsys, "train", "digits", *more)[0] == 0
    metrics = json.loads((folder / "runs/digits/metrics.json").read_text())
    assert (metrics["recipe"]["epochs"], metrics["recipe"]["lr"]) == (4, 0.001)
    rates = [row["lr"] for row in metrics["history"]]
    assert rates == pytest.approx([0.003, 0.0015, 0.0005, 0.001 * (1 - 0.5**0.5) / 2])


def test_resuming_a_finished_run_writes_its_files_again(capsys, folder):
    assert run(capsys, "train", "digits", *QUICK)[0] == 0
    model = folder / "runs/digits/model.safetensors"
    before = model.read_bytes()
    model.unlink()
    assert run(capsys, "train", "digits", *QUICK, "--resume")[0] == 0
    assert model.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"damaged", bytes(100)], ids=["empty", "text", "zeros"])
def test_damaged_checkpoint_is_told(capsys, folder, content):
    assert run(capsys, "train", "digits", *QUICK)[0] == 0
    (folder / "runs/digits/checkpoint.safetensors").write_bytes(content)
    for option in ((), ("--resume",)):
        status, _, err = run(capsys, "train", "digits", *QUICK, *option)
        assert status == 2
        assert "checkpoint.safetensors is damaged" in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_for_real(folder):
    command = [sys.executable, "-m", "fastconv", "train", "digits", "--epochs", "100000"]
    process = subprocess.Popen(
        [*command, "--no-plots", "--quiet", "--out", "run", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    checkpoint = folder / "run" / "checkpoint.safetensors"
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "fastconv train digits --resume --out run" in err
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.safetensors"]
    assert len(Checkpoint.load(checkpoint).history) >= 1


# -- errors of train ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("cifar",), "invalid choice"),
        (("mnist",), "--data-dir"),
        (("mnist", "--data-dir", "nowhere"), "nowhere"),
        (("digits", "--model", "vgg11"), "vgg11 cannot be built for images of"),
        (("digits", "--epochs", "0"), "--epochs"),
        (("digits", "--epochs", "two"), "'two' is not a whole number"),
        (("digits", "--seed", "-1"), "--seed"),
        (("digits", "--threads", "0"), "--threads"),
        (("digits", "--threads", "100000"), "100000"),
        (("digits", "--batch-size", "-3"), "--batch-size"),
        (("digits", "--lr", "-1"), "lr"),
        (("digits", "--lr", "nan"), "lr"),
        (("digits", "--label-smoothing", "2"), "label_smoothing"),
        (("digits", "--shift", "8"), "max_shift"),
        (("digits", "--validation", "1"), "test_fraction"),
    ],
)
def test_wrong_arguments_are_told_in_a_line(capsys, arguments, wrong):
    status, _, err = run(capsys, "train", *arguments, "--quiet", "--no-plots")
    assert status == 2
    assert wrong in err


def test_out_that_is_a_file(capsys, folder):
    (folder / "file").write_text("precious")
    status, _, err = run(capsys, "train", "digits", *QUICK, "--out", "file")
    assert status == 2
    assert "file" in err
    assert (folder / "file").read_text() == "precious"


@pytest.mark.parametrize("package", ["safetensors", "tqdm", "matplotlib"])
def test_missing_extras_are_told_before_training(capsys, folder, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    status, _, err = run(capsys, "train", "digits")
    assert status == 2
    assert package in err
    assert 'pip install "fastconv[train]"' in err
    assert not (folder / "runs").exists()


def test_damaged_dataset_is_told(capsys, folder):
    where = idx_files(folder / "idx")
    file = where / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    status, _, err = run(capsys, "train", "mnist", "--data-dir", where, *QUICK)
    assert status == 2
    assert "train-images-idx3-ubyte.gz is damaged" in err


# -- predict --------------------------------------------------------------------------------------


def digit_files(folder):
    """Ten digits that the model has seen, as pictures of several kinds and as one array."""
    pil = pytest.importorskip("PIL.Image")
    images, labels = data.load_digits()
    train, _ = data.stratified_split(labels, 0.2, 0)
    chosen = [int(train[np.flatnonzero(labels[train] == k)[0]]) for k in range(10)]
    raw = images[chosen, 0]
    paths = []
    for k, digit in enumerate(raw):
        big = np.kron(digit * 15, np.ones((16, 16), np.uint8)).astype(np.uint8)
        path = folder / f"{k}.{'png' if k % 2 else 'jpeg'}"
        pil.fromarray(255 - big if k < 5 else big).save(path)
        paths.append(path)
    np.save(folder / "digits.npy", raw)
    np.save(folder / "one.npy", raw[3])
    return paths


def test_predict_pictures_and_arrays_alike(capsys, folder, model):
    paths = digit_files(folder)
    # a digit need not have a dark border: its polarity is given here
    pictures = []
    for path in paths:
        invert = "yes" if int(path.stem) < 5 else "no"
        status, out, _ = run(capsys, "predict", model, path, "--invert", invert)
        assert status == 0
        name, answer = out.strip().split(": ")
        assert name == str(path)
        pictures.append(answer.split()[0])
    status, out, _ = run(capsys, "predict", model, folder / "digits.npy")
    assert status == 0
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{folder / 'digits.npy'}[{i}]" for i in range(10)
    ]
    arrays = [line.split(": ")[1].split()[0] for line in lines]
    assert pictures == arrays
    assert sum(a == str(k) for k, a in enumerate(arrays)) >= 8
    status, out, _ = run(capsys, "predict", model, folder / "one.npy", paths[3])
    assert status == 0
    assert [line.split(": ")[1].split()[0] for line in out.splitlines()] == ["3", "3"]


def test_predict_top(capsys, folder, model):
    digit_files(folder)
    status, out, _ = run(capsys, "predict", model, folder / "one.npy", "--top", "3")
    assert status == 0
    answers = [answer.split() for answer in out.split(": ")[1].split(", ")]
    shares = [float(share.rstrip("%\n")) for _, share in answers]
    assert len(answers) == 3
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 100.2
    status, out, _ = run(capsys, "predict", model, folder / "one.npy", "--top", "99")
    assert len(out.split(", ")) == 10


def test_predict_goes_on_after_a_bad_image(capsys, folder, model):
    digit_files(folder)
    (folder / "bad.png").write_bytes(b"no picture")
    np.save(folder / "wrong.npy", np.zeros((9, 9)))
    status, out, err = run(
        capsys, "predict", model, "missing.png", "bad.png", "wrong.npy", "one.npy"
    )
    assert status == 2
    assert out.startswith("one.npy: 3")
    assert len(err.splitlines()) == 3
    for word in ("missing.png", "bad.png", "wrong.npy"):
        assert word in err


def test_predict_with_a_bad_model(capsys, folder, model):
    np.save(folder / "one.npy", np.zeros((8, 8)))
    (folder / "bad.safetensors").write_bytes(b"x" * 50)
    np.savez(folder / "weights.npz", w=np.ones(3))
    (folder / "model.pkl").write_bytes(b"")
    for name, wrong in (
        ("missing.npz", "No such file"),
        ("bad.safetensors", "damaged"),
        ("weights.npz", "not a classifier"),
        ("model.pkl", "must end in"),
    ):
        status, out, err = run(capsys, "predict", name, "one.npy")
        assert (status, out) == (2, "")
        assert wrong in err
        assert name in err


# -- info and the rest ----------------------------------------------------------------------------


def test_info(capsys):
    status, out, _ = run(capsys, "info")
    assert status == 0
    assert out.startswith(f"fastconv {fastconv.__version__}")
    assert "numpy" in out


def test_info_of_a_model(capsys, model):
    status, out, _ = run(capsys, "info", model)
    assert status == 0
    total = sum(p.size for p in Classifier.load(model).model.parameters())
    assert f"{total:,} parameters" in out
    for word in ("lenet5", "trained on digits", "8x8", "Conv2d(1, 24", "24x8x8"):
        assert word in out
    assert run(capsys, "info", "missing.npz")[0] == 2


@pytest.mark.parametrize("arguments", [(), ("train",), ("predict", "m.npz"), ("paint",)])
def test_usage(capsys, arguments):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert "usage: fastconv" in err


def test_as_a_module():
    def call(*arguments):
        command = [sys.executable, "-m", "fastconv", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)

    done = call("--version")
    assert (done.returncode, done.stdout) == (0, f"fastconv {fastconv.__version__}\n")
    failed = call("info", "nothing.npz")
    assert failed.returncode == 2
    assert failed.stderr == "fastconv info: error: nothing.npz: No such file or directory\n"
