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
    Axis,
    ConvGeometry,
    PoolGeometry,
    Workspace,
    call,
    single_spaced,
)
from support.extensions import SETUP, build

import fastconv
from fastconv import _capi

#: what extensions are compiled against: a change here is a new FASTCONV_ABI_VERSION
ABI_VERSION = 2
#: the table's functions in its order; a T stands for two: f32 on float, f64 on double
PROMISED = """
const char *status_text(int status)
int conv1d_init(conv_geometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels, Py_ssize_t in_w,
    Py_ssize_t out_channels, Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding,
    Py_ssize_t dilation, Py_ssize_t groups)
int conv2d_init(conv_geometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels, Py_ssize_t in_h,
    Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation, Py_ssize_t groups)
int conv_check(conv_geometry *geometry)
int pool1d_init(pool_geometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_w,
    Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding)
int pool2d_init(pool_geometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_h,
    Py_ssize_t in_w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
    Py_ssize_t padding)
int adaptive_pool1d_init(pool_geometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
    Py_ssize_t in_w, Py_ssize_t out_w)
int adaptive_pool2d_init(pool_geometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
    Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_h, Py_ssize_t out_w)
int pool_check(pool_geometry *geometry)
int conv_T(const conv_geometry *geometry, const real *input, const real *weight, const real *bias,
    real *output, workspace *workspace, int num_threads)
int conv_backward_input_T(const conv_geometry *geometry, const real *grad_output,
    const real *weight, real *grad_input, workspace *workspace, int num_threads)
int conv_backward_weight_T(const conv_geometry *geometry, const real *grad_output,
    const real *input, real *grad_weight, workspace *workspace, int num_threads)
int conv_backward_bias_T(const conv_geometry *geometry, const real *grad_output, real *grad_bias,
    workspace *workspace, int num_threads)
int conv_pack_T(const conv_geometry *geometry, const real *weight, packed_conv **packed,
    int num_threads)
void conv_packed_free(packed_conv *packed)
int conv_packed_T(const conv_geometry *geometry, const real *input, packed_conv *packed,
    const real *bias, real *output, workspace *workspace, int num_threads)
int max_pool_T(const pool_geometry *geometry, const real *input, real *output, int64_t *indices,
    workspace *workspace, int num_threads)
int max_pool_backward_T(const pool_geometry *geometry, const real *grad_output,
    const int64_t *indices, real *grad_input, workspace *workspace, int num_threads)
int avg_pool_T(const pool_geometry *geometry, const real *input, real *output,
    workspace *workspace, int num_threads)
int avg_pool_backward_T(const pool_geometry *geometry, const real *grad_output, real *grad_input,
    workspace *workspace, int num_threads)
int conv3d_init(conv_geometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels, Py_ssize_t in_d,
    Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_d,
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding,
    Py_ssize_t dilation, Py_ssize_t groups)
int pool3d_init(pool_geometry *geometry, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t in_d,
    Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t kernel_d, Py_ssize_t kernel_h,
    Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding)
int adaptive_pool3d_init(pool_geometry *geometry, Py_ssize_t batch, Py_ssize_t channels,
    Py_ssize_t in_d, Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_d, Py_ssize_t out_h,
    Py_ssize_t out_w)
int max_unpool_T(const pool_geometry *geometry, const real *output, const int64_t *indices,
    real *input, workspace *workspace, int num_threads)
int max_unpool_backward_T(const pool_geometry *geometry, const real *grad_input,
    const int64_t *indices, real *grad_output, workspace *workspace, int num_threads)
int conv_transpose1d_init(conv_geometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
    Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_w, Py_ssize_t stride,
    Py_ssize_t padding, Py_ssize_t output_padding, Py_ssize_t dilation, Py_ssize_t groups)
int conv_transpose2d_init(conv_geometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
    Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels, Py_ssize_t kernel_h,
    Py_ssize_t kernel_w, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t output_padding,
    Py_ssize_t dilation, Py_ssize_t groups)
int conv_transpose3d_init(conv_geometry *geometry, Py_ssize_t batch, Py_ssize_t in_channels,
    Py_ssize_t in_d, Py_ssize_t in_h, Py_ssize_t in_w, Py_ssize_t out_channels,
    Py_ssize_t kernel_d, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride,
    Py_ssize_t padding, Py_ssize_t output_padding, Py_ssize_t dilation, Py_ssize_t groups)
int conv_transpose_T(const conv_geometry *geometry, const real *input, const real *weight,
    const real *bias, real *output, workspace *workspace, int num_threads)
int conv_transpose_backward_input_T(const conv_geometry *geometry, const real *grad_output,
    const real *weight, real *grad_input, workspace *workspace, int num_threads)
int conv_transpose_backward_weight_T(const conv_geometry *geometry, const real *grad_output,
    const real *input, real *grad_weight, workspace *workspace, int num_threads)
int conv_transpose_backward_bias_T(const conv_geometry *geometry, const real *grad_output,
    real *grad_bias, workspace *workspace, int num_threads)
"""
FIELDS = {
    Axis: "size kernel stride pad_before pad_after dilation out",
    ConvGeometry: (
        "batch in_channels out_channels groups axis[3] input_format output_format activation "
        "algorithm"
    ),
    PoolGeometry: (
        "batch channels axis[3] adaptive ceil_mode count_include_pad divisor_override "
        "input_format output_format"
    ),
    Workspace: "data size",
}
#: of a geometry's array, for languages without structs
NUMBERS = 29
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
    "GEOMETRY_NOT_CHECKED": 12,
    "WEIGHT_MISMATCH": 13,
    "WORKSPACE_TOO_SMALL": 14,
    "UNSUPPORTED": 15,
}
PROMISED_OPTIONS = {
    "CONTIGUOUS": 0,
    "CHANNELS_LAST": 1,
    "ACTIVATION_NONE": 0,
    "ACTIVATION_RELU": 1,
    "AUTO": 0,
    "DIRECT": 1,
    "WINOGRAD": 2,
}

