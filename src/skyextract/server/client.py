"""The caller's side of the warm server: hand over a call, pass signals on, take the status.

Only light modules of the standard library are imported: a call has no other start-up to wait for.
Whatever goes wrong before the server has taken the call means that the caller runs by itself.

The wire: the caller sends a length (4 bytes) and a marshalled dictionary, with all descriptors
that it was given and its folder as SCM_RIGHTS; the server answers with a process number when the
call is set up, and with a wait status when all is done or it has ended, each 5 bytes: a letter
and a number.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # without its enumerations, which take a third of the start

FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
STARTED, RETURNED, ENDED = b"P", b"S", b"E"
MODE = "SKYEXTRACT_SERVER"
SERVE = "--serve"
OWN_RUN = {SERVE, "--server", "--warm"}
PREFIXES = ("PYTHON", "NUMBA_", "LD_", "OPENBLAS_", "OMP_", "MKL_", "LC_", "ASTROPY", "MALLOC_")
ANSWER_SECONDS = 10.0
"""A server that is stopped, or has too much to do, does not hold up a call for longer."""
MOST_DESCRIPTORS = 250
"""One message takes 253."""
NAMES = ("LANG", "LANGUAGE", "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "GLIBC_TUNABLES")


class NoServer(Exception):  # noqa: N818
    """Nobody has taken the call."""


def folder() -> str | None:
    """Return the folder of the sockets, which is this user's alone, or None; made if missing."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    base = given if os.path.isabs(given) and os.path.isdir(given) else "/tmp"
    path = f"{base}/skyextract-server-{os.getuid()}"
    try:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        found = os.lstat(path)
    except OSError:
        return None
    is_folder = found.st_mode & 0o170000 == 0o040000
    if not is_folder or found.st_uid != os.getuid() or found.st_mode & 0o077:
        return None
    return path


_LONGEST_START = 600.0
"""Seconds that `--server start` waits for the server of another call, which may compile kernels."""


def socket_path() -> str | None:
    """Return the socket of the server for this installation, interpreter and environment."""
    path = folder()
    if path is None:
        return None
    # OPENBLAS_NUM_THREADS is set to 1 unless it is given, see __main__.
    chosen = {
        name: value
        for name, value in ({"OPENBLAS_NUM_THREADS": "1"} | dict(os.environ)).items()
        if name in NAMES or name.startswith(PREFIXES)
    }
    who = (
        os.path.dirname(__file__), sys.executable, sys.version, tuple(sys.flags),
        sorted(sys._xoptions.items()), sys.path[1:], sorted(chosen.items()),
    )  # fmt: skip
    text = repr(who).encode(errors="surrogateescape")
    return f"{path}/{zlib.crc32(text):08x}{zlib.adler32(text):08x}"


