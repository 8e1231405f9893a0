"""The dtypes that kernels are compiled for: the list in _kernels/dtypes.h."""

import re

from codegen.files import KERNELS


def dtypes() -> dict[str, int]:
    """The name of each dtype, and how many bits a number has while it is computed with."""
    text = (KERNELS / "dtypes.h").read_text(encoding="utf-8")
    rows = re.findall(r"^ +X\(with, \w+, (\w+), \w+, \w+, (\d+)\)", text, re.MULTILINE)
    return {name: int(bits) for name, bits in rows}


def kernel_macros(isa: str, dtype: str) -> dict[str, str]:
    """What a kernel family is compiled with, for an instruction set and a dtype."""
    bits = str(dtypes()[dtype])
    return {
        "FC_ISA": isa,
        "FC_DTYPE": dtype,
        f"FC_DTYPE_{dtype.upper()}": "1",
        "FC_REAL_BITS": bits,
    }
