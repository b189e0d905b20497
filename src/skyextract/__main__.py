"""The console script, and `python -m skyextract`."""

from __future__ import annotations

import atexit
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal  # as in the client

_INTERRUPTED = 130
"""`ExitStatus.INTERRUPTED`, whose module is not imported yet."""


def end_early(_number: int, _frame: object) -> None:
    """End by Ctrl-C where nothing is to be cleaned: a line instead of an import's traceback."""
    try:
        os.write(2, b"skyextract: error: interrupted\n")
    finally:
        os._exit(_INTERRUPTED)


# Before further imports, which take most of the time until the program itself hears signals.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_early)

from skyextract.server import client  # noqa: E402


def run() -> int:
    """Run the program: in a child of the warm server if there is one, else in this process."""
    status = client.call(sys.argv[1:])
    if status is not None:
        os._exit(status)  # nothing was done here that has to be taken apart
    gc.disable()  # as `prepare_process`, whose module is to be imported yet
    if sys.argv[1:2] == [client.SERVE]:
        return serve(sys.argv[2])
    keep_standard_streams()  # before the first file is opened
    from skyextract import bytecode

    archive = bytecode.use()
    status = run_here(sys.argv[1:])
    archive.keep()
    leave(status)
    return status


def run_here(arguments: list[str]) -> int:
    """Run the program in this process."""
    from skyextract.run import prepare_process

    keep_standard_streams()
    prepare_process()
    from skyextract.cli import main

    if signal.getsignal(signal.SIGINT) is not end_early:
        return main(arguments)  # somebody ignores it
    before = sys.unraisablehook

    def heed(unraisable: sys.UnraisableHookArgs) -> None:
        # Finalizers drop what is raised in them.
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            end_early(signal.SIGINT, None)
        before(unraisable)

    sys.unraisablehook = heed
    try:
        # From here on there is something to clean.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main(arguments)
        signal.signal(signal.SIGINT, end_early)
    except KeyboardInterrupt:
        end_early(signal.SIGINT, None)
    return status


def serve(path: str) -> int:
    """Be the warm server; a child of it returns with the status of its caller's run."""
    from skyextract.run import prepare_process

    prepare_process()
    from skyextract.cli import command
    from skyextract.server import daemon

    command.make_context("skyextract", ["image"], resilient_parsing=True)  # fills click's caches
    call = daemon.run(path)
    if call is None:
        return 0
    arguments = call.take()
    if arguments is None:
        os._exit(0)
    status = run_here(arguments)
    leave(status, call.returned)
    return status


def leave(status: int, tell: Callable[[int], None] | None = None) -> None:
    """End this process without taking all objects apart, which takes as long as reading a frame.

    What an interpreter does at its end for others is done: threads are waited for, functions of
    `atexit` are called, streams are written out.  Returns if these cannot be: the interpreter
    has words and a status for that.

    Parameters
    ----------
    status : int
        Exit status.
    tell : callable, optional
        Called with the status when nothing but the end of the process is left.
    """
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return
    if tell is not None:
        tell(status)
    os._exit(status)


def keep_standard_streams() -> None:
    """Open /dev/null for standard streams that are closed: no product may get their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(run())
