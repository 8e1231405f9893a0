"""The compiled part of the build: one library of Cython modules and the C kernels behind them.

Everything is compiled for the platform's ABI floor, except the files of ``_kernels/``: those are
compiled once per instruction set, with that set's flags, and ``table.c`` picks one at import.
"""

import os
import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

sys.path.insert(0, str(Path(__file__).resolve().parent))  # which build frontends leave out

import codegen
from codegen import isas
from codegen.dtypes import dtypes, kernel_macros

codegen.make()

ROOT = Path("src/fastconv")
KERNELS = ROOT / "_kernels"
HEADER_FOLDERS = [KERNELS, ROOT / "_drivers", ROOT / "include"]

#: one file per kernel family; each is compiled for every (instruction set, dtype)
KERNEL_FAMILIES = sorted(str(p) for p in KERNELS.glob("k_*.c"))
DRIVERS = sorted((ROOT / "_drivers").glob("*.pyx"))

#: the op layer: Python objects, no loops
OPS = sorted(ROOT.glob("*.pyx"))


def base_flags(msvc):
    """Compiler flags of every file, kernels and Cython's."""
    if msvc:
        return ["/O2", "/std:c11"]
    flags = [
        "-O3",
        "-std=c11",
        # errno and floating-point traps are never read here, and fused multiply-adds are the point
        # of the kernels; value-changing liberties (-ffast-math) are not taken
        "-fno-math-errno",
        "-fno-trapping-math",
        "-ffp-contract=fast",
        "-fvisibility=hidden",
        # no exception passes through C
        "-fno-asynchronous-unwind-tables",
        "-Wall",
        "-Wextra",
    ]
    if not any(flag.startswith("-g") for flag in os.environ.get("CFLAGS", "").split()):
        flags.append("-g0")  # Python's own flags ask for debug information: most of the wheel
    return flags


def strip_flags():
    """Linker flags that leave symbols out, a thirtieth of the wheel; of use to debuggers only."""
    debug = any(flag.startswith("-g") for flag in os.environ.get("CFLAGS", "").split())
    return ["-Wl,-s"] if sys.platform.startswith("linux") and not debug else []


#: a program that only GCC takes: clang says that it is GCC too
GCC_PROGRAM = """
#if !defined(__GNUC__) || defined(__clang__)
#error
#endif
int main(void) { return 0; }
"""

#: of GCC alone: Cython's helpers are called, not copied to each of their thousands of uses, and
#: nothing is spread out in memory: a fifth of `_ops`, for up to 4 % of a call's overhead. The
#: drivers, which pack and copy, would lose 1 to 3 % of their speed to it.
GCC_OPS_FLAGS = [
    "-O2",
    "--param=max-inline-insns-single=10",
    "-fno-tree-pre",
    "-fno-code-hoisting",
    "-fno-gcse",
    *(f"-falign-{what}=1" for what in ("functions", "jumps", "labels", "loops")),
]

#: a fifth smaller still, for what takes a microsecond beside the op that it records, and for what
#: checks pointers
GCC_SMALL_FLAGS = [*GCC_OPS_FLAGS, "-Os"]
GCC_SMALL = ("_tape", "_capi", "_native")

#: Cython's generated C is not ours to lint
CYTHON_FLAGS = [
    "-Wno-unused-function",
    "-Wno-unused-parameter",
    "-Wno-sign-compare",
    "-Wno-maybe-uninitialized",
]


def target_machine():
    """The machine built for, which a cross-build names in ``_PYTHON_HOST_PLATFORM``."""
    host = os.environ.get("_PYTHON_HOST_PLATFORM", "")
    return (host.rsplit("-", 1)[-1] if host else platform.machine()).lower()


def isas_to_build(machine):
    """The machine's instruction sets, or those of them that FASTCONV_BUILD_ISAS names."""
    names = {isa.name for isa in isas.INSTRUCTION_SETS}
    wanted = set(filter(None, os.environ.get("FASTCONV_BUILD_ISAS", "").split(","))) or names
    if not wanted <= names:
        raise ValueError(
            f"FASTCONV_BUILD_ISAS must name some of {sorted(names)}, got {sorted(wanted)}"
        )
    return [isa for isa in isas.for_machine(machine) if isa.name in wanted | {"baseline"}]


