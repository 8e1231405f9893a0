"""A whole training run in one call: what it returns, writes, resumes and refuses."""

import json

import numpy as np
import pytest

import fastconv
from fastconv import data, training
from fastconv.training import Classifier, loop


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small gain nothing from more."""
    with fastconv.threads(1):
        yield


#: what makes a run short
QUICK = {"epochs": 2, "batch_size": 128, "seed": 3}


def test_train_writes_nothing_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = training.train("digits", **QUICK)
    assert list(tmp_path.iterdir()) == []
    assert done.files == ()
    assert len(done.history) == 2
    assert done.evaluation.accuracy > 0.5
    assert done.recipe.seed == 3
    assert done.recipe.model_options["width"] == 4  # the dataset's own
    assert json.loads(json.dumps(done.metrics))["test_accuracy"] == done.evaluation.accuracy


def test_train_from_end_to_end(tmp_path):
    pytest.importorskip("safetensors")
    done = training.train("digits", out=tmp_path, **QUICK)
    assert [path.name for path in done.files] == ["model.safetensors", "metrics.json"]
    assert json.loads(done.files[1].read_text()) == json.loads(json.dumps(done.metrics))
    matrix = done.confusion_matrix
    assert np.trace(matrix) / matrix.sum() == done.evaluation.accuracy
    images, labels = data.load_digits()
    _, test = data.stratified_split(labels, 0.2, 3)
    saved = Classifier.load(done.files[0])
    ours = done.classifier.model.state_dict()
    for name, array in saved.model.state_dict().items():
        assert array.tobytes() == ours[name].tobytes()
    predictions = saved.predict(data.normalize(images[test], 16)).argmax(1)
    assert np.mean(predictions == labels[test]) == done.evaluation.accuracy
    assert training.train("digits", **QUICK).metrics == done.metrics


def test_train_draws(tmp_path):
    pytest.importorskip("safetensors")
    pytest.importorskip("matplotlib")
    done = training.train("digits", out=tmp_path, plots=True, **QUICK)
    assert {path.name for path in done.files} == {
        path.name for path in tmp_path.iterdir() if path.name != "checkpoint.safetensors"
    }
    assert len(done.files) == 7


def test_train_resumes_to_the_bit(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    options = {**QUICK, "shift": 1, "validation": 0.5}
    whole = training.train("digits", out=tmp_path / "whole", **options)
    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        train_epoch, begun = loop._train_epoch, []

        def interrupted(*args):
            begun.append(1)
            if len(begun) == 2:
                raise KeyboardInterrupt
            return train_epoch(*args)

        patch.setattr(loop, "_train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            training.train("digits", out=broken, **options)
    assert caught.value.__notes__ == [
        f"the state after epoch 1 is in {broken}: go on with resume=True"
    ]
    with pytest.raises(ValueError, match="resume=True, or start again with overwrite=True"):
        training.train("digits", out=broken, **options)
    resumed = training.train("digits", out=broken, resume=True, shift=1)
    assert resumed.recipe == whole.recipe
    assert resumed.metrics == whole.metrics
    for path in whole.files:
        assert path.read_bytes() == (broken / path.name).read_bytes()


@pytest.mark.parametrize(
    ("change", "error", "wrong"),
    [
        ({"dataset": "cifar"}, ValueError, "dataset must be one of digits, .*'cifar'"),
        ({"dataset": ["digits"]}, ValueError, "dataset must be one of"),
        ({"dataset": "mnist", "data_dir": "no"}, FileNotFoundError, "data_dir, or add download=T"),
        ({"epoch": 3}, TypeError, "no option 'epoch'; the options are model, model_options, epoch"),
        ({"epochs": 0}, ValueError, "epochs .*0"),
        ({"epochs": 1.5}, TypeError, r"epochs .*1\.5"),
        ({"batch_size": "64"}, TypeError, "batch_size .*'64'"),
        ({"model": "lenet"}, ValueError, "model must be one of lenet5, .*'lenet'"),
        ({"model_options": 3}, TypeError, "model_options .*3"),
        ({"model_options": {"depth": 3}}, ValueError, "depth=3"),
        ({"optimizer": "adamax"}, ValueError, "optimizer must be one of sgd, .*'adamax'"),
        ({"lr": "fast"}, TypeError, "lr .*'fast'"),
        ({"lr": -1}, ValueError, "lr .*-1"),
        ({"weight_decay": None}, TypeError, "weight_decay .*None"),
        ({"label_smoothing": 2}, ValueError, "label_smoothing .*2"),
        ({"shift": 8}, ValueError, "shift .*8"),
        ({"flip": 1}, TypeError, "flip .*1"),
        ({"drop_last": "yes"}, TypeError, "drop_last .*'yes'"),
        ({"drop_last": True, "batch_size": 2000}, ValueError, "drop_last leaves no batch: .*2000"),
        ({"validation": 1}, ValueError, "test_fraction .*1"),
        ({"seed": -1}, ValueError, "seed .*-1"),
        ({"resume": True}, ValueError, "resume=True needs a folder: give out"),
        ({"plots": True}, ValueError, "plots=True needs a folder: give out"),
    ],
)
def test_train_refuses(change, error, wrong):
    with pytest.raises(error, match=wrong):
        training.train(**{"dataset": "digits", **QUICK, **change})


def test_train_refuses_before_it_deletes(tmp_path):
    pytest.importorskip("safetensors")
    training.train("digits", out=tmp_path, **QUICK)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for change in ({"lr": -1}, {"label_smoothing": 2}, {"shift": 8}, {"epochs": 0}):
        with pytest.raises(ValueError, match=next(iter(change))):
            training.train("digits", out=tmp_path, **{**QUICK, **change})
    for change, wrong in (
        ({"seed": 4}, "seed 3, and cannot be resumed with 4"),
        ({"batch_size": 64}, "batch_size 128, and"),
        ({"flip": True}, "flip False"),
        ({"epoch": 2}, "no option 'epoch'"),
    ):
        with pytest.raises((ValueError, TypeError), match=wrong):
            training.train("digits", out=tmp_path, resume=True, **change)
    with pytest.raises(ValueError, match="no checkpoint in"):
        training.train("digits", out=tmp_path / "nowhere", resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_train_takes_numpys_numbers(tmp_path):
    pytest.importorskip("safetensors")
    options = {"epochs": np.int64(1), "lr": np.float32(0.5), "flip": np.bool_(False), "shift": 0}
    first = training.train("digits", out=tmp_path, batch_size=256, **options)
    again = training.train("digits", out=tmp_path, batch_size=256, resume=True, **options)
    assert again.recipe == first.recipe
    assert type(again.recipe.epochs) is int


def test_recipes_that_change():
    recipe = training.Recipe(model_options={"width": 2}, lr=0.5)
    assert recipe.changed({"epochs": 3}).model_options == {"width": 2}
    assert recipe.changed({"model": "resnet18"}).model_options == {}
    assert recipe.changed({"optimizer": "sgd"}).lr == 0.05
    assert recipe.changed({"optimizer": "sgd", "lr": 0.1}).lr == 0.1
    with pytest.raises(ValueError, match=r"checkpoint: the run's epochs .*0"):
        training.Recipe.from_settings({**vars(recipe), "epochs": 0})
    with pytest.raises(ValueError, match="checkpoint: the run's seed is None"):
        training.Recipe.from_settings({**vars(recipe), "seed": None})
