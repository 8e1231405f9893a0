"""Every public function, and a well-formed call of each.

What is public is looked up, so that a function added later is found; `tests/test_fuzz.py` fails
until it has a recipe here, or stands in `LEFT_OUT`.
"""

import contextlib
import io
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import fastconv
from fastconv import data, init, nn, optim, reference
from fastconv import functional as F

#: what is not called here, and where it is tested
LEFT_OUT = {
    **dict.fromkeys(
        ("data.load_digits", "data.load_fashion_mnist", "data.load_images", "data.load_mnist",
         "data.read_idx"),
        "reads files: damaged ones have tests of their own",
    ),
    **dict.fromkeys(
        ("nn.Module", "nn.Loss", "optim.Optimizer", "optim.LRScheduler"),
        "a base class: its methods are called on what derives from it",
    ),
    **dict.fromkeys(
        ("nn.Conv1d", "nn.AvgPool1d", "nn.MaxPool1d"),
        "made of the same code as its sibling in two dimensions",
    ),
    "nn.IncompatibleKeys": "a named tuple",
    "nn.models.vgg11": "a second to build: its layers are called one by one",
    "nn.models.resnet18": "a second to build",
    "nn.models.mobilenet": "a second to build",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A public function, as something to be called with keywords alone."""

    call: Callable
    reference: Callable | None = None
    mutates: tuple[str, ...] = ()  # arguments that it changes in place


RECIPES = {}  # name of a target -> what draws its arguments


def recipe(*names):
    def enter(function):
        for name in names:
            RECIPES[name] = function
        return function

    return enter


def public():
    """(name, object) of everything that the package shows to its users."""
    rooms = {"": fastconv, "functional.": F, "nn.": nn, "nn.models.": nn.models,
             "optim.": optim, "data.": data, "init.": init}  # fmt: skip
    for prefix, room in rooms.items():
        for name in room.__all__:
            if not isinstance(getattr(room, name), types.ModuleType):
                yield prefix + name, getattr(room, name)


def targets():
    """Every target by its name."""
    found = {}
    for name, thing in public():
        if name in LEFT_OUT:
            continue
        short = name.rpartition(".")[2]
        if isinstance(thing, type) and name in USES:
            call = USES[name]
        elif isinstance(thing, type) and issubclass(thing, nn.Loss):
            call = _loss(thing)
        elif isinstance(thing, type) and issubclass(thing, nn.Module):
            call = _layer(thing)
        elif isinstance(thing, type) and issubclass(thing, optim.Optimizer):
            call = _optimizer(thing)
        else:
            call = USES.get(name, thing)
        same = getattr(reference, short, None) if name.startswith("functional.") else None
        found[name] = Target(call, same, MUTATES.get(name, ()))
    return found


# ---- how things that are no plain functions are used

MUTATES = {
    "functional.batch_norm": ("running_mean", "running_var"),
    "nn.Parameter": ("data",),
    "optim.SGD": ("data", "buffers"),
    "optim.Adam": ("data", "buffers"),
    "optim.AdamW": ("data", "buffers"),
    "optim.RMSprop": ("data", "buffers"),
    "optim.StepLR": ("data",),
    "optim.CosineAnnealingLR": ("data",),
    "optim.clip_grad_norm": ("grad",),
    "optim.clip_grad_value": ("grad",),
    **dict.fromkeys(
        ("functional.conv2d", "functional.conv2d_backward_input",
         "functional.conv2d_backward_weight"), ("out",),
    ),
}  # fmt: skip


def _pass(module, input, grad_output, training):
    """Forward, backward and state of a module."""
    module.train(training)
    output = module(input)
    grad = np.ones_like(output) if grad_output is None else grad_output
    grad_input = module.backward(grad)
    module.backward_parameters(grad)
    module.load_state_dict(module.state_dict())
    repr(module)
    with nn.no_grad(), nn.packed(module):
        again = module(input)
    return output, grad_input, again


def _layer(kind):
    def use(*, input, grad_output=None, training=True, layers=(), **options):
        return _pass(kind(*layers, **options), input, grad_output, training)

    return use


def _loss(kind):
    def use(*, input, target, grad_output=None, **options):
        loss = kind(**options)
        value = loss(input, target)
        return value, loss.backward(*([] if grad_output is None else [grad_output]))

    return use


def _parameter(array, grad):
    parameter = nn.Parameter(array)
    parameter.grad = grad
    return parameter


def _optimizer(kind):
    def use(*, data, grad, state=None, **options):
        optimizer = kind([_parameter(data, grad)], **options)
        for _ in range(2):
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict() if state is None else state)
        optimizer.step()
        repr(optimizer)
        return data

    return use


def _scheduler(kind):
    def use(*, data, grad, steps, state=None, **options):
        schedule = kind(optim.SGD([_parameter(data, grad)], lr=0.1), **options)
        for _ in range(min(steps, 20)):
            schedule.step()
        schedule.load_state_dict(schedule.state_dict() if state is None else state)
        return schedule.optimizer.lr

    return use


def _entered(manager):
    def use(*args, **options):
        with manager(*args, **options):
            pass

    return use


def _accumulated(*, data, grads):
    parameter = nn.Parameter(data)
    for grad in grads:
        parameter.accumulate(grad)
    return parameter.shape, parameter.size, repr(parameter), parameter.grad


def _silent(**options):
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        fastconv.show_config(**options)
    return len(shown.getvalue())


def _drained(*, arrays, **options):
    return [batch for _, batch in zip(range(20), data.batches(*arrays, **options), strict=False)]


def _standardized(*, images, others, per):
    return data.Standardizer(per).fit(images).transform(others)


def _packed(*, weight, groups):
    layer = nn.Conv2d(groups, groups, 1, groups=groups)
    layer.weight.data = weight
    with nn.packed(nn.Sequential(layer)):
        pass


USES = {
    "show_config": _silent,
    "threads": _entered(fastconv.threads),
    "accuracy": _entered(fastconv.accuracy),
    "nn.no_grad": _entered(nn.no_grad),
    "nn.packed": _packed,
    "nn.Parameter": _accumulated,
    "nn.models.lenet5": lambda *, input, **options: _pass(
        nn.models.lenet5(**options), input, None, True
    ),
    "optim.StepLR": _scheduler(optim.StepLR),
    "optim.CosineAnnealingLR": _scheduler(optim.CosineAnnealingLR),
    "optim.clip_grad_norm": lambda *, grad, **options: optim.clip_grad_norm(
        [_parameter(np.zeros(1), grad)], **options
    ),
    "optim.clip_grad_value": lambda *, grad, **options: optim.clip_grad_value(
        [_parameter(np.zeros(1), grad)], **options
    ),
    "data.batches": _drained,
    "data.Standardizer": _standardized,
}


# ---- settings


@recipe("get_num_threads", "get_accuracy", "get_include", "get_memory_cache", "show_config",
        "nn.no_grad", "nn.is_grad_enabled")  # fmt: skip
def nothing(d):
    return {}


@recipe("set_num_threads", "threads")
def thread_count(d):
    return {"n": d.integer(1, 8)}


@recipe("set_accuracy", "accuracy")
def accuracy(d):
    return {"mode": d.choice(("fast", "strict"))}


@recipe("set_memory_cache")
def memory_cache(d):
    return {"nbytes": d.choice((0, 2**20, 2**28))}


# ---- convolution


def convolution(d):
    """(input shape, weight shape, options, output shape)."""
    groups, per_group, filters = d.choice(
        (
            lambda: (1, d.integer(1, 12), d.integer(1, 20)),
            lambda: (d.integer(1, 4), d.integer(1, 6), d.integer(1, 6)),
            lambda: (d.integer(1, 33), 1, d.integer(1, 2)),
            lambda: (1, d.choice((16, 32)), d.choice((16, 32))),
        )
    )()
    kernel = d.choice(((1, 1), (3, 3), (d.integer(1, 5), d.integer(1, 5))))
    stride, dilation = (1, 1) if d.chance(0.5) else (d.pair(1, 4), d.pair(1, 3))
    sides = [d.integer(0, 3) for _ in range(4)]
    padding = sides
    match d.integer(0, 4):
        case 0:
            padding, sides = 0, [0] * 4
        case 1:
            padding, sides = sides[0], sides[:1] * 4
        case 2:
            padding, sides = tuple(sides[:2]), [sides[0], sides[0], sides[1], sides[1]]
        case 3:
            padding = (tuple(sides[:2]), tuple(sides[2:]))
        case _:
            padding = tuple(sides)
    if stride == 1 and d.chance(0.2):
        padding = "same"
    size, out = [], []
    pairs = (kernel, *(v if isinstance(v, tuple) else (v, v) for v in (stride, dilation)))
    for axis, (k, s, r) in enumerate(zip(*pairs, strict=True)):
        before, after = sides[2 * axis : 2 * axis + 2]
        if padding == "same":
            before, after = r * (k - 1) // 2, r * (k - 1) - r * (k - 1) // 2
        reach = r * (k - 1) + 1
        n = max(1, reach - before - after) + d.choice((d.integer(0, 12), d.integer(0, 30)))
        size.append(n)
        out.append((n + before + after - reach) // s + 1)
    batch = d.choice(((), (1,), (2,), (3,), (2,))) if d.chance(0.97) else (0,)
    weight = (groups * filters, per_group, *kernel)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (*batch, groups * per_group, *size), weight, options, (*batch, groups * filters, *out)


def algorithm(d, weight, options):
    plain = options["stride"] == 1 and options["dilation"] == 1 and options["groups"] == 1
    if plain and weight[2:] == (3, 3) and d.chance(0.5):
        return "winograd"
    return d.choice(("auto", "direct"))


@recipe("functional.conv2d")
def conv2d(d):
    x, w, options, y = convolution(d)
    weight = d.array(*w)
    arguments = {"input": d.array(*x), "weight": weight}
    if d.chance(0.5):
        arguments["bias"] = d.array(w[0])
    arguments |= options | {"algorithm": algorithm(d, w, options)}
    arguments["activation"] = d.choice((None, "relu"))
    if d.chance(0.3):
        arguments["out"] = d.array(*y)
    if d.chance(0.3):
        arguments["weight"] = F.pack_conv2d_weight(weight, options["groups"])
    return arguments


@recipe("functional.conv2d_backward_input")
def conv2d_backward_input(d):
    x, w, options, y = convolution(d)
    arguments = {"grad_output": d.array(*y), "weight": d.array(*w), "input_shape": x, **options}
    arguments["algorithm"] = algorithm(d, w, options)
    if d.chance(0.3):
        arguments["out"] = d.array(*x)
    return arguments


@recipe("functional.conv2d_backward_weight")
def conv2d_backward_weight(d):
    x, w, options, y = convolution(d)
    arguments = {"grad_output": d.array(*y), "input": d.array(*x), "weight_shape": w, **options}
    arguments["algorithm"] = algorithm(d, w, options)
    if d.chance(0.3):
        arguments["out"] = d.array(*w)
    return arguments


@recipe("functional.conv2d_backward_bias")
def conv2d_backward_bias(d):
    return {"grad_output": d.array(*d.image_shape())}


@recipe("functional.pack_conv2d_weight", "nn.packed")
def pack_conv2d_weight(d):
    _, w, options, _ = convolution(d)
    return {"weight": d.array(*w), "groups": options["groups"]}


@recipe("nn.Conv2d")
def conv2d_layer(d):
    x, w, options, _ = convolution(d)
    return {
        "in_channels": x[-3],
        "out_channels": w[0],
        "kernel_size": w[2:],
        **options,
        "bias": d.chance(0.5),
        "padding_mode": "zeros",
        "algorithm": algorithm(d, w, options),
        "dtype": d.dtype,
        "rng": 0,
        **module(d, x),
    }


# ---- pooling


def pooling(d, *, dilated):
    """(input shape, options, output shape)."""
    kernel, dilation, padding, size = [], [], [], []
    for _ in range(2):
        k, r = d.integer(1, 4), d.integer(1, 3) if dilated else 1
        p = d.integer(0, (r * (k - 1) + 1) // 2)
        kernel.append(k)
        dilation.append(r)
        padding.append(p)
        size.append(max(1, r * (k - 1) + 1 - 2 * p) + d.integer(0, 20))
    options = {
        "kernel_size": tuple(kernel),
        "stride": None if d.chance(0.3) else d.pair(1, 4),
        "padding": tuple(padding),
        "ceil_mode": d.chance(0.3),
    }
    if dilated:
        options["dilation"] = tuple(dilation)
    return (*d.image_shape()[:-2], *size), options


@recipe("functional.max_pool2d")
def max_pool2d(d):
    x, options = pooling(d, dilated=True)
    return {"input": d.array(*x), **options, "return_indices": d.chance(0.5)}


@recipe("functional.max_pool2d_backward", "functional.adaptive_max_pool2d_backward",
        "functional.global_max_pool2d_backward")  # fmt: skip
def max_pool2d_backward(d):
    x, options = pooling(d, dilated=True)
    output, indices = F.max_pool2d(d.array(*x), **options, return_indices=True)
    return {"grad_output": d.array(*output.shape), "indices": indices, "input_shape": x}


@recipe("functional.avg_pool2d")
def avg_pool2d(d):
    x, options = pooling(d, dilated=False)
    return {"input": d.array(*x), **options, **divisor(d)}


def divisor(d):
    return {
        "count_include_pad": d.chance(0.5),
        "divisor_override": d.choice((None, None, 3, -2)),
    }


@recipe("functional.avg_pool2d_backward")
def avg_pool2d_backward(d):
    x, options = pooling(d, dilated=False)
    grad = d.array(*F.avg_pool2d(d.array(*x), **options).shape)
    return {"grad_output": grad, "input_shape": x, **options, **divisor(d)}


@recipe("functional.adaptive_avg_pool2d", "functional.adaptive_max_pool2d")
def adaptive(d):
    return {"input": d.array(*d.image_shape()), "output_size": d.pair(1, 9)}


@recipe("functional.adaptive_avg_pool2d_backward")
def adaptive_backward(d):
    x = d.image_shape()
    y = (*x[:-2], d.integer(1, 9), d.integer(1, 9))
    return {"grad_output": d.array(*y), "input_shape": x}


@recipe("functional.global_avg_pool2d_backward")
def global_backward(d):
    x = d.image_shape()
    return {"grad_output": d.array(*x[:-2], 1, 1), "input_shape": x}


@recipe("functional.global_avg_pool2d", "functional.global_max_pool2d")
def image(d):
    return {"input": d.array(*d.image_shape())}


@recipe("nn.MaxPool2d")
def max_pool_layer(d):
    x, options = pooling(d, dilated=True)
    return {**options, **module(d, x)}


@recipe("nn.AvgPool2d")
def avg_pool_layer(d):
    x, options = pooling(d, dilated=False)
    return {**options, **divisor(d), **module(d, x)}


@recipe("nn.AdaptiveAvgPool2d", "nn.AdaptiveMaxPool2d")
def adaptive_layer(d):
    return {"output_size": d.pair(1, 9), **module(d, d.image_shape())}


# ---- elementwise


def shape(d):
    if d.chance(0.3):
        return d.image_shape()
    return tuple(d.integer(0 if d.chance(0.05) else 1, 9) for _ in range(d.integer(0, 5)))


@recipe("functional.relu", "functional.sigmoid", "functional.tanh", "functional.silu",
        "functional.softplus")  # fmt: skip
def elementwise(d):
    return {"input": d.array(*shape(d))}


@recipe("functional.relu_backward", "functional.silu_backward", "functional.softplus_backward")
def elementwise_backward(d):
    s = shape(d)
    return {"grad_output": d.array(*s), "input": d.array(*s)}


@recipe("functional.sigmoid_backward", "functional.tanh_backward")
def from_output(d):
    s = shape(d)
    return {"grad_output": d.array(*s), "output": d.array(*s) / 2}


@recipe("functional.add")
def add(d):
    s = shape(d)
    activation = d.choice((None, "relu"))
    return {"input": d.array(*s), "other": d.array(*s), "activation": activation}


@recipe("functional.leaky_relu")
def leaky_relu(d):
    return {**elementwise(d), "negative_slope": d.choice((0.01, 0.5, -1.0))}


@recipe("functional.leaky_relu_backward")
def leaky_relu_backward(d):
    return {**elementwise_backward(d), "negative_slope": d.choice((0.01, 0.5, -1.0))}


@recipe("functional.gelu")
def gelu(d):
    return {**elementwise(d), "approximate": d.choice(("none", "tanh"))}


@recipe("functional.gelu_backward")
def gelu_backward(d):
    return {**elementwise_backward(d), "approximate": d.choice(("none", "tanh"))}


@recipe("functional.softmax", "functional.log_softmax")
def softmax(d):
    s = shape(d) or (3,)
    return {"input": d.array(*s), "axis": d.integer(-len(s), len(s) - 1)}


@recipe("functional.softmax_backward", "functional.log_softmax_backward")
def softmax_backward(d):
    s = shape(d) or (3,)
    y = F.softmax(d.array(*s), axis=0)
    return {"grad_output": d.array(*s), "output": y, "axis": d.integer(-len(s), len(s) - 1)}


@recipe("nn.ReLU", "nn.Sigmoid", "nn.Tanh", "nn.SiLU", "nn.Identity")
def plain_layer(d):
    return module(d, shape(d))


@recipe("nn.GELU")
def gelu_layer(d):
    return {"approximate": d.choice(("none", "tanh")), **module(d, shape(d))}


@recipe("nn.LeakyReLU")
def leaky_layer(d):
    return {"negative_slope": d.choice((0.01, 0.5)), **module(d, shape(d))}


@recipe("nn.Softmax", "nn.LogSoftmax")
def softmax_layer(d):
    s = shape(d) or (3,)
    return {"dim": d.integer(-len(s), len(s) - 1), **module(d, s)}


@recipe("nn.GlobalAvgPool2d")
def global_layer(d):
    return module(d, d.image_shape())


# ---- linear, norms, dropout, flatten


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


# ---- losses


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


# ---- modules, models, optimisers


def module(d, input_shape):
    return {"input": d.array(*input_shape), "grad_output": None, "training": d.chance(0.7)}


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


# ---- data and initial weights


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


def unknown() -> Iterator[str]:
    """Public names without a recipe."""
    return (name for name, _ in public() if name not in RECIPES and name not in LEFT_OUT)
