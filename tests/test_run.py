"""Threads of a run: order, errors, and what is left of the work after one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from skyextract.run import Run


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n_items", [0, 1, 2, 7, 50])
def test_results_come_in_the_order_of_the_items(n_threads, n_items):
    def slow_first(item):
        time.sleep(0.002 / (item + 1))
        return item * item

    run = Run(n_threads)
    for _ in range(2):
        assert run.map(slow_first, range(n_items)) == [k * k for k in range(n_items)]


def test_all_threads_work_at_once():
    meeting = threading.Barrier(3, timeout=20)
    names = Run(3).map(lambda _: (meeting.wait(), threading.get_ident())[1], range(3))
    assert len(set(names)) == 3
    assert threading.get_ident() in names


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_the_error_of_the_first_item_is_raised_and_the_rest_is_left(n_threads):
    seen = []

    def work(item):
        seen.append(item)
        if item == 5:
            time.sleep(0.05)  # a later one fails earlier
        if item >= 5:
            raise ValueError(str(item))
        return item

    run = Run(n_threads)
    with pytest.raises(ValueError, match=r"^5$"):
        run.map(work, range(1000))
    assert set(range(6)) <= set(seen)
    assert len(seen) < 20
    assert run.map(str, range(3)) == ["0", "1", "2"]


def test_an_interrupt_is_raised_at_once_and_nothing_more_is_begun():
    main, begun, ended = threading.current_thread(), [], []
    goes_on = threading.Event()

    def work(item):
        begun.append(threading.current_thread())
        if begun[-1] is main:
            raise KeyboardInterrupt
        goes_on.wait(20)
        ended.append(item)

    run = Run(2)
    with pytest.raises(KeyboardInterrupt):
        run.map(work, range(100))
    assert not ended
    goes_on.set()
    assert run.map(str, range(3)) == ["0", "1", "2"]
    del run
    for thread in set(threading.enumerate()) & set(begun) - {main}:
        thread.join(20)
    assert len(begun) <= 2


def test_garbage_is_looked_for_once_a_process_has_started() -> None:
    lines = (
        "import gc",
        "from skyextract.run import collect_garbage, prepare_process",
        "prepare_process()",
        "print(gc.isenabled())",
        "collect_garbage()",
        "print(gc.isenabled(), gc.get_freeze_count() > 0)",
        "gc.disable()",
        "collect_garbage()",  # whoever has switched it off since has his reasons
        "print(gc.isenabled())",
    )
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["False", "True", "True", "False"]


@pytest.mark.skipif(sys.platform != "linux", reason="settings of glibc")
@pytest.mark.parametrize("is_ours", [True, False])
def test_planes_of_small_images_take_the_same_memory_again(is_ours):
    lines = (
        "import resource, numpy as np",
        "from skyextract.run import prepare_process, take_memory_at_once",
        "prepare_process()" if is_ours else "",
        "take_memory_at_once(1 << 20)",
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt",
        "for _ in range(20): np.empty(3 << 20, np.uint8).fill(1)",
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)",
    )
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert (int(ran.stdout) < 1000) == is_ours  # of 15,360 small pages


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells where what is mapped")
def test_the_code_of_the_linker_goes_and_comes_back():
    lines = (
        "import numpy as np, re",
        "from llvmlite import binding",
        "from skyextract.run import return_unused_memory",
        "def mapped():",
        "    parts = open('/proc/self/smaps').read().split('VmFlags')",
        "    code = [part for part in parts if 'libllvmlite' in part and ' r-xp ' in part]",
        "    return sum(int(re.search(r'Rss: +(\\d+)', part)[1]) for part in code)",
        "print(mapped())",
        "return_unused_memory(1 << 20)",
        "print(mapped())",
        "return_unused_memory(1 << 23)",
        "print(mapped())",
        "from skyextract.kernels.stored import pixels_of_shorts",
        "image = np.zeros((1, 1), np.float32)",
        "pixels_of_shorts(np.full((1, 1), 0x0100, np.uint16), np.float32(1), np.float32(9), image)",
        "print(image[0, 0])",
    )
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    before, small, large, value = (float(number) for number in ran.stdout.split())
    assert before > 0
    assert small == before
    assert large == 0
    assert value == 2.0
