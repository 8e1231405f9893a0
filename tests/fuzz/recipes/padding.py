"""Padding: any mode, adding and cropping what fits."""

from fuzz.recipes.common import recipe


def padding(d):
    """(input shape, output shape, options)."""
    mode = d.choice(("constant", "reflect", "replicate", "circular"))
    count = d.integer(0 if mode == "constant" else 1, 3)
    before = d.integer(0 if count else 1, 3) if mode == "constant" else d.integer(1, 2)
    shape = [d.integer(1, 9) for _ in range(before + count)]
    out, pad = list(shape), []
    for axis in range(len(shape) - 1, before - 1, -1):
        size = shape[axis]
        far = d.choice((3, 3, 100)) if axis == len(shape) - 1 else 3
        most = {"reflect": size - 1, "circular": size}.get(mode, far)
        sides = d.integer(0, most), d.integer(0, most)
        if d.chance(0.2):  # crop at one end
            fewer = d.integer(0, size - 1)
            sides = (-fewer, min(sides[1], size - fewer))
        pad += sides
        out[axis] += sum(sides)
    return tuple(shape), tuple(out), {"pad": tuple(pad), "mode": mode}


@recipe("functional.pad")
def pad(d):
    x, _, options = padding(d)
    value = d.choice((0, None, 2.5, -1)) if options["mode"] == "constant" else 0
    return {"input": d.array(*x), **options, "value": value}


@recipe("functional.pad_backward")
def pad_backward(d):
    x, y, options = padding(d)
    return {"grad_output": d.array(*y), "input_shape": x, **options}