class BuildExt(build_ext):
    """Adds per-compiler flags, OpenMP where the compiler has it, and the per-ISA kernels."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or True  # as many compilers as there are CPUs

    def build_extensions(self):
        self.msvc = self.compiler.compiler_type == "msvc"
        self.base_flags = base_flags(self.msvc)
        self.openmp_flags, link_flags = self.find_openmp()
        (library,) = self.extensions
        library.extra_objects = [*self.compile_kernels(), *self.compile_modules(library)]
        library.sources = []
        library.extra_link_args = [*link_flags, *strip_flags()]
        # what is compiled is up to date, and so whatever it is linked to is made anew
        self.force = True
        super().build_extensions()

    def get_export_symbols(self, ext):
        return [f"PyInit_{Path(source).stem}" for source in ext.modules]

    def find_openmp(self):
        """Compile and link flags for OpenMP, or none where a test program does not build."""
        if os.environ.get("FASTCONV_BUILD_OPENMP", "1") == "0":
            return [], []
        if self.msvc:
            # not /openmp:llvm: its library may not be given on with a wheel, as vcomp140.dll may
            candidates = [(["/openmp"], [])]
        else:
            candidates = [(["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"])]
        program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }"
        for compile_flags, link_flags in candidates:
            if self.builds(program, compile_flags, link_flags):
                return compile_flags, link_flags
        self.announce("OpenMP not found: fastconv will run on one thread", level=3)
        return [], []

    def builds(self, program, compile_flags=(), link_flags=()):
        """Whether ``program`` compiles and links with these flags."""
        with tempfile.TemporaryDirectory() as tmp:
            source = Path(tmp) / "probe.c"
            source.write_text(program)
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=tmp, extra_postargs=list(compile_flags)
                )
                self.compiler.link_executable(
                    objects, str(Path(tmp) / "probe"), extra_postargs=list(link_flags)
                )
            except Exception:
                return False  # the compilers of setuptools raise errors of their own
        return True

    def compile_kernels(self):
        """Objects of every kernel family for every instruction set and dtype."""
        sets = isas_to_build(target_machine())
        have = {f"FC_HAVE_{isa.name.upper()}": "1" for isa in sets}
        jobs = [([str(KERNELS / "table.c")], "table", have, [])]
        for isa in sets:
            flags = isa.compiler_flags(self.msvc)
            for dtype in dtypes():
                macros = kernel_macros(isa.name, dtype)
                jobs += [
                    ([family], f"{isa.name}-{dtype}", macros, flags) for family in KERNEL_FAMILIES
                ]
        return self.compile_all(jobs)

    def compile_modules(self, library):
        """Objects of what Cython made of every module, and the list of them for `_native`."""
        names = Path(self.build_temp) / "native_modules.h"
        names.parent.mkdir(parents=True, exist_ok=True)
        text = f'#define NATIVE_MODULES "{" ".join(map(module_name, library.modules))}"\n'
        if not names.exists() or names.read_text() != text:
            names.write_text(text)
        flags = [*self.openmp_flags, *([] if self.msvc else CYTHON_FLAGS)]
        gcc = self.builds(GCC_PROGRAM)
        return self.compile_all(
            ([source], "modules", {}, [*flags, *(size_flags(source) if gcc else [])])
            for source in library.sources
        )

    def compile_all(self, jobs):
        """Objects of (sources, folder, macros, flags), as many at a time as there are CPUs."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            compiled = [pool.submit(self.compile_c, *job) for job in jobs]
            return [obj for future in compiled for obj in future.result()]

    def compile_c(self, sources, folder, macros, flags):
        """Objects of C files; those that are up to date stay as they are."""
        output = str(Path(self.build_temp) / folder)
        objects = self.compiler.object_filenames(sources, output_dir=output)
        folders = [*HEADER_FOLDERS, Path(self.build_temp)]
        headers = [str(p) for folder in folders for p in folder.glob("*.h")]
        if not self.force and not any(
            newer_group([source, *headers], made)
            for source, made in zip(sources, objects, strict=True)
        ):
            return objects
        return self.compiler.compile(
            sources,
            output_dir=output,
            macros=list(macros.items()),
            include_dirs=[*map(str, HEADER_FOLDERS), self.build_temp],
            extra_postargs=[*self.base_flags, *flags],
        )


def module_name(path):
    """fastconv._drivers.direct for src/fastconv/_drivers/direct.pyx."""
    return ".".join(Path(path).relative_to(ROOT.parent).with_suffix("").parts)


def size_flags(source):
    """GCC's flags for a smaller module, where it is of the op layer."""
    if Path(source).parent != ROOT:
        return []
    return GCC_SMALL_FLAGS if Path(source).stem in GCC_SMALL else GCC_OPS_FLAGS


#: Cython compiles each module by itself; one library holds them all (src/fastconv/_import.py)
modules = cythonize(
    [Extension(module_name(path), [str(path)]) for path in [*DRIVERS, *OPS]],
    include_path=["src"],
    compiler_directives={
        "language_level": "3",
        "boundscheck": False,
        "wraparound": False,
        "cdivision": True,
        "initializedcheck": False,
        "embedsignature": True,
        "freethreading_compatible": True,
    },
)
library = Extension("fastconv._native", [source for ext in modules for source in ext.sources])
library.modules = [str(path) for path in [*DRIVERS, *OPS]]

setup(ext_modules=[library], cmdclass={"build_ext": BuildExt})
