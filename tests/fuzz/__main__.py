"""Run random calls in child processes, and report what must not be.

    cd tests && python -m fuzz --calls 100000 --seed 0

Each call is named by the seed and its number: ``--first 4711 --calls 1`` makes it again.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PIECE = 2500  # calls a child: what it counted is lost if it crashes


def main():
    options = _options()
    if options.child:
        sys.exit(_child(options))
    pieces = collections.deque(
        (first, min(first + PIECE, options.first + options.calls))
        for first in range(options.first, options.first + options.calls, PIECE)
    )
    outcomes, findings, running = collections.Counter(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        while pieces or running:
            while pieces and len(running) < options.jobs:
                running.append(_Child(*pieces.popleft(), options, Path(folder)))
            time.sleep(0.02)
            for child in [child for child in running if child.ended()]:
                running.remove(child)
                outcomes.update(child.outcomes())
                found = child.findings()
                if child.crash:
                    found.append(child.crash)
                    pieces.appendleft((child.crash["number"] + 1, child.last))
                for finding in found:
                    print(f"\n== call {finding['number']}: {finding['finding']}")
                    print(finding["call"], flush=True)
                findings += len(found)
    print(f"\nseed {options.seed}: {sum(outcomes.values())} calls, {findings} findings")
    print(json.dumps(dict(outcomes.most_common())))
    sys.exit(bool(findings))


def _options():
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="of the one function to call")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=120, help="seconds that a call may take")
    parser.add_argument("--memory", type=int, default=2, help="GB that a child may use; 0: any")
    parser.add_argument("--fail", action="store_true", help="fail every allocation in turn")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


class _Child:
    """A process that makes the calls from `first` to before `last`."""

    def __init__(self, first, last, options, folder):
        self.last, self.limit = last, options.limit
        self.notes = folder / str(first)
        self.notes.mkdir()
        self.options = options
        passed = [f"--seed={options.seed}", f"--memory={options.memory}"]
        passed += ["--fail"] * options.fail + ([f"--name={options.name}"] if options.name else [])
        numbers = [f"--first={first}", f"--calls={last - first}"]
        self.output = (self.notes / "output").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "fuzz", f"--child={self.notes}",
             *passed, *numbers],
            stdout=self.output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.at, self.since, self.crash = None, time.monotonic(), None

    def ended(self):
        status = self.process.poll()
        at = _read(self.notes / "at")
        if at != self.at:
            self.at, self.since = at, time.monotonic()
        if status is None and time.monotonic() - self.since > self.limit:
            self.process.kill()
            self.process.wait()
            self._crashed(f"no answer within {self.limit} s")
            return True
        if status:
            self._crashed(f"exit status {status}")
        return status is not None

    def _crashed(self, what):
        text = (self.notes / "output").read_text(errors="replace")
        if not self.at:
            sys.exit(f"no call was made: {what}\n{text}")
        from fuzz.calls import make

        number = int(self.at)
        call = make(self.options.seed, number, self.options.name)
        self.crash = {"number": number, "call": str(call), "finding": f"{what}\n{text[-6000:]}"}

    def outcomes(self):
        return collections.Counter(json.loads(_read(self.notes / "outcomes") or "{}"))

    def findings(self):
        return [json.loads(line) for line in _read(self.notes / "findings").splitlines()]


def _read(path):
    return path.read_text() if path.exists() else ""


def _child(options):
    if options.memory:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (options.memory << 30,) * 2)
    from fuzz.calls import make, run, run_failing

    check = run_failing if options.fail else run
    outcomes = collections.Counter()
    at = os.open(options.child / "at", os.O_CREAT | os.O_WRONLY)
    with (options.child / "findings").open("w", buffering=1) as findings:
        for number in range(options.first, options.first + options.calls):
            os.pwrite(at, b"%-12d" % number, 0)
            verdict = check(make(options.seed, number, options.name))
            outcomes[verdict.outcome] += 1
            if verdict.finding:
                call = str(make(options.seed, number, options.name))
                findings.write(
                    json.dumps({"number": number, "call": call, "finding": verdict.finding}) + "\n"
                )
            if number % 100 == 0:
                (options.child / "outcomes").write_text(json.dumps(outcomes))
    (options.child / "outcomes").write_text(json.dumps(outcomes))
    return 0


main()
