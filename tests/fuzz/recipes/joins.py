"""Joins, parts and choices."""

import numpy as np

from fuzz.recipes.common import recipe, shape


def joined(d):
    """(shapes that differ along an axis, the axis)."""
    s = shape(d) or (3,)
    axis = d.integer(-len(s), len(s) - 1)
    shapes = []
    for _ in range(d.integer(1, 4)):
        sizes = list(s)
        sizes[axis] = d.integer(0, 5)
        shapes.append(tuple(sizes))
    return shapes, axis


@recipe("functional.concatenate")
def concatenate(d):
    shapes, axis = joined(d)
    return {"arrays": [d.array(*s) for s in shapes], "axis": axis}


@recipe("functional.concatenate_backward")
def concatenate_backward(d):
    shapes, axis = joined(d)
    y = list(shapes[0])
    y[axis] = sum(s[axis] for s in shapes)
    return {"grad_output": d.array(*y), "input_shapes": shapes, "axis": axis}


@recipe("functional.split")
def split(d):
    shapes, axis = joined(d)
    x, sections = list(shapes[0]), [s[axis] for s in shapes]
    if d.chance(0.4):
        sections = d.integer(1, 4)
        x[axis] *= sections
    else:
        x[axis] = sum(sections)
    return {"input": d.array(*x), "sections": sections, "axis": axis}


@recipe("functional.stack")
def stack(d):
    s = shape(d)
    arrays = [d.array(*s) for _ in range(d.integer(1, 4))]
    return {"arrays": arrays, "axis": d.integer(-len(s) - 1, len(s))}


@recipe("functional.stack_backward")
def stack_backward(d):
    s = shape(d) or (3,)
    return {"grad_output": d.array(*s), "axis": d.integer(-len(s), len(s) - 1)}


def repeated(d, s):
    """A shape that is broadcast to this one."""
    sizes = [d.choice((n, n, 1)) for n in s]
    return tuple(sizes[d.integer(0, len(sizes)) if d.chance(0.3) else 0 :])


@recipe("functional.where")
def where(d):
    s = shape(d)
    condition = np.asarray(d.rng.random(s) > 0.5)
    return {
        "condition": condition,
        "input": d.array(*repeated(d, s)),
        "other": d.array(*repeated(d, s)),
    }


@recipe("functional.where_backward")
def where_backward(d):
    s = shape(d)
    return {
        "grad_output": d.array(*s),
        "condition": np.asarray(d.rng.random(repeated(d, s)) > 0.5),
        "input_shape": repeated(d, s),
        "other_shape": repeated(d, s),
    }
