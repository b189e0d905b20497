"""The warm server: one thread, everything imported, every kernel loaded, a child for each call.

A child has what the caller's process has: arguments, environment, folder, open descriptors, umask,
limits, priority, cores and ignored signals, and then runs the command line as a process of its own
would.  It ends when the caller goes away.  Of calls that follow each other, each finds a child that
was forked ahead of it, and has the memory that it will write to.  The server ends after 15 minutes
without a call, when it is told to, and when a source of the program has changed.
"""

from __future__ import annotations

import _socket
import contextlib
import fcntl
import gc
import marshal
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import skyextract
from skyextract.run import collect_garbage
from skyextract.server import client
from skyextract.server.client import ENDED, RETURNED, STARTED, receive, remove
from skyextract.server.descriptors import moved_up, take_streams
from skyextract.server.pages import Pages
from skyextract.warm import preload

IDLE_SECONDS = 900.0
REQUEST_SECONDS = 10.0
PACKAGE = Path(skyextract.__file__).parent


def source_state() -> tuple[tuple[str, int, int], ...]:
    """Return names, times and lengths of the sources, and times of the folders of packages."""
    found = []
    folders = [str(PACKAGE)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    if entry.name != "__pycache__":
                        folders.append(entry.path)
                    continue
                status = entry.stat()
                found.append((entry.path, status.st_mtime_ns, status.st_size))
    # The first is the folder that a process was started in, here /: products may appear there.
    for path in sys.path if sys.flags.safe_path else sys.path[1:]:
        with contextlib.suppress(OSError):
            found.append((path, os.stat(path).st_mtime_ns, 0))  # noqa: PTH116
    return tuple(sorted(found))


class Server:
    """The listening socket and the calls that run.

    Parameters
    ----------
    path : str
        Socket, in a folder of mode 0700.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.state = source_state()
        self.calls: dict[int, _socket.socket] = {}
        self.n_calls = 0
        self.pages = Pages()
        self.ahead: tuple[int, _socket.socket] | None = None  # a child that waits, and its socket
        self.wants_child = True
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        # Under the final name only when it listens: a caller never finds a deaf socket.
        part = f"{path}.{os.getpid()}"
        self.listener.bind(part)
        self.listener.listen(64)
        os.replace(part, path)  # noqa: PTH105
        self.inode = os.stat(path).st_ino  # noqa: PTH116
        self.wake, self.waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        self.stopped = False

    def _stop(self, *_: object) -> None:
        self.stopped = True

    def serve(self) -> Call | None:
        """Fork a child for each call; return in a child with its call, in the server at its end."""
        last = time.monotonic()
        while not self.stopped:
            if self.wants_child and not self.calls:
                call = self._fork_ahead()
                if call is not None:
                    return call
            sources: list[Any] = [self.listener, self.wake]
            ready, _, _ = select.select(sources, [], [], IDLE_SECONDS / 10)
            if self.wake in ready:
                os.read(self.wake, 4096)
            self._reap()
            if self.listener in ready:
                call = self._accept()
                if call is not None:
                    return call
                last = time.monotonic()
            if self.calls:
                last = time.monotonic()
            elif time.monotonic() - last > IDLE_SECONDS or not self._is_ours():
                break
        self._leave()
        return None

    def _is_ours(self) -> bool:
        try:
            return os.stat(self.path).st_ino == self.inode  # noqa: PTH116
        except OSError:
            return False

    def _leave(self) -> None:
        """Take no more calls; those that run are still told how they ended."""
        if self._is_ours():
            remove(self.path)
        self.listener.close()
        if self.ahead is not None:
            self.ahead[1].close()
            self.ahead = None
        while self.calls:
            self._reap(wait=True)

    def _accept(self) -> Call | None:
        try:
            connection = _accepted(self.listener)
        except OSError:
            return None  # the caller has gone
        peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if int.from_bytes(peer[4:8], sys.byteorder) != os.getuid():
            connection.close()
            return None
        if source_state() != self.state:
            connection.close()
            self.stopped = True
            return None
        activity = f"{self.n_calls} calls, {len(self.calls)} running"
        child = self._hand_over(connection, activity) or os.fork()
        if child == 0:
            self._leave_server()
            return Call(connection, activity, self.pages)
        self.calls[child] = connection
        self.n_calls += 1
        self.wants_child = True
        return None

    def _fork_ahead(self) -> Call | None:
        """Fork a child that waits for the next call; it ends where there is none.

        Not while calls run, which need the cores: such a one is forked when it comes.
        """
        self.wants_child = False
        ours, theirs = _socket.socketpair()
        try:
            child = os.fork()
        except OSError:
            return None
        if child == 0:
            ours.close()
            self._leave_server()
            self.pages.copy()
            try:
                room = _socket.CMSG_SPACE(4)
                activity, ((_, _, descriptor),), _, _ = theirs.recvmsg(1000, room)
            except (OSError, ValueError):  # the server has ended
                os._exit(0)
            theirs.close()
            number = int.from_bytes(descriptor, sys.byteorder)
            connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, number)
            return Call(connection, activity.decode(), self.pages)
        theirs.close()
        self.ahead = child, ours
        return None

    def _hand_over(self, connection: _socket.socket, activity: str) -> int | None:
        """Give a connection to the child that waits; return its process number, None without."""
        if self.ahead is None:
            return None
        child, link = self.ahead
        self.ahead = None
        is_there = True
        descriptor = connection.fileno().to_bytes(4, sys.byteorder)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor)
        try:
            link.sendmsg([activity.encode()], [rights])
        except OSError:  # it was killed
            is_there = False
        link.close()
        return child if is_there else None

    def _leave_server(self) -> None:
        """Have nothing of the server any more, in a child."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.listener.close()
        os.close(self.wake)
        os.close(self.waker)
        others = list(self.calls.values())
        if self.ahead is not None:
            others.append(self.ahead[1])
        for other in others:
            other.close()

    def _reap(self, wait: bool = False) -> None:
        while self.calls or self.ahead is not None:
            child, status = os.waitpid(-1, 0 if wait else os.WNOHANG)
            if child == 0:
                return
            if child not in self.calls:
                if self.ahead is not None and child == self.ahead[0]:
                    self.ahead[1].close()
                    self.ahead = None
                continue
            connection = self.calls.pop(child)
            # The connection is the child's too: this tells what a child that was killed cannot.
            with contextlib.suppress(OSError):
                connection.send(ENDED + status.to_bytes(4, "big"), _socket.MSG_DONTWAIT)
            connection.close()


def _accepted(listener: _socket.socket) -> _socket.socket:
    descriptor, _ = listener._accept()  # type: ignore[attr-defined]
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)


