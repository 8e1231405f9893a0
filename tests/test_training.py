"""The training loop, checkpoints, saved classifiers and pictures."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import data, io, nn, optim, training
from fastconv.training import Classifier, build_model, confusion_matrix, evaluate, fit
from fastconv.training.checkpoint import Checkpoint

IMAGES, LABELS = data.load_digits()
IMAGES = data.normalize(IMAGES[:96], 16)
LABELS = LABELS[:96]
OPTIMIZERS = {
    "sgd": lambda params: optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True),
    "adamw": lambda params: optim.AdamW(params, lr=3e-3),
    "adam": lambda params: optim.Adam(params, lr=3e-3),
    "decayed": lambda params: optim.AdamW(params, lr=3e-3, weight_decay=0.5),
    "rmsprop": lambda params: optim.RMSprop(params, lr=1e-3, centered=True, momentum=0.5),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small gain nothing from more."""
    with fastconv.threads(1):
        yield


def small_model(rng=0):
    """Every kind of state: weights, running statistics, dropout."""
    return build_model("lenet5", (8, 8), 10, {"batch_norm": True, "dropout": 0.3}, rng)


def shift(images, rng):
    return data.random_shift(images, 1, rng)


def run(epochs=4, optimizer="adamw", model=None, train=(IMAGES, LABELS), **options):
    """Train a small model with everything that can be random or have a state."""
    model = model or small_model()
    stepper = OPTIMIZERS[optimizer](model.parameters())
    options = {"batch_size": 20, "augment": shift, "seed": 3, **options}
    schedule = optim.CosineAnnealingLR(stepper, 4)
    history = fit(model, stepper, train, epochs=epochs, scheduler=schedule, **options)
    return model, history


def same_bits(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


# -- fit ------------------------------------------------------------------------------------------


def test_fit_learns():
    model, history = run(epochs=4, validation=(IMAGES, LABELS), augment=None)
    assert [set(row) for row in history] == [
        {"lr", "loss", "accuracy", "val_loss", "val_accuracy"}
    ] * 4
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_accuracy"] > 0.3
    # the schedule's rates, from the first epoch on
    assert history[0]["lr"] == 3e-3
    assert history[-1]["lr"] < history[1]["lr"] < 3e-3
    measured = evaluate(model, IMAGES, LABELS)
    assert measured.accuracy == history[-1]["val_accuracy"]
    assert measured.loss == history[-1]["val_loss"]


def test_loss_and_accuracy_are_means_over_images_not_batches():
    # a model that never changes, and batches of 20, 20 and 8
    model = build_model("lenet5", (8, 8), 10)
    still = optim.SGD(model.parameters(), lr=0.0)
    (row,) = fit(model, still, (IMAGES[:48], LABELS[:48]), epochs=1, batch_size=20)
    measured = evaluate(model, IMAGES[:48], LABELS[:48])
    assert row["accuracy"] == measured.accuracy
    assert row["loss"] == pytest.approx(measured.loss, rel=1e-5)


def test_same_seed_same_bits_for_any_number_of_threads():
    with fastconv.threads(1):
        one, one_history = run(epochs=2)
    with fastconv.threads(3):
        three, three_history = run(epochs=2)
    assert same_bits(one, three)
    assert one_history == three_history
    assert not same_bits(one, run(epochs=2, seed=4)[0])


def test_what_was_drawn_before_does_not_matter():
    model = small_model()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.rng.random(7)
    assert same_bits(run(epochs=1, model=model)[0], run(epochs=1)[0])


def test_every_epoch_is_shuffled_anew():
    seen = []

    def watch(images, rng):
        seen.append(images.sum((1, 2, 3)))
        return images

    run(epochs=2, augment=watch, batch_size=96)
    first, second = seen
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.sort(second))


def test_images_are_left_as_they_are():
    before = IMAGES.copy()
    run(epochs=1)
    np.testing.assert_array_equal(IMAGES, before)


