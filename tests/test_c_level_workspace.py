"""The C level computes in its caller's memory: as much as it asked for, and no more."""

import ctypes

import numpy as np
import pytest
from support.arrays import integers
from support.c_level import (
    CASES,
    POOLINGS,
    STATUSES,
    Workspace,
    call,
    call_op,
    conv_geometry,
    every_format,
    outs,
    pool_geometry,
    unfilled,
    workspace_size,
)
from support.geometries import Conv

from fastconv._drivers import memory as memory_of_fastconv

# between them all drivers, one and several tasks, partial sums, panels and points
WORKSPACES = [
    *CASES,
    Conv((1, 3, 60, 60), (64, 3, 3, 3), padding=1),
    Conv((1, 512, 7, 7), (512, 512, 3, 3), padding=1),
    Conv((2, 64, 30, 30), (64, 64, 3, 3), padding=1),
    Conv((1, 256, 9, 9), (80, 256, 1, 1), stride=2),
    Conv((2, 64, 20, 20), (64, 1, 3, 3), padding=1, stride=2, groups=64),
    Conv((2, 64, 20, 20), (64, 4, 3, 3), padding=1, groups=16),
    Conv((8, 20, 40, 40), (24, 20, 5, 5), stride=(2, 1)),
    Conv((4, 40, 500), (48, 40, 3), padding=(2, 0), stride=2),
    Conv((1, 24, 6, 30, 30), (40, 24, 3, 3, 3), padding=1),
    Conv((2, 24, 6, 20, 20), (40, 24, 3, 1, 1), stride=(2, 1, 1)),
]
POOLED = [*POOLINGS, ((4, 40, 64, 64), POOLINGS[1][1]), ((4, 40, 900), POOLINGS[1][1])]
MARGIN = 4096  # bytes around a workspace that nobody may touch


def check_workspace(name, *arguments, out, num_threads):
    """With exactly as much as is asked for, the same bits; with a byte less a refusal."""
    assert call_op(name, *arguments, num_threads=num_threads) == 0
    expected = out.tobytes()
    size = workspace_size(name, *arguments, num_threads=num_threads)
    memory = np.full(2 * MARGIN + size + 1, 0xA5, np.uint8)
    for start in (MARGIN, MARGIN + 1):
        out[:] = -7
        memory[:] = 0xA5
        workspace = Workspace(memory.ctypes.data + start, size)
        assert call_op(name, *arguments, num_threads=num_threads, workspace=workspace) == 0
        assert workspace.size == size
        assert out.tobytes() == expected
        assert (memory[:start] == 0xA5).all()
        assert (memory[start + size :] == 0xA5).all()
        out[:] = -7
        assert memory_of_fastconv.fail_after(1) == 0  # and nothing else is allocated
        try:
            assert call_op(name, *arguments, num_threads=num_threads, workspace=workspace) == 0
        finally:
            assert memory_of_fastconv.fail_after(0) == 1
        assert out.tobytes() == expected
    if size > 64:
        # 64 bytes of it are there to start on a cache line
        start = -memory.ctypes.data % 64
        few = Workspace(memory.ctypes.data + start, size - 65)
        status = call_op(name, *arguments, num_threads=num_threads, workspace=few)
        assert status == STATUSES["WORKSPACE_TOO_SMALL"]
    assert workspace_size(name, *arguments, num_threads=num_threads) == size
    assert call_op(name, *arguments, num_threads=num_threads) == 0  # and all is as before
    assert out.tobytes() == expected


@pytest.mark.parametrize("num_threads", [1, 3])
@every_format
@pytest.mark.parametrize("case", WORKSPACES, ids=str)
def test_convolution_uses_only_the_callers_workspace(case, channels_last, num_threads, rng):
    x, w, b, g = case.operands(rng, np.float32)
    geometry = conv_geometry(case, channels_last)
    packed = ctypes.c_void_p()
    assert call("conv_pack_f32", geometry, w, packed, 1) == 0
    for name, *arrays, out in (
        ("conv_f32", x, w, b, g.copy()),
        ("conv_packed_f32", x, packed.value, b, g.copy()),
        ("conv_backward_input_f32", g, w, x.copy()),
        ("conv_backward_weight_f32", g, x, w.copy()),
        ("conv_backward_bias_f32", g, b.copy()),
    ):
        check_workspace(name, geometry, *arrays, out, out=out, num_threads=num_threads)
    call("conv_packed_free", packed.value)


@pytest.mark.parametrize("num_threads", [1, 3])
@every_format
@pytest.mark.parametrize(("input_shape", "options"), POOLED)
def test_pooling_uses_only_the_callers_workspace(
    input_shape, options, channels_last, num_threads, rng
):
    geometry = pool_geometry(input_shape, options, channels_last)
    x = integers(rng, input_shape, np.float32).ravel()
    y = unfilled((*input_shape[:2], *outs(geometry)), np.float32)
    indices = unfilled(y.shape, np.int64)
    many = {"num_threads": num_threads}
    size = workspace_size("max_pool_f32", geometry, x, y, None, **many)
    assert size == workspace_size("max_pool_f32", geometry, None, None, indices, **many)
    for where in (None, indices):
        memory = np.empty(size, np.uint8)
        workspace = Workspace(memory.ctypes.data, size)
        assert call_op("max_pool_f32", geometry, x, y, where, workspace=workspace, **many) == 0
    check_workspace("max_pool_backward_f32", geometry, y, indices, x, out=x, **many)
    check_workspace("avg_pool_f32", geometry, x, y, out=y, **many)
    check_workspace("avg_pool_backward_f32", geometry, y, x, out=x, **many)


def test_workspace_query_reads_and_writes_no_array():
    case = CASES[6]
    geometry = conv_geometry(case)
    nowhere = ctypes.c_void_p(1).value  # a pointer that no process may follow
    assert workspace_size("conv_f32", geometry, nowhere, nowhere, nowhere, nowhere) > 64
    assert workspace_size("conv_f32", geometry, None, None, None, None) > 64
    assert workspace_size("conv_backward_input_f32", geometry, nowhere, nowhere, nowhere) > 64
    assert workspace_size("conv_backward_weight_f32", geometry, nowhere, nowhere, nowhere) > 64
    assert workspace_size("conv_backward_bias_f32", geometry, nowhere, nowhere) > 64
    pooling = pool_geometry((2, 40, 50, 50), {"kernel_size": 3, "stride": 2})
    assert workspace_size("max_pool_f32", pooling, nowhere, nowhere, nowhere) > 64
    assert workspace_size("max_pool_backward_f32", pooling, nowhere, nowhere, nowhere) >= 64
    assert workspace_size("avg_pool_f32", pooling, nowhere, nowhere) > 64
    assert workspace_size("avg_pool_backward_f32", pooling, nowhere, nowhere) > 64


def test_workspace_for_fewer_threads_is_refused(rng):
    case = Conv((4, 40, 30, 30), (40, 40, 3, 3), padding=1)
    x, w, _, g = case.operands(rng, np.float32)
    geometry = conv_geometry(case)
    size = workspace_size("conv_f32", geometry, x, w, None, g, num_threads=1)
    if workspace_size("conv_f32", geometry, x, w, None, g, num_threads=4) == size:
        pytest.skip("built without OpenMP")
    memory = np.empty(size, np.uint8)
    workspace = Workspace(memory.ctypes.data, size)
    status = call_op("conv_f32", geometry, x, w, None, g, workspace=workspace, num_threads=4)
    assert status == STATUSES["WORKSPACE_TOO_SMALL"]
