"""A process that dies costs its task, not the others."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from skyextract.batch.workers import Died, Done, Said, Workers
from skyextract.messages import Collector, Message, printable


def work(task):
    """Do what the task says."""
    kind, value = task
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "once":
        with Path(value).open("a") as file:
            file.write("x")
        if len(Path(value).read_text()) == 1:
            os._exit(3)
    if kind == "say":
        logging.getLogger("skyextract").warning("%s%s", "a.fits: ", value)
    return value


def test_fates(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "skyextract")
    tasks = [("say", "x"), ("die", 1), ("ok", 2), ("once", str(tmp_path / "n")), ("ok", 4)]
    with Workers(2) as workers:
        workers.work(work, tasks)
        events = list(workers.run())
    done = {event.number: event.result for event in events if isinstance(event, Done)}
    assert done == {0: "x", 2: 2, 3: str(tmp_path / "n"), 4: 4}
    died = [(e.number, e.cause, e.final) for e in events if isinstance(e, Died)]
    assert sorted(died) == [
        (1, "killed by SIGKILL", False), (1, "killed by SIGKILL", True), (3, "exit status 3", False)
    ]  # fmt: skip
    said = [event.message for event in events if isinstance(event, Said)]
    assert said == [Message(logging.WARNING, "a.fits: ", "x")]


def test_the_same_warning_is_one_line(caplog, monkeypatch):
    log = logging.getLogger("skyextract.test")
    collector = Collector(_log=log)
    log.setLevel(logging.WARNING)
    for k in range(5):
        path = f"/data/f{k}.fits"
        text = f"{path}[0]: header card GAIN = 0 is not positive"
        collector.add(Message(logging.WARNING, f"f{k}.fits: ", text), f"f{k}.fits", path)
    collector.add(Message(logging.WARNING, "f1.fits[2]: ", "no stars"), "f1.fits", "/data/f1.fits")
    assert not caplog.records
    collector.finish()
    assert [record.getMessage() for record in caplog.records] == [
        "header card GAIN = 0 is not positive (5 images: f0.fits, f1.fits, f2.fits ...)",
        "f1.fits[2]: no stars",
    ]


def test_control_characters_are_written_out():
    assert printable("a\x1b[2J\r\nb\x9b\u202e") == "a\\x1b[2J\\r\\nb\\x9b\\u202e"
    assert printable("é µ — ü\tx") == "é µ — ü\tx"


PROCESSES = """
import os, threading
from skyextract.batch.workers import Workers

with Workers(2) as workers:
    workers.fork()
    print(len(workers.connections))
    here = os.getpid()
    workers.work(eval, ["__import__('os').getppid()"] * 2)
    print([event.result == here for event in workers.run()])
threading.Thread(target=threading.Event().wait, daemon=True).start()
with Workers(2) as workers:
    workers.fork()
    print(len(workers.connections))
"""


DYING = """
import os
from skyextract.batch import workers

workers._serve = lambda *_: os._exit(4)
with workers.Workers(2) as crew:
    crew.fork()
    crew.work(print, [0, 1])
    events = list(crew.run())
print(sorted((event.number, event.cause, event.final) for event in events))
"""


def test_processes_that_die_as_they_begin_cost_their_tasks():
    words = [sys.executable, "-c", DYING]
    run = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    expected = [(task, "exit status 4", final) for task in (0, 1) for final in (False, True)]
    assert run.stdout == f"{expected}\n"


def test_processes_are_forked_only_where_there_is_no_thread():
    words = [sys.executable, "-c", PROCESSES]
    run = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.splitlines() == ["2", "[True, True]", "0"]