@pytest.mark.parametrize(
    ("change", "error", "wrong"),
    [
        ({"epochs": 0}, ValueError, "epochs"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"seed": -1}, ValueError, "seed"),
        ({"train": (IMAGES, LABELS[:5])}, ValueError, "train"),
        ({"train": (IMAGES[:0], LABELS[:0])}, ValueError, "train"),
        ({"train": (IMAGES, LABELS * 0.5)}, TypeError, "labels"),
        ({"validation": (IMAGES[:3], LABELS)}, ValueError, "validation"),
        ({"resume": True}, ValueError, "checkpoint"),
    ],
)
def test_fit_refuses(change, error, wrong):
    with pytest.raises(error, match=wrong):
        run(**change)


def test_fit_refuses_the_optimizer_of_another_model():
    mine, other = small_model(), small_model()
    for stepper, text in (
        (
            optim.SGD(other.parameters()),
            r"SGD of 14 parameters, updates 14 .* Sequential's: params",
        ),
        (optim.SGD([mine[0].weight, other[0].bias]), r"updates 1 .*: params\[1\] of shape \(6,\)$"),
    ):
        with pytest.raises(ValueError, match=text):
            fit(mine, stepper, (IMAGES, LABELS), epochs=1)
    stepper = optim.SGD(mine.parameters())
    schedule = optim.StepLR(optim.SGD(mine.parameters(), lr=0.5), 1)
    with pytest.raises(ValueError, match=r"rates of another optimiser: SGD\(.*lr=0\.5"):
        fit(mine, stepper, (IMAGES, LABELS), epochs=1, scheduler=schedule)


def test_some_parameters_may_stay_as_they_are():
    model, before = small_model(), small_model()
    head = list(model.parameters())[-2:]
    fit(model, optim.SGD(head, lr=0.1), (IMAGES, LABELS), epochs=1)
    changed = [
        not np.array_equal(p.data, q.data)
        for p, q in zip(model.parameters(), before.parameters(), strict=True)
    ]
    assert changed == [False] * (len(changed) - 2) + [True] * 2


def test_gradients_from_before_do_not_count():
    model = small_model()
    for p in model.parameters():
        p.grad = np.ones_like(p.data)
    assert same_bits(run(epochs=1, model=model)[0], run(epochs=1)[0])


def test_drop_last_leaves_out_what_does_not_fill_a_batch():
    sizes = []

    def watch(images, rng):
        sizes.append(len(images))
        return images

    for drop_last in (False, True):
        run(epochs=1, augment=watch, batch_size=36, drop_last=drop_last)
    assert sizes == [36, 36, 24, 36, 36]


def test_last_batch_of_one_is_explained_before_the_first_epoch():
    model = build_model("resnet18", (8, 8), 10)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    stepper = optim.SGD(model.parameters(), lr=0.1)
    few = IMAGES[:21], LABELS[:21]
    with pytest.raises(
        ValueError, match=r"one example, of 21 with batch_size=20, .* drop_last=True"
    ):
        fit(model, stepper, few, epochs=1, batch_size=20)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    for options in ({"drop_last": True}, {"batch_size": 7}):
        fit(model, stepper, few, epochs=1, **{"batch_size": 20, **options})
    # maps of more than one pixel have a variance for one image, too
    run(epochs=1, train=(IMAGES[:21], LABELS[:21]))


def test_divergence_is_told():
    images = IMAGES.copy()
    images[40] = np.nan
    with pytest.raises(FloatingPointError, match="diverged"):
        run(train=(images, LABELS), augment=None)


def test_progress_bar(capsys):
    pytest.importorskip("tqdm")
    run(epochs=1, progress=True, validation=(IMAGES, LABELS))
    shown = capsys.readouterr().err
    for word in ("epoch 1/1", "100%", "96/96", "loss", "accuracy", "held out", "images/s"):
        assert word in shown


def test_no_progress_bar_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    run(epochs=1)
    with pytest.raises(ImportError, match=r"fastconv\[train\]"):
        run(epochs=1, progress=True)


# -- checkpoints ----------------------------------------------------------------------------------


