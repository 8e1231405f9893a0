"""Activations, addition and softmax."""

from fastconv import functional as F
from fuzz.recipes.common import module, recipe, shape


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
