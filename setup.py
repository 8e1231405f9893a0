"""The compiled part of the build: Cython modules and the C kernels behind them.

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

sys.path.insert(0, str(Path(__file__).resolve().parent))  # which build frontends leave out

from codegen import isas, kernels
from codegen.dtypes import dtypes

kernels.make()
isas.make()

ROOT = Path("src/fastconv")
KERNELS = ROOT / "_kernels"
DRIVERS = ROOT / "_drivers"
INCLUDE = ROOT / "include"

#: one file per kernel family; each is compiled for every (instruction set, dtype)
KERNEL_FAMILIES = sorted(str(p) for p in KERNELS.glob("k_*.c"))
TABLE = str(KERNELS / "table.c")

#: what modules are built again for: all of them, and the one that the kernels are linked to
HEADERS = [str(p) for folder in (KERNELS, DRIVERS, INCLUDE) for p in folder.glob("*.h")]
KERNEL_SOURCES = [*KERNEL_FAMILIES, TABLE, *map(str, Path("codegen").glob("*.py"))]

MODULES = [
    "_drivers.runtime",
    *sorted(f"_drivers.{p.stem}" for p in DRIVERS.glob("*.pyx") if p.stem != "runtime"),
    "_ops",
]


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
        self.gcc = self.builds(GCC_PROGRAM)
        compile_flags, link_flags = self.openmp_flags()
        for ext in self.extensions:
            ext.extra_compile_args = [*self.base_flags, *compile_flags]
            if not self.msvc:
                ext.extra_compile_args += CYTHON_FLAGS
            if self.gcc and ext.name == "fastconv._ops":  # Python objects, no loops
                ext.extra_compile_args += GCC_OPS_FLAGS
            ext.extra_link_args = [*link_flags, *strip_flags()]
        super().build_extensions()

    def build_extension(self, ext):
        if ext.name == "fastconv._drivers.runtime":
            ext.extra_objects = self.compile_kernels()
        super().build_extension(ext)

    def openmp_flags(self):
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
        compiled = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for isa in sets:
                flags = isa.compiler_flags(self.msvc)
                for dtype, bits in dtypes().items():
                    macros = {"FC_ISA": isa.name, "FC_DTYPE": dtype, "FC_REAL_BITS": str(bits)}
                    macros[f"FC_DTYPE_{dtype.upper()}"] = "1"
                    folder = f"{isa.name}-{dtype}"
                    compiled.append(
                        pool.submit(self.compile_c, KERNEL_FAMILIES, folder, macros, flags)
                    )
        have = {f"FC_HAVE_{isa.name.upper()}": "1" for isa in sets}
        return [
            *(obj for future in compiled for obj in future.result()),
            *self.compile_c([TABLE], "table", have),
        ]

    def compile_c(self, sources, folder, macros, flags=()):
        return self.compiler.compile(
            sources,
            output_dir=str(Path(self.build_temp) / folder),
            macros=list(macros.items()),
            include_dirs=[str(KERNELS)],
            extra_postargs=[*self.base_flags, *flags],
            depends=HEADERS,
        )


extensions = [
    Extension(
        f"fastconv.{name}",
        [str(ROOT / (name.replace(".", "/") + ".pyx"))],
        include_dirs=[str(KERNELS), str(DRIVERS), str(INCLUDE)],
        depends=HEADERS + (KERNEL_SOURCES if name == "_drivers.runtime" else []),
    )
    for name in MODULES
]

setup(
    ext_modules=cythonize(
        extensions,
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
    ),
    cmdclass={"build_ext": BuildExt},
)
