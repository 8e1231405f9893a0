"""One of every layer, with input for it."""

import numpy as np

from fastconv import nn

F64 = {"dtype": np.float64, "rng": 0}


def apart(rng, shape):
    """Values no two of which are near each other, and none near 0."""
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) + 0.5) / size * 4 - 2 + 1 / size


def small_net(rng=0, dtype=np.float64):
    """One of everything that has a state, between layers that have none."""
    rng = np.random.default_rng(rng)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, dtype=dtype, rng=rng),
        nn.BatchNorm2d(4, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 5, dtype=dtype, rng=rng),
    )


def twice(layer):
    """A layer in two places."""
    return nn.Sequential(layer, nn.Tanh(), layer)


IMAGE = (2, 4, 5, 6)
SIGNAL = (2, 4, 7)
VOLUME = (2, 3, 4, 3, 5)
LAYERS = [
    (lambda: nn.Conv2d(4, 2, 3, **F64), IMAGE),
    (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, **F64), IMAGE),
    (lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False, **F64), IMAGE),
    (lambda: nn.Conv2d(4, 2, 2, padding="same", **F64), IMAGE[1:]),
    (lambda: nn.Linear(6, 3, **F64), (2, 3, 6)),
    (lambda: nn.Linear(6, 3, bias=False, **F64), (4, 6)),
    (lambda: nn.BatchNorm2d(4, dtype=np.float64), IMAGE),
    (lambda: nn.BatchNorm2d(4, dtype=np.float64).eval(), IMAGE),
    (lambda: nn.BatchNorm2d(4, affine=False, dtype=np.float64), IMAGE),
    (lambda: nn.BatchNorm2d(4, track_running_stats=False, dtype=np.float64).eval(), IMAGE),
    (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    (lambda: nn.MaxPool2d(2, 1, dilation=2), IMAGE),
    (lambda: nn.AvgPool2d(2), IMAGE),
    (lambda: nn.AvgPool2d(3, 2, 1, True, False), IMAGE),
    (lambda: nn.AvgPool2d(3, 2, divisor_override=5), IMAGE),
    (lambda: nn.AdaptiveAvgPool2d((2, 4)), IMAGE),
    (lambda: nn.AdaptiveMaxPool2d((3, 2)), IMAGE),
    (lambda: nn.GlobalAvgPool2d(), IMAGE),
    (lambda: nn.Dropout().eval(), (3, 4)),
    (lambda: nn.ReLU(), (3, 4)),
    (lambda: nn.LeakyReLU(0.2), (3, 4)),
    (lambda: nn.LeakyReLU(-0.2), (3, 4)),
    (lambda: nn.Sigmoid(), (3, 4)),
    (lambda: nn.Tanh(), (3, 4)),
    (lambda: nn.GELU(), (3, 4)),
    (lambda: nn.GELU("tanh"), (3, 4)),
    (lambda: nn.SiLU(), (3, 4)),
    (lambda: nn.Softmax(), (3, 4)),
    (lambda: nn.Softmax(1), (2, 3, 4)),
    (lambda: nn.LogSoftmax(0), (3, 4)),
    (lambda: nn.Flatten(), (2, 3, 4)),
    (lambda: nn.Flatten(0, 1), (2, 3, 4)),
    (lambda: nn.Identity(), (3, 4)),
    (lambda: nn.Sequential(), (3, 4)),
    (small_net, (3, 2, 6, 6)),
    (lambda: small_net().eval(), (3, 2, 6, 6)),
    (lambda: nn.Residual(nn.Conv2d(4, 4, 3, padding=1, **F64)), IMAGE),
    (lambda: nn.Residual(nn.Linear(6, 3, **F64), nn.Linear(6, 3, **F64)), (4, 6)),
    (lambda: nn.Residual(nn.Identity()), (3, 4)),
    (lambda: nn.Concat(nn.Conv2d(4, 3, 1, **F64), nn.Identity(), nn.ReLU()), IMAGE),
    (lambda: nn.Concat(nn.Identity(), nn.Conv2d(4, 3, 1, **F64)), IMAGE[1:]),
    (lambda: nn.Concat(nn.Linear(6, 2, **F64), nn.Linear(6, 3, **F64)), (4, 6)),
    (lambda: nn.Concat(nn.Tanh()), (4, 6)),
    (lambda: nn.Concat(*[nn.Residual(nn.Tanh())] * 2), (4, 6)),
    (lambda: twice(nn.Conv2d(4, 4, 3, padding=1, **F64)), IMAGE),
    (lambda: twice(nn.BatchNorm2d(4, dtype=np.float64)), IMAGE),
    (lambda: twice(nn.Linear(6, 6, **F64)), (4, 6)),
    (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2, **F64), SIGNAL),
    (lambda: nn.Conv1d(4, 2, 2, padding=(1, 2), dilation=2, bias=False, **F64), SIGNAL),
    (lambda: nn.Conv1d(4, 2, 3, padding="same", **F64), SIGNAL[1:]),
    (lambda: nn.Conv3d(3, 2, (2, 1, 3), padding=(1, 0, 1), **F64), VOLUME),
    (lambda: nn.ConvTranspose1d(4, 2, 3, 2, **F64), SIGNAL),
    (lambda: nn.ConvTranspose2d(4, 2, 3, 2, 1, **F64), IMAGE),
    (lambda: nn.ConvTranspose3d(3, 2, 2, **F64), VOLUME),
    (lambda: nn.MaxPool1d(3, 2, 1, ceil_mode=True), SIGNAL),
    (lambda: nn.MaxPool1d(2, 1, dilation=2), SIGNAL),
    (lambda: nn.AvgPool1d(2), SIGNAL),
    (lambda: nn.AvgPool1d(3, 2, 1, True, False), SIGNAL),
    (lambda: nn.MaxPool3d(2, 1), VOLUME),
    (lambda: nn.MaxPool2d(3, 2, "same"), IMAGE),
    (lambda: nn.AvgPool3d((2, 3, 2), 2, ((0, 1), (1, 1), (1, 0))), VOLUME),
    (lambda: nn.AdaptiveAvgPool1d(3), SIGNAL),
    (lambda: nn.AdaptiveMaxPool1d((3,)), SIGNAL[1:]),
    (lambda: nn.AdaptiveAvgPool3d((2, None, 3)), VOLUME),
    (lambda: nn.AdaptiveMaxPool3d(2), VOLUME),
    (lambda: nn.GlobalAvgPool1d(), SIGNAL),
    (lambda: nn.GlobalAvgPool3d(), VOLUME),
    (lambda: nn.GlobalMaxPool1d(), SIGNAL),
    (lambda: nn.GlobalMaxPool2d(), IMAGE),
    (lambda: nn.GlobalMaxPool3d(), VOLUME),
    (lambda: nn.LPPool1d(2, 3, 2), SIGNAL),
    (lambda: nn.LPPool2d(float("inf"), 2), IMAGE),
    (lambda: nn.LPPool3d(2, 2, 1), VOLUME),
]
