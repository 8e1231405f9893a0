"""The share of the processors that control groups, and so containers, leave this process."""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cpu_quota(root: Path = Path("/")) -> float:
    """CPUs' worth of time that this process's control groups allow it; infinity without a limit.

    A group's limit holds for the groups within it, so the least of all of them counts. Whatever
    cannot be read, or does not say what it should, limits nothing.
    """
    return min(map(_limit, _groups(root)), default=math.inf)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the groups of this process, from the inmost out, in every hierarchy with CPUs."""
    paths: dict[bool, PurePosixPath] = {}  # by whether the hierarchy is of version 2
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            paths[not controllers] = PurePosixPath(name)
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, filesystem = line.partition(" - ")
        fields, kind = mount.split(), filesystem.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        second = kind[0] == "cgroup2"
        if second not in paths or not (
            second or (kind[0] == "cgroup" and "cpu" in kind[2].split(","))
        ):
            continue
        point = root / fields[4].lstrip("/")
        # of the hierarchy, a container may see no more than its own group and those within
        here = paths[second]
        inside = PurePosixPath(".")
        if here.is_relative_to(fields[3]) and ".." not in here.parts:
            inside = here.relative_to(fields[3])
        yield from (point / group for group in (inside, *inside.parents))


def _limit(group: Path) -> float:
    words = _read(group / "cpu.max").split()  # version 2
    if not words:
        words = [
            *_read(group / "cpu.cfs_quota_us").split(),
            *_read(group / "cpu.cfs_period_us").split(),
        ]
    try:
        quota, period = map(int, words)
        cpus = quota / period
    except (ValueError, ArithmeticError):
        return math.inf  # "max"
    return cpus if cpus > 0 else math.inf  # -1 is no limit, too


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return ""
