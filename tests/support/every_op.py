"""One call of every function in fastconv.functional, most of them large enough for threads."""

import hashlib

import numpy as np

import fastconv.functional as F


def transposed_calls(n, x, w, g):
    """Every pass of a transposed convolution."""
    name, options = f"conv_transpose{n}d", {"stride": 2, "padding": 1}
    bias = w.ravel()[: w.shape[1]]
    packed = getattr(F, f"pack_{name}_weight")(w, 2)
    return {
        name: lambda: getattr(F, name)(x, w, bias, **options, activation="relu"),
        f"pack_{name}_weight": lambda: getattr(F, name)(x, packed, bias, **options),
        f"{name}_backward_bias": lambda: getattr(F, f"{name}_backward_bias")(g),
        f"{name}_backward_input": lambda: getattr(F, f"{name}_backward_input")(
            g, w, x.shape, **options
        ),
        f"{name}_backward_weight": lambda: getattr(F, f"{name}_backward_weight")(
            g, x, w.shape, **options
        ),
    }


def calls(dtype=np.float32):
    """Functions without arguments, by the name of what they call; they return arrays or numbers."""
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
    rows, matrix, offset, outward = normal(96, 300), normal(200, 300), normal(200), normal(96, 200)
    scores, labels = normal(500, 40), rng.integers(0, 40, 500)
    shares = F.softmax(x, 1)
    mean, variance, gain, shift = normal(32), normal(32) ** 2 + 1, normal(32), normal(32)
    mask = F.dropout(x, 0.4, rng=1, return_mask=True)[1]
    packed = F.pack_conv2d_weight(w)
    line, filters, traced = normal(4, 32, 3000), normal(48, 32, 3), normal(4, 48, 3000)
    edges, modes = (3, 5, 2, 1), ("constant", "reflect", "replicate", "circular")
    volume, cubes, filled = (
        normal(2, 32, 6, 14, 15),
        normal(48, 32, 3, 3, 3),
        normal(2, 48, 6, 14, 15),
    )

    return {
        "add": lambda: F.add(x, last, activation="relu"),
        "batch_norm": lambda: F.batch_norm(
            x, mean.copy(), variance.copy(), gain, shift, training=True, return_statistics=True
        ),
        "batch_norm_backward": lambda: F.batch_norm_backward(other, x, gain, mean, variance),
        "binary_cross_entropy_with_logits": lambda: F.binary_cross_entropy_with_logits(x, shares),
        "binary_cross_entropy_with_logits_backward": lambda: (
            F.binary_cross_entropy_with_logits_backward(1.0, x, shares)
        ),
        "concatenate": lambda: F.concatenate([x, last, x], 1),
        "concatenate_backward": lambda: F.concatenate_backward(x, [(1, *x.shape[1:])] * 4),
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
        **{
            called: call
            for n, small, stamp, large in (
                (1, normal(4, 32, 1500), normal(32, 24, 4), normal(4, 24, 3000)),
                (2, x, normal(32, 24, 4, 4), normal(4, 24, 60, 62)),
                (3, volume, normal(32, 24, 4, 4, 4), normal(2, 24, 12, 28, 30)),
            )
            for called, call in transposed_calls(n, small, stamp, large).items()
        },
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
        "leaky_relu": lambda: F.leaky_relu(x),
        "leaky_relu_backward": lambda: F.leaky_relu_backward(other, x),
        "linear": lambda: F.linear(rows, matrix, offset),
        "linear_backward": lambda: F.linear_backward(outward, rows, matrix),
        "log_softmax": lambda: F.log_softmax(x, 1),
        "log_softmax_backward": lambda: F.log_softmax_backward(other, x, 1),
        "mse_loss": lambda: F.mse_loss(x, other),
        "mse_loss_backward": lambda: F.mse_loss_backward(1.0, x, other),
        "pack_conv1d_weight": lambda: F.conv1d(line, F.pack_conv1d_weight(filters), bias),
        "pack_conv3d_weight": lambda: F.conv3d(volume, F.pack_conv3d_weight(cubes), bias),
        "pack_conv2d_weight": lambda: (
            F.conv2d(x, packed, bias, algorithm="direct"),
            F.conv2d(x, F.pack_conv2d_weight(w), bias, algorithm="winograd"),
        ),
        "pad": lambda: tuple(F.pad(a, edges, mode) for a in (x, last) for mode in modes),
        "pad_backward": lambda: tuple(
            F.pad_backward(a, (4, 32, 27, 23), edges, mode) for a in (x, last) for mode in modes
        ),
        "relu": lambda: F.relu(x),
        "relu_backward": lambda: F.relu_backward(other, x),
        "sigmoid": lambda: F.sigmoid(x),
        "sigmoid_backward": lambda: F.sigmoid_backward(other, shares),
        "silu": lambda: F.silu(x),
        "silu_backward": lambda: F.silu_backward(other, x),
        "split": lambda: F.split(x, [7, 25], 1),
        "stack": lambda: F.stack([x, last], 1),
        "stack_backward": lambda: F.stack_backward(x, 2),
        "softmax": lambda: F.softmax(x, 1),
        "softmax_backward": lambda: F.softmax_backward(other, shares, 1),
        "softplus": lambda: F.softplus(x),
        "softplus_backward": lambda: F.softplus_backward(other, x),
        "tanh": lambda: F.tanh(x),
        "tanh_backward": lambda: F.tanh_backward(other, shares),
        "where": lambda: F.where(x > last, x, last),
        "where_backward": lambda: F.where_backward(x, x > last, x.shape, (32, 1, 31)),
        **{
            name: call
            for array in (line, x, normal(2, 32, 9, 20, 21))
            for name, call in _poolings(array).items()
        },
    }


