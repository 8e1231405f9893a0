"""The README: its code runs, its commands are the ones that CI runs, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.extensions import build

import fastconv

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def under(heading):
    """The text below a heading, up to the next one."""
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)[1]


def test_python_code_runs(tmp_path, monkeypatch):
    """In the order of the page: later blocks may use what earlier ones made."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    code = blocks("python")
    assert len(code) >= 2
    with fastconv.threads(1):
        for block in code:
            exec(compile(block, "README.md", "exec"), names)
    assert names["accuracy"] > 0.95  # "As a library"
    assert names["y"].shape == (8, 16, 32, 32)


def test_cython_code_builds(tmp_path):
    (code,) = blocks("cython")
    (tmp_path / "readme.pyx").write_text(f"# cython: language_level=3\n{code}", encoding="utf-8")
    build("readme", tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="runs a bash script")
def test_ci_runs_the_commands_of_the_readme():
    found = [blocks("sh", under(heading))[0].strip() for heading in ("Try it", "Test it")]
    assert found == [
        'pip install ".[train]" && fastconv train digits',
        'pip install ".[test]" && pytest',
    ]
    script = ROOT / ".ci" / "run"
    done = subprocess.run(
        ["bash", script, "--commands"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == found


def links(page):
    """Targets of a page's links and pictures that lie in this repository, without anchors."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return {t.partition("#")[0] for t in targets if not re.match(r"\w+:|#", t)}


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    assert [t for t in sorted(links(page)) if not (page.parent / t).exists()] == []
