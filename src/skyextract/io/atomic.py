"""Output files that appear together, complete, or not at all.

The files of one image are written into hidden folders beside their places (`.skyextract-...`,
named after host and process).  When all are complete, a journal of the moves is left there,
and the files are renamed into place one right after the other.  A process that is killed before
the journal has changed nothing.  What one that is killed after it has not moved yet is moved at
once by a process that waits beside it (`guard`).  Only where that is killed as well in those
microseconds, or the machine stops, it is left to the next run in that folder (`recover`).
So what is found is the old set or the new one, not a mixture.

Pipes, terminals and other devices are written through when the files are in place, see
`streams`.
"""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from skyextract.errors import ConfigError, OutputError
from skyextract.io.guard import Guard
from skyextract.io.streams import Stream, is_stream, write_through

OpenOutput = Callable[[str | Path], AbstractContextManager[BinaryIO]]
"""How a writer opens its file: `Outputs.open`, or `atomic_output` for one file alone."""

_PREFIX = ".skyextract-"
_JOURNAL = "journal"
_PRIMARY = "primary"
_counter = itertools.count()
_ours: set[Path] = set()
"""The hidden folders that this process has made."""


class Outputs:
    """The output files of one image; a context manager that leaves nothing unless `commit` ran.

    Attributes
    ----------
    streams : list of Stream
        What waits to be written through to pipes and devices.
    """

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self._folders: dict[Path, Path] = {}
        self._spool: Path | None = None
        self._moves: dict[Path, Path] = {}
        self._removals: list[Path] = []

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def check(self, path: str | Path) -> None:
        """Raise an OutputError, before any work, if a file could not be put in its place."""
        if is_stream(path):
            return
        target = _target(path)
        try:
            is_folder = stat.S_ISDIR(target.stat().st_mode)
        except FileNotFoundError:
            is_folder = False
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
        if is_folder:
            raise OutputError(f"{path}: cannot be written (is a directory)")
        folder = self._folder(target.parent, path)
        if target.exists() and not _may_replace(target, folder.parent):
            raise OutputError(f"{path}: cannot be written (belongs to another user)")

    @contextmanager
    def open(self, path: str | Path) -> Iterator[BinaryIO]:
        """Open an output file for writing and reading; it stays hidden until `commit`.

        Raises
        ------
        OutputError
            No such folder, no permission, disk full.
        """
        self.check(path)
        self.drop(path)  # written again, it needs the room of before
        stream = is_stream(path)
        if stream and self._spool is None:
            self._spool = scratch_folder()
        folder = self._spool if stream else self._folder(_target(path).parent, path)
        assert folder is not None
        temporary = folder / str(next(_counter))
        try:
            with temporary.open("w+b") as file:  # by its name: others may append to it
                yield file
        except Exception as error:
            with suppress(OSError):  # on a full disk its room is for the others
                temporary.unlink()
            if isinstance(error, OSError) and error.filename in {None, str(temporary)}:
                # Writing failed, or somebody has removed the folder meanwhile.
                reason = error.strerror or str(error)
                raise OutputError(f"{path}: cannot be written ({reason})") from None
            raise
        if stream:
            self.streams.append(Stream(str(temporary), str(path)))
        else:
            self._moves[_target(path)] = temporary

    def has(self, path: str | Path) -> bool:
        """Tell whether a file was written."""
        return not is_stream(path) and _target(path) in self._moves

    def drop(self, path: str | Path) -> bool:
        """Give up a file that was written; tell whether there was one."""
        if not self.has(path):
            return False
        with suppress(OSError):
            self._moves.pop(_target(path)).unlink()
        return True

    def remove(self, path: str | Path) -> bool:
        """Take a file of an earlier run away at `commit`; tell whether there is one."""
        if is_stream(path):
            return False
        try:
            target = _target(path)
            if target in self._moves or not stat.S_ISREG(target.stat().st_mode):
                return False
        except (OSError, OutputError):  # no such file, and a name that no file can have
            return False
        self._folder(target.parent, path)
        self._removals.append(target)
        return True

    def commit(self) -> None:
        """Move all files into place, and leave the streams to be written through.

        Raises
        ------
        OutputError
            A file cannot be moved; then none of this run is there.
        """
        moves = [(str(temporary), str(target)) for target, temporary in self._moves.items()]
        removals = [str(path) for path in self._removals]
        with ExitStack() as stack:
            try:
                for temporary, target in moves:
                    if Path(target).exists():
                        Path(temporary).chmod(Path(target).stat().st_mode & 0o777)
                if len(moves) + len(removals) > 1:
                    try:
                        self._leave_journal(stack, moves, removals)
                    except OSError:
                        if moves:
                            raise  # what only goes is not kept by a full disk
                _complete(moves, removals)
            except OSError as error:
                # Rather none of them than some of this run and some of an earlier one.
                for temporary, target in moves:
                    if not Path(temporary).exists():
                        Path(target).unlink(missing_ok=True)
                # Writing into an open file, the journal on a full disk, fails without a name.
                name = error.filename2 or error.filename or [*self._moves, *self._removals][0]
                raise OutputError(f"{name}: cannot be written ({error.strerror})") from None
            except BaseException:
                _complete(moves, removals, resumed=True)  # an interrupt leaves no half
                raise
            if self.streams:
                self._spool = None  # it goes when the last of them is written through
            self.discard()

    def _leave_journal(
        self, stack: ExitStack, moves: Sequence[tuple[str, str]], removals: Sequence[str]
    ) -> None:
        """Write down what is to be done, for whoever finds it half done."""
        primary, *others = self._used_folders(moves, removals)
        journal = primary / _JOURNAL
        stack.enter_context(Guard(journal, moves, removals, self._folders.values()))
        _write_journals(journal, others, moves, removals)

    def discard(self) -> None:
        """Remove everything that is not in place."""
        for folder in (*self._folders.values(), *([self._spool] if self._spool else [])):
            _remove(folder)
            _ours.discard(folder)
        self._folders.clear()
        self._moves.clear()
        self._removals.clear()

    def _folder(self, place: Path, path: str | Path) -> Path:
        """Return our hidden folder in `place`, made at its first use."""
        if place not in self._folders:
            self._folders[place] = _hidden_folder(place, path)
        return self._folders[place]

    def _used_folders(
        self, moves: Sequence[tuple[str, str]], removals: Sequence[str]
    ) -> list[Path]:
        """Return our hidden folders beside the files that are moved or removed."""
        used = {Path(name).parent for name in (*(target for _, target in moves), *removals)}
        return [folder for place, folder in self._folders.items() if place in used]


