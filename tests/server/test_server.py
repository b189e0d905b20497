"""The warm server: a call through it is a run of its own, and without it nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import skyextract
from skyextract.server import daemon

SOURCE = Path(skyextract.__file__).parents[1]
NOBODY = 65534
WAIT = 120.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
SIMPLE = ("-BASE_DEFAULTS", "SEXTRACTOR", "-CATALOG_NAME", "STDOUT", "-CATALOG_TYPE", "ASCII_HEAD")

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "SO_PEERCRED"), reason="takes the peer's user from the socket"
)


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """Let programs heed signals that nohup, or a shell that starts jobs, lets them ignore."""
    ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


class Caller:
    """Runs the program with and without the server of a runtime folder."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.folder = runtime / "work"
        self.folder.mkdir()
        rng = np.random.default_rng(1)
        image = rng.normal(100, 5, (64, 64)).astype("f4")
        image[20:23, 30:33] += 500
        fits.writeto(self.folder / "image.fits", image)

    def environment(self, use: str = "", **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(SOURCE),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "SKYEXTRACT_SERVER": use,
            "SOURCE_DATE_EPOCH": "1700000000",
            **more,
        }

    def start(self, *arguments: str, use: str = "", **more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "skyextract", *arguments],
            cwd=self.folder, env=self.environment(use, **more),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, use: str = "", **more: str) -> tuple[int, bytes, bytes]:
        process = self.start(*arguments, use=use, **more)
        output, errors = process.communicate(timeout=600)
        return process.returncode, output, errors

    def status(self) -> tuple[int, int, int]:
        """Return process number, calls so far and calls that run of the one server."""
        status, text, _ = self.run("--server", "status")
        assert status == 0
        found = re.fullmatch(rb"server (\d+): (\d+) calls, (\d+) running\n", text)
        assert found is not None, text
        pid, calls, running = found.groups()
        return int(pid), int(calls), int(running)

    def sockets(self) -> list[Path]:
        return [p for p in self.runtime.glob("skyextract-server-*/*") if p.is_socket()]


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    # Sockets have short names, and other users try to come in.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Caller(Path(folder))


@pytest.fixture
def served(caller: Caller) -> Caller:
    assert caller.run("--server", "start")[:2] == (0, b"server ready\n")
    return caller


@pytest.fixture(scope="module", autouse=True)
def stop_at_the_end(caller: Caller) -> Iterator[None]:
    yield
    caller.run("--server", "stop")
    assert caller.sockets() == []


def test_without_a_server_the_program_runs_by_itself(caller: Caller) -> None:
    assert caller.run("--server", "status")[:2] == (1, b"no server\n")
    status, output, _ = caller.run("image.fits", *SIMPLE)
    assert status == 0
    assert len(output.splitlines()) > 1


