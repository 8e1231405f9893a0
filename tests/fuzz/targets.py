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
from fastconv import Tensor, autograd, data, init, nn, optim, reference
from fastconv import functional as F
from fastconv._tape import Op

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
    "autograd.Node": "made by calls of ops alone",
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
    packages = {"": fastconv, "autograd.": autograd, "functional.": F, "nn.": nn,
                "nn.models.": nn.models, "optim.": optim, "data.": data, "init.": init}  # fmt: skip
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
        elif isinstance(thing, Op):
            call = _op(thing, MUTATES.get(name, ()))
        else:
            call = USES.get(name, thing)
        same = getattr(reference, short, None) if name.startswith("functional.") else None
        found[name] = Target(call, same, MUTATES.get(name, ()))
    return found


# ---- how classes and context managers are used


def _op(op, mutates):
    """An op called with arrays and then, on the tape, with Tensors: the bits must be the same."""

    def use(**arguments):
        result = op(**arguments)
        random = "rng" in op.parameters and not isinstance(arguments.get("rng"), int)
        packed = isinstance(arguments.get("weight"), F.PackedWeight)  # has no gradient
        written = any(arguments.get(name) is not None for name in mutates)
        if not (random or packed or written):
            _taped(op, arguments, result)
        return result

    return use


def _taped(op, arguments, result):
    if op.sequence:
        operands = [Tensor(array, requires_grad=True) for array in arguments["arrays"]]
        recorded = op(**{**arguments, "arrays": operands})
    else:
        wanted = {
            name: Tensor(value, requires_grad=True)
            for name, value in arguments.items()
            if name in op.rule.operands and value is not None
        }
        operands = wanted.values()
        recorded = op(**{**arguments, **wanted})
    first, output = (r[0] if isinstance(r, tuple) else r for r in (result, recorded))
    assert output.data.tobytes() == np.asarray(first).tobytes(), "Tensors give other bits"
    output.backward(np.ones(output.shape))
    for operand in operands:
        _check_gradient(operand)


def _check_gradient(tensor):
    found = (tensor.grad.shape, tensor.grad.dtype)
    assert found == (tensor.shape, tensor.dtype), f"the gradient of {tensor.shape} is {found}"


def _pass(module, input, grad_output, training):
    """Forward, backward and state of a module."""
    module.train(training)
    output = module(input)
    grad = np.ones(output.shape) if grad_output is None else grad_output
    if output.requires_grad:
        output.backward(grad)
    image = Tensor(input, requires_grad=True)
    module(image).backward(grad)
    _check_gradient(image)
    module.load_state_dict(module.state_dict())
    repr(module)
    with nn.no_grad(), nn.packed(module):
        again = module(input)
    return output.data, image.grad, again.data


def _layer(kind):
    def use(*, input, grad_output=None, training=True, layers=(), **options):
        return _pass(kind(*layers, **options), input, grad_output, training)

    return use


def _loss(kind):
    def use(*, input, target, grad_output=None, **options):
        scores = Tensor(input, requires_grad=True)
        loss = kind(**options)(scores, target)
        loss.backward(grad_output)
        _check_gradient(scores)
        return loss.data, scores.grad

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
    with nn.no_grad(), nn.packed(nn.Sequential(layer)):
        pass


def _unpooling(kind):
    def use(*, input, indices, output_size=None, **options):
        layer = kind(**options)
        image = Tensor(input, requires_grad=True)
        output = layer(image, indices, output_size)
        output.backward(np.ones(output.shape))
        _check_gradient(image)
        repr(layer)
        return output.data, image.grad

    return use


@contextlib.contextmanager
def _as_others():
    """What lists and NumPy refuse in their own way, and warn of."""
    with np.errstate(all="ignore"):
        try:
            yield
        except (IndexError, OverflowError) as error:
            raise ValueError(error) from error


def _module_list(*, modules, more, at):
    found = nn.ModuleList(modules)
    found.append(more)
    with _as_others():
        found[at] = found[-1]
    return _held(found), repr(found[:2])


def _module_dict(*, modules, more, at):
    found = nn.ModuleDict(modules)
    found[at] = more
    return _held(found), list(found), at in found


def _held(container):
    container.load_state_dict(container.state_dict())
    container.eval().zero_grad()
    return [name for name, _ in container.named_parameters()], repr(container), len(container)


#: what a Tensor can do, but for going back, which is done with what comes of it
METHODS = frozenset(
    name
    for name in {*vars(Tensor), *dir(Tensor)}
    if callable(getattr(Tensor, name)) and (name[0] != "_" or name in vars(Tensor))
) - {"__init__", "backward", "exposed", "written", "owner"}


def _tensor(*, array, requires_grad, method, arguments):
    tensor = Tensor(array, requires_grad)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"no method {method!r}")
    with _as_others():
        result = getattr(tensor, method)(*arguments)
    if isinstance(result, Tensor):
        if result.requires_grad:
            result.backward(np.ones(result.shape))
            _check_gradient(tensor)
        return result.data
    return None


def _checkpoint(*, function, inputs):
    tensors, plain = ([Tensor(a, requires_grad=True) for a in inputs] for _ in range(2))
    with _as_others():
        outputs = autograd.checkpoint(function, *tensors), function(*plain)
    for output in outputs:
        output.backward(np.ones(output.shape))
    for a, b in zip(tensors, plain, strict=True):
        same = a.grad is b.grad is None or a.grad.tobytes() == b.grad.tobytes()
        assert same, "checkpoints change gradients"
    return outputs[0].data


def _registered(*, forward, gradients, input):
    op = autograd.register(forward, **gradients)
    tensor = Tensor(input, requires_grad=True)
    with _as_others():
        output = op(tensor)
    output.backward(np.ones(output.shape))
    _check_gradient(tensor)
    return output.data


USES = {
    **dict.fromkeys(("Tensor", "autograd.Tensor"), _tensor),
    **dict.fromkeys(("no_grad", "autograd.no_grad"), _entered(fastconv.no_grad)),
    "autograd.checkpoint": _checkpoint,
    "autograd.register": _registered,
    "nn.ModuleList": _module_list,
    "nn.ModuleDict": _module_dict,
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
