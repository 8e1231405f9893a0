"""Containers' CPU quotas, in made-up file trees and a real control group."""

import math
import os
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.child import output

from fastconv._cgroup import cpu_quota, memory_quota

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
UNIFIED = V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
V1 = "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
SET = "34 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"


def tree(root, groups, mounts, limits):
    """A root folder; a limit "quota period" of version 1 is named by its folder alone."""
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text(mounts)
    for name, text in limits.items():
        path = root / "sys/fs/cgroup" / name
        if path.name == "cpu.max":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        else:
            path.mkdir(parents=True, exist_ok=True)
            quota, period = text.split()
            (path / "cpu.cfs_quota_us").write_text(quota + "\n")
            (path / "cpu.cfs_period_us").write_text(period + "\n")
    return root


@pytest.mark.parametrize(
    ("groups", "mounts", "limits", "expected"),
    [
        # version 2: the root's, which a container sees as its own
        ("0::/\n", V2, {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", V2, {"cpu.max": "max 100000"}, math.inf),
        ("0::/\n", V2, {}, math.inf),
        # a nested group, and the minimum over those around it
        ("0::/a/b\n", V2, {"a/b/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", V2, {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 50000"}, 1),
        ("0::/a/b\n", V2, {"a/b/cpu.max": "1 2", "a/cpu.max": "2 1", "cpu.max": "3 1"}, 0.5),
        ("0::/a/b\n", V2, {"a/b/cpu.max": "9 1", "a/cpu.max": "8 1", "cpu.max": "7 1"}, 7),
        ("0::/a/b\n", V2, {"a/c/cpu.max": "1 1", "b/cpu.max": "1 1"}, math.inf),  # another's
        # a container that sees its own group at the root, by its name outside or none
        ("0::/docker/12ab\n", V2, {"cpu.max": "2 1"}, 2),
        ("0::/docker/12ab\n", V2.replace(" / /", " /docker/12ab /"), {"cpu.max": "2 1"}, 2),
        (
            "0::/docker/12ab/in\n",
            V2.replace(" / /", " /docker/12ab /"),
            {"in/cpu.max": "1 1", "cpu.max": "2 1"},
            1,
        ),
        ("0::/../outside\n", V2, {"cpu.max": "2 1"}, 2),
        # version 1, and both
        ("4:cpu,cpuacct:/\n", V1, {"cpu,cpuacct": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/\n", V1, {"cpu,cpuacct": "-1 100000"}, math.inf),
        ("4:cpu,cpuacct:/a\n", V1, {"cpu,cpuacct/a": "-1 100000", "cpu,cpuacct": "9 3"}, 3),
        ("4:cpu,cpuacct:/a\n", V1, {"cpu,cpuacct/a": "1 4"}, 0.25),
        ("7:cpuset:/a\n", SET + V1, {"cpuset/a": "1 1"}, math.inf),
        (
            "7:cpuset:/s\n4:cpu,cpuacct:/a\n0::/b\n",
            UNIFIED + SET + V1,
            {"cpu,cpuacct/a": "4 1", "unified/b/cpu.max": "5 1", "cpuset/s": "1 1"},
            4,
        ),
        # the group is of one version, the mount of the other
        ("0::/\n", V1, {"cpu,cpuacct": "1 1"}, math.inf),
        ("4:cpu,cpuacct:/\n", V2, {"cpu.max": "1 1"}, math.inf),
    ],
)
def test_quota_is_the_minimum_over_enclosing_groups(tmp_path, groups, mounts, limits, expected):
    assert cpu_quota(tree(tmp_path, groups, mounts, limits)) == expected


MEMORY = "30 20 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "limits", "expected"),
    [
        ("0::/\n", V2, {"memory.max": "1073741824"}, 2**30),
        ("0::/\n", V2, {"memory.max": "max"}, math.inf),
        ("0::/a/b\n", V2, {"a/b/memory.max": "max", "a/memory.max": "4096"}, 4096),
        ("0::/a\n", V2, {"a/memory.max": "9", "memory.max": "8"}, 8),
        ("0::/\n", V2, {"memory.max": "-1"}, math.inf),
        ("5:memory:/a\n", MEMORY, {"memory/a/memory.limit_in_bytes": "4096"}, 4096),
        ("5:cpu:/a\n", MEMORY, {"memory/a/memory.limit_in_bytes": "4096"}, math.inf),
    ],
)
def test_memory_is_the_minimum_over_enclosing_groups(tmp_path, groups, mounts, limits, expected):
    root = tree(tmp_path, groups, mounts, {})
    for name, text in limits.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert memory_quota(root) == expected


def test_missing_files_mean_no_limit(tmp_path):
    assert cpu_quota(tmp_path) == memory_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    "text",
    [
        "",
        "max",
        "1",
        "1 2 3",
        "0 100000",
        "100000 0",
        "-5 100",
        "5 -100",
        "1.5 1",
        "\0",
        "9" * 5000,
    ],
)
def test_max_and_malformed_limits_mean_no_limit(tmp_path, text):
    root = tree(tmp_path, "0::/\n", V2, {"cpu.max": text})
    assert cpu_quota(root) == math.inf


@given(
    groups=st.binary(max_size=60) | st.builds(lambda p: b"0::/" + p, st.binary(max_size=40)),
    mounts=st.binary(max_size=60)
    | st.builds(
        lambda a, b: b"1 2 3 /" + a + b" /sys - cgroup2 " + b, *[st.binary(max_size=20)] * 2
    ),
    limit=st.binary(max_size=20),
)
def test_arbitrary_file_contents_give_a_positive_quota(tmp_path_factory, groups, mounts, limit):
    root = tmp_path_factory.mktemp("root")
    tree(root, "", "", {"cpu.max": ""})
    (root / "proc/self/cgroup").write_bytes(groups)
    (root / "proc/self/mountinfo").write_bytes(mounts)
    (root / "sys/cpu.max").write_bytes(limit)
    assert cpu_quota(root) > 0


@contextmanager
def real_group(quota, period):
    """Tasks file of a control group of this machine's, made for this test, or a skip."""
    folder = Path("/sys/fs/cgroup/cpu") / f"fastconv_test_{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "cpu.cfs_period_us").write_text(str(period))
        (folder / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError as error:
        if folder.exists():
            folder.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU is one CPU under any quota")
@pytest.mark.parametrize(("quota", "threads"), [(100_000, "1"), (150_000, "1"), (-1, None)])
def test_threads_follow_the_quota_of_a_real_control_group(quota, threads):
    with real_group(quota, 100_000) as processes:
        code = f"""
import os
open({str(processes)!r}, "w").write(str(os.getpid()))
import fastconv
print(fastconv.get_num_threads())
"""
        assert output(code) == (
            threads or output("import fastconv; print(fastconv.get_num_threads())")
        )