def connect(path: str) -> _socket.socket:
    """Return a connection to a server; a socket that nobody listens to is removed.

    Raises
    ------
    NoServer
        There is none.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        if error.errno == errno.ECONNREFUSED:
            remove(path)
        raise NoServer from None
    return connection


def remove(path: str) -> None:
    """Remove a socket, if it is there."""
    try:
        os.unlink(path)
    except OSError:
        pass


def given_descriptors() -> list[int]:
    """Return the numbers of the open descriptors that the caller gave to this process.

    Standard streams, and what a shell puts in the place of `<(command)` or of `3>file`.  Those
    that Python opens itself are not for other programs, and so not among them.
    """
    try:
        numbers = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    except OSError:
        numbers = [0, 1, 2]
    found = []
    for number in numbers:
        try:
            is_given = os.get_inheritable(number)
        except OSError:
            continue  # closed
        if is_given:
            found.append(number)
    return found


def describe_call(arguments: list[str], given: list[int]) -> tuple[dict[str, object], list[int]]:
    """Return everything that a process is given by its caller, and its open descriptors.

    Raises
    ------
    NoServer
        This process has something that a child of the server cannot get.
    """
    import resource

    # Of memory that is limited, a child of the server has used more than a run of its own.
    limits = {
        name: resource.getrlimit(getattr(resource, name))
        for name in dir(resource)
        if name.startswith("RLIMIT_")
    }
    is_short = any(limits[n][0] != resource.RLIM_INFINITY for n in ("RLIMIT_AS", "RLIMIT_DATA"))
    if is_short or len(given) > MOST_DESCRIPTORS:
        raise NoServer
    descriptors = list(given)
    try:
        descriptors.append(os.open(".", os.O_PATH | os.O_DIRECTORY))
    except OSError:
        raise NoServer from None
    mask = os.umask(0o077)
    os.umask(mask)
    ignored = [s for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN]
    call: dict[str, object] = {
        "arguments": [os.fsencode(word) for word in arguments],
        "path": os.fsencode(sys.path[0]),
        "environment": dict(os.environb),
        "given": given,
        "umask": mask,
        "limits": limits,
        "ignored": [int(number) for number in ignored],
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "cores": sorted(os.sched_getaffinity(0)),
        "groups": (os.getegid(), sorted(os.getgroups())),
    }
    return call, descriptors


def send(connection: _socket.socket, message: dict[str, object], descriptors: list[int]) -> None:
    """Send a request with descriptors."""
    body = marshal.dumps(message)
    data = len(body).to_bytes(4, "big") + body
    rights = b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors)
    extra = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
    sent = connection.sendmsg([data], extra)
    while sent < len(data):
        sent += connection.send(data[sent:])


def receive(connection: _socket.socket, size: int) -> bytes:
    """Return the next `size` bytes, fewer at the end of the connection."""
    data = b""
    while len(data) < size:
        try:
            more = connection.recv(size - len(data))
        except ConnectionError:
            break
        if not more:
            break
        data += more
    return data


def call(arguments: list[str]) -> int | None:
    """Let the server run the program; return the exit status, or None if it did not.

    If the program was ended by a signal, so is this process.
    """
    mode = os.environ.get(MODE, "")
    own = mode == "off" or not OWN_RUN.isdisjoint(arguments)
    if own or (sys.orig_argv[1:2] != ["-m"] and sys.orig_argv[1:2][0].startswith("-")):
        return None  # with options of the interpreter, too
    path = socket_path()
    if path is None:
        return None
    given = given_descriptors()  # before a socket takes the number of one that is closed
    try:
        connection = connect(path)
    except NoServer:
        if mode == "auto":
            start(wait=False)
        return None
    try:
        message, descriptors = describe_call(arguments, given)
    except NoServer:
        connection.close()
        return None
    signals = Signals()
    try:
        send(connection, message, descriptors)
        os.close(descriptors[-1])
        connection.settimeout(ANSWER_SECONDS)
        answer = receive(connection, 5)
    except OSError:
        answer = b""
    if answer[:1] != STARTED:
        connection.close()
        signals.restore()
        return None
    connection.settimeout(None)
    signals.pass_on(int.from_bytes(answer[1:], "big"))
    return _wait(connection, signals)


class Signals:
    """The signals of this process: kept until there is a child, then passed on to it.

    One more, before there is a child, ends the process as if there were no handlers.
    """

    def __init__(self) -> None:
        self.child = 0
        self.kept: list[int] = []
        numbers = [getattr(signal, name) for name in (*FORWARDED, "SIGTSTP")]
        self.before = {
            number: signal.signal(number, self._take)
            for number in numbers
            if signal.getsignal(number) != signal.SIG_IGN
        }

    def _take(self, number: int, _: object) -> None:
        if number == signal.SIGTSTP:
            self._stop()
        elif self.child:
            try:
                os.kill(self.child, number)
            except ProcessLookupError:
                pass
        elif self.kept:
            self.restore()
        else:
            self.kept.append(number)

    def _stop(self) -> None:
        # A child of the server has no terminal that could stop it.
        if self.child:
            self._take(signal.SIGSTOP, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        if self.child:
            self._take(signal.SIGCONT, None)

    def pass_on(self, child: int) -> None:
        """Pass signals on to a process, those that were kept at once."""
        self.child = child
        for number in self.kept:
            self._take(number, None)

    def restore(self) -> None:
        """Handle signals as before; one that was kept ends this process."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        for number in self.kept:
            if self.before[number] is signal.default_int_handler:
                signal.signal(number, signal.SIG_DFL)  # no traceback
            os.kill(os.getpid(), number)


def _wait(connection: _socket.socket, signals: Signals) -> int | None:
    """Wait until the child has ended; return its exit status."""
    status: int | None = None
    while answer := receive(connection, 5):
        if len(answer) == 5:
            status = int.from_bytes(answer[1:], "big")
        if answer[:1] in (RETURNED, ENDED):
            break
    if status is None:  # server and child were killed
        signals.kept.clear()
        signals.restore()
        return None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status)


def start(wait: bool = True) -> bool:
    """Start a server for calls like this one; tell whether it listens, if `wait`."""
    import subprocess

    path = socket_path()
    if path is None or not hasattr(_socket, "SO_PEERCRED"):
        return False
    server = subprocess.Popen(
        [sys.executable, "-m", "skyextract", SERVE, path],
        cwd="/", start_new_session=True, close_fds=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    server.returncode = 0  # it is on its own; nobody waits for it
    if wait:
        import time

        ours, end = True, time.monotonic() + _LONGEST_START
        # Ours ends at once where another one, of a call before, is on its way.
        while ours or (_is_held(path) and time.monotonic() < end):
            try:
                connect(path).close()
            except NoServer:
                time.sleep(0.05)
            else:
                return True
            ours = ours and os.waitpid(server.pid, os.WNOHANG) == (0, 0)
    return False


def _is_held(path: str | None) -> bool:
    """Tell whether a server has the lock of a socket: one that begins, listens or ends."""
    import fcntl

    try:
        with open(f"{path}.lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def ask(action: str) -> dict[str, str]:
    """Send `stop` or `status` to all servers of this user; return what each one answers."""
    place = folder()
    answers = {}
    for name in sorted(os.listdir(place)) if place else []:
        if "." in name:
            continue
        try:
            connection = connect(f"{place}/{name}")
            send(connection, {"action": action}, [])
            answers[name] = receive(connection, 1000).partition(b"\n")[0].decode()
            connection.close()
        except (NoServer, OSError):
            continue
    return answers


def control(action: str) -> int:
    """Do what `skyextract --server start|stop|status` asks for; return the exit status."""
    if action == "start":
        path = socket_path()
        name = "" if path is None else path.rpartition("/")[2]
        is_there = name in ask("status") or start()
        if is_there:
            print("server ready")
        elif _is_held(path):
            print("no server yet: one is still starting, or ends with its last call")
        else:
            print("no server could be started")
        return 0 if is_there else 1
    answers = ask(action)
    for answer in answers.values():
        print(answer)
    if not answers:
        print("no server")
    return 0 if answers or action == "stop" else 1
