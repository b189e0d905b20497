"""Faults of the surroundings, each a function of an empty folder that returns its counts."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
from itertools import count
from pathlib import Path

import numpy as np
from astropy.io import fits

from skyextract.cli import main
from skyextract.io.atomic import recover
from tests.faults.harness import Ended, Night, Tally, corrupt, die_at, settle, write_frame

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
MEGABYTE = 1 << 20


def poison(folder: Path, n: int = 20) -> Tally:
    """Every tenth frame kills the process that opens it."""
    hook = folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def watch(event, arguments):\n"
        "    name = str(arguments[0]) if event == 'open' else ''\n"
        "    if 'poison' in name and name.endswith('.fits'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(watch)\n"
    )
    frames = [write_frame(folder / f"f{k}.fits", k, 96) for k in range(n)]
    for k in range(9, n, 10):
        frames[k] = frames[k].rename(folder / f"poison{k}.fits")
    night = Night.of(folder, frames)
    path = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
    ended = night.run(environment={"PYTHONPATH": path})
    tally = _ended(ended, 1)
    for frame in frames:
        _check_fate(frame, tally, failed="poison" in frame.name)
        named = f"{frame.name}: its process died (killed by SIGKILL) again" in ended.stderr
        tally.lost += named != ("poison" in frame.name)
    return _summed(tally)


def full_disk(folder: Path) -> Tally:
    """No file may become larger than a few blocks."""
    night = Night(folder, 3)
    night.restore()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    ended = night.run("-DETECT_THRESH", "5", preexec_fn=limit)
    tally = _ended(ended, 1)
    tally.lost += ended.stderr.count("cannot be written") != 3 * 1 and "cannot" not in ended.stderr
    for frame in night.frames:  # no catalogue of either run stays beside a missing summary
        tally.mixed += frame.with_suffix(".cat").exists()
    tally.half_written += len(night.leftovers())
    return _summed(tally)


def read_only(folder: Path) -> Tally:
    """The folder of the products cannot be written."""
    frame = write_frame(folder / "f.fits", 1, 96)
    place = folder / "there"
    place.mkdir()
    (place / "f.cat").write_text("old")
    place.chmod(0o555)
    folder.chmod(0o755)
    night = Night.of(folder, [frame])
    ended = night.run("-o", "there", environment={"HOME": "/nonexistent"}, preexec_fn=obey_modes)
    place.chmod(0o755)
    tally = _ended(ended, 1)
    tally.lost += (place / "f.cat").read_text() != "old" or "Permission denied" not in ended.stderr
    return _summed(tally)


def obey_modes() -> None:
    """Let root, in a process that is about to start a program, be bound by the modes of files."""
    prctl = ctypes.CDLL(None).prctl
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        prctl(PR_CAPBSET_DROP, capability)


def corrupt_frames(folder: Path, n: int = 40) -> Tally:
    """Ten of forty frames are damaged in ten ways."""
    frames = [write_frame(folder / "f0.fits", 0)]
    frames += [Path(shutil.copy(frames[0], folder / f"f{k}.fits")) for k in range(1, n)]
    for way in range(10):
        corrupt(frames[way * (n // 10)], way)
    night = Night.of(folder, frames)
    ended = night.run("--steps", "measure")
    tally = _ended(ended, 1)
    for k, frame in enumerate(frames):
        _check_fate(frame, tally, failed=k % (n // 10) == 0)
    return _summed(tally)


def _ended(ended: Ended, status: int) -> Tally:
    wrong = "Traceback" in ended.stderr or "internal error" in ended.stderr
    return Tally(
        tries=1, tracebacks=wrong, hangs=ended.hung, orphans=ended.orphans,
        lost=int(ended.status != status),
    )  # fmt: skip


def _summed(tally: Tally) -> Tally:
    bad = tally.lost + tally.half_written + tally.mixed + tally.tracebacks + tally.orphans
    tally.survived = int(not bad + tally.hangs)
    return tally


def _check_fate(frame: Path, tally: Tally, *, failed: bool) -> None:
    """Check that a frame has its catalogue, or a summary that says that it failed."""
    try:
        (summary,) = json.loads(frame.with_suffix(".json").read_text())
    except (OSError, ValueError):
        tally.lost += 1
        return
    tally.lost += (summary["status"] == "failed") != failed
    tally.mixed += frame.with_suffix(".cat").exists() == failed


def every_step(folder: Path) -> Tally:
    """The program is killed at each step of the file system that it makes with its products."""
    frame = write_frame(folder / "f.fits", 1, 96)
    night = Night.of(folder, [frame])
    options = ("-NTHREADS", "1", "-PSFMODEL_NAME", "f.psf", "-REGIONS_NAME", "f.reg",
               "-CHECKIMAGE_TYPE", "SEGMENTATION,BACKGROUND",
               "-CHECKIMAGE_NAME", "s.fits,b.fits")  # fmt: skip

    def files() -> dict[str, bytes]:
        found = (path for path in folder.iterdir() if path.is_file() and path != frame)
        return {path.name: path.read_bytes() for path in found}

    def run(threshold: str, step: int | None = None) -> int:
        if step is not None:
            die_at(step, ".skyextract-")
        with contextlib.chdir(folder):
            return main([frame.name, "-q", "-DETECT_THRESH", threshold, *options])

    run("6")  # in this process, which then has loaded what all need
    night.old = files()
    run("5")
    night.new = files()
    differ = [name for name in night.old if night.old[name] != night.new[name]]
    tally = Tally()
    for step in count():
        for name, content in night.old.items():
            (folder / name).write_bytes(content)
        child = os.fork()
        if child == 0:
            os._exit(run("5", step))
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        settle(folder)
        found = files()
        states = {night.state(folder / name) for name in differ}
        tally.lost += found.keys() != night.old.keys()
        tally.half_written += "half" in states
        tally.mixed += len(states) > 1
        tally.tries += 1
        recover(folder)
        tally.orphans += any(path.name.startswith(".") for path in folder.iterdir())
        if ended != -signal.SIGKILL:
            break
    tally.survived = tally.tries if not (tally.lost + tally.half_written + tally.mixed) else 0
    tally.lost += tally.tries < 20  # there are more steps than that
    return tally


def little_memory(folder: Path) -> Tally:
    """A run on one frame may take only some megabytes more; some of these are enough."""
    frame = write_frame(folder / "f.fits", 1, 400)
    said = folder / "said"

    def run(n_bytes: int) -> int:
        with (
            contextlib.chdir(folder), said.open("w") as stderr, contextlib.redirect_stderr(stderr)
        ):  # fmt: skip
            most = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (most + n_bytes,) * 2)
            return main([frame.name, "-NTHREADS", "2"])

    with contextlib.chdir(folder):
        main([frame.name, "-q", "-NTHREADS", "1"])  # loads what all need
    tally = Tally()
    statuses = []
    for n_bytes in (MEGABYTE * 2**k // 4 for k in range(11)):
        child = os.fork()
        if child == 0:
            os._exit(run(n_bytes))
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        text = said.read_text()
        n_errors = text.count("error:")
        tally.tries += 1
        tally.tracebacks += "internal error" in text or "Traceback" in text
        tally.lost += statuses[-1] not in (0, 1) or n_errors != statuses[-1]
        tally.lost += n_errors == 1 and "memory" not in text
        _check_fate(frame, tally, failed=statuses[-1] == 1)
    tally.lost += {0, 1} != set(statuses)
    tally.survived = tally.tries if not (tally.lost + tally.mixed + tally.tracebacks) else 0
    return tally


def large_frame(folder: Path) -> Tally:
    """One frame of a batch is too large for the memory."""
    frames = [write_frame(folder / f"f{k}.fits", k, 96) for k in range(4)]
    header = fits.PrimaryHDU(np.zeros((1, 1), np.int16)).header
    header["NAXIS1"] = header["NAXIS2"] = 16000
    with frames[1].open("wb") as file:
        file.write(header.tostring().encode())
        file.truncate(file.tell() + -(-16000 * 16000 * 2 // 2880) * 2880)  # takes no room

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1500 * MEGABYTE,) * 2)

    night = Night.of(folder, frames)
    ended = night.run(preexec_fn=limit)
    tally = _ended(ended, 1)
    for frame in frames:
        _check_fate(frame, tally, failed=frame == frames[1])
    tally.lost += ended.stderr.count("error:") != 1 or "memory" not in ended.stderr
    return _summed(tally)


SCENARIOS = {
    "killed at each step of its end": every_step,
    "every tenth frame kills its worker": poison,
    "full disk": full_disk,
    "read-only folder": read_only,
    "ten of forty frames corrupt": corrupt_frames,
    "little memory": little_memory,
    "a frame too large for the memory": large_frame,
}
