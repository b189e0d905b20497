"""Signals end a run: with its cleaning up where Python hears of them, else from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from skyextract.batch import interrupts

PROGRAM = """
import hashlib, os, signal, sys, threading, time
from skyextract.batch import interrupts

interrupts._PATIENCE = 0.3

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

threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    with interrupts.interruptible(lambda: print("last words", flush=True)):
        try:
            {block}()
        finally:
            time.sleep(0.9)
except interrupts.Interrupted as interrupt:
    print("cleaned")
    sys.exit(interrupt.status + 1)
"""


@pytest.mark.parametrize(
    ("block", "said", "status"),
    [("idle", "cleaned", 144), ("finalizer", "cleaned", 144), ("deep", "last words", 143)],
)
def test_cleaning_has_time_and_a_deep_call_has_not(block, said, status):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(block=block)],
        stdout=subprocess.PIPE, text=True, timeout=60.0, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == (said, status)


def test_no_memory_for_a_thread_is_no_memory(monkeypatch):
    def start(_thread):
        raise RuntimeError("can't start new thread")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(MemoryError), interrupts.interruptible(lambda: None):
        pass
    assert signal.getsignal(signal.SIGTERM) is before
