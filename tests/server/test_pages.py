"""Pages that one child of the server writes to are the next one's own before it writes to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import skyextract

SOURCE = Path(skyextract.__file__).parents[1]

FAMILY = """
import json, mmap, os, resource
import numpy as np
from skyextract.server.pages import Pages

room = mmap.mmap(-1, 256 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory = np.frombuffer(room, np.uint8)
memory[:] = 7
written = memory[:: 2 * mmap.PAGESIZE]
pages = Pages()
numbers = [np.arange(*part) for part in pages.parts]
ours = np.isin(np.concatenate(numbers), memory.ctypes.data // mmap.PAGESIZE + np.arange(256))


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def child(copies):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        if copies:
            pages.copy()
        before = faults()
        written[...] += 1
        os.write(writing, json.dumps([faults() - before, int(written.sum())]).encode())
        pages.note()
        os._exit(0)
    os.waitpid(pid, 0)
    return json.loads(os.read(reading, 1000))


first, second = child(False), child(True)
noted = np.frombuffer(pages.noted, np.bool_)[: ours.size]
print(json.dumps([first, second, int(noted[ours].sum()), int(written.sum())]))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or tuple(map(int, os.uname().release.split(".")[:2])) < (5, 14),
    reason="an older system copies pages one by one",
)
def test_pages_are_copied_ahead_of_the_next_child() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAMILY], env={"PYTHONPATH": str(SOURCE)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (first, sum_of_first), (second, sum_of_second), n_noted, sum_of_parent = json.loads(done.stdout)
    assert first >= 128, "each page is copied when it is written to"
    assert second < 64
    assert n_noted == 128
    assert sum_of_first == sum_of_second == sum_of_parent + 128