def _poolings(x):
    """Calls of every pooling over as many axes as x has."""
    n = x.ndim - 2
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)

    def op(name, suffix=""):
        return getattr(F, f"{name}{n}d{suffix}")

    max_pool, avg_pool, lp_pool = op("max_pool"), op("avg_pool"), op("lp_pool")
    y, indices = max_pool(x, 3, 2, return_indices=True)
    y_last, indices_last = max_pool(last, 2, return_indices=True)
    few, spots = op("adaptive_max_pool")(x, 5, return_indices=True)
    top, where = op("global_max_pool")(x, return_indices=True)
    calls = {
        "max_pool": lambda: (
            max_pool(x, 3, 2, return_indices=True),
            max_pool(x, 2),
            max_pool(last, 2, padding="same", return_indices=True),
        ),
        "max_pool_backward": lambda: (
            op("max_pool", "_backward")(y, indices, x.shape),
            op("max_pool", "_backward")(y_last, indices_last, x.shape),
        ),
        "avg_pool": lambda: (avg_pool(x, 3, 2, 1), avg_pool(last, 2), avg_pool(x, 2)),
        "avg_pool_backward": lambda: (
            op("avg_pool", "_backward")(y, x.shape, 3, 2),
            op("avg_pool", "_backward")(y_last, x.shape, 2),
        ),
        "lp_pool": lambda: (lp_pool(x, 2, 2), lp_pool(last, 3.5, 2)),
        "lp_pool_backward": lambda: op("lp_pool", "_backward")(y, x, 2, 3, 2),
        "adaptive_max_pool": lambda: op("adaptive_max_pool")(x, 5, return_indices=True),
        "adaptive_max_pool_backward": lambda: op("adaptive_max_pool", "_backward")(
            few, spots, x.shape
        ),
        "adaptive_avg_pool": lambda: op("adaptive_avg_pool")(x, 5),
        "adaptive_avg_pool_backward": lambda: op("adaptive_avg_pool", "_backward")(few, x.shape),
        "global_max_pool": lambda: op("global_max_pool")(x, return_indices=True),
        "global_max_pool_backward": lambda: op("global_max_pool", "_backward")(top, where, x.shape),
        "global_avg_pool": lambda: op("global_avg_pool")(x),
        "global_avg_pool_backward": lambda: op("global_avg_pool", "_backward")(top, x.shape),
        "max_unpool": lambda: op("max_unpool")(y, indices, 3, 2, output_size=x.shape),
        "max_unpool_backward": lambda: op("max_unpool", "_backward")(x, indices),
    }
    return {
        f"{name}{n}d".replace(f"_backward{n}d", f"{n}d_backward"): call
        for name, call in calls.items()
    }


def digest(result):
    """What tells results apart to the bit."""
    if isinstance(result, tuple | list):
        return "".join(map(digest, result))
    array = np.asarray(result)
    return hashlib.sha256(repr((array.shape, array.dtype)).encode() + array.tobytes()).hexdigest()


def digests(dtype=np.float32):
    """The digest of every call, by name."""
    return {name: digest(call()) for name, call in calls(dtype).items()}