INTERRUPTED = 3  # a status of the drivers, which the C level never returns


def promised():
    found = {}
    for result, name, parameters in re.findall(r"^(\w.*?)(\w+)\(([^)]*)\)", PROMISED, re.M):
        for kind, real in (("f32", "float"), ("f64", "double"))[: 2 if "_T" in name else 1]:
            parameters_of_kind = re.sub(r"\breal\b", real, single_spaced(parameters))
            found[re.sub("T$", kind, name)] = (result.strip(), parameters_of_kind)
    return found


def test_header_functions_match_the_published_abi():
    found = {
        name: (result, parameters.replace("fastconv_", ""))
        for name, (result, parameters) in PROTOTYPES.items()
    }
    assert found == promised()
    assert list(found) == list(promised())


def fields(structure):
    for name, kind in structure._fields_:
        count = getattr(kind, "_length_", None)
        yield name if count is None else f"{name}[{count}]"


def test_header_structures_and_statuses_match_the_published_abi():
    for structure, names in FIELDS.items():
        assert " ".join(fields(structure)) == names
    for geometry in (ConvGeometry, PoolGeometry):
        kinds = dict(geometry._fields_)
        assert kinds.pop("axis")._type_ is Axis
        assert set(kinds.values()) == {ctypes.c_ssize_t}
        assert ctypes.sizeof(geometry) == NUMBERS * ctypes.sizeof(ctypes.c_ssize_t)
    assert {kind for _, kind in Axis._fields_} == {ctypes.c_ssize_t}
    assert STATUSES == PROMISED_STATUSES
    assert CONSTANTS == PROMISED_STATUSES | PROMISED_OPTIONS
    assert re.search(rf"#define FASTCONV_ABI_VERSION {ABI_VERSION}\n", HEADER)


def test_table_has_its_version_and_size():
    assert TABLE.abi_version == ABI_VERSION
    assert TABLE.size == ctypes.sizeof(TABLE)
    assert all(getattr(TABLE, name) for name in PROTOTYPES)


def cython_type(text):
    """A parameter's type as Cython writes it into a capsule's name."""
    text = re.sub(r"\w+$", "", text).strip().replace("fastconv_", "")
    for c, cython in (
        ("conv_geometry", "ConvGeometry"),
        ("pool_geometry", "PoolGeometry"),
        ("workspace", "Workspace"),
        ("packed_conv", "PackedConv"),
    ):
        text = re.sub(rf"\b{c}\b", cython, text)
    return re.sub(r"^const (\w+)", r"\1 const", text)


