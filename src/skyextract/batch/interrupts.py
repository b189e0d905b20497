"""Signals that end a run: one exception, a clean end, and an end in any case."""

from __future__ import annotations

import _socket  # `socket` takes longer to import than a plain run may
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 1.5
"""Seconds until a run that is deep in a kernel or in the compiler is ended from outside."""
_CLEANING = 10.0
"""The same once it has heard of the signal: a process that waits for a slow disk ends late."""
_MOMENT = 0.01
"""Seconds until it is raised again after it was raised in a finalizer."""


class Interrupted(BaseException):
    """The run was asked to end; no error, so that nothing catches it on its way."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextmanager
def interruptible(last_words: Callable[[], None]) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise `Interrupted` in the block.

    Python raises it only between two of its instructions.  Where that takes too long, a thread
    says the last words and ends the process.  Finalizers and callbacks of C code drop what is
    raised in them: it is raised once more a moment later.  A signal that the caller had ignored
    (nohup) stays so.

    Parameters
    ----------
    last_words : callable
        What is still to be said and removed; runs in that thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can take signals
        return
    handled = [n for n in _SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    watcher, wake = _socket.socketpair()
    wake.setblocking(False)
    raised, unwound = threading.Event(), threading.Event()

    def watch() -> None:
        number = watcher.recv(1)
        if not number or number[0] not in handled or unwound.wait(_PATIENCE):
            return
        if not (raised.is_set() and unwound.wait(_CLEANING)):
            last_words()
            os._exit(128 + number[0])

    def raise_it(number: int, _frame: object) -> None:
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raised.set()
        raise Interrupted(number)

    def raise_it_again(unraisable: sys.UnraisableHookArgs) -> None:
        interrupted = unraisable.exc_value
        if not isinstance(interrupted, Interrupted):
            before_hook(unraisable)
            return
        for other in handled:
            signal.signal(other, raise_it)
        number = interrupted.status - 128
        threading.Timer(_MOMENT, signal.pthread_kill, (main, number)).start()

    thread = threading.Thread(target=watch, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # there is no memory for its stack
        watcher.close()
        wake.close()
        raise MemoryError from error
    main = threading.get_ident()
    before_hook, sys.unraisablehook = sys.unraisablehook, raise_it_again
    before = {number: signal.signal(number, raise_it) for number in handled}
    before_wake = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        unwound.set()
        sys.unraisablehook = before_hook
        signal.set_wakeup_fd(before_wake)
        for number, handler in before.items():
            signal.signal(number, handler)
        wake.close()
        thread.join()
        watcher.close()
