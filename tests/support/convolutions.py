"""Convolutions that several test modules try, and what the reference makes of them."""

import numpy as np

from fastconv import reference
from support.geometries import Conv

# one of everything that the hypothesis tests mix
CASES = [
    Conv((2, 3, 8, 9), (4, 3, 3, 3)),
    Conv((2, 3, 8, 9), (4, 3, 3, 3), padding=1),
    Conv((1, 1, 28, 28), (6, 1, 5, 5), padding=2),
    Conv((2, 16, 7, 7), (32, 16, 1, 1)),
    Conv((2, 16, 7, 7), (32, 16, 1, 1), stride=2),
    Conv((2, 3, 17, 19), (8, 3, 7, 7), stride=2, padding=3),
    Conv((2, 5, 9, 11), (3, 5, 2, 4), stride=(3, 2), padding=(1, 2)),
    Conv((2, 4, 12, 13), (4, 4, 3, 3), padding=2, dilation=2),
    Conv((1, 2, 15, 20), (3, 2, 3, 2), stride=(2, 3), padding=(4, 1), dilation=(3, 2)),
    Conv((2, 4, 6, 7), (6, 4, 3, 2), padding="same"),
    Conv((2, 4, 9, 9), (6, 4, 4, 3), padding="same", dilation=2),
    Conv((2, 4, 6, 7), (6, 4, 3, 2), padding="valid", stride=2),
    Conv((2, 3, 6, 7), (2, 3, 3, 3), padding=((0, 2), (3, 1))),
    Conv((2, 3, 6, 7), (2, 3, 3, 3), padding=(2, 0, 1, 3), stride=2),
    Conv((2, 6, 8, 8), (9, 2, 3, 3), padding=1, groups=3),
    Conv((2, 8, 9, 9), (8, 1, 3, 3), padding=1, groups=8),
    Conv((2, 8, 9, 9), (16, 1, 3, 3), stride=2, padding=1, groups=8),
    Conv((2, 19, 9, 9), (19, 1, 5, 5), padding=2, groups=19),
    Conv((1, 8, 9, 9), (8, 1, 3, 3), padding=2, dilation=2, groups=8),
    Conv((1, 2, 200, 3), (3, 2, 5, 3), padding=(2, 1)),
    Conv((1, 2, 1, 150), (3, 2, 1, 7), padding=(0, 3)),
    Conv((1, 2, 5, 5), (3, 2, 5, 5)),
    Conv((1, 2, 5, 5), (3, 2, 3, 3), stride=9),
    Conv((1, 33, 6, 6), (35, 33, 3, 3), padding=1),
    Conv((2, 64, 14, 14), (64, 64, 3, 3), padding=1),
    Conv((3, 8, 9), (4, 3, 3, 3), padding=1),
    Conv((6, 8, 8), (6, 1, 3, 3), padding=1, groups=6),
    Conv((0, 3, 8, 8), (4, 3, 3, 3), padding=1),
]
# a few on which to try what does not depend on the geometry
FEW_CASES = [CASES[1], CASES[5], CASES[8], CASES[14], CASES[15], CASES[25]]

