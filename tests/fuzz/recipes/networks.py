"""Containers, parameters, models and optimisers."""

from fastconv import nn
from fuzz.recipes.common import module, recipe, shape


def small_layers(d, channels):
    return [
        nn.Conv2d(channels, channels, 3, padding=1, dtype=d.dtype, rng=0),
        nn.BatchNorm2d(channels, dtype=d.dtype),
        nn.ReLU(),
        d.choice((nn.Identity, nn.Sigmoid, nn.Tanh))(),
    ]


@recipe("nn.Sequential")
def sequential(d):
    x = (2, d.integer(1, 9), d.integer(2, 9), d.integer(2, 9))
    return {"layers": small_layers(d, x[1])[: d.integer(1, 4)], **module(d, x)}


@recipe("nn.Concat")
def concat(d):
    x = (2, d.integer(1, 9), d.integer(2, 9), d.integer(2, 9))
    return {"layers": small_layers(d, x[1])[: d.integer(1, 2)], **module(d, x)}


@recipe("nn.Residual")
def residual(d):
    x = (2, d.integer(1, 9), d.integer(2, 9), d.integer(2, 9))
    body, shortcut, *_ = small_layers(d, x[1])
    return {"body": body, "shortcut": d.choice((None, shortcut)), **module(d, x)}


@recipe("nn.ModuleList")
def module_list(d):
    modules = small_layers(d, 2)
    at = d.integer(-len(modules) - 1, len(modules))
    return {"modules": modules, "more": modules[0], "at": at}


@recipe("nn.ModuleDict")
def module_dict(d):
    first, *others = small_layers(d, 2)
    modules = {f"layer {i}": module for i, module in enumerate(others)}
    return {
        "modules": d.choice((modules, None)),
        "more": first,
        "at": d.choice(("layer 1", "last")),
    }


@recipe("nn.Parameter")
def parameter(d):
    s = shape(d)
    return {"data": d.array(*s), "grads": [d.array(*s) for _ in range(d.integer(1, 2))]}


@recipe("nn.models.lenet5")
def lenet5(d):
    size = d.choice((8, 8, 8, 28, 32))
    return {
        "num_classes": d.integer(1, 10),
        "in_channels": 1,
        "image_size": size,
        "width": 1,
        "batch_norm": d.chance(0.5),
        "dropout": d.choice((0.0, 0.5)),
        "dtype": d.dtype,
        "rng": 0,
        "input": d.array(2, 1, size, size),
    }


def learned(d):
    s = shape(d)
    return {"data": d.array(*s), "grad": d.array(*s)}


@recipe("optim.SGD")
def sgd(d):
    options = {"lr": 0.1, "momentum": d.choice((0.0, 0.9)), "dampening": 0.0, "weight_decay": 0.01}
    return {**learned(d), **options, "nesterov": options["momentum"] > 0 and d.chance(0.5)}


@recipe("optim.Adam", "optim.AdamW")
def adam(d):
    options = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": d.choice((0.0, 0.1))}
    return {**learned(d), **options}


@recipe("optim.RMSprop")
def rmsprop(d):
    options = {"lr": 0.1, "alpha": 0.9, "eps": 1e-8, "weight_decay": 0.1, "momentum": 0.5}
    return {**learned(d), **options, "centered": d.chance(0.5)}


@recipe("optim.StepLR")
def step_lr(d):
    return {**learned(d), "steps": d.integer(0, 9), "step_size": d.integer(1, 5), "gamma": 0.5}


@recipe("optim.CosineAnnealingLR")
def cosine_lr(d):
    return {**learned(d), "steps": d.integer(0, 9), "T_max": d.integer(1, 9), "eta_min": 0.01}


@recipe("optim.clip_grad_norm")
def clip_norm(d):
    grad = d.array(*shape(d))
    return {"grad": grad, "max_norm": 1.0, "norm_type": d.choice((1.0, 2.0, float("inf")))}


@recipe("optim.clip_grad_value")
def clip_value(d):
    return {"grad": d.array(*shape(d)), "clip_value": 1.0}
