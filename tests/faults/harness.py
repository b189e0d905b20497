"""Runs that are disturbed, and what is found after them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

HANG = 120.0
"""Seconds after which a run that should have ended counts as a hang."""


@dataclass
class Tally:
    """Counts of one kind of fault: all but the first two must be 0."""

    tries: int = 0
    survived: int = 0
    lost: int = 0
    half_written: int = 0
    mixed: int = 0
    tracebacks: int = 0
    orphans: int = 0
    hangs: int = 0

    @property
    def clean(self) -> bool:
        """Nothing went wrong."""
        faults = [getattr(self, item.name) for item in fields(self)[2:]]
        return not any(faults) and self.survived == self.tries > 0


def table(tallies: dict[str, Tally]) -> str:
    """Return the table of all faults."""
    names = [item.name for item in fields(Tally)]
    lines = [f"{'fault':<34}" + "".join(f"{name.replace('_', '-'):>13}" for name in names)]
    for fault, tally in tallies.items():
        lines.append(f"{fault:<34}" + "".join(f"{getattr(tally, n):>13}" for n in names))
    return "\n".join(lines)


def write_frame(path: Path, seed: int, size: int = 200) -> Path:
    """Write a small frame of stars."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100.0, 5.0, (size, size))
    y, x = np.mgrid[-8:9, -8:9]
    for _ in range(max(3, size * size // 900)):
        cx, cy = rng.integers(8, size - 8, 2)
        dx, dy = rng.uniform(-0.5, 0.5, 2)
        flux = 10 ** rng.uniform(3.0, 4.5) / (2.0 * np.pi * 1.5**2)
        star = flux * np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / (2.0 * 1.5**2))
        image[cy - 8 : cy + 9, cx - 8 : cx + 9] += star
    header = fits.Header({"GAIN": 2.0, "EXPTIME": 30.0})
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(path, overwrite=True)
    return path


@dataclass
class Ended:
    """How a run ended."""

    status: int
    stderr: str
    seconds: float
    orphans: int
    hung: bool


class Night:
    """A folder of frames with products of an earlier run, and the products of a new one.

    Parameters
    ----------
    folder : Path
    n : int
        Number of frames.
    """

    def __init__(self, folder: Path, n: int) -> None:
        self.folder = folder
        self.frames = [write_frame(folder / f"n{k}.fits", k) for k in range(n)]
        self.old = self._reference("6")
        start = time.monotonic()
        self.new = self._reference("5")
        self.seconds = time.monotonic() - start

    def _reference(self, threshold: str) -> dict[str, bytes]:
        ended = self.run("-DETECT_THRESH", threshold)
        assert ended.status == 0, ended.stderr
        return {path.name: path.read_bytes() for path in self.folder.glob("*.cat")}

    def restore(self) -> None:
        """Put the products of the earlier run in place."""
        self.run("-DETECT_THRESH", "6")

    def run(
        self,
        *arguments: str,
        disturb: Callable[[subprocess.Popen[str]], None] | None = None,
        frames: Sequence[Path] | None = None,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> Ended:
        """Run the program on the frames, with two processes, and disturb it."""
        start = time.monotonic()
        files = [path.name for path in (self.frames if frames is None else frames)]
        process = subprocess.Popen(
            [sys.executable, "-m", "skyextract", *files, "-j", "2", *arguments],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})}, **options,
        )  # fmt: skip
        children: set[int] = set()
        if disturb is not None:
            disturb(process)
            children = set(self._children)
        try:
            _, stderr = process.communicate(timeout=HANG)
            hung = False
        except subprocess.TimeoutExpired:
            process.kill()
            _, stderr = process.communicate()
            hung = True
        orphans = sum(not ends(child, 5.0) for child in children)
        return Ended(process.returncode, stderr, time.monotonic() - start, orphans, hung)

    _children: tuple[int, ...] = ()

    def kill_parent(self, number: int, delay: float) -> Callable[[subprocess.Popen[str]], None]:
        """Return a disturbance: a signal to the program after some seconds."""

        def disturb(process: subprocess.Popen[str]) -> None:
            time.sleep(delay)
            self._children = tuple(descendants(process.pid))
            if process.poll() is None:
                process.send_signal(number)

        return disturb

    def kill_worker(self, delay: float) -> Callable[[subprocess.Popen[str]], None]:
        """Return a disturbance: SIGKILL to one of the workers after some seconds."""

        def disturb(process: subprocess.Popen[str]) -> None:
            time.sleep(delay)
            self._children = tuple(descendants(process.pid))
            workers = [pid for pid in self._children if b"spawn_main" in command_line(pid)]
            if workers:
                os.kill(random.choice(workers), signal.SIGKILL)

        return disturb

    def inspect(self, tally: Tally, ended: Ended, *, complete: bool) -> None:
        """Count what is wrong in the folder after a run.

        Parameters
        ----------
        complete : bool
            All products must be the new ones; else each image has the old set or the new one.
        """
        before = Tally(**vars(tally))
        for frame in self.frames:
            states = (self._catalog_state(frame), self._summary_state(frame))
            if "missing" in states:
                tally.lost += 1
            elif "half" in states:
                tally.half_written += 1
            elif states[0] != states[1]:
                tally.mixed += 1
            elif complete and states[0] != "new":
                tally.lost += 1
        tally.tracebacks += "Traceback" in ended.stderr or "internal error" in ended.stderr
        tally.orphans += ended.orphans
        tally.hangs += ended.hung
        tally.survived += vars(before) == vars(tally)
        tally.tries += 1

    def _catalog_state(self, frame: Path) -> str:
        path = frame.with_suffix(".cat")
        if not path.exists():
            return "missing"
        content = path.read_bytes()
        if content == self.old[path.name]:
            return "old"
        return "new" if content == self.new[path.name] else "half"

    def _summary_state(self, frame: Path) -> str:
        path = frame.with_suffix(".json")
        if not path.exists():
            return "missing"
        try:
            (summary,) = json.loads(path.read_text())
        except ValueError:
            return "half"
        value = float(summary["provenance"]["config"]["DETECT_THRESH"]["value"])
        return {6.0: "old", 5.0: "new"}[value]

    def leftovers(self) -> list[str]:
        """Return what is in the folder besides frames and products."""
        known = {".fits", ".cat", ".json"}
        return [path.name for path in self.folder.iterdir() if path.suffix not in known]