def test_two_that_start_a_server_at_once_have_the_same() -> None:
    """The second waits for that of the first, which loads for a second, or compiles kernels."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        caller = Caller(Path(folder))
        both = [caller.start("--server", "start") for _ in range(2)]
        try:
            for process in both:
                output, _ = process.communicate(timeout=600)
                assert (process.returncode, output) == (0, b"server ready\n")
            assert len(caller.sockets()) == 1
        finally:
            caller.run("--server", "stop")


def test_a_call_is_a_run_of_its_own(served: Caller) -> None:
    calls = served.status()[1]
    cases: list[tuple[list[str], dict[str, str]]] = [
        (["image.fits", *SIMPLE], {}),
        (["image.fits", *SIMPLE, "-DETECT_THRESH", "$LIMIT"], {"LIMIT": "3"}),
        (["missing.fits"], {}),
        (["image.fits", "-DETECT_TRESH", "3"], {}),
        (["image.fits", "--steps", "astrometry"], {}),
        (["--help"], {}),
    ]
    for arguments, more in cases:
        own = served.run(*arguments, use="off", **more)
        assert served.run(*arguments, **more) == own
    assert served.status()[1] > calls + len(cases), "the server was not used"


def test_folder_umask_and_limits(served: Caller) -> None:
    program = f"{sys.executable} -m skyextract {served.folder}/image.fits -CATALOG_NAME out.cat"
    # With a limit of one block (of 512 or 1024 bytes) the catalogue cannot be written.
    for n, command in enumerate(["umask 077", "umask 002", "ulimit -f 1", "trap '' INT"]):
        ends = []
        for use in ("off", ""):
            folder = served.folder / f"private{n}{use}"
            folder.mkdir()
            done = subprocess.run(
                ["sh", "-c", f"{command}; exec {program} -BASE_DEFAULTS SEXTRACTOR"],
                cwd=folder, env=served.environment(use), check=False, capture_output=True,
            )  # fmt: skip
            files = sorted((p.name, p.stat().st_mode) for p in folder.iterdir())
            ends.append((done.returncode, done.stdout, done.stderr, files))
        assert ends[0] == ends[1], command


def test_a_closed_stream_and_a_pipe_that_nobody_reads(served: Caller) -> None:
    program = f"{sys.executable} -m skyextract image.fits {' '.join(SIMPLE)}"
    for command in (f"{program} >&-", f"{program} | true", f"{program} <&-"):
        results = []
        for use in ("off", ""):
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command], cwd=served.folder,
                env=served.environment(use), check=False, capture_output=True,
            )  # fmt: skip
            results.append((done.returncode, done.stdout, done.stderr))
        assert results[0] == results[1], command


def in_shell(caller: Caller, command: str) -> list[tuple[int, bytes, bytes]]:
    """Run a command of the shell without the server, then with it: status and what it printed."""
    results = []
    for use in ("off", ""):
        done = subprocess.run(
            ["bash", "-c", command], cwd=caller.folder, env=caller.environment(use),
            check=False, capture_output=True, timeout=WAIT,
        )  # fmt: skip
        (caller.folder / "made").unlink(missing_ok=True)
        results.append((done.returncode, done.stdout, done.stderr))
    return results


def test_descriptors_beyond_the_standard_streams(served: Caller) -> None:
    """What a shell puts in the place of a file, and what the caller opened itself."""
    program = f"{sys.executable} -m skyextract"
    simple = " ".join(SIMPLE)
    calls = served.status()[1]
    commands = (
        f"{program} <(cat image.fits) {simple}",
        f"{program} image.fits {simple} -CATALOG_NAME >(cat > made); while [ ! -s made ]; do "
        "sleep .1; done; cat made",
        f"{program} image.fits {simple} -CATALOG_NAME /dev/fd/3 3>made; cat made",
        f"{program} image.fits {simple} -CATALOG_NAME /dev/fd/120 120>made 3<image.fits; cat made",
    )
    for command in commands:
        alone, by_server = in_shell(served, command)
        assert alone == by_server, command
        assert alone[1].count(b"\n") > 1, command
    assert served.status()[1] > calls + len(commands), "the server was not used"


def test_with_limited_memory_a_call_runs_by_itself(served: Caller) -> None:
    command = f"ulimit -v 300000; exec {sys.executable} -m skyextract image.fits {' '.join(SIMPLE)}"
    alone, by_server = in_shell(served, command)
    assert alone == by_server


def test_calls_at_the_same_time(served: Caller) -> None:
    expected = served.run("image.fits", *SIMPLE, use="off")
    processes = [served.start("image.fits", *SIMPLE) for _ in range(5)]
    for process in processes:
        output, errors = process.communicate(timeout=600)
        assert (process.returncode, output, errors) == expected


def waiting_call(caller: Caller, use: str = "") -> subprocess.Popen[bytes]:
    """Start a call that waits for its configuration, which nobody writes."""
    pipe = caller.folder / f"never{len(list(caller.folder.iterdir()))}.conf"
    os.mkfifo(pipe)
    process = caller.start("image.fits", "-c", str(pipe), use=use)
    # A writer can open the pipe, without waiting, as soon as the call reads.
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        try:
            process.writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # type: ignore[attr-defined]
        except OSError:
            time.sleep(0.02)
        else:
            return process
    pytest.fail("the call does not read its configuration")


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_reach_the_child_and_its_end_the_caller(
    served: Caller, number: signal.Signals
) -> None:
    ends = []
    for use in ("off", ""):
        process = waiting_call(served, use)
        process.send_signal(number)
        output, errors = process.communicate(timeout=WAIT)
        os.close(process.writer)  # type: ignore[attr-defined]
        ends.append((process.returncode, output, errors))
    assert ends[0] == ends[1]
    assert ends[0][0] != 0


@contextmanager
def interrupted_in_the_hands_of_a_server(
    served: Caller,
) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A call that got SIGINT before the server, played here, said anything; its connection."""
    served.run("--server", "stop")
    code = "from skyextract.server import client; print(client.socket_path(), end='')"
    path = subprocess.run(
        [sys.executable, "-c", code], env=served.environment(), check=True, capture_output=True,
    ).stdout.decode()  # fmt: skip
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(WAIT)
        caller = served.start("image.fits", *SIMPLE)
        connection, _ = listener.accept()
        assert connection.recv(1 << 16)
        caller.send_signal(signal.SIGINT)
        time.sleep(0.3)
        yield caller, connection
    Path(path).unlink()


def test_a_signal_before_the_child_is_known_reaches_it(served: Caller) -> None:
    with (
        subprocess.Popen(["sleep", str(WAIT)]) as child,
        interrupted_in_the_hands_of_a_server(served) as (caller, connection),
    ):
        assert caller.poll() is None
        connection.sendall(b"P" + child.pid.to_bytes(4, "big"))
        assert child.wait(WAIT) == -signal.SIGINT
        connection.sendall(b"E" + int(signal.SIGINT).to_bytes(4, "big"))
        caller.communicate(timeout=WAIT)
        assert caller.returncode == -signal.SIGINT
        connection.close()


def test_a_signal_before_a_server_that_says_nothing_is_an_interrupt(served: Caller) -> None:
    with interrupted_in_the_hands_of_a_server(served) as (caller, connection):
        connection.close()
        output, errors = caller.communicate(timeout=WAIT)
    assert (caller.returncode, output) == (130, b"")
    assert errors == b"skyextract: error: interrupted\n"


