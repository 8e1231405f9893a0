"""The C level's declarations: header, table and Cython agree, and hold what extensions rely on."""

import ctypes
import re
from importlib import resources
from pathlib import Path

import pytest
from support.c_level import (
    CONSTANTS,
    FUNCTIONS,
    HEADER,
    PROTOTYPES,
    STATUSES,
    TABLE,
    Conv2dShape,
    Pool2dShape,
    Workspace,
    call,
    single_spaced,
)
from support.extensions import SETUP, build

import fastconv
from fastconv import _ops

_FORWARD = "const conv2d_shape *shape, const {0} *input, {1}, const {0} *bias, {0} *output, "
_CALLED = "workspace *workspace, int num_threads"
#: what extensions are compiled against: a change here is a new FASTCONV_ABI_VERSION
PROMISED = {
    "conv2d": _FORWARD.format("real", "const real *weight") + _CALLED,
    "conv2d_backward_input": "const conv2d_shape *shape, const real *grad_output, "
    "const real *weight, real *grad_input, " + _CALLED,
    "conv2d_backward_weight": "const conv2d_shape *shape, const real *grad_output, "
    "const real *input, real *grad_weight, " + _CALLED,
    "conv2d_backward_bias": "const conv2d_shape *shape, const real *grad_output, "
    "real *grad_bias, " + _CALLED,
    "conv2d_pack": "const conv2d_shape *shape, const real *weight, packed_conv2d **packed, "
    "int num_threads",
    "conv2d_packed": _FORWARD.format("real", "packed_conv2d *packed") + _CALLED,
    "max_pool2d": "const pool2d_shape *shape, const real *input, real *output, "
    "int64_t *indices, " + _CALLED,
    "max_pool2d_backward": "const pool2d_shape *shape, const real *grad_output, "
    "const int64_t *indices, real *grad_input, " + _CALLED,
    "avg_pool2d": "const pool2d_shape *shape, const real *input, real *output, " + _CALLED,
    "avg_pool2d_backward": "const pool2d_shape *shape, const real *grad_output, "
    "real *grad_input, " + _CALLED,
}
_SIZES = "Py_ssize_t batch, Py_ssize_t {}channels, Py_ssize_t in_h, Py_ssize_t in_w, "
_KERNEL = "Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding"
PROMISED_FOR_ALL = {
    "status_text": ("const char *", "int status"),
    "conv2d_shape_init": (
        "int",
        f"conv2d_shape *shape, {_SIZES.format('in_')}Py_ssize_t out_channels, {_KERNEL}, "
        "Py_ssize_t dilation, Py_ssize_t groups",
    ),
    "conv2d_shape_check": ("int", "conv2d_shape *shape"),
    "pool2d_shape_init": ("int", f"pool2d_shape *shape, {_SIZES.format('')}{_KERNEL}"),
    "pool2d_shape_init_adaptive": (
        "int",
        f"pool2d_shape *shape, {_SIZES.format('')}Py_ssize_t out_h, Py_ssize_t out_w",
    ),
    "pool2d_shape_check": ("int", "pool2d_shape *shape"),
    "conv2d_packed_free": ("void", "packed_conv2d *packed"),
}
#: their order is the table's
ORDER = (
    "status_text conv2d_shape_init conv2d_shape_check pool2d_shape_init "
    "pool2d_shape_init_adaptive pool2d_shape_check conv2d_f32 conv2d_f64 conv2d_backward_input_f32 "
    "conv2d_backward_input_f64 conv2d_backward_weight_f32 conv2d_backward_weight_f64 "
    "conv2d_backward_bias_f32 conv2d_backward_bias_f64 conv2d_pack_f32 conv2d_pack_f64 "
    "conv2d_packed_free conv2d_packed_f32 conv2d_packed_f64 max_pool2d_f32 max_pool2d_f64 "
    "max_pool2d_backward_f32 max_pool2d_backward_f64 avg_pool2d_f32 avg_pool2d_f64 "
    "avg_pool2d_backward_f32 avg_pool2d_backward_f64"
)
FIELDS = {
    Conv2dShape: (
        "batch in_channels in_h in_w out_channels kernel_h kernel_w stride_h stride_w pad_top "
        "pad_bottom pad_left pad_right dilation_h dilation_w groups input_format output_format "
        "activation algorithm out_h out_w"
    ),
    Pool2dShape: (
        "batch channels in_h in_w kernel_h kernel_w stride_h stride_w pad_h pad_w dilation_h "
        "dilation_w ceil_mode adaptive count_include_pad divisor_override input_format "
        "output_format out_h out_w"
    ),
    Workspace: "data size",
}
PROMISED_STATUSES = {
    "OK": 0,
    "OUT_OF_MEMORY": 1,
    "INDEX_OUT_OF_RANGE": 2,
    "NULL_POINTER": 4,
    "INVALID_SIZE": 5,
    "INVALID_STRIDE": 6,
    "INVALID_PADDING": 7,
    "INVALID_GROUPS": 8,
    "INVALID_OPTION": 9,
    "KERNEL_TOO_LARGE": 10,
    "TOO_LARGE": 11,
    "SHAPE_NOT_CHECKED": 12,
    "WEIGHT_MISMATCH": 13,
    "WORKSPACE_TOO_SMALL": 14,
}

INTERRUPTED = 3  # a status of the drivers, which the C level never returns


def promised():
    found = dict(PROMISED_FOR_ALL)
    for name, parameters in PROMISED.items():
        for kind, real in (("f32", "float"), ("f64", "double")):
            found[f"{name}_{kind}"] = ("int", re.sub(r"\breal\b", real, parameters))
    return found


