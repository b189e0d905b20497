"""A small process that finishes the moves of a process that is killed between two of them.

Several files cannot be renamed in one step, and no program can finish its work after `kill -9`.
So a shell of its own session waits beside a process that moves its products: it reads from a
pipe whose other end closes with the process, however that ends.  If no word came before, it makes
the moves that are left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

_SHELL = "/bin/sh"
_SCRIPT = """
read -r word && exit
journal=$1; shift
while [ $# -gt 0 ]; do
    [ -e "$journal" ] || exit
    case $1 in
    remove) rm -f -- "$2" ;;
    move) [ -e "$2" ] && mv -f -- "$2" "$3" ;;
    folder) rm -rf -- "$2" ;;
    esac
    shift 3
done
"""
"""Nothing is done without the journal: before it is there nothing has been moved, and when it
is gone somebody else has finished.  Its folder goes last."""


class Guard:
    """Finishes moves in place of this process if it dies in the block; a context manager.

    Where no such process can be started, there is none: the next run reads the journal.

    Parameters
    ----------
    journal : Path
        The file that exists from the moment on in which the moves are to be made.
    moves : sequence of (source, target)
    removals : iterable of str
        Files to remove, before the moves.
    folders : iterable of Path
        Folders to remove, after the moves.
    """

    def __init__(
        self,
        journal: Path,
        moves: Sequence[tuple[str, str]],
        removals: Iterable[str],
        folders: Iterable[Path],
    ) -> None:
        steps = [("remove", path, "") for path in removals]
        steps += [("move", source, target) for source, target in moves]
        others = [folder for folder in folders if folder != journal.parent]
        steps += [("folder", str(folder), "") for folder in (*others, journal.parent)]
        self._words = ["sh", "-c", _SCRIPT, "sh", str(journal), *chain.from_iterable(steps)]
        self._pipe = -1
        self._process = 0

    def __enter__(self) -> Guard:
        read, self._pipe = os.pipe()  # no other process inherits them
        actions = [(os.POSIX_SPAWN_DUP2, read, 0)]
        null = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_WRONLY, 0) for n in (1, 2)]
        with suppress(OSError, NotImplementedError):
            # Of a session of its own, so that no signal to our group, as of a terminal, meets it.
            self._process = os.posix_spawn(
                _SHELL, self._words, {"PATH": "/usr/bin:/bin"},
                file_actions=[*actions, *null], setsid=True,
            )  # fmt: skip
        os.close(read)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            with suppress(OSError):
                os.write(self._pipe, b"\n")
        os.close(self._pipe)
        if self._process:
            with suppress(OSError):  # a caller of ours may take no note of its children
                os.waitpid(self._process, 0)
