"""Transposed convolution: any geometry that leaves an output."""

from fuzz.recipes.common import module, recipe


def transposed(d, ndim):
    """(input shape, weight shape, options, output shape)."""
    groups, inputs, filters = d.choice(
        (
            lambda: (1, d.integer(1, 20), d.integer(1, 20)),
            lambda: (d.integer(1, 4), d.integer(1, 6), d.integer(1, 6)),
            lambda: (d.integer(1, 33), 1, d.integer(1, 2)),
        )
    )()
    size, kernel, stride, padding, dilation, extra, out = ([] for _ in range(7))
    for _ in range(ndim):
        k, s, r = d.integer(1, 5), d.integer(1, 4), 1 if d.chance(0.7) else d.integer(2, 3)
        n, e = d.integer(1, 12 if ndim < 3 else 5), d.integer(0, max(s, r) - 1)
        full = (n - 1) * s + r * (k - 1) + 1 + e
        sides = (d.integer(0, min(3, (full - 1) // 2)), d.integer(0, min(3, (full - 1) // 2)))
        for values, value in zip(
            (size, kernel, stride, padding, dilation, extra, out),
            (n, k, s, sides, r, e, full - sum(sides)),
            strict=True,
        ):
            values.append(value)
    batch = d.choice(((), (1,), (2,), (3,))) if d.chance(0.97) else (0,)
    options = {
        "stride": tuple(stride),
        "padding": tuple(padding),
        "output_padding": tuple(extra),
        "groups": groups,
        "dilation": tuple(dilation),
    }
    weight = (groups * inputs, filters, *kernel)
    return (*batch, groups * inputs, *size), weight, options, (*batch, groups * filters, *out)


def forward(ndim):
    def make(d):
        x, w, options, y = transposed(d, ndim)
        arguments = {"input": d.array(*x), "weight": d.array(*w), **options}
        if d.chance(0.5):
            arguments["bias"] = d.array(w[1] * options["groups"])
        arguments["activation"] = d.choice((None, "relu"))
        arguments["algorithm"] = d.choice(("auto", "direct"))
        if d.chance(0.3):
            arguments["out"] = d.array(*y)
        return arguments

    return make


def pack(ndim):
    def make(d):
        _, w, options, _ = transposed(d, ndim)
        packed = {name: options[name] for name in ("stride", "groups", "dilation")}
        return {"weight": d.array(*w), **packed}

    return make


def backward_input(ndim):
    def make(d):
        x, w, options, y = transposed(d, ndim)
        return {"grad_output": d.array(*y), "weight": d.array(*w), "input_shape": x, **options}

    return make


def backward_weight(ndim):
    def make(d):
        x, w, options, y = transposed(d, ndim)
        return {"grad_output": d.array(*y), "input": d.array(*x), "weight_shape": w, **options}

    return make


def backward_bias(ndim):
    def make(d):
        return {"grad_output": d.array(*transposed(d, ndim)[3])}

    return make


def layer(ndim):
    def make(d):
        x, w, options, _ = transposed(d, ndim)
        sizes = {
            "in_channels": w[0],
            "out_channels": w[1] * options["groups"],
            "kernel_size": w[2:],
        }
        more = {"bias": d.chance(0.5), "dtype": d.dtype, "rng": 0}
        return {**sizes, **options, **more, **module(d, x)}

    return make


for axes in (1, 2, 3):
    name = f"functional.conv_transpose{axes}d"
    recipe(name)(forward(axes))
    recipe(f"functional.pack_conv_transpose{axes}d_weight")(pack(axes))
    recipe(f"{name}_backward_input")(backward_input(axes))
    recipe(f"{name}_backward_weight")(backward_weight(axes))
    recipe(f"{name}_backward_bias")(backward_bias(axes))
    recipe(f"nn.ConvTranspose{axes}d")(layer(axes))
