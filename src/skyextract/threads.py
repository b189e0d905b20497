"""Threads that wait for work, and take part in it if they come in time.

`concurrent.futures` would make locks, a condition and an event for every call, and its caller has
to wait for threads that wake up when all is done: with a hundred calls of less than a millisecond
that is a tenth of a short run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

_Tasks: TypeAlias = "SimpleQueue[Help | None]"


class Helpers:
    """Threads that help with the same work; they end with this object.

    Parameters
    ----------
    n : int
        The most threads; they are started when they are first asked for.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._n_started = 0
        self._tasks: _Tasks = SimpleQueue()

    def begin(self, work: Callable[[], None], n: int) -> list[Help]:
        """Let `n` threads call `work`; MemoryError without room for them."""
        while self._n_started < min(n, self.n):
            # One that is deep in a kernel does not hold up the end of the process.
            thread = threading.Thread(target=_help, args=(self._tasks,), daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise MemoryError from error  # there is none for its stack
            self._n_started += 1
        helps = [Help(work) for _ in range(n)]
        for help_ in helps:
            self._tasks.put(help_)
        return helps

    def __del__(self) -> None:
        for _ in range(self._n_started):
            self._tasks.put(None)


class Help:
    """What one thread is asked for; whoever has `claim` decides whether it still begins."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work
        self.claim, self.runs = threading.Lock(), threading.Lock()
        self.runs.acquire()
        self.error: BaseException | None = None

    def end(self) -> None:
        """Wait until the thread has finished, and raise its error; not begun, it will not."""
        if self.claim.acquire(blocking=False):
            self.work = None  # the queue is not to keep what it holds
        else:
            self.runs.acquire()
        if self.error is not None:
            raise self.error


def _help(tasks: _Tasks) -> None:
    """Do tasks until there is None."""
    while (task := tasks.get()) is not None:
        if task.claim.acquire(blocking=False):
            assert task.work is not None
            try:
                task.work()
            except BaseException as error:
                task.error = error  # such as no memory to keep another one
            finally:
                task.work = None  # whoever waits is not to find what it holds still alive
                task.runs.release()
        del task
