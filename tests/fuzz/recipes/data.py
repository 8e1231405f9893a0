"""Batches, preprocessing, augmentation and initial weights."""

import numpy as np

from fuzz.recipes.common import recipe


def labels(d, classes):
    drawn = d.rng.integers(0, classes, d.integer(classes, 40))
    return np.asarray(np.concatenate([np.arange(classes), drawn]), d.choice((np.int64, np.uint8)))


@recipe("data.class_weights", "data.one_hot")
def class_weights(d):
    classes = d.integer(1, 8)
    return {"labels": labels(d, classes), "num_classes": classes, "dtype": d.dtype}


@recipe("data.balanced_indices")
def balanced(d):
    return {"labels": labels(d, d.integer(1, 8)), "size": d.choice((None, 0, 30)), "rng": 1}


@recipe("data.stratified_split")
def split(d):
    return {"labels": np.repeat(np.arange(d.integer(1, 5)), 10), "test_fraction": 0.3, "rng": 1}


@recipe("data.batches")
def batches(d):
    n = d.integer(1, 20)
    return {
        "arrays": [d.array(n, 3), d.array(n)],
        "batch_size": d.integer(1, 25),
        "rng": d.choice((None, 1)),
        "drop_last": d.chance(0.5),
    }


@recipe("data.normalize")
def normalize(d):
    images = d.rng.integers(0, 256, d.image_shape())
    return {"images": np.asarray(images, np.uint8), "max_value": 255, "dtype": d.dtype}


@recipe("data.Standardizer")
def standardizer(d):
    x = (3, *d.image_shape(batched=False))
    return {"images": d.array(*x), "others": d.array(*x), "per": d.choice(("channel", "feature"))}


@recipe("data.random_shift")
def random_shift(d):
    return {"images": d.array(2, 3, 6, 7), "max_shift": d.integer(0, 5), "rng": 1, "fill": 0.0}


@recipe("data.random_flip")
def random_flip(d):
    return {"images": d.array(*d.image_shape(batched=True)), "rng": 1, "p": 0.5}


def weight_shape(d):
    return tuple(d.integer(1, 9) for _ in range(d.integer(2, 4)))


@recipe("init.kaiming_normal", "init.kaiming_uniform")
def kaiming(d):
    return {
        "shape": weight_shape(d),
        "a": d.choice((0.0, 0.5)),
        "mode": d.choice(("fan_in", "fan_out")),
        "nonlinearity": d.choice(("leaky_relu", "relu", "tanh")),
        "dtype": d.dtype,
        "rng": 0,
    }


@recipe("init.xavier_normal", "init.xavier_uniform")
def xavier(d):
    return {"shape": weight_shape(d), "gain": 1.5, "dtype": d.dtype, "rng": 0}


@recipe("init.default_weight")
def default_weight(d):
    return {"shape": weight_shape(d), "dtype": d.dtype, "rng": 0}


@recipe("init.default_bias")
def default_bias(d):
    return {"weight_shape": weight_shape(d), "dtype": d.dtype, "rng": 0}


@recipe("init.calculate_fan_in_and_fan_out")
def fans(d):
    return {"shape": weight_shape(d)}


@recipe("init.calculate_gain")
def gain(d):
    return {
        "nonlinearity": d.choice(("relu", "tanh", "leaky_relu")),
        "param": d.choice((None, 0.2)),
    }
