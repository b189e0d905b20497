"""Run benchmarks and keep what they print in RESULTS.md.

    python -m benchmarks [NAME ...] [--list] [--add] [-- ARGUMENT ...]

NAME is a module (`truth.psf`) or a folder (`speed`); without one, all of them run, one after
the other.  What follows `--` goes to each.  A benchmark is a module of speed/ or truth/ whose
main() prints its tables; one that has ended with status 0 replaces its section of RESULTS.md,
with date, machine and versions, CPU time and largest memory of the process and its children.
With --add it is put beneath what is there: a benchmark may be run in parts.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ROOT

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
KINDS = ("speed", "truth")
LIBRARIES = ("numpy", "astropy", "numba")
PEERS = ("sep", "photutils", "astroscrappy", "ccdproc", "galsim")
PROGRAMS = ("source-extractor", "psfex", "scamp")
HEAD = """# Results of the benchmarks

Made by `python -m benchmarks`; each section says when and where. Times of one section belong
together (the programs ran in turn on the same machine); those of different sections need not.
"""


@dataclass(frozen=True)
class Outcome:
    """What one benchmark printed, and what it cost."""

    status: int
    text: str
    wall: float
    cpu: float
    memory: float
    load: float


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return [
        f"{kind}.{path.stem}"
        for kind in KINDS
        for path in sorted((HERE / kind).glob("[!_]*.py"))
    ]  # fmt: skip


def title(name: str) -> str:
    """Return the first line of the text of a benchmark."""
    source = (HERE / name.replace(".", "/")).with_suffix(".py").read_text()
    return (ast.get_docstring(ast.parse(source)) or name).splitlines()[0]


def run(name: str, arguments: list[str]) -> Outcome:
    """Run one benchmark in a process of its own; its output goes to the terminal, too."""
    start, load = time.perf_counter(), os.getloadavg()[0]
    lines = []
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Outcome(
        process.returncode, "\n".join(lines).strip("\n"), time.perf_counter() - start,
        usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024.0, load,
    )  # fmt: skip


def machine() -> str:
    """Return processor, number of its threads, memory and system."""
    model = re.search(r"model name\s*: (.*)", _text("/proc/cpuinfo"))
    total = re.search(r"MemTotal:\s*(\d+)", _text("/proc/meminfo"))
    return ", ".join(
        [
            model[1] if model else platform.machine(),
            f"{len(os.sched_getaffinity(0))} threads",
            *([f"{int(total[1]) / 2**20:.0f} GiB"] if total else []),
            f"{platform.system()} {platform.release().split('-')[0]}",
        ]
    )


def versions() -> str:
    """Return versions of the project, of Python, of libraries and of the peers installed."""
    from skyextract import __version__

    found = [f"skyextract {__version__}{commit()}", f"Python {platform.python_version()}"]
    for library in (*LIBRARIES, *PEERS):
        try:
            found.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    for program in PROGRAMS:
        if shutil.which(program):
            done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
            number = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
            found.append(f"{program} {number[0] if number else '?'}")
    return ", ".join(found)


def commit() -> str:
    """Return the commit that is checked out, in brackets, and whether files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def heading(name: str) -> str:
    """Return the first lines of the section of a benchmark."""
    return f"## {name}\n\n{title(name)}\n\n"


def section(name: str, arguments: list[str], outcome: Outcome) -> str:
    """Return what stands beneath the heading about one run of a benchmark."""
    command = " ".join(["python -m", f"benchmarks.{name}", *arguments])
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    return (
        f"`{command}`, {now}: {outcome.wall:.0f} s, {outcome.cpu:.0f} s of CPU time, "
        f"largest memory of a process {outcome.memory:.0f} MB, "
        f"load average {outcome.load:.1f} at the start.\n"
        f"{machine()}. {versions()}.\n\n```text\n{outcome.text}\n```\n"
    )


def keep(name: str, text: str, path: Path = RESULTS, *, add: bool = False) -> None:
    """Replace one section of the results, or add to it; sections stand in the order of names."""
    old = path.read_text() if path.exists() else ""
    sections = {
        part.split("\n", 1)[0].removeprefix("## "): part.strip("\n") + "\n"
        for part in re.split(r"^(?=## )", old, flags=re.MULTILINE)[1:]
    }
    before = sections[name] + "\n" if add and name in sections else heading(name)
    sections[name] = before + text
    kept = [sections[other] for other in names() if other in sections]
    path.write_text("\n".join([HEAD, *kept]))


def main() -> int:
    """Run what was asked for; return 1 if one of them failed."""
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print names and titles only")
    parser.add_argument("--add", action="store_true", help="keep what the sections have")
    options = parser.parse_args(words[:split])
    chosen = names()
    for name in options.names:
        if name not in (*KINDS, *chosen):
            parser.error(f"no benchmark {name}; there are {', '.join(chosen)}")
    if options.names:
        chosen = [n for n in chosen if n in options.names or n.split(".")[0] in options.names]
    if options.list:
        print("\n".join(f"{name:<20}{title(name)}" for name in chosen))
        return 0
    failed = []
    for name in chosen:
        print(f"--- {name}: {title(name)}", flush=True)
        outcome = run(name, words[split + 1 :])
        if outcome.status:
            failed.append(name)
        else:
            keep(name, section(name, words[split + 1 :], outcome), add=options.add)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    # A reader that goes, as in `| head`, ends this program as it ends others.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
