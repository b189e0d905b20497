"""The console script, and `python -m skyextract`."""

from __future__ import annotations

import os
import sys

<<<<<<< HEAD
from skyextract.cli import main
from skyextract.run import prepare_process


def run() -> int:
    """Run the program in a process of its own."""
    keep_standard_streams()
    prepare_process()
    return main()
=======
from skyextract.server import client


def run() -> int:
    """Run the program: in a child of the warm server if there is one, else in this process."""
    status = client.call(sys.argv[1:])
    if status is not None:
        return status
    set_up_process()
    if sys.argv[1:2] == [client.SERVE]:
        return serve(sys.argv[2])
    from skyextract.cli import main

    return main()


def serve(path: str) -> int:
    """Be the warm server; a child of it returns with the status of its caller's run."""
    from skyextract.cli import main
    from skyextract.server import daemon

    call = daemon.run(path)
    if call is None:
        return 0
    arguments = call.take()
    if arguments is None:
        os._exit(0)
    set_up_process()  # the environment is the caller's now
    status = main(arguments)
    call.returned(status)
    return status


def set_up_process() -> None:
    """Set what libraries read when they are imported."""
    # Our matrices are small, and the threads that work on the image need the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Where scipy is installed numba imports it at the first kernel call, 0.3 s for nothing:
    # no kernel uses numpy.linalg, and nothing else here needs it.
    sys.modules.setdefault("scipy", None)  # type: ignore[arg-type]
>>>>>>> 6922787 (A warm server: one process with everything loaded forks a child for each call)


def keep_standard_streams() -> None:
    """Open /dev/null for standard streams that are closed: no product may get their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(run())