def test_an_interrupt_while_modules_are_imported_leaves_no_traceback(tmp_path: Path) -> None:
    text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / "click.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "skyextract", "image.fits"], capture_output=True, check=False,
        env={"PYTHONPATH": f"{tmp_path}:{SOURCE}", "SKYEXTRACT_SERVER": "off"}, timeout=WAIT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, b"skyextract: error: interrupted\n")


def test_an_interrupt_in_a_finalizer_ends_the_program_before_its_work_begins() -> None:
    """Python drops what is raised there."""
    text = """
import signal
from skyextract import __main__ as program, cli

class Last:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        list(map(str, range(9)))

cli.main = lambda _arguments: len([Last()])
raise SystemExit(program.run_here([]))
"""
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, check=False, timeout=WAIT,
        env={"PYTHONPATH": str(SOURCE)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, b"skyextract: error: interrupted\n")


def test_products_in_the_folder_of_the_server_are_no_changed_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started in /, where a call may write, too."""
    start, other = tmp_path / "start", tmp_path / "other"
    for folder in (start, other):
        folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(start), str(other), *sys.path])
    state = daemon.source_state()
    (start / "image.cat").touch()
    os.utime(start, (1, 1))
    assert daemon.source_state() == state
    os.utime(other, (1, 1))
    assert daemon.source_state() != state


def test_a_child_ends_with_its_caller(served: Caller) -> None:
    process = waiting_call(served)
    assert served.status()[2] == 1
    process.kill()
    process.communicate(timeout=WAIT)
    os.close(process.writer)  # type: ignore[attr-defined]
    deadline = time.monotonic() + WAIT
    while served.status()[2]:
        assert time.monotonic() < deadline


def test_a_killed_server_costs_time_alone(served: Caller) -> None:
    process = waiting_call(served)
    server = served.status()[0]
    os.kill(server, signal.SIGKILL)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT)
    os.close(process.writer)  # type: ignore[attr-defined]
    assert process.returncode == 130, "the call that ran tells its status itself"
    assert len(served.sockets()) == 1
    assert served.run("image.fits", *SIMPLE)[0] == 0
    assert served.sockets() == [], "nobody listens there any more"


def child_that_waits(server: int, other_than: int = 0) -> int:
    """Return the process number of the one child of a server without calls."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        found = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        if len(found) == 1 and int(found[0]) != other_than:
            return int(found[0])
        time.sleep(0.02)
    pytest.fail("the server has no child that waits, or several")


def test_a_call_is_taken_by_a_child_that_waits(served: Caller) -> None:
    server = served.status()[0]
    child = child_that_waits(server)
    process = waiting_call(served)
    assert Path(f"/proc/{child}/cwd").resolve() == served.folder.resolve()
    beside = served.run("image.fits", *SIMPLE)
    process.kill()
    process.communicate(timeout=WAIT)
    os.close(process.writer)  # type: ignore[attr-defined]
    # One that was killed in the meantime is not missed, and none outlives the server.
    child = child_that_waits(server, other_than=child)
    os.kill(child, signal.SIGKILL)
    assert (
        served.run("image.fits", *SIMPLE) == beside == served.run("image.fits", *SIMPLE, use="off")
    )
    child = child_that_waits(server, other_than=child)
    os.kill(server, signal.SIGKILL)
    deadline = time.monotonic() + WAIT
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline


def can_become_nobody() -> bool:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    command = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-c", "pass"]
    return subprocess.run(command, cwd="/", check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_become_nobody(), reason="takes root, and a Python for everybody")
def test_another_user_is_not_served(served: Caller) -> None:
    (path,) = served.sockets()
    code = f"""
import socket
s = socket.socket(socket.AF_UNIX)
try:
    s.connect({str(path)!r})
    s.sendall(b"\\0\\0\\0\\1")
    print(s.recv(10))
except OSError as error:
    print(type(error).__name__)
"""
    command = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-c", code]
    seen = []
    calls = served.status()[1]
    for is_open in (False, True):
        # Even where somebody has opened folder and socket for all.
        if is_open:
            for item, mode in [(served.runtime, 0o755), (path.parent, 0o755), (path, 0o666)]:
                item.chmod(mode)
        done = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True)
        seen.append(done.stdout.strip())
    path.parent.chmod(0o700)
    assert seen[0] == "PermissionError"
    assert seen[1] in {"b''", "ConnectionResetError", "BrokenPipeError"}
    assert served.status()[1] == calls + 1, "the status itself"


ALONE = """
import os, sys, threading
from skyextract.server import client, daemon
daemon.IDLE_SECONDS = float(sys.argv[2])
server = daemon.Server(sys.argv[1])
if sys.argv[3] == "changed":
    server.state = ()
    client.connect(sys.argv[1])
print(server.serve(), os.path.exists(sys.argv[1]))
"""


@pytest.mark.parametrize(("idle", "what"), [("0.2", "idle"), ("600", "changed")])
def test_the_server_ends_when_idle_or_when_a_source_changed(
    tmp_path: Path, idle: str, what: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, "socket", idle, what], cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=WAIT, check=False,
    )  # fmt: skip
    assert done.stdout == "None False\n", done.stderr
