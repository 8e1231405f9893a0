"""The instruction sets that kernels are compiled for.

To add one, add it to `INSTRUCTION_SETS`, and write its vectors in _kernels/simd_<name>.h: how wide
they are, the rows of the register tile, the operations. setup.py compiles every kernel for it, and
_kernels/isa_list.h, which is made from this list, has table.c offer it where the processor has
what it asks for. Where CPUID tells of a feature is said in _kernels/processor.h.
"""

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A kind of machine: its names in ``platform.machine()``, in lower case, and for C."""

    names: tuple[str, ...]
    macro: str


X86_64 = Machine(("x86_64", "amd64"), "defined(__x86_64__) || defined(_M_X64)")
ARM64 = Machine(("aarch64", "arm64"), "defined(__aarch64__) || defined(_M_ARM64)")


@dataclass(frozen=True)
class InstructionSet:
    """What kernels are compiled for.

    `features` are those of the processor, all of which it must have, and which GCC and Clang are
    told of (``-m<feature>``); `flags` and `msvc` are compiler flags beside them.
    """

    name: str
    machine: Machine | None  # None: any
    features: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    msvc: tuple[str, ...] = ()

    def compiler_flags(self, msvc: bool) -> list[str]:
        return [*self.msvc] if msvc else [*(f"-m{f}" for f in self.features), *self.flags]


# whole levels of x86-64, not single features: the compiler may use all of a level
X86_64_V3 = ("avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe")
X86_64_V4 = (*X86_64_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

#: best first; the last one is what every build has and every processor can run
INSTRUCTION_SETS = (
    InstructionSet("avx512", X86_64, X86_64_V4, ("-mprefer-vector-width=512",), ("/arch:AVX512",)),
    InstructionSet("avx2", X86_64, X86_64_V3, (), ("/arch:AVX2",)),
    InstructionSet("neon", ARM64),
    InstructionSet("baseline", None),
)


def for_machine(machine: str) -> list[InstructionSet]:
    """The instruction sets of a machine, as ``platform.machine()`` names it; best first."""
    return [
        isa
        for isa in INSTRUCTION_SETS
        if isa.machine is None or machine.lower() in isa.machine.names
    ]


def texts() -> dict[str, str]:
    """The text of isa_list.h, by its path in the package."""
    return {"_kernels/isa_list.h": PREAMBLE + "".join(map(_row, INSTRUCTION_SETS)) + UNDEFINED}


PREAMBLE = """\
/* Made by codegen/isas.py: edit that. The instruction sets of the machine that is compiled for,
 * best first. setup.py defines FC_HAVE_<SET> for those that this build compiles kernels for.
 *
 *   FC_BUILT(name, whether the processor has it)
 *   FC_LEFT_OUT(name)                              by this build
 *
 * Whoever includes this file defines both; they are undefined at its end. */
"""

UNDEFINED = """
#undef FC_BUILT
#undef FC_LEFT_OUT
"""


def _row(isa: InstructionSet) -> str:
    has_it = " && ".join(f"FC_HAS({feature})" for feature in isa.features) or "1"
    head = f"FC_BUILT({isa.name}, "
    built = textwrap.wrap(f"{head}{has_it})", 100, subsequent_indent=" " * len(head))
    lines = [
        f"#if defined(FC_HAVE_{isa.name.upper()})",
        *built,
        "#else",
        f"FC_LEFT_OUT({isa.name})",
        "#endif",
    ]
    if isa.machine:
        lines = [f"#if {isa.machine.macro}", *lines, "#endif"]
    return "\n" + "\n".join(lines) + "\n"