def command_line(pid: int) -> bytes:
    """Return the words of a process; empty if it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def descendants(pid: int) -> list[int]:
    """Return the children of a process and theirs."""
    found = []
    for name in Path("/proc").glob(f"{pid}/task/*/children"):
        try:
            children = [int(word) for word in name.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def ends(pid: int, seconds: float) -> bool:
    """Tell whether a process has ended, or does so within some seconds."""
    limit = time.monotonic() + seconds
    while command_line(pid):  # empty for a zombie
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


def corrupt(path: Path, way: int) -> None:
    """Damage a frame in one of ten ways."""
    content = path.read_bytes()
    rng = np.random.default_rng(way)
    noise = rng.bytes(2880)
    damages: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: content[:1000],
        lambda: content[: len(content) // 2],
        lambda: b"This is no FITS file.\n" * 500,
        lambda: noise * 20,
        lambda: content.replace(
            b"NAXIS1  =                  200", b"NAXIS1  =                 -200"
        ),
        lambda: content.replace(
            b"BITPIX  =                  -32", b"BITPIX  =                    7"
        ),
        lambda: content.replace(b"END" + b" " * 77, b"XND" + b" " * 77),
        lambda: b"\x1f\x8b\x08\x00" + noise,
        lambda: content[:2880] + np.full(200 * 200, np.nan, ">f4").tobytes() + content[-1:] * 3200,
    ]
    path.write_bytes(damages[way]())
