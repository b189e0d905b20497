"""Time skyextract against source-extractor: cold processes in turn, ratios of medians.

    python -m benchmarks.speed.extraction [--repeat 7] [--sizes 2048 4096]

Both run on the same simulated frame with SExtractor's default settings and the same columns.
Wall time, CPU time and peak memory are those of the process and its children.  Byte code is
written and kept, as it is on a user's machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ROOT
from skyextract.columns.request import COLUMNS

USUAL = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE ALPHA_J2000 DELTA_J2000 FLUX_ISO
FLUXERR_ISO FLUX_AUTO FLUXERR_AUTO MAG_AUTO MAGERR_AUTO FLUX_APER FLUXERR_APER KRON_RADIUS
FLUX_RADIUS A_IMAGE B_IMAGE THETA_IMAGE ERRA_IMAGE FWHM_IMAGE BACKGROUND FLUX_MAX FLAGS""".split()
FILTER = "CONV NORM\n1 2 1\n2 4 2\n1 2 1\n"


@dataclass
class Cost:
    """Wall and CPU seconds and peak memory (MB) of one process."""

    wall: float
    cpu: float
    memory: float


def all_columns() -> list[str]:
    """Return every column that needs no association list, flag map, PSF or network."""
    other = (
        "ASSOC", "IMAFLAGS", "PSF", "SPREAD", "APERCOR", "FOCAL", "VIGNET", "CLASS_STAR", "MODEL",
        "SPHEROID", "DISK", "POINTSOURCE", "BACKOFFSET", "FLUXRATIO", "SERSIC",
    )  # fmt: skip
    return [
        name
        for name, column in COLUMNS.items()
        if not column.own and not any(part in name for part in other)
    ]


def run(command: Sequence[str], cwd: Path) -> Cost:
    """Run a command to its end and return what it cost."""
    start = time.perf_counter()
    pid = os.posix_spawnp(
        command[0],
        list(command),
        {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(cwd / "stderr.txt"), os.O_WRONLY | os.O_CREAT, 0o644),
        ],
    )
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)}: {(cwd / 'stderr.txt').read_text()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(name: str, ours: Sequence[str], peer: Sequence[str], cwd: Path, repeat: int) -> None:
    """Run both in turn `repeat` times after one warm-up, print medians and ratios."""
    costs: dict[str, list[Cost]] = {"ours": [], "peer": []}
    for number in range(repeat + 1):
        for label, command in (("ours", ours), ("peer", peer)):
            cost = run(command, cwd)
            if number:
                costs[label].append(cost)

    def median(label: str, field: str) -> float:
        return statistics.median(getattr(cost, field) for cost in costs[label])

    cells = [
        f"{(a := median('ours', f)):8.2f} {(b := median('peer', f)):8.2f} {a / b:6.2f}"
        for f in ("wall", "cpu", "memory")
    ]
    print(f"{name:<28}" + " |".join(cells), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096])
    options = parser.parse_args()
    peer = shutil.which("source-extractor") or shutil.which("sex")
    if peer is None:
        raise SystemExit("source-extractor is not installed")
    ours = str(Path(sys.executable).with_name("skyextract"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        (folder / "run.param").write_text("\n".join(USUAL) + "\n")
        (folder / "default.conv").write_text(FILTER)
        (folder / "run.sex").write_text(
            "PARAMETERS_NAME run.param\nCATALOG_TYPE FITS_LDAC\nFILTER_NAME default.conv\n"
            "DETECT_MINAREA 5\nPIXEL_SCALE 0\nPHOT_APERTURES 10\nVERBOSE_TYPE QUIET\n"
        )
        print(f"{'':<28}{'wall [s]':^24} |{'CPU [s]':^23} |{'peak memory [MB]':^23}")
        heads = f"{'ours':>8} {'peer':>8} {'ratio':>6}"
        print(f"{'case':<28}" + " |".join([heads] * 3))
        for size in options.sizes:
            image = folder / f"frame{size}.fits"
            # In a process of its own: the memory of this one would count as the children's.
            maker = [sys.executable, str(ROOT / "benchmarks/simulate/frame.py")]
            subprocess.run([*maker, image, str(size), str(size * size // 5200)], check=True)
            arguments = [str(image), "-c", "run.sex", "-CATALOG_NAME"]
            compare(
                f"{size}^2, {size * size // 5200} sources",
                [ours, *arguments, "ours.cat"],
                [peer, *arguments, "peer.cat"],
                folder,
                options.repeat,
            )
        (folder / "all.param").write_text("\n".join(all_columns()) + "\n")
        compare(
            f"{size}^2, {len(all_columns())} columns",
            [ours, *arguments, "ours.cat", "-PARAMETERS_NAME", "all.param"],
            [peer, *arguments, "peer.cat", "-PARAMETERS_NAME", "all.param"],
            folder,
            options.repeat,
        )
        compare("--help", [ours, "--help"], [peer, "--version"], folder, options.repeat)


if __name__ == "__main__":
    main()
