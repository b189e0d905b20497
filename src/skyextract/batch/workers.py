"""Tasks in processes of their own: one that dies costs its task, not the others.

`concurrent.futures` gives all tasks up when one process dies; here a task whose process died
is tried once more, after all others, and then given back as lost.

Processes are forked as long as this one has no threads, with everything that it has imported;
later ones start from nothing, because a fork does not copy threads and what these have locked.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from skyextract.messages import Message, send_messages, tells_steps
from skyextract.record import record
from skyextract.run import end_with_parent, prepare_process

_TRIES = 2


@record
class Done:
    """A task is done.

    Attributes
    ----------
    number : int
        Of the task.
    result : object
        What the function returned.
    """

    number: int
    result: Any


@record
class Said:
    """A task has something to say."""

    number: int
    message: Message


@record
class Died:
    """The process of a task died.

    Attributes
    ----------
    number : int
        Of the task.
    cause : str
        `killed by SIGKILL`, or `exit status 1`.
    process : int
        Its number.
    final : bool
        The task is not tried again.
    """

    number: int
    cause: str
    process: int
    final: bool


Event = Done | Said | Died


class Source(Protocol):
    """Where more tasks come from, later: a file with news, for `wait`."""

    @property
    def waiting(self) -> Collection[Any]:
        """What is still to come."""

    def fileno(self) -> int:
        """Return the number of the file."""

    def news(self) -> Iterator[Any]:
        """Yield what has come since."""


@dataclass
class _Worker:
    process: Any
    connection: Connection
    task: int | None = None
    is_told: bool = False
    """It knows the function."""


@dataclass
class Workers:
    """A few processes that work on tasks; a context manager that leaves none alive.

    Parameters
    ----------
    n_processes : int
    """

    n_processes: int
    unfinished: int = field(default=0, init=False)
    _function: Callable[[Any], Any] | None = field(default=None, init=False)
    _workers: list[_Worker] = field(default_factory=list, init=False)
    _tasks: list[Any] = field(default_factory=list, init=False)
    _tries: list[int] = field(default_factory=list, init=False)
    _waiting: deque[int] = field(default_factory=deque, init=False)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def fork(self) -> None:
        """Start the processes now, with what is imported here, if that is safe."""
        while _can_fork() and len(self._workers) < self.n_processes:
            self._start()

    def dismiss(self) -> None:
        """End all processes, whatever they are doing."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def work(self, function: Callable[[Any], Any], tasks: Iterable[Any] = ()) -> None:
        """Begin with some tasks; more can be added later.

        Parameters
        ----------
        function : callable
            Of one task; it and its result can be pickled.
        tasks : iterable
        """
        self._function = function
        for task in tasks:
            self.add(task)
        self.employ()

    def add(self, task: Any) -> int:
        """Take another task, after those that wait; return its number."""
        self._tasks.append(task)
        self._tries.append(0)
        self._waiting.append(len(self._tasks) - 1)
        self.unfinished += 1
        return len(self._tasks) - 1

    @property
    def connections(self) -> list[Connection]:
        """What has news when something happens in one of the processes."""
        return [worker.connection for worker in self._workers]

    def run(self, source: Source | None = None) -> Iterator[Any]:
        """Run all tasks; yields what happens, as it happens.

        Parameters
        ----------
        source : Source, optional
            Has more tasks later, which whoever gets its news may `add`.
        """
        while self.unfinished or (source and source.waiting):
            yield from self.poll(None, (source,) if source and source.waiting else ())
            if source is not None:
                yield from source.news()

    def poll(self, timeout: float | None = None, others: Sequence[Any] = ()) -> Iterator[Event]:
        """Wait until something happens, once; yields it.

        Parameters
        ----------
        timeout : float, optional
            Seconds; no limit by default.
        others : sequence
            Files whose news end the waiting, too.
        """
        self.employ()
        busy = {worker.connection: worker for worker in self._workers}
        for connection in wait([*busy, *others], timeout):
            if connection not in busy:
                continue
            worker = busy[connection]
            task = worker.task
            try:
                event = worker.connection.recv()
            except (EOFError, OSError):
                self._workers.remove(worker)
                cause = _cause_of_death(worker)
                if task is None:
                    continue
                final = self._tries[task] >= _TRIES
                if final:
                    self.unfinished -= 1
                else:
                    self._waiting.append(task)
                yield Died(task, cause, worker.process.pid, final)
                continue
            assert task is not None
            if isinstance(event, Message):
                yield Said(task, event)
                continue
            worker.task = None
            self.unfinished -= 1
            yield Done(task, event)

    def employ(self) -> None:
        """Give every process that has none a task; start processes as long as there are tasks."""
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None and len(self._workers) < self.n_processes:
                idle = self._start()
            if idle is None:
                return
            is_new = not idle.is_told
            try:
                if is_new:
                    level = logging.getLogger("skyextract").level
                    idle.connection.send((self._function, level, tells_steps()))
                    idle.is_told = True
                idle.connection.send(self._tasks[self._waiting[0]])
            except OSError:
                if not is_new:  # it died idle, which costs nothing
                    self._workers.remove(idle)
                    _cause_of_death(idle)
                    continue
                # It died as it began, as the next ones may: that is a try, see `poll`.
            idle.task = self._waiting.popleft()
            self._tries[idle.task] += 1

    def _start(self) -> _Worker:
        context: Any = multiprocessing.get_context("fork" if _can_fork() else "spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]


def _can_fork() -> bool:
    """Tell whether a copy of this process would be whole: it has no other thread."""
    return sys.platform == "linux" and threading.active_count() == 1


def _cause_of_death(worker: _Worker) -> str:
    worker.connection.close()
    worker.process.join()
    code = worker.process.exitcode
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def _serve(connection: Connection, parent: int) -> None:
    """Work on tasks until the parent ends; the function comes first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _watch_parent(parent)
    prepare_process()
    lock = threading.Lock()

    def send(item: Any) -> None:
        with lock:
            connection.send(item)

    items = _received(connection)
    for function, *verbosity in items:
        send_messages(send, *verbosity)
        for task in items:
            send(function(task))


def _received(connection: Connection) -> Iterator[Any]:
    """Yield what comes, until the other end is closed."""
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):
            return
        yield item


def _watch_parent(parent: int) -> None:
    """Make sure that this process does not outlive its parent, however that ends."""
    end_with_parent(parent)

    def watch() -> None:
        process = multiprocessing.parent_process()
        if process is not None:
            process.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