class Interrupt:
    """Shifts images, until the time comes for Ctrl-C."""

    def __init__(self, batches):
        self.left = batches

    def __call__(self, images, rng):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return shift(images, rng)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_interrupted_and_resumed_is_unbroken_to_the_bit(tmp_path, optimizer, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"broken{suffix}"
    unbroken, history = run(optimizer=optimizer, checkpoint=whole)
    # five batches to an epoch: this is within the third
    with pytest.raises(KeyboardInterrupt):
        run(optimizer=optimizer, checkpoint=path, augment=Interrupt(12))
    assert len(Checkpoint.load(path).history) == 2
    resumed, resumed_history = run(
        optimizer=optimizer, checkpoint=path, resume=True, model=small_model(rng=99)
    )
    assert same_bits(resumed, unbroken)
    assert resumed_history == history
    assert path.read_bytes() == whole.read_bytes()


def test_resuming_a_finished_run_restores_it(tmp_path):
    path = tmp_path / "c.npz"
    model, history = run(checkpoint=path, epochs=2)
    again, same = run(checkpoint=path, epochs=2, resume=True, model=small_model(rng=5))
    assert same_bits(model, again)
    assert same == history


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"epochs": 1}, "finished 2 epochs, not 1"),
        ({"drop_last": True}, "drop_last=False, not True"),
        ({"optimizer": "adam"}, "state is of AdamW, this optimiser is Adam"),
        ({"optimizer": "decayed"}, r"weight_decay=0\.01, and this AdamW weight_decay=0\.5"),
        ({"seed": 4}, "seed=3, not 4"),
        ({"batch_size": 21}, "batch_size=20, not 21"),
        ({"train": (IMAGES[::-1], LABELS)}, "data="),
        ({"train": (IMAGES, LABELS[::-1])}, "data="),
        ({"settings": {"width": 1}}, "width=None, not 1"),
    ],
)
def test_resume_refuses_another_run(tmp_path, change, wrong):
    path = tmp_path / "c.npz"
    run(checkpoint=path, epochs=2)
    with pytest.raises(ValueError, match=wrong):
        run(**{"checkpoint": path, "epochs": 2, "resume": True, **change})


def test_resume_needs_the_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        run(checkpoint=tmp_path / "c.npz", resume=True)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_checkpoint_loads_whole_or_not_at_all(tmp_path, optimizer):
    path = tmp_path / "c.npz"
    run(checkpoint=path, epochs=1)
    model = small_model(rng=7)
    with pytest.raises(ValueError, match="state is of AdamW"):
        run(checkpoint=path, epochs=1, resume=True, optimizer=optimizer, model=model)
    assert same_bits(model, small_model(rng=7))
    other = OPTIMIZERS[optimizer](model.parameters())
    with pytest.raises(ValueError, match="does not fit the optimizer: state is of AdamW"):
        Checkpoint.load(path).restore({"model": model, "optimizer": other, "scheduler": other})
    assert same_bits(model, small_model(rng=7))


def test_resumed_at_another_rate_goes_on_at_that(tmp_path):
    path = tmp_path / "c.npz"

    def train(lr, epochs, resume=False):
        model = small_model()
        stepper = optim.AdamW(model.parameters(), lr=lr)
        history = fit(
            model, stepper, (IMAGES, LABELS), epochs=epochs, checkpoint=path, resume=resume
        )
        return model, stepper, [row["lr"] for row in history]

    first = train(1e-2, 2)[0]
    still, stepper, rates = train(0.0, 4, resume=True)
    assert rates == [1e-2, 1e-2, 0.0, 0.0]
    assert stepper.lr == 0.0
    for (name, p), q in zip(still.named_parameters(), first.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data, err_msg=name)
    assert stepper.state_dict()["0.step"] == 8  # of two batches each: what it kept was restored


def test_resumed_with_another_base_rate_follows_its_schedule(tmp_path):
    path = tmp_path / "c.npz"
    run(checkpoint=path, epochs=2)
    model = small_model()
    stepper = optim.AdamW(model.parameters(), lr=6e-3)
    options = {"augment": shift, "batch_size": 20, "seed": 3, "checkpoint": path}
    schedule = optim.CosineAnnealingLR(stepper, 8)
    history = fit(
        model, stepper, (IMAGES, LABELS), epochs=4, scheduler=schedule, resume=True, **options
    )
    wanted = [6e-3 * (1 + np.cos(np.pi * epoch / 8)) / 2 for epoch in (2, 3)]
    assert [row["lr"] for row in history[2:]] == pytest.approx(wanted)
    with pytest.raises(ValueError, match="holds 'scheduler"):
        fit(model, stepper, (IMAGES, LABELS), epochs=5, resume=True, **options)


