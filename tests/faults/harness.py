"""Runs that are disturbed, and what is found after them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

IDLE = 30.0
"""Seconds in which a run neither computes nor waits for a processor or disk: it hangs."""
BUSY = 20.0
"""CPU time, in that of an undisturbed run, after which a run counts as one without end."""
LONG = 600.0
"""The same in seconds, where no undisturbed run is known."""


@dataclass
class Tally:
    """Counts of one kind of fault: all but the first two and the time must be 0."""

    tries: int = 0
    survived: int = 0
    lost: int = 0
    half_written: int = 0
    mixed: int = 0
    tracebacks: int = 0
    orphans: int = 0
    hangs: int = 0
    slowest: float = 0.0
    """Most seconds from a signal to the end, which other work on the machine makes longer."""

    @property
    def clean(self) -> bool:
        """Nothing went wrong."""
        faults = [getattr(self, item.name) for item in fields(self)[2:-1]]
        return not any(faults) and self.survived == self.tries > 0


def table(tallies: dict[str, Tally]) -> str:
    """Return the table of all faults."""
    names = [item.name for item in fields(Tally)]
    lines = [f"{'fault':<34}" + "".join(f"{name.replace('_', '-'):>13}" for name in names)]
    for fault, tally in tallies.items():
        *counts, slowest = (getattr(tally, name) for name in names)
        time_ = f"{slowest:.2f} s" if slowest else ""
        lines.append(f"{fault:<34}" + "".join(f"{n:>13}" for n in counts) + f"{time_:>13}")
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
    """How a run ended.

    Attributes
    ----------
    seconds, cpu : float
        Wall time, and CPU time of all its processes.
    ending : float
        Wall time from the disturbance to the end.
    """

    status: int
    stderr: str
    seconds: float
    cpu: float
    ending: float
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
        self.old, _ = self._reference("6")
        self.new, self.usual = self._reference("5")

    @classmethod
    def of(cls, folder: Path, frames: list[Path]) -> Night:
        """Return a folder of frames without an earlier run."""
        night = cls.__new__(cls)
        night.folder, night.frames = folder, frames
        return night

    def _reference(self, threshold: str) -> tuple[dict[str, bytes], Ended]:
        ended = self.run("-DETECT_THRESH", threshold)
        assert ended.status == 0, ended
        files = [path for path in self.folder.iterdir() if path.suffix in (".cat", ".json")]
        return {path.name: path.read_bytes() for path in files}, ended

    def restore(self) -> None:
        """Put the products of the earlier run in place."""
        for name, content in self.old.items():
            (self.folder / name).write_bytes(content)

    def run(
        self,
        *arguments: str,
        disturb: Callable[[subprocess.Popen[bytes]], None] | None = None,
        frames: Sequence[Path] | None = None,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> Ended:
        """Run the program on the frames, with two processes, and disturb it.

        The messages go to a file, so that a process that stays behind cannot hold up the end.
        """
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell
            signal.signal(signal.SIGINT, signal.default_int_handler)
        start, usage = time.monotonic(), children_cpu()
        files = [path.name for path in (self.frames if frames is None else frames)]
        with tempfile.TemporaryFile("w+") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "skyextract", *files, "-j", "2", *arguments],
                cwd=self.folder, stdout=subprocess.DEVNULL, stderr=stderr,
                env={**os.environ, **(environment or {})}, **options,
            )  # fmt: skip
            self._children = ()
            if disturb is not None:
                disturb(process)
            disturbed = time.monotonic()
            hung = hangs(process, BUSY * self.usual.cpu if self.usual else LONG)
            ending = time.monotonic() - disturbed
            orphans = sum(not ends(child) for child in self._children)
            stderr.seek(0)
            messages = stderr.read()
        seconds, cpu = time.monotonic() - start, children_cpu() - usage
        return Ended(process.returncode, messages, seconds, cpu, ending, orphans, hung)

    usual: Ended | None = None
    _children: tuple[int, ...] = ()

    def kill_parent(self, number: int, share: float) -> Callable[[subprocess.Popen[bytes]], None]:
        """Return a disturbance: a signal to the program after a share of its usual CPU time."""

        def disturb(process: subprocess.Popen[bytes]) -> None:
            self._wait(process, share)
            self._children = tuple(descendants(process.pid))
            if process.poll() is None:
                process.send_signal(number)

        return disturb

    def kill_worker(self, share: float) -> Callable[[subprocess.Popen[bytes]], None]:
        """Return a disturbance: SIGKILL to one of the workers, also after a share."""

        def disturb(process: subprocess.Popen[bytes]) -> None:
            self._wait(process, share)
            self._children = tuple(descendants(process.pid))
            words = command_line(process.pid), b"spawn_main"  # of forked ones, and of others
            workers = [
                pid for pid in self._children if any(word in command_line(pid) for word in words)
            ]
            if workers:
                os.kill(random.choice(workers), signal.SIGKILL)

        return disturb

    def _wait(self, process: subprocess.Popen[bytes], share: float) -> None:
        """Wait until a run has done a share of its work, whatever else the machine does."""
        assert self.usual is not None
        while process.poll() is None:
            if Activity.of(process.pid).cpu >= share * self.usual.cpu:
                return
            time.sleep(0.01)

    def inspect(self, tally: Tally, ended: Ended, *, complete: bool) -> None:
        """Count what is wrong in the folder after a run.

        Parameters
        ----------
        complete : bool
            All products must be the new ones; else each image has the old set or the new one.
        """
        before = replace(tally)
        settle(self.folder)
        for frame in self.frames:
            states = [self.state(frame.with_suffix(suffix)) for suffix in (".cat", ".json")]
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
        tally.survived += before == tally
        tally.tries += 1
        tally.slowest = max(tally.slowest, ended.ending)

    def state(self, path: Path) -> str:
        """Tell which run a product is of: old, new, half or missing."""
        if not path.exists():
            return "missing"
        content = path.read_bytes()
        if path.suffix == ".json":  # it holds times
            try:
                (summary,) = json.loads(content)
            except ValueError:
                return "half"
            value = float(summary["provenance"]["config"]["DETECT_THRESH"]["value"])
            return {6.0: "old", 5.0: "new"}[value]
        if content == self.old[path.name]:
            return "old"
        return "new" if content == self.new[path.name] else "half"

    def leftovers(self) -> list[str]:
        """Return what is in the folder besides frames and products."""
        known = {".fits", ".cat", ".json", ".ecsv", ".html"}
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
    with suppress(OSError):  # it ends meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                for child in map(int, (task / "children").read_text().split()):
                    found += [child, *descendants(child)]
    return found


@dataclass
class Activity:
    """What a process and its descendants did, and whether one of them would do more."""

    cpu: float
    ready: bool

    @classmethod
    def of(cls, pid: int) -> Activity:
        words = [words for one in (pid, *descendants(pid)) if (words := _stat(one))]
        ticks = sum(int(word) for item in words for word in item[11:15])
        ready = any(item[0] in "RD" for item in words)
        return cls(ticks / os.sysconf("SC_CLK_TCK"), ready)


def _stat(pid: int) -> list[str]:
    """Return the words of /proc/PID/stat from the state on; none if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def hangs(process: subprocess.Popen[bytes], most: float) -> bool:
    """Wait for the end of a run; one that hangs is ended, with all that belongs to it.

    A run hangs if for some time nothing of it computes though it could, or if it needs far more
    CPU time than it should.  How long it takes depends on what else the machine does.
    """
    last, since = -1.0, time.monotonic()
    while process.poll() is None:
        now = Activity.of(process.pid)
        if now.ready or now.cpu != last:
            last, since = now.cpu, time.monotonic()
        if now.cpu > most or time.monotonic() - since > IDLE:
            for pid in (*descendants(process.pid), process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.1)
    return False


def children_cpu() -> float:
    """Return the CPU seconds of all ended children and theirs, as far as they were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ends(pid: int) -> bool:
    """Tell whether a process that has no business any more ends."""
    since, first = time.monotonic(), Activity.of(pid).cpu
    while (words := _stat(pid)) and words[0] != "Z":
        if words[0] in "RD":  # it would, if it had a processor
            since = time.monotonic()
        if time.monotonic() - since > 5.0 or Activity.of(pid).cpu - first > 10.0:
            return False
        time.sleep(0.05)
    return True


def settle(folder: Path) -> None:
    """Wait until no moves are to be made any more, because whoever finishes them has begun."""
    limit = time.monotonic() + 20.0
    while any(folder.glob(".skyextract-*/journal")) and time.monotonic() < limit:
        time.sleep(0.002)


def die_at(step: int, word: str) -> None:
    """Let this process be killed at a step of the file system that has a word in its names."""
    steps = count()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" and not event.startswith(("os.", "shutil.")):
            return
        if any(word in str(item) for item in arguments) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


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
