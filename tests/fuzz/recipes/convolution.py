"""Convolution: any geometry that fits."""

from fastconv import functional as F
from fuzz.recipes.common import module, recipe


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


def along_one_axis(x, w, options, y):
    """The convolution along its last axis alone."""
    last = {name: v[1] if isinstance(v, tuple) and name != "padding" else v
            for name, v in options.items()}  # fmt: skip
    match options["padding"]:
        case (tuple(), sides):
            last["padding"] = sides
        case (_, _, *sides) if sides:
            last["padding"] = tuple(sides)
        case (_, side):
            last["padding"] = side
    return (*x[:-2], x[-1]), (*w[:2], w[3]), last, (*y[:-2], y[-1])


@recipe("functional.conv1d")
def conv1d(d):
    x, w, options, y = along_one_axis(*convolution(d))
    arguments = {"input": d.array(*x), "weight": d.array(*w), **options}
    if d.chance(0.5):
        arguments["bias"] = d.array(w[0])
    arguments["activation"] = d.choice((None, "relu"))
    arguments["algorithm"] = d.choice(("auto", "direct"))
    if d.chance(0.3):
        arguments["out"] = d.array(*y)
    return arguments


@recipe("functional.conv1d_backward_input")
def conv1d_backward_input(d):
    x, w, options, y = along_one_axis(*convolution(d))
    return {"grad_output": d.array(*y), "weight": d.array(*w), "input_shape": x, **options}


@recipe("functional.conv1d_backward_weight")
def conv1d_backward_weight(d):
    x, w, options, y = along_one_axis(*convolution(d))
    return {"grad_output": d.array(*y), "input": d.array(*x), "weight_shape": w, **options}


@recipe("functional.conv1d_backward_bias")
def conv1d_backward_bias(d):
    return {"grad_output": d.array(*d.image_shape()[:-1])}


@recipe("functional.pack_conv2d_weight", "nn.packed")
def pack_conv2d_weight(d):
    _, w, options, _ = convolution(d)
    return {"weight": d.array(*w), "groups": options["groups"]}


def padding_mode(d, x, options):
    """One that these sizes allow."""
    if options["padding"] == "same" or min(x[-2:]) < 4:
        return d.choice(("zeros", "replicate"))
    return d.choice(("zeros", "reflect", "replicate", "circular"))  # at most 3 are added


@recipe("nn.Conv2d")
def conv2d_layer(d):
    x, w, options, _ = convolution(d)
    return {
        "in_channels": x[-3],
        "out_channels": w[0],
        "kernel_size": w[2:],
        **options,
        "bias": d.chance(0.5),
        "padding_mode": padding_mode(d, x, options),
        "algorithm": algorithm(d, w, options),
        "dtype": d.dtype,
        "rng": 0,
        **module(d, x),
    }


@recipe("nn.Conv1d")
def conv1d_layer(d):
    x, w, options, _ = along_one_axis(*convolution(d))
    sizes = {"in_channels": x[-2], "out_channels": w[0], "kernel_size": w[2]}
    return {**sizes, **options, "bias": d.chance(0.5), "dtype": d.dtype, "rng": 0, **module(d, x)}


def along_three_axes(d, x, w, options, y):
    """A planar convolution with a depth of its own."""
    kernel, stride, pad, dilation = (d.integer(1, 3), d.integer(1, 3), d.integer(0, 2), 1)
    if options["padding"] == "same":
        stride, size, out = 1, (n := d.integer(1, 6)), n
    else:
        size = max(1, kernel - 2 * pad) + d.integer(0, 5)
        out = (size + 2 * pad - kernel) // stride + 1
    three = {}
    for name, depth in (("stride", stride), ("dilation", dilation)):
        planar = options[name]
        three[name] = (depth, *(planar if isinstance(planar, tuple) else (planar, planar)))
    match options["padding"]:
        case str(same):
            three["padding"] = same
        case ((a, b), (e, f)):
            three["padding"] = ((pad, pad), (a, b), (e, f))
        case (a, b):
            three["padding"] = (pad, a, b)
        case (a, b, e, f):
            three["padding"] = (pad, pad, a, b, e, f)
        case one:
            three["padding"] = (pad, one, one)
    return (
        (*x[:-2], size, *x[-2:]),
        (*w[:2], kernel, *w[2:]),
        {**options, **three},
        (*y[:-2], out, *y[-2:]),
    )


@recipe("functional.conv3d")
def conv3d(d):
    x, w, options, y = along_three_axes(d, *convolution(d))
    weight = d.array(*w)
    arguments = {"input": d.array(*x), "weight": weight, **options}
    if d.chance(0.3):
        arguments["weight"] = F.pack_conv3d_weight(weight, options["groups"])
    if d.chance(0.5):
        arguments["bias"] = d.array(w[0])
    arguments["activation"] = d.choice((None, "relu"))
    if d.chance(0.3):
        arguments["out"] = d.array(*y)
    return arguments


@recipe("functional.conv3d_backward_input")
def conv3d_backward_input(d):
    x, w, options, y = along_three_axes(d, *convolution(d))
    return {"grad_output": d.array(*y), "weight": d.array(*w), "input_shape": x, **options}


@recipe("functional.conv3d_backward_weight")
def conv3d_backward_weight(d):
    x, w, options, y = along_three_axes(d, *convolution(d))
    return {"grad_output": d.array(*y), "input": d.array(*x), "weight_shape": w, **options}


@recipe("functional.conv3d_backward_bias")
def conv3d_backward_bias(d):
    return {"grad_output": d.array(*d.image_shape(), d.integer(1, 4))}


@recipe("nn.Conv3d")
def conv3d_layer(d):
    x, w, options, _ = along_three_axes(d, *convolution(d))
    sizes = {"in_channels": x[-4], "out_channels": w[0], "kernel_size": w[2:]}
    return {**sizes, **options, "bias": d.chance(0.5), "dtype": d.dtype, "rng": 0, **module(d, x)}


@recipe("functional.pack_conv1d_weight")
def pack_conv1d_weight(d):
    _, w, options, _ = along_one_axis(*convolution(d))
    return {"weight": d.array(*w), "groups": options["groups"]}


@recipe("functional.pack_conv3d_weight")
def pack_conv3d_weight(d):
    _, w, options, _ = along_three_axes(d, *convolution(d))
    return {"weight": d.array(*w), "groups": options["groups"]}