def test_a_run_goes_on_for_more_epochs_than_planned(tmp_path):
    path = tmp_path / "c.npz"
    whole, history = run(epochs=4)
    run(epochs=2, checkpoint=path)
    longer, longer_history = run(epochs=4, checkpoint=path, resume=True, model=small_model(rng=9))
    assert same_bits(whole, longer)
    assert longer_history == history
    assert Checkpoint.load(path).settings["epochs"] == 4


def test_what_a_criterion_learns_is_kept_too(tmp_path):
    class Weighted(nn.Module):
        def __init__(self):
            self.loss, self.temperature = (
                nn.CrossEntropyLoss(),
                nn.Parameter(np.ones(1, np.float32)),
            )

        def forward(self, input, target):
            return self.loss(input * self.temperature, target)

    def train(epochs, **options):
        model, criterion = small_model(), Weighted()
        params = [{"params": model.parameters()}, {"params": criterion.parameters(), "lr": 0.1}]
        stepper = optim.SGD(params, lr=0.01)
        fit(model, stepper, (IMAGES, LABELS), epochs=epochs, criterion=criterion, **options)
        return model, criterion

    path = tmp_path / "c.npz"
    unbroken, criterion = train(3)
    assert criterion.temperature.data != 1
    train(1, checkpoint=path)
    resumed, again = train(3, checkpoint=path, resume=True)
    assert same_bits(unbroken, resumed)
    assert same_bits(criterion, again)


def test_checkpoint_of_another_part_is_refused(tmp_path):
    Checkpoint.take({"model": small_model(), "ema": small_model()}, {}, []).save(tmp_path / "c.npz")
    with pytest.raises(ValueError, match=r"'ema\."):
        Checkpoint.load(tmp_path / "c.npz").restore({"model": small_model()})


def test_other_files_are_no_checkpoints(tmp_path):
    path = tmp_path / "c.npz"
    for metadata in ({}, {"settings": {}, "history": [1]}, {"settings": [], "history": []}):
        io.save(path, {}, metadata)
        with pytest.raises(ValueError, match="not a training checkpoint"):
            Checkpoint.load(path)


def test_mutated_checkpoints_are_restored_or_refused(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "c.safetensors"
    run(checkpoint=path, epochs=1)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    model, untouched = small_model(rng=7), small_model(rng=7)
    stepper = optim.AdamW(model.parameters())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        mutant = bytearray(whole)
        for at in rng.integers(0, header, rng.integers(1, 4)):
            mutant[at] = rng.integers(32, 127)
        path.write_bytes(mutant)
        try:
            saved = Checkpoint.load(path)
            saved.restore(
                {
                    "model": model,
                    "optimizer": stepper,
                    "scheduler": optim.CosineAnnealingLR(stepper, 4),
                }
            )
        except ValueError:
            refused += 1
            assert same_bits(model, untouched)
        else:
            model.load_state_dict(untouched.state_dict())
    assert refused > 100


# -- evaluation -----------------------------------------------------------------------------------


def test_evaluate_leaves_the_mode_alone():
    model = small_model().train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    first = evaluate(model, IMAGES, LABELS, batch_size=7)
    assert [module.training for module in model.modules()] == before
    assert first.logits.shape == (96, 10)
    # no dropout, no batch statistics: batches do not matter
    np.testing.assert_allclose(
        first.logits, evaluate(model, IMAGES, LABELS, batch_size=96).logits, atol=1e-5
    )
    assert first.accuracy == np.mean(first.logits.argmax(1) == LABELS)


def test_evaluate_refuses():
    with pytest.raises(ValueError, match="labels"):
        evaluate(small_model(), IMAGES, LABELS[:3])
    with pytest.raises(ValueError, match="at least one"):
        evaluate(small_model(), IMAGES[:0], LABELS[:0])


def test_confusion_matrix():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, (2, 200))
    matrix = confusion_matrix(labels, predictions, 5)
    assert matrix.shape == (5, 5)
    np.testing.assert_array_equal(matrix.sum(1), np.bincount(labels, minlength=5))
    np.testing.assert_array_equal(matrix.sum(0), np.bincount(predictions, minlength=5))
    assert np.trace(matrix) == np.sum(labels == predictions)
    np.testing.assert_array_equal(matrix.T, confusion_matrix(predictions, labels, 5))
    with pytest.raises(ValueError, match="2 labels, but 1"):
        confusion_matrix([0, 1], [0], 2)
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        confusion_matrix([0, 2], [0, 1], 2)


