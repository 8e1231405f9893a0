"""Other libraries with threads of their own, in one process: right results, limits that hold."""

from pathlib import Path

import pytest
from support.child import output

from fastconv._drivers import runtime

TESTS = repr(str(Path(__file__).parent))
OPENMP = pytest.mark.skipif(not runtime.build_info()["openmp"], reason="built without OpenMP")

COMPUTE = {
    "torch": """
import torch
def theirs():
    x = torch.ones(8, 16, 40, 40, requires_grad=True)
    y = torch.nn.functional.conv2d(x, torch.ones(16, 16, 3, 3))
    y.sum().backward()
    return float(y.detach().min()), float(y.detach().max()), float(x.grad.max())
right = (144.0, 144.0, 144.0)
""",
    "sklearn": """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier
def theirs():
    points = np.repeat([[0.0, 0.0], [9.0, 9.0]], 3000, 0)
    labels = KMeans(2, n_init=1, random_state=0).fit(points).labels_
    model = HistGradientBoostingClassifier(max_iter=5).fit(points, points[:, 0] > 1)
    return len(set(labels[:3000])), len(set(labels)), model.score(points, points[:, 0] > 1)
right = (1, 2, 1.0)
""",
    "numba": """
import numba, numpy as np
@numba.njit(parallel=True)
def total(a):
    s = 0.0
    for i in numba.prange(a.size):
        s += a[i]
    return s
def theirs():
    return total(np.ones(1_000_000))
right = 1e6
""",
}

OURS = f"""
import sys
sys.path.insert(0, {TESTS})
from support import every_op
"""

TOGETHER = """
import os, threading
expected = every_op.digests()
for _ in range(5):  # in turns
    assert every_op.digests() == expected and theirs() == right
wrong = []
def again(function, result):
    for _ in range(5):
        if function() != result:
            wrong.append(function)
jobs = [(every_op.digests, expected), (theirs, right)] * 2
threads = [threading.Thread(target=again, args=job) for job in jobs]
for thread in CHOSEN:
    thread.start()
for thread in CHOSEN:
    thread.join()
assert not wrong
if hasattr(os, "fork"):
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    else:
        os._exit(0 if every_op.digests() == expected else 1)
"""


@pytest.mark.parametrize("first", [True, False], ids=["imported_before", "imported_after"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.peer(n)) for n in COMPUTE])
def test_both_libraries_compute_correctly_in_one_process(name, first):
    # Numba's own threads take calls of one thread at a time unless TBB or OpenMP lies under them
    together = TOGETHER.replace("CHOSEN", "threads[:2]" if name == "numba" else "threads")
    parts = (COMPUTE[name], OURS) if first else (OURS, COMPUTE[name])
    output("".join(parts) + together, timeout=300, FASTCONV_NUM_THREADS="3")


# ---------------------------------------------------------------- OpenMP's limits

LIMIT = """
import ctypes, re, sys
import fastconv
def openmp():
    "The OpenMP runtime that fastconv uses."
    found = re.search(r"\\S*/lib(gomp|omp|iomp5)[.-]\\S*$", open("/proc/self/maps").read(), re.M)
    return ctypes.CDLL(found[0])
omp = openmp()
"""


@OPENMP
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks for libraries in /proc")
class TestLimit:
    def test_default_threads_follow_omp_set_num_threads(self):
        code = """
print(fastconv.get_num_threads(), end=" ")
omp.omp_set_num_threads(2)
print(fastconv.get_num_threads(), end=" ")
omp.omp_set_num_threads(9)
print(fastconv.get_num_threads())
"""
        assert output(LIMIT + code, OMP_NUM_THREADS="5") == "5 2 5"

    def test_set_num_threads_overrides_openmp(self):
        code = """
omp.omp_set_num_threads(1)
print(fastconv.get_num_threads(), end=" ")
fastconv.set_num_threads(3)
print(fastconv.get_num_threads())
"""
        assert output(LIMIT + code, FASTCONV_NUM_THREADS="4") == "4 3"

    def test_leaving_a_threads_block_restores_the_openmp_default(self):
        code = """
with fastconv.threads(3):
    omp.omp_set_num_threads(1)
    print(fastconv.get_num_threads(), end=" ")
print(fastconv.get_num_threads())
"""
        assert output(LIMIT + code, OMP_NUM_THREADS="4") == "3 1"

    def test_openmp_limit_applies_to_its_own_thread(self):
        code = """
import threading
omp.omp_set_num_threads(1)
thread = threading.Thread(target=lambda: print(fastconv.get_num_threads(), end=" "))
thread.start()
thread.join()
print(fastconv.get_num_threads())
"""
        assert output(LIMIT + code, OMP_NUM_THREADS="4") == "4 1"

    def test_calls_start_no_more_threads_than_the_openmp_limit(self):
        code = """
import os, numpy as np, fastconv.functional as F
x, w = np.ones((1, 16, 64, 64), np.float32), np.ones((16, 16, 3, 3), np.float32)
def threads_after():
    F.conv2d(x, w)
    return len(os.listdir("/proc/self/task"))
omp.omp_set_num_threads(1)
print(threads_after(), end=" ")
omp.omp_set_num_threads(3)
print(threads_after())
"""
        assert output(LIMIT + code, OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="1") == "1 3"

    @pytest.mark.peer("threadpoolctl")
    def test_threadpoolctl_finds_and_limits_openmp(self):
        code = """
import fastconv, threadpoolctl
assert any(pool["user_api"] == "openmp" for pool in threadpoolctl.threadpool_info())
print(fastconv.get_num_threads(), end=" ")
with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    print(fastconv.get_num_threads(), end=" ")
    with fastconv.threads(2):
        print(fastconv.get_num_threads(), end=" ")
print(fastconv.get_num_threads())
"""
        assert output(code, OMP_NUM_THREADS="3") == "3 1 2 3"
