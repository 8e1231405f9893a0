"""Runs code in a process of its own, where it may fork, hang or be interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def run(code, *arguments, timeout=120, **variables):
    """Run `code`, text or a script's path; `variables` are all of its environment that matters.

    Whatever runs after `timeout` seconds hangs, and is killed, with its own children.
    """
    theirs = {k: v for k, v in os.environ.items() if not k.startswith(("FASTCONV_", "OMP_"))}
    program = [code] if isinstance(code, Path) else ["-c", code]
    child = subprocess.Popen(
        [sys.executable, *program, *arguments],
        env=theirs | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.communicate()  # else another test is blamed for the pipes
        raise
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def output(code, *arguments, **options):
    done = run(code, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
