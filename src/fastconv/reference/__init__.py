"""Every op of `fastconv.functional` in plain NumPy: the specification.

Names, arguments and results are those of `fastconv.functional`, less ``algorithm`` and ``out``;
docs/derivation.md derives each formula. Two things differ. Arguments are trusted here: checking
them is the functional layer's work. And arrays come back in whatever memory format NumPy makes.

Convolution is a correlation, as in every deep-learning library: with the padded input x,
``output[n, o, y, z] = bias[o] + sum over c, i, j of weight[o, c, i, j] * x[n, c, s y + d i, s z +
d j]`` for stride s and dilation d. It is computed as one matrix product over im2col columns, so it
is also what a careful NumPy user would write, and a fair opponent in a benchmark. `conv2d_naive`
and `conv2d_naive_backward` are the same sums as loops, to read first.

Shape comments use N images, C input and O output channels, G groups, an H x W input, an OH x OW
output and a KH x KW kernel.
"""

# ruff: noqa: F403

from fastconv.reference.activation import *
from fastconv.reference.convolution import *
from fastconv.reference.join import *
from fastconv.reference.layers import *
from fastconv.reference.losses import *
from fastconv.reference.padding import *
from fastconv.reference.pooling import *
