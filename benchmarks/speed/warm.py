"""Later frames of one process beside SExtractor, and two threads beside one.

What two threads can gain at most the machine says by two processes of one thread at once: its
cores share memory, and perhaps more.

    python -m benchmarks.speed.warm [--size 4096] [--repeat 5]

One process runs the same frame again and again under other names; the first one, which starts
everything, does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import ROOT
from benchmarks.paired import (
    Cost,
    environment_of_runs,
    judge,
    median_cost,
    peer_program,
    print_heading,
    print_pair,
    run,
    simulated,
    workplace,
)

WALL_TARGET, CPU_TARGET, THREADS_TARGET = 0.20, 0.35, 1.7


def serve(image: str, arguments: list[str]) -> None:
    """Run the program once per line of standard input, and print seconds of wall and CPU time."""
    from skyextract.cli import main as program

    for number, _ in enumerate(sys.stdin):
        frame = Path(f"{os.getpid()}_{number}.fits")
        frame.symlink_to(image)
        before = time.process_time()
        start = time.perf_counter()
        status = program([str(frame), *arguments, "-CATALOG_NAME", f"{os.getpid()}.cat"])
        wall = time.perf_counter() - start
        cpu = time.process_time() - before
        print(json.dumps([status, wall, cpu]), flush=True)


class Process:
    """A process that runs the program on a frame when it is asked to.

    Parameters
    ----------
    image : Path
    arguments : list of str
        Of the program, after the image.
    """

    def __init__(self, image: Path, arguments: list[str]) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.warm", "--serve", str(image), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment_of_runs() | {"PYTHONPATH": _python_path()},
        )  # fmt: skip
        self.next()

    def next(self) -> Cost:
        """Run one frame and return what it cost."""
        self.begin()
        return self.end()

    def begin(self) -> None:
        """Begin a frame."""
        assert self.child.stdin is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def end(self) -> Cost:
        """Wait for the frame and return what it cost."""
        assert self.child.stdout is not None
        status, wall, cpu = json.loads(self.child.stdout.readline())
        if status:
            raise SystemExit(f"skyextract ended with status {status}")
        return Cost(wall, cpu, 0.0)

    def close(self) -> None:
        """End the process."""
        self.child.communicate()


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def beside_peer(image: Path, folder: Path, repeat: int) -> None:
    """Print later frames of a process with two threads beside processes of SExtractor."""
    configuration = ["-c", "run.sex"]
    process = Process(image, [*configuration, "-NTHREADS", "2"])
    peer = [peer_program(), str(image), *configuration, "-CATALOG_NAME", "peer.cat"]
    ours, theirs = [], []
    for _ in range(repeat):
        ours.append(process.next())
        theirs.append(run(peer, folder))
    process.close()
    a, b = median_cost(ours), median_cost(theirs)
    print_heading()
    print_pair("later frames, 2 threads", a, b)
    judge("wall, ratio", a.wall / b.wall, WALL_TARGET)
    judge("CPU, ratio", a.cpu / b.cpu, CPU_TARGET)


def threads(image: Path, repeat: int) -> None:
    """Print default runs with two threads beside one, and one thread beside another process."""
    processes = [
        Process(image, ["-VERBOSE_TYPE", "QUIET", "-SUMMARY_NAME", "NONE", "-NTHREADS", number])
        for number in ("2", "1", "1")
    ]
    turns = [_turn(processes) for _ in range(repeat)]
    two, one, beside = (median_cost(found) for found in zip(*turns, strict=True))
    for process in processes:
        process.close()
    print_heading(labels=("2", "1"))
    print_pair("default run, threads", two, one)
    judge("faster with two threads", one.wall / two.wall, THREADS_TARGET, least=True)
    print(f"  two processes of one thread at once do {2.0 * one.wall / beside.wall:.2f} x as much")


def _turn(processes: list[Process]) -> list[Cost]:
    """Return the costs of a frame of the first two alone, and of the last two at once."""
    alone = [process.next() for process in processes[:2]]
    for process in processes[1:]:
        process.begin()
    return [*alone, median_cost([process.end() for process in processes[1:]])]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with workplace() as folder:
        image = simulated(folder / "frame.fits", options.size)
        beside_peer(image, folder, options.repeat)
        threads(image, options.repeat)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3:])
    else:
        main()
