"""Pooling: any geometry that fits, over one to three axes."""

import numpy as np

from fastconv import functional as F
from fuzz.recipes.common import module, recipe


def sizes(d, axes):
    """(N, C, ...) or (C, ...)."""
    batch = () if d.chance(0.3) else (d.integer(0 if d.chance(0.05) else 1, 3),)
    return (*batch, d.integer(1, 9), *(d.integer(1, 20 if axes < 3 else 9) for _ in range(axes)))


def each(d, axes, low, high):
    """An option of every axis: one number, or one for each."""
    if d.chance(0.3):
        return d.integer(low, high)
    return tuple(d.integer(low, high) for _ in range(axes))


def pooling(d, axes, *, dilated):
    """(input shape, options)."""
    kernel, dilation, padding, size = [], [], [], []
    for _ in range(axes):
        k, r = d.integer(1, 4), d.integer(1, 3) if dilated else 1
        most = (r * (k - 1) + 1) // 2
        p = d.integer(0, most), d.integer(0, most)
        kernel.append(k)
        dilation.append(r)
        padding.append(p)
        size.append(max(1, r * (k - 1) + 1 - sum(p)) + d.integer(0, 20 if axes < 3 else 7))
    if d.chance(0.2):
        size = [n + sum(p) for n, p in zip(size, padding, strict=True)]
        padding = d.choice(("same", "same_lower", "valid", 0))
    elif d.chance(0.3):
        padding = [p for pair in padding for p in pair]
    options = {
        "kernel_size": tuple(kernel),
        "stride": None if d.chance(0.3) else each(d, axes, 1, 4),
        "padding": tuple(padding) if isinstance(padding, list) else padding,
        "ceil_mode": d.chance(0.3),
    }
    if dilated:
        options["dilation"] = tuple(dilation)
    return (*sizes(d, axes)[:-axes], *size), options


def divisor(d, axes):
    options = {"count_include_pad": d.chance(0.5)}
    if axes > 1:
        options["divisor_override"] = d.choice((None, None, 3, -2))
    return options


def p_norm(d, axes):
    """(input shape, options)."""
    x, options = pooling(d, axes, dilated=False)
    del options["padding"]
    x = (*x[:-axes], *(n + 4 for n in x[-axes:]))
    norm_type = d.choice((1, 2, 4.0, 0.5, float("inf"), float("-inf")))
    return x, {"norm_type": norm_type, **options}


def unpooling(d, axes):
    """(input shape, indices, options)."""
    kernel, stride = each(d, axes, 1, 4), None if d.chance(0.5) else each(d, axes, 1, 3)
    x = sizes(d, axes)
    steps = kernel if stride is None else stride
    out = 1
    for i in range(axes):
        k, s = (v[i] if isinstance(v, tuple) else v for v in (kernel, steps))
        out *= (x[i - axes] - 1) * s + k
    indices = np.array([d.integer(0, out - 1) for _ in range(16)])
    return x, np.resize(indices, x), {"kernel_size": kernel, "stride": stride}


def add_recipes(axes):
    """Of every function and layer over this many axes."""
    ops = {
        name: f"{name}_pool{axes}d"
        for name in ("max", "avg", "lp", "adaptive_max", "adaptive_avg", "global_max", "global_avg")
    }

    @recipe(f"functional.{ops['max']}")
    def max_pool(d):
        x, options = pooling(d, axes, dilated=True)
        return {"input": d.array(*x), **options, "return_indices": d.chance(0.5)}

    @recipe(*(f"functional.{ops[name]}_backward" for name in ("max", "adaptive_max", "global_max")))
    def max_backward(d):
        x, options = pooling(d, axes, dilated=True)
        output, indices = getattr(F, ops["max"])(d.array(*x), **options, return_indices=True)
        return {"grad_output": d.array(*output.shape), "indices": indices, "input_shape": x}

    @recipe(f"functional.{ops['avg']}")
    def avg_pool(d):
        x, options = pooling(d, axes, dilated=False)
        return {"input": d.array(*x), **options, **divisor(d, axes)}

    @recipe(f"functional.{ops['avg']}_backward")
    def avg_backward(d):
        x, options = pooling(d, axes, dilated=False)
        grad = d.array(*getattr(F, ops["avg"])(d.array(*x), **options).shape)
        return {"grad_output": grad, "input_shape": x, **options, **divisor(d, axes)}

    @recipe(f"functional.{ops['lp']}")
    def lp_pool(d):
        x, options = p_norm(d, axes)
        return {"input": d.array(*x), **options}

    @recipe(f"functional.{ops['lp']}_backward")
    def lp_backward(d):
        shape, options = p_norm(d, axes)
        x = d.array(*shape)
        grad = d.array(*getattr(F, ops["lp"])(x, **options).shape)
        return {"grad_output": grad, "input": x, **options}

    @recipe(f"functional.{ops['adaptive_avg']}", f"functional.{ops['adaptive_max']}")
    def adaptive(d):
        return {"input": d.array(*sizes(d, axes)), "output_size": each(d, axes, 1, 9)}

    @recipe(f"functional.{ops['adaptive_avg']}_backward")
    def adaptive_backward(d):
        x = sizes(d, axes)
        y = (*x[:-axes], *(d.integer(1, 9) for _ in range(axes)))
        return {"grad_output": d.array(*y), "input_shape": x}

    @recipe(f"functional.{ops['global_avg']}_backward")
    def global_backward(d):
        x = sizes(d, axes)
        return {"grad_output": d.array(*x[:-axes], *(1,) * axes), "input_shape": x}

    @recipe(f"functional.{ops['global_avg']}", f"functional.{ops['global_max']}")
    def image(d):
        return {"input": d.array(*sizes(d, axes))}

    @recipe(f"functional.max_unpool{axes}d", f"nn.MaxUnpool{axes}d")
    def max_unpool(d):
        x, indices, options = unpooling(d, axes)
        return {"input": d.array(*x), "indices": indices, **options}

    @recipe(f"functional.max_unpool{axes}d_backward")
    def max_unpool_backward(d):
        x, options = pooling(d, axes, dilated=True)
        _, indices = getattr(F, ops["max"])(d.array(*x), **options, return_indices=True)
        return {"grad_output": d.array(*x), "indices": indices}

    @recipe(f"nn.MaxPool{axes}d")
    def max_layer(d):
        x, options = pooling(d, axes, dilated=True)
        return {**options, **module(d, x)}

    @recipe(f"nn.AvgPool{axes}d")
    def avg_layer(d):
        x, options = pooling(d, axes, dilated=False)
        return {**options, **divisor(d, axes), **module(d, x)}

    @recipe(f"nn.LPPool{axes}d")
    def lp_layer(d):
        x, options = p_norm(d, axes)
        return {**options, **module(d, x)}

    @recipe(f"nn.GlobalAvgPool{axes}d", f"nn.GlobalMaxPool{axes}d")
    def global_layer(d):
        return module(d, sizes(d, axes))

    @recipe(f"nn.AdaptiveAvgPool{axes}d", f"nn.AdaptiveMaxPool{axes}d")
    def adaptive_layer(d):
        return {"output_size": each(d, axes, 1, 9), **module(d, sizes(d, axes))}


for number in (1, 2, 3):
    add_recipes(number)
