"""Files that the build makes: the ones committed are what their lists say."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import codegen
from codegen import files, isas, kernels

MADE = [pytest.param(path, text, id=path.name) for path, text in codegen.made()]


@pytest.mark.parametrize(("path", "text"), MADE)
def test_committed_file_is_what_the_build_makes(path, text):
    assert path.read_text(encoding="utf-8") == text, f"build again, and commit {path.name}"
    assert re.search(r"(Made|Generated) by codegen/\w+\.py", text.splitlines()[0])


def test_a_file_is_written_only_when_it_changes(tmp_path):
    path = tmp_path / "made.h"
    codegen.write(path, "one\n")
    before = path.stat().st_mtime_ns
    codegen.write(path, "one\n")
    assert path.stat().st_mtime_ns == before
    codegen.write(path, "two\n")
    assert path.read_bytes() == b"two\n"


class TestKernelDeclarations:
    """What C says comes out as Cython's."""

    @staticmethod
    def declared(tmp_path, code, **lists):
        for name, rows in lists.items():
            (tmp_path / f"{name}.h").write_text(rows)
        header = tmp_path / "header.h"
        header.write_text(code)
        return kernels.declarations(header)

    def test_pointers_are_declared_one_by_one(self, tmp_path):
        code = "typedef struct {\n  const void *const *a, *b; /* two; */\n  int m, n;\n} fc_s;\n"
        assert self.declared(tmp_path, code).splitlines() == [
            "    ctypedef struct fc_s:",
            "        const void **a",
            "        const void *b",
            "        int m, n",
        ]

    def test_lists_are_expanded(self, tmp_path):
        code = (
            "typedef struct fc_t {\n#define ROW(result, name, parameters) "
            'result(*name) parameters;\n#include "rows.h"\n} fc_t;\n'
        )
        rows = "/* ROW(one) */\nROW(void, f, (const void *x,\n    int n))\n#undef ROW\n"
        assert self.declared(tmp_path, code, rows=rows).splitlines() == [
            "    ctypedef struct fc_t:",
            "        void (*f)(const void *x, int n) noexcept nogil",
        ]

    def test_long_lines_are_broken(self, tmp_path):
        names = [f"a_long_name_{i}" for i in range(12)]
        code = f"void f({', '.join(f'int {n}' for n in names)});"
        lines = self.declared(tmp_path, code).splitlines()
        assert max(map(len, lines)) <= 100
        assert " ".join(" ".join(lines).split()) == code.rstrip(";")

    @pytest.mark.parametrize("code", ["union { int a; } u;", "typedef struct { int a:3; } s;"])
    def test_what_is_not_understood_is_an_error(self, tmp_path, code):
        with pytest.raises(ValueError, match="cannot read"):
            self.declared(tmp_path, code)


# ---------------------------------------------------------------- a dtype that is converted

CHECKED = """\
typedef struct {
    float number;
} fc_checked;
"""

CONVERSIONS = """\
#include FC_SIMD_HEADER(FC_CHECKED_ISA)
#define FC_CONVERTS
FC_INLINE real widen(stored x) { return x.number; }
FC_INLINE stored narrow(real x) {
    const stored s = {x};
    return s;
}
"""

COMPILER = os.environ.get("CC", "cc").split()
ISAS = isas.for_machine(platform.machine())


@pytest.mark.skipif(sys.platform == "win32", reason="has flags of GCC and Clang")
@pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="needs a C compiler")
@pytest.mark.parametrize("isa", [ISAS[0], ISAS[-1]], ids=lambda isa: isa.name)
def test_kernels_tell_elements_from_numbers(isa, tmp_path):
    """float and double are stored as they are computed with, so mixing the two goes unnoticed. Here
    an element is a struct, a dtype of one more row and its conversions, and mixing is an error."""
    sources = tmp_path / "kernels"
    shutil.copytree(files.KERNELS, sources)
    listed = sources / "dtypes.h"
    rows = listed.read_text(encoding="utf-8")
    head, end = rows.index("#define FC_DTYPE_LIST"), rows.rindex("\n\n#endif")
    rows = (
        rows[:head]
        + CHECKED
        + rows[head:end]
        + " \\\n    X(with, FC_CHECKED, checked, fc_checked, "
    )
    listed.write_text(rows + "float, 32)\n\n#endif\n", encoding="utf-8")
    (sources / "simd_checked.h").write_text(CONVERSIONS, encoding="utf-8")
    macros = {"FC_ISA": "checked", "FC_CHECKED_ISA": isa.name}
    macros |= {"FC_DTYPE": "checked", "FC_REAL_BITS": "32"}
    command = [*COMPILER, "-std=c11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    command += [*isa.compiler_flags(msvc=False), *(f"-D{name}={m}" for name, m in macros.items())]
    command += map(str, sorted(sources.glob("k_*.c")))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
