"""One call of every function in fastconv.functional, most of them large enough for threads."""

import hashlib

import numpy as np

import fastconv.functional as F


def calls(dtype=np.float32):
    """Functions without arguments, by the name of what they call; they return arrays or floats."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    x, other = normal(4, 32, 30, 31), normal(4, 32, 30, 31)
    last = np.ascontiguousarray(other.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    w, bias, narrow, depthwise = (
        normal(48, 32, 3, 3),
        normal(48),
        normal(32, 4, 3, 3),
        normal(32, 1, 3, 3),
    )
    g = normal(4, 48, 28, 29)
    pooled, indices = F.max_pool2d(x, 3, 2, return_indices=True)
    top, where = F.global_max_pool2d(x, return_indices=True)
    few, spots = F.adaptive_max_pool2d(x, (5, 7), return_indices=True)
    rows, matrix, offset, outward = normal(96, 300), normal(200, 300), normal(200), normal(96, 200)
    scores, labels = normal(500, 40), rng.integers(0, 40, 500)
    shares = F.softmax(x, 1)
    mean, variance, gain, shift = normal(32), normal(32) ** 2 + 1, normal(32), normal(32)
    mask = F.dropout(x, 0.4, rng=1, return_mask=True)[1]
    packed = F.pack_conv2d_weight(w)
    line, filters, traced = normal(4, 32, 3000), normal(48, 32, 3), normal(4, 48, 3000)
    highest, places = F.max_pool1d(line, 3, 2, return_indices=True)
    short = normal(4, 32, 1500)
    volume, cubes, filled = (
        normal(2, 32, 6, 14, 15),
        normal(48, 32, 3, 3, 3),
        normal(2, 48, 6, 14, 15),
    )

    return {
        "adaptive_avg_pool2d": lambda: F.adaptive_avg_pool2d(x, (5, 7)),
        "adaptive_avg_pool2d_backward": lambda: F.adaptive_avg_pool2d_backward(few, x.shape),
        "adaptive_max_pool2d": lambda: F.adaptive_max_pool2d(x, (5, 7), return_indices=True),
        "adaptive_max_pool2d_backward": lambda: F.adaptive_max_pool2d_backward(few, spots, x.shape),
        "add": lambda: F.add(x, last, activation="relu"),
        "avg_pool2d": lambda: (F.avg_pool2d(x, 3, 2, 1), F.avg_pool2d(last, 2)),
        "avg_pool2d_backward": lambda: F.avg_pool2d_backward(pooled, x.shape, 3, 2),
        "batch_norm": lambda: F.batch_norm(
            x, mean.copy(), variance.copy(), gain, shift, training=True, return_statistics=True
        ),
        "batch_norm_backward": lambda: F.batch_norm_backward(other, x, gain, mean, variance),
        "binary_cross_entropy_with_logits": lambda: F.binary_cross_entropy_with_logits(x, shares),
        "binary_cross_entropy_with_logits_backward": lambda: (
            F.binary_cross_entropy_with_logits_backward(1.0, x, shares)
        ),
        "avg_pool1d": lambda: F.avg_pool1d(line, 3, 2, 1),
        "avg_pool1d_backward": lambda: F.avg_pool1d_backward(short, line.shape, 3, 2, 1),
        "conv1d": lambda: F.conv1d(line, filters, bias, padding=1),
        "conv1d_backward_bias": lambda: F.conv1d_backward_bias(line),
        "conv1d_backward_input": lambda: F.conv1d_backward_input(
            traced, filters, line.shape, padding=1
        ),
        "conv1d_backward_weight": lambda: F.conv1d_backward_weight(
            traced, line, filters.shape, padding=1
        ),
        "conv3d": lambda: F.conv3d(volume, cubes, bias, padding=1),
        "conv3d_backward_bias": lambda: F.conv3d_backward_bias(filled),
        "conv3d_backward_input": lambda: F.conv3d_backward_input(
            filled, cubes, volume.shape, padding=1
        ),
        "conv3d_backward_weight": lambda: F.conv3d_backward_weight(
            filled, volume, cubes.shape, padding=1
        ),
        "conv2d": lambda: (
            F.conv2d(x, w, bias, algorithm="direct"),
            F.conv2d(x, w, bias, algorithm="winograd"),
            F.conv2d(last, w[:, :, :1, :1]),
            F.conv2d(last, narrow, groups=8),
            F.conv2d(x, depthwise, stride=2, padding=1, groups=32),
        ),
        "conv2d_backward_bias": lambda: F.conv2d_backward_bias(g),
        "conv2d_backward_input": lambda: (
            F.conv2d_backward_input(g, w, x.shape, algorithm="direct"),
            F.conv2d_backward_input(g, w, x.shape, algorithm="winograd"),
        ),
        "conv2d_backward_weight": lambda: (
            F.conv2d_backward_weight(g, x, w.shape, algorithm="direct"),
            F.conv2d_backward_weight(g, x, w.shape, algorithm="winograd"),
            F.conv2d_backward_weight(x, x, depthwise.shape, padding=1, groups=32),
        ),
        "cross_entropy": lambda: F.cross_entropy(scores, labels, label_smoothing=0.1),
        "cross_entropy_backward": lambda: F.cross_entropy_backward(1.0, scores, labels),
        "dropout": lambda: F.dropout(x, 0.4, rng=1, return_mask=True),
        "dropout_backward": lambda: F.dropout_backward(other, mask, 0.4),
        "flatten": lambda: F.flatten(last),
        "flatten_backward": lambda: F.flatten_backward(
            x.reshape(4, -1), x.shape, channels_last=True
        ),
        "gelu": lambda: F.gelu(x),
        "gelu_backward": lambda: F.gelu_backward(other, x),
        "global_avg_pool2d": lambda: F.global_avg_pool2d(x),
        "global_avg_pool2d_backward": lambda: F.global_avg_pool2d_backward(top, x.shape),
        "global_max_pool2d": lambda: F.global_max_pool2d(x, return_indices=True),
        "global_max_pool2d_backward": lambda: F.global_max_pool2d_backward(top, where, x.shape),
        "leaky_relu": lambda: F.leaky_relu(x),
        "leaky_relu_backward": lambda: F.leaky_relu_backward(other, x),
        "linear": lambda: F.linear(rows, matrix, offset),
        "linear_backward": lambda: F.linear_backward(outward, rows, matrix),
        "log_softmax": lambda: F.log_softmax(x, 1),
        "log_softmax_backward": lambda: F.log_softmax_backward(other, x, 1),
        "max_pool1d": lambda: F.max_pool1d(line, 3, 2, return_indices=True),
        "max_pool1d_backward": lambda: F.max_pool1d_backward(highest, places, line.shape),
        "max_pool2d": lambda: (
            F.max_pool2d(x, 3, 2, return_indices=True),
            F.max_pool2d(last, 2),
        ),
        "max_pool2d_backward": lambda: F.max_pool2d_backward(pooled, indices, x.shape),
        "mse_loss": lambda: F.mse_loss(x, other),
        "mse_loss_backward": lambda: F.mse_loss_backward(1.0, x, other),
        "pack_conv1d_weight": lambda: F.conv1d(line, F.pack_conv1d_weight(filters), bias),
        "pack_conv3d_weight": lambda: F.conv3d(volume, F.pack_conv3d_weight(cubes), bias),
        "pack_conv2d_weight": lambda: (
            F.conv2d(x, packed, bias, algorithm="direct"),
            F.conv2d(x, F.pack_conv2d_weight(w), bias, algorithm="winograd"),
        ),
        "relu": lambda: F.relu(x),
        "relu_backward": lambda: F.relu_backward(other, x),
        "sigmoid": lambda: F.sigmoid(x),
        "sigmoid_backward": lambda: F.sigmoid_backward(other, shares),
        "silu": lambda: F.silu(x),
        "silu_backward": lambda: F.silu_backward(other, x),
        "softmax": lambda: F.softmax(x, 1),
        "softmax_backward": lambda: F.softmax_backward(other, shares, 1),
        "softplus": lambda: F.softplus(x),
        "softplus_backward": lambda: F.softplus_backward(other, x),
        "tanh": lambda: F.tanh(x),
        "tanh_backward": lambda: F.tanh_backward(other, shares),
    }


def digest(result):
    """What tells results apart to the bit."""
    if isinstance(result, tuple):
        return "".join(map(digest, result))
    array = np.asarray(result)
    return hashlib.sha256(repr((array.shape, array.dtype)).encode() + array.tobytes()).hexdigest()


def digests(dtype=np.float32):
    """The digest of every call, by name."""
    return {name: digest(call()) for name, call in calls(dtype).items()}