# -- classifiers ----------------------------------------------------------------------------------


def classifier(**changes):
    fields = {
        "architecture": "lenet5",
        "image_size": (8, 8),
        "classes": tuple("0123456789"),
        "dataset": "digits",
        "max_value": 16,
        "mean": 0.3,
        "scale": 0.4,
        "options": {"width": 2, "batch_norm": True, "dropout": 0.25},
        **changes,
    }
    return Classifier.build(**fields)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_classifier_round_trip(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    first = classifier(rng=5)
    run(epochs=1, model=first.model)
    first.save(tmp_path / f"m{suffix}")
    second = Classifier.load(tmp_path / f"m{suffix}")
    assert same_bits(first.model, second.model)
    for name in ("architecture", "options", "image_size", "classes", "dataset", "mean", "scale"):
        assert getattr(first, name) == getattr(second, name)
    np.testing.assert_array_equal(first.predict(IMAGES), second.predict(IMAGES))


def test_classifier_prepares_what_it_predicts():
    it = classifier()
    probabilities = it.predict(IMAGES)
    assert probabilities.shape == (96, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(it.prepare(IMAGES), (IMAGES - 0.3) / 0.4, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"\(96, 8, 8\)"):
        it.predict(IMAGES[:, 0])


@pytest.mark.parametrize("name", training.ARCHITECTURES)
def test_every_architecture_can_be_built_for_its_size(name):
    size = (32, 32) if name == "vgg11" else (8, 8)
    assert build_model(name, size, 3) is not None


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"architecture": "os.system"}, "model must be one of"),
        ({"architecture": "vgg11"}, "vgg11 cannot be built for images of"),
        ({"image_size": (8, 9)}, "square"),
        ({"image_size": (9, 9)}, "image_size must be one of"),
        ({"classes": ()}, "classes"),
        ({"classes": ["x"] * 10_001}, "classes"),
        ({"options": {"width": 65}}, "width=65"),
        ({"options": {"width": True}}, "width=True"),
        ({"options": {"dtype": "float64"}}, "dtype"),
        ({"architecture": "resnet18", "options": {"width": 2}}, "width"),
        ({"max_value": 0}, "max_value"),
        ({"scale": 0.0}, "scale"),
        ({"mean": np.nan}, "mean"),
    ],
)
def test_classifier_refuses(change, wrong):
    with pytest.raises(ValueError, match=wrong):
        classifier(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something else"},
        {"architecture": ["lenet5"]},
        {"options": {"width": 10**9}},
        {"options": {"num_classes": 10**9}},
        {"image_size": [10**9, 10**9]},
        {"image_size": [8]},
        {"image_size": [8.0, 8.0]},
        {"classes": [1, 2]},
        {"classes": "0123456789"},
        {"mean": None},
        {"scale": float("inf")},
        {"extra": 1},
        {"classes": list("012345678")},
    ],
)
def test_hostile_classifier_files(tmp_path, change):
    path = tmp_path / "m.npz"
    classifier().save(path)
    arrays, metadata = io.load(path)
    io.save(path, arrays, {**metadata, **change})
    with pytest.raises(ValueError, match=r"m\.npz"):
        Classifier.load(path)


def test_classifier_with_other_weights_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    classifier().save(path)
    arrays, metadata = io.load(path)
    for changed in (
        {**arrays, "extra": np.ones(1)},
        dict(list(arrays.items())[1:]),
        {**arrays, "0.bias": np.ones(3, np.float32)},
    ):
        io.save(path, changed, metadata)
        with pytest.raises(ValueError, match="damaged"):
            Classifier.load(path)