def test_cython_functions_match_the_header():
    """In the modules, too, that Cython has the types from: extensions ask for them by full name."""
    found = {}
    for name, capsule in _capi.__pyx_capi__.items():
        signature = re.search(r'"(.*)"', repr(capsule))[1]
        signature = re.sub("__pyx_t_8fastconv_8_drivers_8geometry_(?=Conv|Pool)", "", signature)
        signature = re.sub("__pyx_t_8fastconv_5_capi_(?=Workspace|PackedConv)", "", signature)
        found[name] = single_spaced(signature)
    expected = {}
    for name, (result, parameters) in PROTOTYPES.items():
        types = ", ".join(cython_type(p) for p in parameters.split(", "))
        result = re.sub(r"^const (\w+) ", r"\1 const ", result)
        expected[name] = single_spaced(f"{result}{'' if result[-1] == '*' else ' '}({types})")
    assert found == expected


#: what `from fastconv cimport ...` declares
DECLARATIONS = ("_capi.pxd", "_drivers/geometry.pxd", "_drivers/status.pxd")


def declarations(name):
    text = (resources.files("fastconv") / name).read_text(encoding="utf-8")
    return re.sub(r"#.*", "", text)


def test_cython_structures_and_constants_match_the_header():
    text = "".join(map(declarations, DECLARATIONS))
    for structure, names in FIELDS.items():
        body = re.search(rf"ctypedef struct {structure.__name__}:\n((?:    .*\n|\n)+)", text)[1]
        body = re.sub(r"\b(Py_ssize_t|size_t|void|Axis)\b", "", body)
        assert " ".join(re.findall(r"[\w\[\]]+", body)) == names
    values = dict(re.findall(r"(\w+) *= *(\d+)", text))
    found = {name: int(value) for name, value in values.items()}
    assert found.pop("INTERRUPTED") == INTERRUPTED
    assert found == CONSTANTS


def test_package_cimports_everything_that_is_declared():
    text = "".join(map(declarations, DECLARATIONS))
    patterns = (
        r"^cdef (?:int|void|const char) \*?(\w+)\(",
        r"^ctypedef struct (\w+)",
        r"^cp?def enum (\w+)",
        r"^    (\w+) *= *\d",
    )
    declared = {name for pattern in patterns for name in re.findall(pattern, text, re.M)}
    declared.remove("INTERRUPTED")
    offered = re.search(r"cimport \((.*)\)", declarations("__init__.pxd"), re.S)[1]
    assert set(re.findall(r"\w+", offered)) == declared


@pytest.mark.parametrize(
    "change",
    [
        (f"#define FASTCONV_ABI_VERSION {ABI_VERSION}", "#define FASTCONV_ABI_VERSION 1"),
        (
            f"#define FASTCONV_ABI_VERSION {ABI_VERSION}",
            f"#define FASTCONV_ABI_VERSION {ABI_VERSION + 1}",
        ),
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


def test_documentation_has_every_field_status_and_function():
    page = Path(__file__).parents[1] / "docs" / "c-api.md"
    text = page.read_text(encoding="utf-8")
    for structure in (Axis, ConvGeometry, PoolGeometry):
        rows = re.search(
            rf"^`{structure.__name__}`, in this order:\n\n(.*?)\n\n", text, re.M | re.S
        )
        names = " ".join(re.findall(r"^\| (`.*?`) \|", rows[1], re.M))
        assert re.findall(r"[\w\[\]]+", names) == FIELDS[structure].split()
    statuses = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.M))
    assert {name: int(value) for name, value in statuses.items()} == STATUSES
    assert f"`FASTCONV_ABI_VERSION` ({ABI_VERSION})" in text
    assert f"an array of {NUMBERS} `np.intp`" in text
    found = {
        name: re.findall(r"\w+(?=,|$)", single_spaced(parameters))
        for name, parameters in re.findall(
            r"^(?:int|void|const char) \*?(\w+)\(([^)]*)\);", text, re.M
        )
    }
    expected = {
        name: re.findall(r"\w+(?=,|$)", parameters)
        for name, (_, parameters) in PROTOTYPES.items()
        if not name.endswith("_f64")  # twins of these
    }
    assert found == expected


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
