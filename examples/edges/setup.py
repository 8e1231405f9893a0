import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

# without OpenMP, which Apple's compiler lacks, prange is a loop like any other
openmp = {"linux": ["-fopenmp"], "win32": ["/openmp"]}.get(sys.platform, [])
edges = Extension("edges", ["edges.pyx"], extra_compile_args=openmp, extra_link_args=openmp)
setup(ext_modules=cythonize(edges, build_dir="build"))
