from setuptools import Extension, setup

import fastconv

peaks = Extension("peaks", ["peaks.c"], include_dirs=[fastconv.get_include()])
setup(ext_modules=[peaks])
