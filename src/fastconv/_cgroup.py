"""What control groups, and so containers, leave this process of the processors and the memory."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator
from os import PathLike, fspath
from posixpath import join  # not pathlib, which would take half of the package's time to import


def cpu_quota(root: str | PathLike[str] = "/") -> float:
    """CPUs' worth of time that this process's control groups allow it; infinity without a limit.

    A group's limit holds for the groups within it, so the least of all of them counts. Whatever
    cannot be read, or does not say what it should, limits nothing.
    """
    return min(map(_cpu_limit, _groups(fspath(root), "cpu")), default=math.inf)


def memory_quota(root: str | PathLike[str] = "/") -> float:
    """Bytes that this process's control groups allow it; infinity without a limit."""
    return min(map(_memory_limit, _groups(fspath(root), "memory")), default=math.inf)


def _groups(root: str, controller: str) -> Iterator[str]:
    """Folders of this process's groups, from the inmost out, in every hierarchy that has it."""
    paths: dict[bool, str] = {}  # by whether the hierarchy is of version 2
    for line in _read(join(root, "proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not controllers or controller in controllers.split(","):
            paths[not controllers] = name
    for line in _read(join(root, "proc/self/mountinfo")).splitlines():
        mount, _, filesystem = line.partition(" - ")
        fields, kind = mount.split(), filesystem.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        second = kind[0] == "cgroup2"
        if second not in paths or not (
            second or (kind[0] == "cgroup" and controller in kind[2].split(","))
        ):
            continue
        point = join(root, fields[4].lstrip("/"))
        # of the hierarchy, a container may see no more than its own group and those within
        inside = _inside(paths[second], fields[3])
        while inside:
            yield join(point, inside)
            inside = posixpath.dirname(inside)
        yield point


def _inside(group: str, mounted: str) -> str:
    """The group's path from the group that is mounted on; empty if it does not lie within."""
    parts, above = group.strip("/").split("/"), mounted.strip("/").split("/")
    if mounted.strip("/") == "":
        above = []
    if ".." in parts or parts[: len(above)] != above:
        return ""
    return "/".join(parts[len(above) :])


def _cpu_limit(group: str) -> float:
    words = _read(join(group, "cpu.max")).split()  # version 2
    if not words:
        words = [
            *_read(join(group, "cpu.cfs_quota_us")).split(),
            *_read(join(group, "cpu.cfs_period_us")).split(),
        ]
    try:
        quota, period = map(int, words)
        cpus = quota / period
    except (ValueError, ArithmeticError):
        return math.inf  # "max"
    return cpus if cpus > 0 else math.inf  # -1 is no limit, too


def _memory_limit(group: str) -> float:
    # version 2, or else 1, where no limit is a number beyond any memory
    text = _read(join(group, "memory.max")) or _read(join(group, "memory.limit_in_bytes"))
    return int(text) if text.strip().isdecimal() else math.inf


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (OSError, ValueError):
        return ""
