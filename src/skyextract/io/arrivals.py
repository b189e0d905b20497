"""New frames in a folder, each given once it is all there.

What the folder holds is found by looking at it, again and again: names, sizes and times.
Where the library watchfiles is installed and the folder is on a disk of this machine, the
system tells when a look is worth it; over a network (NFS) it does not know of what other
machines write, and the folder is looked at a few times per second.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skyextract.io.fits.complete import what_is_missing
from skyextract.settings.extras import is_installed

log = logging.getLogger("skyextract")

_FRAME = re.compile(r"(?i)[^.].*\.(fits?|fts)(\.(gz|bz2|fz))?")
"""Names of frames; those that begin with a dot are copies under way (rsync)."""
_NETWORK = re.compile(r"nfs|cifs|smb|9p|afs|fuse|lustre|ceph|gpfs|beegfs|gluster|virtiofs|prl_fs")
SETTLE = 0.3
"""Seconds without a change until a file is looked into."""
PATIENCE = 60.0
"""Seconds without a change after which a file that is not all there is given as it is."""
STALLED = 10.0
"""Seconds without a change after which such a file is named, once."""
_LOOK = 0.3
"""Seconds between two looks at a folder of which nobody tells us."""
_QUIET = 10.0
"""The same where the system tells of changes, in case that some are lost."""

_Facts = tuple[int, int, int]
"""Inode, size and time of the last change, ns."""


@dataclass
class _Coming:
    facts: _Facts
    since: float
    """When it had them first."""
    looked_into: bool = False
    missing: str = ""


class Arrivals:
    """Watches a folder; a context manager.

    Parameters
    ----------
    folder : Path
    no_frames : callable
        Gives those of some new paths that are products, or other inputs.
    patience : float
        Seconds that a file may stay incomplete.
    use_events : bool, optional
        Let the system tell of changes; by default where it can.
    """

    def __init__(
        self,
        folder: Path,
        no_frames: Callable[[Sequence[Path]], set[Path]] = lambda _: set(),
        patience: float = PATIENCE,
        use_events: bool | None = None,
    ) -> None:
        self.folder = folder
        self._no_frames = no_frames
        self._patience = patience
        if use_events is None:
            use_events = is_installed("watchfiles") and not is_on_network(folder)
        self.uses_events = use_events
        self._taken: dict[Path, _Facts] = {}
        self._named: set[Path] = set()
        self._coming: dict[Path, _Coming] = {}
        self._next_look = 0.0
        self._is_there = True
        self._hears, self._tells = socket.socketpair()
        self._hears.setblocking(False)
        self._stop = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Arrivals:
        if self.uses_events:
            self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.uses_events:
            self._listener.join()
        self._hears.close()
        self._tells.close()

    def fileno(self) -> int:
        """Return the file that has news when the folder is worth a look."""
        return self._hears.fileno()

    def wait_at_most(self) -> float:
        """Return the seconds until the next look is due, whatever the system tells."""
        due = (file.since + self._next_step(path, file) for path, file in self._coming.items())
        return max(0.0, min((self._next_look, *due)) - time.monotonic())

    def _next_step(self, path: Path, file: _Coming) -> float:
        """Return the seconds without a change after which something is done about a file."""
        if not file.looked_into:
            return SETTLE
        return self._patience if path in self._named else min(STALLED, self._patience)

    def ready(self) -> list[Path]:
        """Return frames that are complete now, and those that were waited for too long.

        A frame that changes after it was given is given again.
        """
        now = time.monotonic()
        if self._has_news() or now >= self._next_look:
            self._look(now)
        found = []
        for path, file in list(self._coming.items()):
            facts = _facts(path)
            if facts is None:
                del self._coming[path]
                continue
            if facts != file.facts:
                self._coming[path] = _Coming(facts, now)
                continue
            if file.looked_into:
                self._name(path, file, now - file.since)
            if now - file.since < (self._patience if file.looked_into else SETTLE):
                continue
            if not file.looked_into and (missing := _missing(path)):
                file.looked_into, file.missing = True, missing
                continue
            del self._coming[path]
            self._taken[path] = file.facts
            found.append(path)
        return found

    def _name(self, path: Path, file: _Coming, quiet: float) -> None:
        """Name a file that does not grow, the first time: a camera's cable may be loose."""
        if STALLED <= quiet < self._patience and path not in self._named:
            self._named.add(path)
            log.warning("%s is not all there (%s), and does not grow", path, file.missing)

    def waited_for(self) -> list[Path]:
        """Return the frames that came and were not all there yet."""
        return [path for path in self._coming if _facts(path) is not None]

    def _look(self, now: float) -> None:
        """Find files that are new or have changed."""
        try:
            with os.scandir(self.folder) as entries:
                names = [entry.name for entry in entries if _FRAME.fullmatch(entry.name)]
        except OSError as error:
            if self._is_there:
                log.warning("%s: %s; it is waited for", self.folder, error.strerror)
            names, self._is_there = [], False
        else:
            self._is_there = True
        paths = [path for name in sorted(names) if (path := self.folder / name) not in self._coming]
        changed = {
            path: facts
            for path in paths
            if (facts := _facts(path)) is not None and facts != self._taken.get(path)
        }
        for path in self._no_frames([*changed]) if changed else ():
            self._taken[path] = changed.pop(path)
        self._coming |= {path: _Coming(facts, now) for path, facts in changed.items()}
        took = time.monotonic() - now
        interval = _QUIET if self.uses_events and self._is_there else _LOOK
        self._next_look = now + max(interval, 10.0 * took)

    def _has_news(self) -> bool:
        """Tell whether the system has told of a change since the last time."""
        with suppress(BlockingIOError):
            return bool(self._hears.recv(4096))
        return False

    def _listen(self) -> None:
        """Pass on what the system tells of the folder."""
        import watchfiles

        try:
            for _ in watchfiles.watch(
                self.folder, watch_filter=None, debounce=100, step=20, stop_event=self._stop,
                rust_timeout=200, yield_on_timeout=False, recursive=False, raise_interrupt=False,
            ):  # fmt: skip
                self._tells.send(b".")
        except (OSError, RuntimeError) as error:  # no more watches, or the folder is gone
            log.debug("%s: looked at now and then (%s)", self.folder, error)
        if not self._stop.is_set():
            self.uses_events = False
            self._tells.send(b".")


def _facts(path: Path) -> _Facts | None:
    """Return what changes with a file; None if there is no file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns) if path.is_file() else None


def _missing(path: Path) -> str:
    """Say what a file lacks; empty if it is all there."""
    try:
        missing = what_is_missing(path)
    except OSError as error:
        missing = str(error.strerror)
    if missing:
        log.info("%s: waiting for %s", path, missing)
    return missing


def is_on_network(folder: Path) -> bool:
    """Tell whether a folder is on a file system that other machines may write to."""
    place = folder.resolve()
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return True  # nobody knows: it is looked at
    for line in lines:
        _, mount, name, *_ = line.split(" ")
        mount = mount.encode().decode("unicode_escape")
        if place.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, name
    return _NETWORK.match(kind) is not None
