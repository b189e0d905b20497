"""Signals end a run: with its cleaning up where Python hears of them, else from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

from skyextract.batch import interrupts

PROGRAM = """
import hashlib, os, signal, sys, threading, time
from skyextract.batch import interrupts

interrupts._PATIENCE = {patience}

def idle():
    time.sleep(60.0)

class Final:
    def __del__(self):
        time.sleep(0.4)

def finalizer():
    Final()
    time.sleep(60.0)

def deep():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # no instruction of Python

try:
    with interrupts.interruptible(lambda: print("last words", flush=True)):
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        try:
            {block}()
        finally:
            time.sleep({patience} + 0.6)
except interrupts.Interrupted as interrupt:
    print("cleaned")
    sys.exit(interrupt.status + 1)
"""


def test_cleaning_has_time_and_a_deep_call_has_not():
    """Patience is what a busy machine needs to run a line of Python; they are patient together."""
    ends = {
        ("idle", 2.0): ("cleaned", 144),
        ("finalizer", 2.0): ("cleaned", 144),
        ("deep", 0.3): ("last words", 143),
    }
    running = {}
    with ExitStack() as stack:
        for block, patience in ends:
            program = PROGRAM.format(block=block, patience=patience)
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            running[block, patience] = process
        for case, process in running.items():
            said, _ = process.communicate(timeout=60.0)
            assert (said.strip(), process.returncode) == ends[case], case


def test_no_memory_for_a_thread_is_no_memory(monkeypatch):
    def start(_thread):
        raise RuntimeError("can't start new thread")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(MemoryError), interrupts.interruptible(lambda: None):
        pass
    assert signal.getsignal(signal.SIGTERM) is before
