"""Every public function, as something that can be called with keywords alone.

What is public is looked up, so that a function added later is found; `tests/test_fuzz.py` fails
until it has a recipe in `recipes`, or stands in `LEFT_OUT`.
"""

import contextlib
import inspect
import io
import types
from collections.abc import Callable
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
    "nn.IncompatibleKeys": "a named tuple",
    "nn.models.vgg11": "a second to build: its layers are called one by one",
    "nn.models.resnet18": "a second to build",
    "nn.models.mobilenet": "a second to build",
}  # fmt: skip

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
    **{
        f"functional.{name}": ("out",)
        for name in F.__all__
        if "out" in inspect.signature(getattr(F, name)).parameters
    },
}


@dataclass(frozen=True)
class Target:
    """A public function, as something to be called with keywords alone."""

    call: Callable
    reference: Callable | None = None
    mutates: tuple[str, ...] = ()  # arguments that it changes in place


def public():
    """(name, object) of everything that the package shows to its users."""
    packages = {"": fastconv, "functional.": F, "nn.": nn, "nn.models.": nn.models,
                "optim.": optim, "data.": data, "init.": init}  # fmt: skip
    for prefix, package in packages.items():
        for name in package.__all__:
            if not isinstance(getattr(package, name), types.ModuleType):
                yield prefix + name, getattr(package, name)


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


# ---- how classes and context managers are used


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


def _unpooling(kind):
    def use(*, input, indices, output_size=None, **options):
        layer = kind(**options)
        output = layer(input, indices, output_size)
        repr(layer)
        return output, layer.backward(np.ones_like(output))

    return use


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
    **{
        f"nn.{kind.__name__}": _unpooling(kind)
        for kind in (nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d)
    },
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
