"""Pooling: any geometry that fits."""

from fastconv import functional as F
from fuzz.recipes.common import module, recipe


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


def along_one_axis(x, options):
    """The pooling along its last axis alone."""
    last = {name: v[1] if isinstance(v, tuple) else v for name, v in options.items()}
    return (*x[:-2], x[-1]), last


@recipe("functional.max_pool1d")
def max_pool1d(d):
    x, options = along_one_axis(*pooling(d, dilated=True))
    return {"input": d.array(*x), **options, "return_indices": d.chance(0.5)}


@recipe("functional.max_pool1d_backward")
def max_pool1d_backward(d):
    x, options = along_one_axis(*pooling(d, dilated=True))
    output, indices = F.max_pool1d(d.array(*x), **options, return_indices=True)
    return {"grad_output": d.array(*output.shape), "indices": indices, "input_shape": x}


@recipe("functional.avg_pool1d")
def avg_pool1d(d):
    x, options = along_one_axis(*pooling(d, dilated=False))
    return {"input": d.array(*x), **options, "count_include_pad": d.chance(0.5)}


@recipe("functional.avg_pool1d_backward")
def avg_pool1d_backward(d):
    x, options = along_one_axis(*pooling(d, dilated=False))
    grad = d.array(*F.avg_pool1d(d.array(*x), **options).shape)
    include = d.chance(0.5)
    return {"grad_output": grad, "input_shape": x, **options, "count_include_pad": include}


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


@recipe("nn.MaxPool1d")
def max_pool1d_layer(d):
    x, options = along_one_axis(*pooling(d, dilated=True))
    return {**options, **module(d, x)}


@recipe("nn.AvgPool1d")
def avg_pool1d_layer(d):
    x, options = along_one_axis(*pooling(d, dilated=False))
    return {**options, "count_include_pad": d.chance(0.5), **module(d, x)}


@recipe("nn.AvgPool2d")
def avg_pool_layer(d):
    x, options = pooling(d, dilated=False)
    return {**options, **divisor(d), **module(d, x)}


@recipe("nn.AdaptiveAvgPool2d", "nn.AdaptiveMaxPool2d")
def adaptive_layer(d):
    return {"output_size": d.pair(1, 9), **module(d, d.image_shape())}