def _write_journals(
    journal: Path,
    others: Iterable[Path],
    moves: Sequence[tuple[str, str]],
    removals: Sequence[str],
) -> None:
    """Say what is to be done: in full in one folder, last, and where that is in the others."""
    for folder in others:
        (folder / _PRIMARY).write_text(str(journal.parent), encoding="utf-8")
    text = json.dumps({"moves": moves, "removals": removals})
    new = journal.with_name("new")
    new.write_text(text, encoding="utf-8")
    new.rename(journal)


def _complete(
    moves: Iterable[Sequence[str]], removals: Iterable[str], *, resumed: bool = False
) -> None:
    """Make the moves and removals; `resumed`: those that are not made yet."""
    for path in removals:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 (nothing slow between two of them)
    for temporary, target in moves:
        try:
            os.rename(temporary, target)  # noqa: PTH104
        except FileNotFoundError:
            if not resumed:
                raise


@contextmanager
def atomic_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> Iterator[BinaryIO]:
    """Write one file: it appears under its name, complete, at the end of the block.

    An existing file is replaced (of a symbolic link the file that it names); a failure inside
    the block leaves it as it was.  A pipe or device is written through.

    Parameters
    ----------
    path : str or Path
        The file wanted; STDOUT is standard output.
    inputs : iterable of str or Path
        Files that must not be overwritten.

    Raises
    ------
    ConfigError
        `path` is one of the inputs.
    OutputError
        No such folder, no permission, disk full.
    """
    refuse_input(path, inputs)
    with Outputs() as outputs:
        with outputs.open(path) as stream:
            yield stream
        outputs.commit()
    for waiting in outputs.streams:
        write_through(waiting)


