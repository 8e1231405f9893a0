"""Losses."""

import numpy as np

from fastconv import functional as F
from fuzz.recipes.common import recipe, shape


def reduction(d):
    return d.choice(("mean", "sum", "none"))


def upstream(d, how, shape):
    return d.array(*shape) if how == "none" else d.choice((1.0, -0.5, d.dtype(2)))


@recipe("functional.mse_loss")
def mse_loss(d):
    s = shape(d)
    return {"input": d.array(*s), "target": d.array(*s), "reduction": reduction(d)}


@recipe("functional.mse_loss_backward")
def mse_loss_backward(d):
    arguments = mse_loss(d)
    return {
        "grad_output": upstream(d, arguments["reduction"], arguments["input"].shape),
        **arguments,
    }


@recipe("nn.MSELoss")
def mse_layer(d):
    arguments = mse_loss(d)
    if arguments["reduction"] == "none":
        arguments["grad_output"] = d.array(*arguments["input"].shape)
    return arguments


def labels_shape(x):
    return x[:1] + x[2:] if len(x) > 1 else ()


@recipe("functional.cross_entropy")
def cross_entropy(d):
    x = d.choice((d.image_shape(batched=True), (d.integer(1, 9), d.integer(1, 30)), (5,)))
    classes = x[0] if len(x) == 1 else x[1]
    if d.chance(0.7):
        target = d.rng.integers(0, classes, labels_shape(x))
        target = np.asarray(target, d.choice((np.int64, np.int64, np.int32, np.uint8)))
    else:
        target = F.softmax(d.array(*x), axis=0 if len(x) == 1 else 1)
    return {
        "input": d.array(*x),
        "target": target,
        "weight": np.abs(d.array(classes)) + d.dtype(0.5) if d.chance(0.4) else None,
        "ignore_index": -100,
        "reduction": reduction(d),
        "label_smoothing": d.choice((0.0, 0.0, 0.1)),
    }


@recipe("functional.cross_entropy_backward")
def cross_entropy_backward(d):
    arguments = cross_entropy(d)
    per_label = labels_shape(arguments["input"].shape)
    return {"grad_output": upstream(d, arguments["reduction"], per_label), **arguments}


@recipe("nn.CrossEntropyLoss")
def cross_entropy_layer(d):
    arguments = cross_entropy(d)
    if arguments["reduction"] == "none":
        arguments["grad_output"] = d.array(*labels_shape(arguments["input"].shape))
    return arguments


@recipe("functional.binary_cross_entropy_with_logits")
def binary_cross_entropy(d):
    s = shape(d)
    weights = {
        name: np.asarray(np.abs(d.array(*s[-1:]))) if d.chance(0.3) else None
        for name in ("weight", "pos_weight")
    }
    target = np.asarray(np.abs(d.array(*s)) / 2)
    return {"input": d.array(*s), "target": target, **weights, "reduction": reduction(d)}


@recipe("functional.binary_cross_entropy_with_logits_backward")
def binary_cross_entropy_backward(d):
    arguments = binary_cross_entropy(d)
    grad = upstream(d, arguments["reduction"], arguments["input"].shape)
    return {"grad_output": grad, **arguments}


@recipe("nn.BCEWithLogitsLoss")
def binary_layer(d):
    arguments = binary_cross_entropy(d)
    if arguments["reduction"] == "none":
        arguments["grad_output"] = d.array(*arguments["input"].shape)
    return arguments