def test_header_functions_match_the_published_abi():
    found = {
        name: (result, parameters.replace("fastconv_", ""))
        for name, (result, parameters) in PROTOTYPES.items()
    }
    assert found == promised()
    assert " ".join(PROTOTYPES) == ORDER


def test_header_structures_and_statuses_match_the_published_abi():
    for structure, fields in FIELDS.items():
        assert " ".join(name for name, _ in structure._fields_) == fields
    assert {kind for _, kind in Conv2dShape._fields_ + Pool2dShape._fields_} == {ctypes.c_ssize_t}
    assert STATUSES == PROMISED_STATUSES
    assert re.search(r"#define FASTCONV_ABI_VERSION 1\n", HEADER)


def test_table_has_its_version_and_size():
    assert TABLE.abi_version == 1
    assert TABLE.size == ctypes.sizeof(TABLE)
    assert all(getattr(TABLE, name) for name in PROTOTYPES)


def cython_type(text):
    """A parameter's type as Cython writes it into a capsule's name."""
    text = re.sub(r"\w+$", "", text).strip().replace("fastconv_", "")
    for c, cython in (
        ("conv2d_shape", "Conv2dShape"),
        ("pool2d_shape", "Pool2dShape"),
        ("workspace", "Workspace"),
        ("packed_conv2d", "PackedConv2d"),
    ):
        text = re.sub(rf"\b{c}\b", cython, text)
    return re.sub(r"^const (\w+)", r"\1 const", text)


def test_cython_functions_match_the_header():
    found = {
        name: single_spaced(
            re.sub(r"__pyx_t_8fastconv_4_ops_", "", re.search(r'"(.*)"', repr(capsule))[1])
        )
        for name, capsule in _ops.__pyx_capi__.items()
    }
    expected = {}
    for name, (result, parameters) in PROTOTYPES.items():
        types = ", ".join(cython_type(p) for p in parameters.split(", "))
        result = re.sub(r"^const (\w+) ", r"\1 const ", result)
        expected[name] = single_spaced(f"{result}{'' if result[-1] == '*' else ' '}({types})")
    assert found == expected


def declarations(name):
    text = (resources.files("fastconv") / name).read_text(encoding="utf-8")
    return re.sub(r"#.*", "", text)


def test_cython_structures_and_constants_match_the_header():
    text = declarations("_ops.pxd")
    for structure in FIELDS:
        body = re.search(rf"ctypedef struct {structure.__name__}:\n((?:    .*\n|\n)+)", text)[1]
        names = re.sub(r"Py_ssize_t|size_t|void", "", body)
        assert " ".join(re.findall(r"\w+", names)) == FIELDS[structure]
    values = dict(re.findall(r"(\w+) *= *(\d+)", text + declarations("_drivers/status.pxd")))
    found = {name: int(value) for name, value in values.items()}
    assert found.pop("INTERRUPTED") == INTERRUPTED
    assert found == CONSTANTS


def test_package_cimports_everything_that_ops_declares():
    text = declarations("_ops.pxd")
    patterns = (
        r"^cdef (?:int|void|const char \*) ?\*?(\w+)\(",
        r"^ctypedef struct (\w+)",
        r"^cp?def enum (\w+)",
        r"^    (\w+) *= *\d",
    )
    declared = {name for pattern in patterns for name in re.findall(pattern, text, re.M)}
    declared |= set(re.findall(r"\w+", re.search(r"status cimport \((.*?)\)", text, re.S)[1]))
    offered = re.search(r"cimport \((.*)\)", declarations("__init__.pxd"), re.S)[1]
    assert set(re.findall(r"\w+", offered)) == declared


@pytest.mark.parametrize(
    "change",
    [
        ("#define FASTCONV_ABI_VERSION 1", "#define FASTCONV_ABI_VERSION 2"),
        ("} fastconv_api;", "    void (*of_a_later_version)(void);\n} fastconv_api;"),
    ],
)
def test_extension_built_for_another_abi_is_refused(change, tmp_path):
    """By its own copy of the header, which is of an older level or a later version."""
    header = (Path(fastconv.get_include()) / "fastconv.h").read_text(encoding="utf-8")
    assert change[0] in header
    (tmp_path / "fastconv.h").write_text(header.replace(*change), encoding="utf-8")
    (tmp_path / "another.pyx").write_text(
        """# cython: language_level=3
cdef extern from "fastconv.h":
    ctypedef struct fastconv_api:
        pass
    const fastconv_api *fastconv_import() except NULL
fastconv_import()
""",
        encoding="utf-8",
    )
    (tmp_path / "setup.py").write_text(
        SETUP.format(name="another").replace('.pyx"]', '.pyx"], include_dirs=["."]'),
        encoding="utf-8",
    )
    with pytest.raises(ImportError, match="built for the C level"):
        build("another", tmp_path)


def test_every_status_has_its_own_text():
    texts = [call("status_text", value) for value in STATUSES.values()]
    assert all(texts)
    assert len(set(texts)) == len(texts)
    assert INTERRUPTED not in STATUSES.values()
    for unknown in (-1, INTERRUPTED, max(STATUSES.values()) + 1, 2**31 - 1):
        assert call("status_text", unknown) == b"unknown status"


def test_get_include_names_the_folder_of_the_header():
    assert fastconv.get_include() == str(resources.files("fastconv") / "include")
    assert set(FUNCTIONS) == set(PROTOTYPES)
