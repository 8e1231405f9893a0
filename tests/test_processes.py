"""Processes: forked and spawned children compute what their parent does, and none hangs."""

import os
from pathlib import Path

import pytest
from support.child import output

from fastconv._drivers import runtime

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
TESTS = repr(str(Path(__file__).parent))

# What a child's digests should be, computed on the threads that a fork leaves behind.
START = f"""
import os, sys, threading
sys.path.insert(0, {TESTS})
from support import every_op
expected = every_op.digests()
def child(*functions):
    "Exit status of a forked child in which every function returns true."
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 99
    try:
        status = 0 if all(function() for function in functions) else 1
    finally:
        os._exit(status)
def right():
    return every_op.digests() == expected
"""


@FORKS
@pytest.mark.parametrize(
    "rounds",
    [
        "for _ in range(20): assert child(right) == 0 and right()",
        # a child's child, and a thread's
        "for _ in range(10): assert child(right, lambda: child(right) == 0, right) == 0",
        """
found = []
def fork_in_a_thread():
    found.append(child(right, lambda: child(right) == 0))
for _ in range(10):
    thread = threading.Thread(target=fork_in_a_thread)
    thread.start()
    thread.join()
assert found == [0] * 10
""",
        # while other threads are in the middle of calls
        """
busy, wrong = True, []
def compute():
    while busy:
        if not right():
            wrong.append(1)
threads = [threading.Thread(target=compute) for _ in range(3)]
for thread in threads:
    thread.start()
try:
    assert [child(right) for _ in range(20)] == [0] * 20
finally:
    busy = False
for thread in threads:
    thread.join()
assert not wrong
""",
        # kept memory is the child's own
        """
import fastconv
from fastconv._drivers import memory
def empties():
    fastconv.set_memory_cache(0)
    return memory.kept_bytes() == 0
for _ in range(20):
    assert memory.kept_bytes() > 0 and child(right, empties, right) == 0
assert memory.kept_bytes() > 0 and right()
""",
        # nothing has been computed before
        "import fastconv; assert child(lambda: fastconv.get_num_threads() == 1, right) == 0",
    ],
    ids=["again_and_again", "grandchildren", "from_a_thread", "amid_calls", "memory", "threads"],
)
def test_forked_children_compute_the_same(rounds):
    output(START + rounds, FASTCONV_NUM_THREADS="3", OPENBLAS_NUM_THREADS="1")


@FORKS
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks for libraries in /proc")
@pytest.mark.skipif(not runtime.build_info()["openmp"], reason="built without OpenMP")
def test_forked_child_does_not_wait_for_threads_of_another_library():
    code = """
import ctypes, os, re, sys, numpy as np, fastconv.functional as F
found = re.search(r"\\S*/libgomp\\S*$", open("/proc/self/maps").read(), re.M)
if not found:
    sys.exit(print("skipped"))
gomp = ctypes.CDLL(found[0])
work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
gomp.GOMP_parallel(work, None, 3, 0)  # what another library's parallel loop comes to
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
x, w = np.ones((8, 32, 32, 32), np.float32), np.ones((32, 32, 3, 3), np.float32)
y = F.conv2d(x, w, algorithm="direct")
os._exit(0 if (y == 288).all() else 1)
"""
    if output(code, FASTCONV_NUM_THREADS="3", OPENBLAS_NUM_THREADS="1") == "skipped":
        pytest.skip("OpenMP is not GNU's")


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_process_pools_compute_the_same(method, tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(
        f"""
import multiprocessing, sys
sys.path.insert(0, {TESTS})
from support import every_op
def task(n):
    return every_op.digests()
if __name__ == "__main__":
    expected = every_op.digests()
    if sys.argv[1] not in multiprocessing.get_all_start_methods():
        sys.exit(print("skipped"))
    with multiprocessing.get_context(sys.argv[1]).Pool(2, maxtasksperchild=1) as pool:
        assert pool.map(task, range(20), chunksize=1) == [expected] * 20
    assert every_op.digests() == expected
""",
        encoding="utf-8",
    )
    if output(script, method, FASTCONV_NUM_THREADS="3") == "skipped":
        pytest.skip(f"no {method} on this system")
