"""`python -m tests.benchmarks.sampled FILE SCRIPT ARGUMENT...`: run a Python script and write where its time went.

Every two milliseconds of the process's own processor time a signal looks at the stack of the main thread. That costs
next to nothing and slows no function more than another, as a tracing profiler would: shares are the real program's.
What is loaded at the start does not count.
"""

import atexit
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

INTERVAL_S = 0.002
SHOWN = 40
IMPORTING = "<frozen importlib._bootstrap>"


class Sampler:
    """Counts functions: `own` by the one that ran, `whole` by all that were on the stack."""

    def __init__(self) -> None:
        self.samples = 0
        self.own: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()

    def take(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGPROF."""
        names: list[str] = []
        while frame is not None:
            if frame.f_code.co_filename == IMPORTING:
                return
            names.append(_name(frame))
            frame = frame.f_back
        self.samples += 1
        self.own.update(names[:1])
        self.whole.update(set(names))

    def text(self) -> str:
        """Functions by how often they ran; what C code does counts for who called it."""
        lines = [f"{self.samples:,} samples", "", f"{'own':>6}  {'whole':>6}  function"]
        for name, count in self.own.most_common(SHOWN):
            lines.append(f"{count / self.samples:6.1%}  {self.whole[name] / self.samples:6.1%}  {name}")
        return "\n".join(lines) + "\n"


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-2:])} {frame.f_code.co_qualname}"


def main(file: str, script: str, *arguments: str) -> None:
    """Does not return where the script exits."""
    sampler = Sampler()
    sys.argv = [script, *arguments]

    def write(*_: Any) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(file).write_text(sampler.text(), encoding="utf-8")

    atexit.register(write)
    signal.signal(signal.SIGPROF, sampler.take)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
