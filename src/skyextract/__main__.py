"""The console script, and `python -m skyextract`."""

from __future__ import annotations

import os
import signal
import sys

from skyextract.server import client


def run() -> int:
    """Run the program: in a child of the warm server if there is one, else in this process."""
    status = client.call(sys.argv[1:])
    if status is not None:
        return status
    if sys.argv[1:2] == [client.SERVE]:
        return serve(sys.argv[2])
    return run_here(sys.argv[1:])


def run_here(arguments: list[str]) -> int:
    """Run the program in this process."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # Ctrl-C ends imports in silence; later the program has something to say, and to clean.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from skyextract.run import prepare_process

    keep_standard_streams()
    prepare_process()
    from skyextract.cli import main

    signal.signal(signal.SIGINT, handler)
    return main(arguments)


def serve(path: str) -> int:
    """Be the warm server; a child of it returns with the status of its caller's run."""
    from skyextract.run import prepare_process

    prepare_process()
    from skyextract.server import daemon

    call = daemon.run(path)
    if call is None:
        return 0
    arguments = call.take()
    if arguments is None:
        os._exit(0)
    status = run_here(arguments)
    call.returned(status)
    return status


def keep_standard_streams() -> None:
    """Open /dev/null for standard streams that are closed: no product may get their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(run())
