"""Programs timed in turn, A B A B: costs of processes, ratios of medians, targets.

What the benchmarks of speed share.  Byte code is written and kept, as on a user's machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import ROOT

USUAL = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE ALPHA_J2000 DELTA_J2000 FLUX_ISO
FLUXERR_ISO FLUX_AUTO FLUXERR_AUTO MAG_AUTO MAGERR_AUTO FLUX_APER FLUXERR_APER KRON_RADIUS
FLUX_RADIUS A_IMAGE B_IMAGE THETA_IMAGE ERRA_IMAGE FWHM_IMAGE BACKGROUND FLUX_MAX FLAGS""".split()
FILTER = "CONV NORM\n1 2 1\n2 4 2\n1 2 1\n"
CONFIGURATION = """PARAMETERS_NAME run.param
CATALOG_TYPE FITS_LDAC
FILTER_NAME default.conv
DETECT_MINAREA 5
PIXEL_SCALE 0
PHOT_APERTURES 10
VERBOSE_TYPE QUIET
"""
HEADINGS = ("wall [s]", "CPU [s]", "memory [MB]")
PIXELS_PER_SOURCE = 5200
"""Of the ordinary frame of these benchmarks."""


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds and peak memory (MB) of one process and its children."""

    wall: float
    cpu: float
    memory: float


def options(text: str | None, **defaults: int) -> argparse.Namespace:
    """Parse options that are whole numbers, by their names; `text` describes the program."""
    parser = argparse.ArgumentParser(description=text)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def our_program() -> str:
    """Return the path of the command `skyextract` of this Python."""
    return str(Path(sys.executable).with_name("skyextract"))


def peer_program() -> str:
    """Return the path of SExtractor; without it, the benchmark ends."""
    peer = shutil.which("source-extractor") or shutil.which("sex")
    if peer is None:
        raise SystemExit("source-extractor is not installed")
    return peer


@contextmanager
def workplace() -> Iterator[Path]:
    """Give a new folder with a configuration for both programs, run.sex; it is the current one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.param").write_text("\n".join(USUAL) + "\n")
        (folder / "default.conv").write_text(FILTER)
        (folder / "run.sex").write_text(CONFIGURATION)
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def simulated(path: Path, size: int, n_sources: int = 0) -> Path:
    """Write an ordinary frame, or one with so many sources, and return its path.

    It is made in a process of its own: the memory of this one would count as its children's.
    """
    number = n_sources or size * size // PIXELS_PER_SOURCE
    maker = [sys.executable, str(ROOT / "benchmarks/simulate/frame.py")]
    subprocess.run([*maker, str(path), str(size), str(number)], check=True)
    return path


def both(*arguments: str) -> dict[str, list[str]]:
    """Return the commands of both programs with run.sex and the same arguments."""
    programs = {"ours": our_program(), "peer": peer_program()}
    return {
        label: [program, *arguments, "-c", "run.sex", "-CATALOG_NAME", f"{label}.cat"]
        for label, program in programs.items()
    }


def run(command: Sequence[str], folder: Path, server: bool = False) -> Cost:
    """Run a command to its end and return what it cost; calls of ours may go to a server."""
    environment = environment_of_runs(folder if server else None)
    log = folder / "stderr.txt"
    start = perf_counter()
    pid = os.posix_spawnp(
        command[0],
        list(command),
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        ],
    )
    _, status, usage = os.wait4(pid, 0)
    wall = perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)}: {log.read_text()[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def environment_of_runs(server_folder: Path | None = None) -> dict[str, str]:
    """Return the environment in which programs are timed; with the place of a server, or none."""
    other = ("PYTHONDONTWRITEBYTECODE", "SKYEXTRACT_SERVER", "XDG_RUNTIME_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in other}
    if server_folder is None:
        return kept | {"SKYEXTRACT_SERVER": "off"}
    return kept | {"XDG_RUNTIME_DIR": str(server_folder)}


@contextmanager
def warm_server(folder: Path) -> Iterator[None]:
    """Keep a server for the calls of `run(..., folder, server=True)`, and for no others."""
    environment = environment_of_runs(folder)
    command = [our_program(), "--server"]
    subprocess.run([*command, "start"], env=environment, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*command, "stop"], env=environment, check=True, capture_output=True)


def in_turn(
    commands: Mapping[str, Sequence[str]],
    folder: Path,
    repeat: int,
    served: str = "",
    warm_up: bool = True,
) -> dict[str, Cost]:
    """Run commands in turn `repeat` times after one run of each; return medians of their costs.

    Parameters
    ----------
    commands : mapping
        Commands by their labels.
    folder : Path
        Where messages of failed commands go.
    repeat : int
        Timed runs of each command.
    served : str
        Label of the command that may go to the warm server.
    warm_up : bool
        Whether there is a first run of each, which does not count.
    """
    costs: dict[str, list[Cost]] = {label: [] for label in commands}
    for number in range(repeat + warm_up):
        for label, command in commands.items():
            cost = run(command, folder, label == served)
            if number or not warm_up:
                costs[label].append(cost)
    return {label: median_cost(found) for label, found in costs.items()}


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the medians of times and memory."""
    return Cost(*map(statistics.median, zip(*map(astuple, costs), strict=True)))


def print_heading(name: str = "case", labels: tuple[str, str] = ("ours", "peer")) -> None:
    """Print the head of a table of pairs."""
    heads = " |".join(f"{labels[0]:>8} {labels[1]:>8} {'ratio':>6}" for _ in HEADINGS)
    print(f"{'':<28}" + " |".join(f"{heading:^24}" for heading in HEADINGS))
    print(f"{name:<28}{heads}")


def print_pair(name: str, ours: Cost, peer: Cost) -> None:
    """Print one row of a table of pairs."""
    cells = [
        f"{a:8.2f} {b:8.2f} {a / b if b else 0.0:6.2f}"
        for a, b in zip(astuple(ours), astuple(peer), strict=True)
    ]
    print(f"{name:<28}" + " |".join(cells), flush=True)


def judge(name: str, value: float, target: float, unit: str = "x", least: bool = False) -> bool:
    """Print a value beside its target, the most (or least) that it may be; tell if it is met."""
    met = value >= target if least else value <= target
    sign = ">=" if least else "<="
    verdict = "reached" if met else "missed"
    print(f"  {name:<44}{value:9.3g} {unit:<3} target {sign} {target:g}: {verdict}", flush=True)
    return met
