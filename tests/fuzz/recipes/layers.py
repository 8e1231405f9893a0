"""Linear layers, batch norm, dropout and flatten."""

import numpy as np

from fuzz.recipes.common import module, recipe, shape


def matrices(d):
    """Shapes of input, weight and output."""
    i, o = d.integer(1, 40), d.integer(1, 40)
    rows = tuple(d.integer(0 if d.chance(0.03) else 1, 6) for _ in range(d.choice((0, 1, 1, 2))))
    return (*rows, i), (o, i), (*rows, o)


@recipe("functional.linear")
def linear(d):
    x, w, _ = matrices(d)
    bias = d.array(w[0]) if d.chance(0.5) else None
    return {"input": d.array(*x), "weight": d.array(*w), "bias": bias}


@recipe("functional.linear_backward")
def linear_backward(d):
    x, w, y = matrices(d)
    return {"grad_output": d.array(*y), "input": d.array(*x), "weight": d.array(*w)}


@recipe("nn.Linear")
def linear_layer(d):
    x, w, _ = matrices(d)
    options = {"in_features": w[1], "out_features": w[0], "bias": d.chance(0.5)}
    return {**options, "dtype": d.dtype, "rng": 0, **module(d, x)}


def normed(d):
    n, *rest = d.image_shape(batched=True)
    return (max(n, 2), *rest[: d.integer(1, 3)])


@recipe("functional.batch_norm")
def batch_norm(d):
    x = normed(d)
    vectors = {name: d.array(x[1]) if d.chance(0.7) else None for name in ("weight", "bias")}
    mean, var = d.array(x[1]), np.abs(d.array(x[1])) + d.dtype(1)
    return {
        "input": d.array(*x),
        "running_mean": mean,
        "running_var": var,
        **vectors,
        "training": d.chance(0.5),
        "momentum": d.choice((0.1, 0.0, 1.0)),
        "eps": d.choice((1e-5, 0.1)),
        "activation": d.choice((None, "relu")),
        "return_statistics": d.chance(0.5),
    }


@recipe("functional.batch_norm_backward")
def batch_norm_backward(d):
    x = normed(d)
    return {
        "grad_output": d.array(*x),
        "input": d.array(*x),
        "weight": d.array(x[1]) if d.chance(0.7) else None,
        "mean": d.array(x[1]),
        "invstd": np.abs(d.array(x[1])) + d.dtype(0.5),
        "training": d.chance(0.5),
    }


@recipe("nn.BatchNorm2d")
def batch_norm_layer(d):
    x = normed(d)
    return {
        "num_features": x[1],
        "eps": 1e-5,
        "momentum": d.choice((0.1, None)),
        "affine": d.chance(0.7),
        "track_running_stats": d.chance(0.7),
        "dtype": d.dtype,
        **module(d, x),
    }


@recipe("functional.dropout")
def dropout(d):
    p, return_mask = d.choice((0.0, 0.3, 1.0)), d.chance(0.5)
    options = {"p": p, "training": d.chance(0.7), "rng": 5, "return_mask": return_mask}
    return {"input": d.array(*shape(d)), **options}


@recipe("functional.dropout_backward")
def dropout_backward(d):
    s = shape(d)
    mask = np.asarray(d.rng.random(s) > 0.5)
    return {"grad_output": d.array(*s), "mask": mask, "p": d.choice((0.0, 0.3, 1.0))}


@recipe("nn.Dropout")
def dropout_layer(d):
    return {"p": d.choice((0.0, 0.3, 1.0)), "rng": 5, **module(d, shape(d))}


@recipe("functional.flatten")
def flatten(d):
    return {"input": d.array(*d.image_shape()), "start_dim": d.choice((0, 1, -3)), "end_dim": -1}


@recipe("functional.flatten_backward")
def flatten_backward(d):
    x = d.image_shape(batched=True)
    grad = d.array(x[0], x[1] * x[2] * x[3])
    return {"grad_output": grad, "input_shape": x, "channels_last": d.chance(0.5)}


@recipe("nn.Flatten")
def flatten_layer(d):
    return {"start_dim": d.choice((0, 1, -3)), "end_dim": -1, **module(d, d.image_shape())}