def refuse_input(path: str | Path, inputs: Iterable[str | Path]) -> None:
    """Raise a ConfigError if `path` is one of the inputs, under whatever name."""
    target = Path(path)
    for name in inputs:
        source = Path(name)
        same = source.resolve() == target.resolve() or (
            source.exists() and target.exists() and source.samefile(target)
        )
        if same:
            raise ConfigError(f"{path}: is an input and would be overwritten")


def scratch_folder() -> Path:
    """Make a hidden folder for temporary files of this process; `recover` knows it.

    Raises
    ------
    OutputError
        The folder for temporary files cannot be written.
    """
    import tempfile

    return _hidden_folder(Path(tempfile.gettempdir()), tempfile.gettempdir())


def _hidden_folder(place: Path, path: str | Path) -> Path:
    folder = place / f"{_PREFIX}{_owner()}-{next(_counter)}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    _ours.add(folder)
    return folder


def _remove(folder: Path) -> None:
    """Remove a folder; what does so in any case imports more than a plain run needs."""
    try:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    except OSError:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def abandon() -> None:
    """Finish or remove what this process has under way, because it ends at once."""
    for folder in list(_ours):
        _settle(folder, own=True)


def recover(folder: str | Path) -> None:
    """Finish or clean up what runs that were killed have left in a folder."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    except OSError:
        return
    for path in found:
        if _is_left_over(path):
            _settle(path)


def _settle(folder: Path, *, own: bool = False) -> None:
    primary = folder
    with suppress(OSError, ValueError):
        primary = Path((folder / _PRIMARY).read_text(encoding="utf-8"))
    with suppress(OSError, ValueError, KeyError, TypeError):
        if own or _is_left_over(primary):
            journal = json.loads((primary / _JOURNAL).read_text(encoding="utf-8"))
            _complete(journal["moves"], journal["removals"], resumed=True)
    _remove(folder)


def _is_left_over(path: Path) -> bool:
    """Tell whether a hidden folder is ours and its process is dead.

    Only folders of the same user count: a journal is an order to move and remove files.
    """
    try:
        host, pid, start, _ = path.name.removeprefix(_PREFIX).rsplit("-", 3)
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or host != _host():
            return False
        return _start_time(int(pid)) != int(start) if int(start) else not _is_alive(int(pid))
    except (OSError, ValueError):
        return False


@cache
def _host() -> str:
    """Return the name of this host, and of the world of process numbers that we live in."""
    name = "".join(c if c.isalnum() or c in "._" else "_" for c in os.uname().nodename[:64])
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{name}.{''.join(c for c in space if c.isdigit())}"


def _owner() -> str:
    return f"{_host()}-{os.getpid()}-{_start_time(os.getpid())}"


def _start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since the boot; 0 if there is none.

    Of one that has ended only its entry may be left, for a parent that never asks (in
    containers).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except OSError:
        return 0
    state, *fields = text.rpartition(")")[2].split()
    return 0 if state in "ZX" else int(fields[18])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _target(path: str | Path) -> Path:
    """Return the file itself, where `path` is a symbolic link."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({error})") from None


def _may_replace(target: Path, folder: Path) -> bool:
    """Tell whether a file in a folder with the sticky bit (like /tmp) may be replaced."""
    rights = folder.stat()
    user = os.geteuid()
    sticky = bool(rights.st_mode & stat.S_ISVTX)
    return not sticky or user in (0, rights.st_uid, target.stat().st_uid)