#: large enough to be cut into blocks, panels, pieces and slots: each driver takes all its branches;
#: input, weight, stride, padding, dilation, groups
DRIVER_CASES = {
    "blocks of rows": ((2, 20, 40, 50), (40, 20, 3, 3), 1, 1, 1, 1),
    "wide rows": ((1, 18, 5, 700), (9, 18, 3, 3), 1, 1, 1, 1),
    "filters outweigh images": ((2, 24, 5, 5), (530, 24, 3, 3), 1, 1, 1, 1),
    "filters outweigh images, 1x1": ((3, 40, 6, 6), (300, 40, 1, 1), 2, 0, 1, 1),
    "pointwise, strided": ((3, 40, 30, 30), (70, 40, 1, 1), 2, 0, 1, 1),
    "pointwise, many pixels": ((5, 16, 40, 40), (24, 16, 1, 1), 1, 0, 1, 1),
    "pointwise, planes that meet in a cache": ((2, 40, 32, 32), (33, 40, 1, 1), 1, 0, 1, 1),
    "pointwise, pixels that meet in a cache": ((1, 2048, 3, 4), (40, 2048, 1, 1), 1, 0, 1, 1),
    "pointwise, panels of rows": ((4, 70, 33, 21), (75, 70, 1, 1), (3, 2), 0, 1, 1),
    "taps beyond the image": ((2, 17, 5, 6), (33, 17, 3, 3), 1, 9, 9, 1),
    "small images": ((40, 20, 3, 4), (36, 20, 3, 3), 1, 1, 1, 1),
    "pointwise": ((2, 33, 21, 19), (45, 33, 1, 1), 1, 0, 1, 1),
    "pointwise with border": ((2, 20, 9, 9), (17, 20, 1, 1), 1, 2, 1, 1),
    "first layer": ((2, 3, 60, 70), (48, 3, 3, 3), 1, 1, 1, 1),
    "stem": ((2, 3, 61, 67), (40, 3, 7, 7), 2, 3, 1, 1),
    "few filters": ((2, 30, 40, 40), (3, 30, 5, 5), 1, 2, 1, 1),
    "patches": ((2, 3, 48, 50), (40, 3, 16, 16), 16, 0, 1, 1),
    "phases as filters": ((3, 3, 41, 90), (24, 3, 8, 12), 4, 3, 1, 1),
    "phases of a sequence, not all with as many taps": (
        (2, 1, 1, 1900),
        (20, 1, 1, 23),
        5,
        4,
        1,
        1,
    ),
    "phases of several groups": ((2, 6, 30, 41), (48, 2, 4, 8), (2, 4), (1, 3), 1, 3),
    "phases of one row of blocks": ((2, 4, 9, 60), (20, 4, 8, 4), (8, 4), 3, 1, 1),
    "phases that no tap reaches": ((2, 2, 50, 60), (24, 2, 3, 3), (7, 5), 1, 1, 1),
    "phases by the million": ((2, 1, 3, 900), (24, 1, 2, 8), (1 << 40, 4), 1, 1, 1),
    "phases beyond the image": ((1, 2, 30, 40), (24, 2, 8, 3), (4, 1 << 40), 1, 1, 1),
    "parts of a long row": ((1, 64, 1, 3000), (4, 64, 1, 5), 1, (0, 2), 1, 1),
    "fewer filters than a vector and a quarter": ((2, 20, 33, 40), (18, 20, 3, 3), 1, 1, 1, 1),
    "stride beyond the kernel": ((2, 16, 37, 41), (24, 16, 2, 3), (5, 4), 1, 1, 1),
    "dilation without common factor": ((2, 17, 40, 38), (20, 17, 3, 4), (2, 3), 4, (3, 2), 1),
    "long dilation": ((1, 20, 90, 90), (24, 20, 3, 3), 1, 0, 40, 1),
    "long stride": ((1, 8, 300, 310), (16, 8, 2, 2), 90, 3, 1, 1),
    "many taps": ((2, 5, 30, 30), (18, 5, 11, 13), 1, 5, 1, 1),
    "one row of taps": ((2, 12, 3, 200), (20, 12, 1, 90), 1, 0, 1, 1),
    "groups": ((2, 48, 20, 20), (96, 6, 3, 3), 1, 1, 1, 8),
    "small groups": ((2, 32, 30, 30), (32, 4, 3, 3), 2, 1, 1, 8),
    "1x1 over small planes": ((5, 9, 7, 7), (20, 9, 1, 1), 1, 0, 1, 1),
    "1x1 in groups over small planes": ((3, 8, 5, 9), (40, 4, 1, 1), 1, 0, 1, 2),
    "groups of a vector, pixels that meet in a cache": (
        (2, 512, 9, 8),
        (512, 16, 3, 3),
        2,
        1,
        1,
        32,
    ),
    "groups of two": ((2, 20, 9, 14), (20, 2, 3, 3), 1, 1, 1, 10),
    "groups of four, channels left over": ((2, 20, 7, 7), (20, 4, 3, 3), 1, 1, 1, 5),
    "groups of eight": ((2, 32, 15, 29), (32, 8, 3, 3), 1, 1, 1, 4),
    "groups of sixteen, strided": ((2, 48, 17, 16), (48, 16, 3, 3), 2, 1, 1, 3),
    "fewer channels than a vector": ((2, 5, 12, 20), (5, 1, 3, 3), 1, 1, 1, 5),
    "depthwise 5x5, every phase": ((2, 40, 15, 16), (40, 1, 5, 5), 2, 2, 1, 40),
    "depthwise 7x7, narrow": ((2, 16, 9, 3), (16, 1, 7, 7), 1, 3, 1, 16),
    "depthwise, steps and dilation": ((2, 33, 20, 20), (33, 1, 3, 3), 2, 2, 2, 33),
    "depthwise, few channels": ((2, 7, 40, 61), (7, 1, 3, 3), 1, 1, 1, 7),
    "depthwise, few channels, steps": ((2, 6, 33, 40), (6, 1, 4, 3), (2, 1), (2, 1), (1, 2), 6),
    "depthwise, few channels, many taps": ((1, 2, 90, 30), (2, 1, 70, 2), 1, (35, 1), 1, 2),
    "depthwise, few channels, one row": ((2, 4, 1, 300), (4, 1, 1, 5), 1, (0, 2), 1, 4),
    "depthwise, pixels in pairs": ((2, 15, 33, 31), (15, 1, 3, 3), 1, 1, 1, 15),
    "depthwise, pixels in pairs, wide border": ((2, 12, 9, 40), (12, 1, 3, 5), 1, 4, 1, 12),
    "depthwise, pixels that pair to a vector": ((2, 8, 20, 24), (8, 1, 4, 4), 1, 2, 1, 8),
    "depthwise": ((3, 70, 23, 25), (70, 1, 3, 3), 1, 1, 1, 70),
    "depthwise strided": ((2, 37, 24, 29), (37, 1, 5, 3), (2, 3), 2, 1, 37),
    "depthwise long stride": ((2, 20, 30, 30), (20, 1, 3, 3), 6, 1, 1, 20),
    "depthwise dilated": ((2, 20, 40, 30), (20, 1, 3, 3), 1, 4, (5, 3), 20),
    "depthwise, tall": ((1, 4, 3000, 9), (4, 1, 3, 3), 1, 1, 1, 4),
    "several filters a channel": ((2, 24, 20, 20), (72, 1, 3, 3), 1, 1, 1, 24),
    "depthwise 9x9": ((2, 20, 30, 31), (20, 1, 9, 9), 1, 4, 1, 20),
    "depthwise 8x6, steps and dilation": ((2, 33, 40, 43), (33, 1, 8, 6), (2, 3), 4, (3, 2), 33),
    "depthwise, longer than the image": ((2, 20, 9, 40), (20, 1, 15, 70), 1, (7, 35), 1, 20),
    "depthwise row of many taps": ((2, 32, 1, 300), (32, 1, 1, 130), 1, (0, 65), 1, 32),
    "groups of two, 5x5": ((2, 20, 9, 30), (20, 2, 5, 5), 1, 2, 1, 10),
    "groups of eight, 7x7 strided": ((2, 32, 15, 29), (32, 8, 7, 7), 2, 3, 1, 4),
    "groups of sixteen, 5x5 dilated": ((1, 48, 17, 26), (48, 16, 5, 5), 1, 4, 2, 3),
    "planes": ((2, 3, 50, 60), (3, 1, 9, 9), 1, 4, 1, 3),
    "planes, steps": ((1, 3, 60, 110), (3, 1, 7, 6), (3, 2), 3, 1, 3),
    "planes, steps and dilation": ((1, 3, 60, 250), (3, 1, 5, 6), (2, 4), 4, (3, 6), 3),
    "planes of several channels": ((2, 9, 40, 50), (2, 9, 5, 5), 1, 2, 1, 1),
    "planes, several filters a channel": ((1, 20, 30, 40), (60, 1, 5, 5), 1, 2, 1, 20),
    "planes, channels left over": ((1, 17, 40, 90), (17, 1, 7, 7), 1, 3, 1, 17),
    "planes, channels some at a time": ((1, 600, 30, 40), (1, 600, 3, 3), 1, 1, 1, 1),
    "planes, many rows of taps": ((1, 2, 230, 50), (2, 1, 150, 2), 1, 5, 1, 2),
    "planes, more taps than a pointer each": ((1, 1, 60, 90), (1, 1, 40, 41), 1, 0, 1, 1),
    "planes, folded columns": ((1, 2, 3, 1300), (2, 1, 1, 90), 1, (0, 20), 1, 2),
    "planes, folded columns with steps": ((1, 2, 3, 2700), (2, 1, 1, 130), (1, 2), (0, 20), 1, 2),
    "planes, folded columns, dilated": ((1, 1, 1, 2500), (1, 1, 1, 60), 1, 0, (1, 3), 1),
}


def run_reference(case, x, w, b, g):
    return {
        "output": reference.conv2d(x, w, b, *case.options),
        "grad_input": reference.conv2d_backward_input(g, w, x.shape, *case.options),
        "grad_weight": reference.conv2d_backward_weight(g, x, w.shape, *case.options),
        "grad_bias": reference.conv2d_backward_bias(g),
    }


def assert_identical(actual, expected):
    for name, e in expected.items():
        assert actual[name].dtype == e.dtype, name
        np.testing.assert_array_equal(actual[name], e, err_msg=name, strict=True)
