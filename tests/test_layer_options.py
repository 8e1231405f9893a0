"""A constructor refuses what every forward pass of its layer would, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv.functional as F
from fastconv import Tensor, nn

HUGE = 2**62


def conv(*args, **options):
    return lambda: nn.Conv2d(4, 4, *args, **options)


REFUSED = [
    # convolutions
    (lambda: nn.Conv2d(0, 4, 3), ValueError, "in_channels.*0"),
    (lambda: nn.Conv2d(4, -1, 3), ValueError, "out_channels.*-1"),
    (lambda: nn.Conv2d(True, 4, 3), TypeError, "in_channels.*True"),
    (lambda: nn.Conv2d(4, "4", 3), TypeError, "out_channels.*'4'"),
    (lambda: nn.Conv2d(4, 6, 3, groups=4), ValueError, "groups=4.*out_channels=6"),
    (lambda: nn.Conv2d(6, 4, 3, groups=4), ValueError, "groups=4.*in_channels=6"),
    (conv(3, groups=0), ValueError, "groups.*0"),
    (conv(3, groups=2.0), TypeError, r"groups.*2\.0"),
    (conv(3, groups=True), TypeError, "groups.*True"),
    (conv(0), ValueError, "kernel_size.*0"),
    (conv((3, 3, 3)), ValueError, r"kernel_size.*\(3, 3, 3\)"),
    (conv(()), ValueError, r"kernel_size.*\(\)"),
    (conv(2.5), TypeError, r"kernel_size.*2\.5"),
    (conv(None), TypeError, "kernel_size.*None"),
    (conv((3, "3")), TypeError, "kernel_size.*'3'"),
    (conv(np.array([3, 3])), TypeError, "kernel_size.*array"),
    (conv(3, stride=0), ValueError, "stride.*0"),
    (conv(3, stride=True), TypeError, "stride.*True"),
    (conv(3, stride=(1, -2)), ValueError, "stride.*-2"),
    (conv(3, stride=2**63), ValueError, f"stride.*{2**63}"),
    (conv(3, stride=()), ValueError, r"stride.*\(\)"),
    (conv(3, dilation=(1, 0)), ValueError, "dilation.*0"),
    (conv(3, dilation="2"), TypeError, "dilation.*'2'"),
    (conv(3, dilation=HUGE), ValueError, f"kernel of height 3 with dilation={HUGE}"),
    (conv(3, padding=-1), ValueError, "padding.*-1"),
    (conv(3, padding=1.0), TypeError, r"padding.*1\.0"),
    (conv(3, padding=False), TypeError, "padding.*False"),
    (conv(3, padding=None), TypeError, "padding.*None"),
    (conv(3, padding=HUGE), ValueError, f"padding={HUGE} is too large"),
    (conv(3, padding="full"), ValueError, "padding.*'full'"),
    (conv(3, padding="same", stride=2), ValueError, r"padding='same'.*stride=\(2"),
    (conv(3, padding="same", stride=(1, 2)), ValueError, r"padding='same'.*stride=\(1, 2\)"),
    (conv(3, padding=()), ValueError, r"padding.*\(\)"),
    (conv(3, padding=(1, 1, 1)), ValueError, r"padding.*\(1, 1, 1\)"),
    (conv(3, padding=(1, -1)), ValueError, "padding.*-1"),
    (conv(3, padding=((1, 1), 1)), ValueError, r"padding.*\(\(1, 1\), 1\)"),
    (conv(3, padding=((1, 1), (1, 1), (1, 1))), ValueError, r"padding.*\(1, 1\)\)"),
    (conv(3, padding=((1, 1), (1, -1))), ValueError, "padding.*-1"),
    (conv(3, padding=((1, 1), ("1", 1))), TypeError, "padding.*'1'"),
    (conv(3, algorithm="typo"), ValueError, "algorithm.*'typo'"),
    (conv(3, algorithm=None), ValueError, "algorithm.*None"),
    (conv(5, algorithm="winograd"), ValueError, "winograd.*5 x 5 kernel"),
    (conv(3, 2, algorithm="winograd"), ValueError, r"winograd.*stride=\(2, 2\)"),
    (conv(3, dilation=(1, 2), algorithm="winograd"), ValueError, r"winograd.*dilation=\(1, 2\)"),
    (conv(3, groups=2, algorithm="winograd"), ValueError, "winograd.*groups=2"),
    (conv(3, padding_mode="constant"), ValueError, "padding_mode.*'constant'"),
    (conv(3, dtype=np.float16), ValueError, "dtype.*float16"),
    (conv(3, dtype=int), ValueError, "dtype.*int64"),
    (conv(3, dtype="single file"), TypeError, "dtype.*'single file'"),
    (conv(3, rng="seed"), TypeError, "rng='seed'"),
    (conv(3, rng=-1), ValueError, "rng=-1"),
    (lambda: nn.Conv1d(4, 4, (3, 3)), ValueError, r"kernel_size.*\(3, 3\)"),
    (lambda: nn.Conv1d(4, 4, 3, padding=(1, 1, 1)), ValueError, r"padding.*\(1, 1, 1\)"),
    (lambda: nn.Conv1d(4, 4, 3, padding=((1, 1), (1, 1))), ValueError, "padding"),
    (lambda: nn.Conv1d(4, 4, 3, 2, "same"), ValueError, r"padding='same'.*stride=\(2"),
    (lambda: nn.Conv1d(4, 4, 3, 2, algorithm="winograd"), ValueError, "winograd.*1 x 3 kernel"),
    # poolings
    (lambda: nn.MaxPool2d("a"), TypeError, "kernel_size.*'a'"),
    (lambda: nn.MaxPool2d(True), TypeError, "kernel_size.*True"),
    (lambda: nn.MaxPool2d(()), ValueError, r"kernel_size.*\(\)"),
    (lambda: nn.MaxPool2d(None), TypeError, "kernel_size.*None"),
    (lambda: nn.MaxPool2d((2, 2, 2)), ValueError, r"kernel_size.*\(2, 2, 2\)"),
    (lambda: nn.MaxPool2d(3, stride=(1, 0)), ValueError, "stride.*0"),
    (lambda: nn.MaxPool2d(3, padding="full"), ValueError, "padding.*'full'"),
    (lambda: nn.MaxPool2d(3, padding=((0, 1), (2, 0))), ValueError, r"padding=.*half"),
    (lambda: nn.MaxPool3d((2, 2)), ValueError, r"kernel_size.*\(2, 2\)"),
    (lambda: nn.AvgPool3d(2, padding=2), ValueError, "padding=2.*half"),
    (lambda: nn.AdaptiveMaxPool3d((2, 2)), ValueError, r"output_size.*\(2, 2\)"),
    (lambda: nn.AdaptiveAvgPool1d(0), ValueError, "output_size.*0"),
    (lambda: nn.LPPool2d(0, 2), ValueError, "norm_type.*0"),
    (lambda: nn.LPPool1d("2", 2), TypeError, "norm_type.*'2'"),
    (lambda: nn.LPPool3d(2, 0), ValueError, "kernel_size.*0"),
    (lambda: nn.MaxUnpool2d(2, padding="same"), TypeError, "padding.*'same'"),
    (lambda: nn.MaxUnpool2d(2, 0), ValueError, "stride.*0"),
    (lambda: nn.MaxUnpool1d((2, 2)), ValueError, r"kernel_size.*\(2, 2\)"),
    (lambda: nn.MaxPool2d(3, padding=2), ValueError, "padding=2.*half.*kernel_size=3"),
    (lambda: nn.MaxPool2d((9, 2), padding=(1, 2)), ValueError, r"padding=\(1, 2\).*half"),
    (lambda: nn.MaxPool2d(3, padding=-1), ValueError, "padding.*-1"),
    (lambda: nn.MaxPool2d(3, dilation=0), ValueError, "dilation.*0"),
    (lambda: nn.MaxPool2d(3, dilation=HUGE), ValueError, f"dilation={HUGE}"),
    (lambda: nn.MaxPool1d((2, 2)), ValueError, r"kernel_size.*\(2, 2\)"),
    (lambda: nn.AvgPool2d(0), ValueError, "kernel_size.*0"),
    (lambda: nn.AvgPool2d(2, 2, 2), ValueError, "padding=2.*half"),
    (lambda: nn.AvgPool2d(2, stride=1.5), TypeError, r"stride.*1\.5"),
    (lambda: nn.AvgPool2d(2, divisor_override=0), ValueError, "divisor_override.*0"),
    (lambda: nn.AvgPool2d(2, divisor_override=1.5), TypeError, r"divisor_override.*1\.5"),
    (lambda: nn.AvgPool2d(2, divisor_override=HUGE), ValueError, "divisor_override"),
    (lambda: nn.AvgPool1d(3, padding=2), ValueError, "padding=2.*half"),
    (lambda: nn.AdaptiveAvgPool2d(0), ValueError, "output_size.*0"),
    (lambda: nn.AdaptiveAvgPool2d(None), TypeError, "output_size.*None"),
    (lambda: nn.AdaptiveAvgPool2d((2, 2, 2)), ValueError, r"output_size.*\(2, 2, 2\)"),
    (lambda: nn.AdaptiveAvgPool2d((None, 0)), ValueError, "output_size.*0"),
    (lambda: nn.AdaptiveMaxPool2d((2, 2.0)), TypeError, r"output_size.*2\.0"),
    (lambda: nn.AdaptiveMaxPool2d("2"), TypeError, "output_size.*'2'"),
    # other layers
    (lambda: nn.Linear(0, 4), ValueError, "in_features.*0"),
    (lambda: nn.Linear(4, 2.5), TypeError, r"out_features.*2\.5"),
    (lambda: nn.Linear(True, 4), TypeError, "in_features.*True"),
    (lambda: nn.Linear(4, 4, dtype=np.float16), ValueError, "dtype.*float16"),
    (lambda: nn.Linear(4, 4, rng=1.5), TypeError, r"rng=1\.5"),
    (lambda: nn.BatchNorm2d(0), ValueError, "num_features.*0"),
    (lambda: nn.BatchNorm2d(2.0), TypeError, r"num_features.*2\.0"),
    (lambda: nn.BatchNorm2d(3, eps=-1), ValueError, "eps.*-1"),
    (lambda: nn.BatchNorm2d(3, eps=np.nan), ValueError, "eps.*nan"),
    (lambda: nn.BatchNorm2d(3, eps=None), TypeError, "eps.*None"),
    (lambda: nn.BatchNorm2d(3, momentum=1.5), ValueError, r"momentum.*1\.5"),
    (lambda: nn.BatchNorm2d(3, momentum="a"), TypeError, "momentum.*'a'"),
    (lambda: nn.BatchNorm2d(2, dtype=int), ValueError, "dtype.*int64"),
    (lambda: nn.BatchNorm2d(2, affine=False, dtype=np.float16), ValueError, "dtype.*float16"),
    (lambda: nn.Dropout(1.5), ValueError, r"p .*1\.5"),
    (lambda: nn.Dropout(np.nan), ValueError, "p .*nan"),
    (lambda: nn.Dropout("0.5"), TypeError, r"p .*'0\.5'"),
    (lambda: nn.Dropout(rng="seed"), TypeError, "rng='seed'"),
    (lambda: nn.LeakyReLU("a"), TypeError, "negative_slope.*'a'"),
    (lambda: nn.LeakyReLU(np.nan), ValueError, "negative_slope.*nan"),
    (lambda: nn.GELU("erf"), ValueError, "approximate.*'erf'"),
    (lambda: nn.GELU(None), ValueError, "approximate.*None"),
    (lambda: nn.Softmax(None), TypeError, "dim.*None"),
    (lambda: nn.Softmax(1.0), TypeError, r"dim.*1\.0"),
    (lambda: nn.Softmax(64), ValueError, "dim.*64"),
    (lambda: nn.LogSoftmax("1"), TypeError, "dim.*'1'"),
    (lambda: nn.Flatten("a"), TypeError, "start_dim.*'a'"),
    (lambda: nn.Flatten(1, 2.0), TypeError, r"end_dim.*2\.0"),
    (lambda: nn.Flatten(2, 1), ValueError, "start_dim=2.*end_dim=1"),
    (lambda: nn.Flatten(-1, -2), ValueError, "start_dim=-1.*end_dim=-2"),
    (lambda: nn.Parameter(np.zeros(3, int)), TypeError, "int64"),
    (lambda: nn.Parameter([1.0]), TypeError, "list"),
    # losses
    (lambda: nn.MSELoss("avg"), ValueError, "reduction.*'avg'"),
    (lambda: nn.MSELoss(reduction=None), ValueError, "reduction.*None"),
    (lambda: nn.CrossEntropyLoss(reduction="avg"), ValueError, "reduction.*'avg'"),
    (lambda: nn.CrossEntropyLoss(label_smoothing=1.1), ValueError, r"label_smoothing.*1\.1"),
    (lambda: nn.CrossEntropyLoss(label_smoothing="a"), TypeError, "label_smoothing.*'a'"),
    (lambda: nn.CrossEntropyLoss(ignore_index=1.5), TypeError, r"ignore_index.*1\.5"),
    (lambda: nn.CrossEntropyLoss(ignore_index=None), TypeError, "ignore_index.*None"),
    (lambda: nn.CrossEntropyLoss(2.0), ValueError, r"weight.*\(\)"),
    (lambda: nn.CrossEntropyLoss([]), ValueError, r"weight.*\(0,\)"),
    (lambda: nn.CrossEntropyLoss(np.ones((2, 2))), ValueError, r"weight.*\(2, 2\)"),
    (lambda: nn.CrossEntropyLoss(["a"]), TypeError, "weight.*<U1"),
    (lambda: nn.CrossEntropyLoss([[1], [2, 3]]), ValueError, "weight"),
    (lambda: nn.CrossEntropyLoss(np.ones(2, complex)), TypeError, "weight.*complex"),
    (lambda: nn.BCEWithLogitsLoss(reduction="avg"), ValueError, "reduction.*'avg'"),
    (lambda: nn.BCEWithLogitsLoss(np.ones(2, bool)), TypeError, "weight.*bool"),
    (lambda: nn.BCEWithLogitsLoss(pos_weight="a"), TypeError, "pos_weight.*<U1"),
    # models
    (lambda: nn.models.lenet5(0), ValueError, "num_classes.*0"),
    (lambda: nn.models.lenet5(in_channels="1"), TypeError, "in_channels.*'1'"),
    (lambda: nn.models.lenet5(image_size=29), ValueError, "image_size.*29"),
    (lambda: nn.models.lenet5(image_size=[28]), TypeError, r"image_size.*\[28\]"),
    (lambda: nn.models.lenet5(width=1.5), TypeError, r"width.*1\.5"),
    (lambda: nn.models.lenet5(dropout=-0.1), ValueError, r"dropout.*-0\.1"),
    (lambda: nn.models.lenet5(dropout=""), TypeError, "dropout.*''"),
    (lambda: nn.models.vgg11(2.0), TypeError, r"num_classes.*2\.0"),
    (lambda: nn.models.resnet18(in_channels=0), ValueError, "in_channels.*0"),
    (lambda: nn.models.mobilenet(-1), ValueError, "num_classes.*-1"),
    (lambda: nn.models.mobilenet(rng="a"), TypeError, "rng='a'"),
]


@pytest.mark.parametrize(("make", "error", "text"), REFUSED)
def test_constructors_refuse(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_one_element_stands_for_every_axis():
    layer = nn.Conv2d(1, 2, (3,), stride=[2], padding=(0,), dilation=(1,), rng=0)
    assert (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (2, 2), (0, 0))
    assert layer(np.ones((1, 1, 9, 9), np.float32)).shape == (1, 2, 4, 4)
    x = np.arange(81.0).reshape(1, 1, 9, 9)
    for kind in (nn.MaxPool2d, nn.AvgPool2d):
        np.testing.assert_array_equal(kind((3,), [2], (1,))(x), kind(3, 2, 1)(x))
    assert nn.AdaptiveAvgPool2d((3,))(x).shape == (1, 1, 3, 3)


def test_an_empty_stride_of_a_pooling_is_the_kernels_size():
    x = np.arange(81.0).reshape(1, 1, 9, 9)
    for kind in (nn.MaxPool2d, nn.AvgPool2d):
        for empty in (None, (), []):
            assert kind((3, 2), empty).stride == (3, 2)
            np.testing.assert_array_equal(kind(3, empty)(x), kind(3, 3)(x))


def test_adaptive_sizes_may_be_the_inputs():
    for kind in (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d):
        assert kind([None, np.int64(7)]).output_size == (None, 7)
        assert kind((None,)).output_size == (None, None)
        assert repr(kind((None, 7))) == f"{kind.__name__}(output_size=(None, 7))"


def test_options_are_kept_as_plain_integers():
    layer = nn.Conv2d(np.int64(4), np.int32(4), np.int64(3), padding=np.int8(1), groups=np.uint8(2))
    options = (layer.in_channels, layer.out_channels, layer.padding, layer.groups)
    assert options == (4, 4, 1, 2)
    assert {type(v) for v in (*options, *layer.kernel_size)} == {int}
    assert repr(layer) == "Conv2d(4, 4, kernel_size=(3, 3), padding=1, groups=2)"
    assert nn.Conv2d(1, 1, 3, padding=[[1, 2], [3, 4]]).padding == ((1, 2), (3, 4))
    assert nn.Conv1d(1, 1, 3, padding=[1, 2]).padding == (1, 2)


# What constructors and functions are given alike: plenty of it wrong, and none of it a sequence of
# one element, or empty, which only constructors take.
NUMBERS = st.sampled_from([1, 1, 1, 2, 3, np.int64(2), 0, -1, True, 1.0, "1", None, 2**63])
PAIRS = st.one_of(NUMBERS, st.tuples(NUMBERS, NUMBERS), st.just((1, 1, 1)))
PADDINGS = st.one_of(
    st.sampled_from(["same", "valid", "full"]),
    PAIRS,
    st.tuples(*[NUMBERS] * 4),
    st.tuples(*[st.tuples(NUMBERS, NUMBERS)] * 2),
    st.lists(st.integers(0, 3), min_size=2, max_size=5),
)
ALGORITHMS = st.sampled_from(["auto", "direct", "winograd", "fast", None])
IMAGE = np.ones((1, 2, 16, 17))


def outcome(call):
    """What a call returns, or None where it refuses its arguments."""
    try:
        return call()
    except (ValueError, TypeError):
        return None


def assert_agree(make, function):
    """A layer can be made where the function can be called, and then computes the same."""
    layer = outcome(make)
    expected = outcome(function)
    assert (layer is None) == (expected is None)
    if layer is not None:
        image = Tensor(IMAGE, requires_grad=True)
        output = layer(image)
        np.testing.assert_array_equal(output, expected)
        output.backward(output.data)
        assert image.grad.shape == IMAGE.shape


@given(st.integers(1, 3), st.integers(1, 3), PAIRS, PADDINGS, PAIRS, ALGORITHMS)
def test_convolutions_agree_with_the_function(rows, columns, stride, padding, dilation, algorithm):
    def make():
        layer = nn.Conv2d(
            2, 2, (rows, columns), stride, padding, dilation, bias=False,
            algorithm=algorithm, dtype=np.float64, rng=0,
        )  # fmt: skip
        layer.weight.data[...] = 1
        return layer

    weight = np.ones((2, 2, rows, columns))
    assert_agree(
        make,
        lambda: F.conv2d(
            IMAGE, weight, None, stride, padding, dilation, algorithm=algorithm
        ),
    )  # fmt: skip


STEPS = st.one_of(st.none(), PAIRS)


@given(PAIRS, STEPS, PAIRS | st.sampled_from(["same", 0, (0, 1)]), PAIRS, st.booleans())
def test_max_poolings_agree_with_the_function(kernel_size, stride, padding, dilation, ceil_mode):
    options = (kernel_size, stride, padding, dilation)
    assert_agree(
        lambda: nn.MaxPool2d(*options, ceil_mode=ceil_mode),
        lambda: F.max_pool2d(IMAGE, *options, ceil_mode),
    )


@given(PAIRS, STEPS, PAIRS | st.sampled_from([0, (0, 1)]), st.booleans(), NUMBERS)
def test_average_poolings_agree_with_the_function(kernel_size, stride, padding, count, divisor):
    options = (kernel_size, stride, padding, False, count, divisor)
    assert_agree(lambda: nn.AvgPool2d(*options), lambda: F.avg_pool2d(IMAGE, *options))


SIZES = NUMBERS.filter(lambda n: n is not None)


@given(st.one_of(SIZES, st.tuples(SIZES, SIZES), st.just((1, 1, 1))))
def test_adaptive_poolings_agree_with_the_function(size):
    assert_agree(lambda: nn.AdaptiveAvgPool2d(size), lambda: F.adaptive_avg_pool2d(IMAGE, size))
    assert_agree(lambda: nn.AdaptiveMaxPool2d(size), lambda: F.adaptive_max_pool2d(IMAGE, size))


REALS = st.sampled_from([0, 0.0, 0.1, 1, 1.5, -1, np.float32(0.5), np.nan, np.inf, "0", None, 1j])
AXES = st.sampled_from([0, 1, -1, -4, 3, np.int64(2), "1", None, 1.0, (0, 1)])


@given(REALS, st.one_of(st.sampled_from(["none", "tanh", "erf", None])), AXES)
def test_other_layers_agree_with_the_functions(number, name, axis):
    assert_agree(lambda: nn.LeakyReLU(number), lambda: F.leaky_relu(IMAGE, number))
    assert_agree(lambda: nn.GELU(name), lambda: F.gelu(IMAGE, name))
    assert_agree(lambda: nn.Softmax(axis), lambda: F.softmax(IMAGE, axis))
    assert_agree(lambda: nn.LogSoftmax(axis), lambda: F.log_softmax(IMAGE, axis))
    assert_agree(lambda: nn.Flatten(0, axis), lambda: F.flatten(IMAGE, 0, axis))
    assert_agree(lambda: nn.Flatten(axis, 3), lambda: F.flatten(IMAGE, axis, 3))
    assert_agree(
        lambda: nn.BatchNorm2d(2, eps=number, dtype=np.float64),
        lambda: F.batch_norm(IMAGE, None, None, training=True, eps=number),
    )
    if number is not None:
        assert_agree(
            lambda: nn.BatchNorm2d(2, momentum=number, dtype=np.float64),
            lambda: F.batch_norm(IMAGE, None, None, training=True, momentum=number),
        )
    assert_agree(lambda: nn.Dropout(number, rng=0), lambda: F.dropout(IMAGE, number, rng=0))