class Call:
    """One call, in its child of the server.

    Parameters
    ----------
    connection
        To the caller.
    activity : str
        What the server had done so far, for `status`.
    pages : Pages
        Take down what memory the call has written to.
    """

    def __init__(self, connection: _socket.socket, activity: str, pages: Pages) -> None:
        self.connection = connection
        self.activity = activity
        self.pages = pages

    def take(self) -> list[str] | None:
        """Become what the caller's process is; return the arguments, None if nothing is to run.

        A child that cannot become that goes away, and the caller runs by itself.
        """
        try:
            request, descriptors = self._read()
        except OSError:
            return None
        action = request.get("action")
        if action is not None:
            text = f"server {os.getppid()}: {self.activity}"
            if action == "stop":
                os.kill(os.getppid(), signal.SIGTERM)
                text += ", stopped"
            self.connection.send(f"{text}\n".encode())
            return None
        try:
            self._become(request, descriptors)
            self._end_with_caller()
            self.connection.send(STARTED + os.getpid().to_bytes(4, "big"))
        except (OSError, ValueError):
            return None
        return [os.fsdecode(word) for word in request["arguments"]]

    def _read(self) -> tuple[dict[str, Any], list[int]]:
        self.connection.settimeout(REQUEST_SECONDS)
        room = _socket.CMSG_SPACE(4 * (client.MOST_DESCRIPTORS + 1))
        data, extra, _, _ = self.connection.recvmsg(1 << 16, room)
        descriptors = []
        for level, kind, rights in extra:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                whole = len(rights) - len(rights) % 4
                descriptors += [
                    int.from_bytes(rights[i : i + 4], sys.byteorder) for i in range(0, whole, 4)
                ]
        size = int.from_bytes(data[:4], "big")
        body = data[4:] + receive(self.connection, size - len(data) + 4)
        if len(data) < 4 or len(body) != size:
            raise ConnectionError
        self.connection.settimeout(None)
        return marshal.loads(body), descriptors

    def _become(self, request: dict[str, Any], descriptors: list[int]) -> None:
        if request["groups"] != (os.getegid(), sorted(os.getgroups())):
            raise PermissionError
        *given, here = descriptors
        os.fchdir(here)
        os.close(here)
        os.umask(request["umask"])
        os.setpriority(os.PRIO_PROCESS, 0, request["nice"])
        os.sched_setaffinity(0, request["cores"])
        os.environb.clear()
        os.environb.update(request["environment"])
        time.tzset()
        sys.path[0] = os.fsdecode(request["path"])
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            wanted = signal.SIG_IGN if number in request["ignored"] else signal.SIG_DFL
            if signal.getsignal(number) in (signal.SIG_IGN, signal.SIG_DFL):
                signal.signal(number, wanted)
        if signal.SIGINT in request["ignored"]:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
        self._take_descriptors(dict(zip(request["given"], given, strict=True)))
        for name, limit in request["limits"].items():
            if resource.getrlimit(getattr(resource, name)) != tuple(limit):
                resource.setrlimit(getattr(resource, name), limit)

    def _take_descriptors(self, given: dict[int, int]) -> None:
        """Give the caller's descriptors the numbers that they have there; ours are above them."""
        free = max(given, default=2) + 1
        moved = {number: moved_up(descriptor, free) for number, descriptor in given.items()}
        descriptor = moved_up(self.connection.detach(), free)
        self.connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
        self.connection.settimeout(None)
        take_streams({number: moved.pop(number) for number in range(3) if number in moved})
        for number, descriptor in moved.items():
            os.dup2(descriptor, number)
            os.close(descriptor)

    def _end_with_caller(self) -> None:
        """Let the kernel send SIGIO, which ends a process, when the caller's end is closed."""
        descriptor = self.connection.fileno()
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
        poll = select.poll()  # for descriptors of any number
        poll.register(descriptor, select.POLLIN)
        if poll.poll(0):
            raise ConnectionError

    def returned(self, status: int) -> None:
        """Tell the caller the status, who need not wait until all memory is given back."""
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # the caller may go
        with contextlib.suppress(OSError):
            self.connection.send(RETURNED + (status << 8).to_bytes(4, "big"))
        self.pages.note()


@contextlib.contextmanager
def only_one(path: str) -> Iterator[bool]:
    """Hold the lock of a socket; False if another server has it."""
    with open(f"{path}.lock", "w") as file:  # noqa: PTH123
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def run(path: str) -> Call | None:
    """Serve until the end; returns a call in a child, None in the server."""
    with only_one(path) as is_first:
        if not is_first:
            return None
        preload()
        gc.collect()
        collect_garbage()
        return Server(path).serve()
