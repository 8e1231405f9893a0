"""The table of recipes, and draws that several of them share."""

RECIPES = {}  # name of a target -> what draws its arguments


def recipe(*names):
    """Enter a function as the recipe of these targets."""

    def enter(function):
        for name in names:
            assert name not in RECIPES, f"two recipes for {name}"
            RECIPES[name] = function
        return function

    return enter


def shape(d):
    if d.chance(0.3):
        return d.image_shape()
    return tuple(d.integer(0 if d.chance(0.05) else 1, 9) for _ in range(d.integer(0, 5)))


def module(d, input_shape):
    return {"input": d.array(*input_shape), "grad_output": None, "training": d.chance(0.7)}