def test_mutated_classifiers_are_loaded_or_refused(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "m.safetensors"
    classifier().save(path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    refusals = []
    for _ in range(300):
        mutant = bytearray(whole)
        for at in rng.integers(0, header, rng.integers(1, 4)):
            mutant[at] = rng.integers(32, 127)
        path.write_bytes(mutant)
        try:
            Classifier.load(path)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all("m.safetensors" in refusal for refusal in refusals)


# -- pictures -------------------------------------------------------------------------------------


@pytest.fixture
def pictures():
    pytest.importorskip("matplotlib")
    from fastconv.training import pictures

    return pictures


def pixels(path):
    image = pytest.importorskip("PIL.Image")
    with image.open(path) as picture:
        assert picture.format == "PNG"
        array = np.asarray(picture.convert("RGB"))
    assert min(array.shape[:2]) > 100
    assert max(array.shape[:2]) < 4000
    return array


def test_plot_history(pictures, tmp_path):
    row = {"lr": 0.1, "loss": 1.0, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.25}
    for n in (1, 3):
        for keys in (list(row), ["lr", "loss", "accuracy"]):
            pictures.plot_history([{k: row[k] for k in keys}] * n, tmp_path / "a.png")
            drawn = {tuple(c) for c in pixels(tmp_path / "a.png").reshape(-1, 3).tolist()}
            assert (0x25, 0x63, 0xEB) in drawn
            assert ((0xD9, 0x48, 0x0F) in drawn) == ("val_loss" in keys)


@pytest.mark.parametrize("name", ["lenet5", "resnet18"])
def test_plot_filters_and_feature_maps(pictures, tmp_path, name):
    model = build_model(name, (8, 8), 10)
    before = [module.training for module in model.modules()]
    pictures.plot_filters(model, tmp_path / "f.png")
    pictures.plot_feature_maps(model, IMAGES[0], tmp_path / "m.png", title="a digit")
    assert len(np.unique(pixels(tmp_path / "f.png"))) > 10
    assert len(np.unique(pixels(tmp_path / "m.png"))) > 10
    assert [module.training for module in model.modules()] == before


def test_plot_nested_and_plain_models(pictures, tmp_path):
    nested = nn.Sequential(nn.Sequential(nn.Conv2d(1, 3, 3, rng=0), nn.ReLU()), nn.Flatten())
    pictures.plot_feature_maps(nested, IMAGES[0], tmp_path / "a.png")
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    pictures.plot_feature_maps(flat, IMAGES[0], tmp_path / "b.png")
    assert len(pixels(tmp_path / "a.png")) > len(pixels(tmp_path / "b.png"))
    with pytest.raises(ValueError, match="Conv2d"):
        pictures.plot_filters(flat, tmp_path / "c.png")


@pytest.mark.parametrize("wrong", [0, 1, 7, 96])
def test_plot_misclassified(pictures, tmp_path, wrong):
    predicted = LABELS.copy()
    predicted[:wrong] = (predicted[:wrong] + 1) % 10
    probabilities = data.one_hot(predicted, 10) * 0.9 + 0.01
    classes = [f"class number {i}" for i in range(10)]
    pictures.plot_misclassified(IMAGES, LABELS, probabilities, classes, tmp_path / "a.png")
    pixels(tmp_path / "a.png")


def test_plot_confusion_matrix(pictures, tmp_path):
    matrix = confusion_matrix(LABELS, (LABELS + (LABELS == 3)) % 10, 10)
    for classes in (list("0123456789"), [f"class {i}" for i in range(10)]):
        pictures.plot_confusion_matrix(matrix, classes, tmp_path / "a.png")
        pixels(tmp_path / "a.png")


def test_history_is_what_json_keeps(tmp_path):
    _, history = run(epochs=1, validation=(IMAGES, LABELS))
    assert json.loads(json.dumps(history)) == history


def test_the_examples_of_the_user_page_run(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[1] / "docs" / "training.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("safetensors")
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})
    *accuracies, rates = capsys.readouterr().out.splitlines()
    assert len(accuracies) + 1 == len(blocks) == 4
    assert all(map(float.__gt__, map(float, accuracies), (0.95, 0.95, 0.7)))
    assert rates == "[0.01, 0.1]"
