"""The short form of the faults; `make faults` runs them in full."""

from __future__ import annotations

import random
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.fuzz import Desk, fault
from tests.faults.harness import Night, Tally, table
from tests.faults.scenarios import (
    corrupt_frames,
    every_step,
    full_disk,
    large_frame,
    little_memory,
    poison,
    read_only,
)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return Night(tmp_path_factory.mktemp("night"), 3)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_program_leaves_old_or_new(night, number):
    night.restore()
    share = random.Random(int(number)).uniform(0.3, 0.9)
    ended = night.run("-DETECT_THRESH", "5", disturb=night.kill_parent(number, share))
    tally = Tally()
    night.inspect(tally, ended, complete=False)
    assert tally.clean, table({number.name: tally}) + ended.stderr
    if ended.status == 0 or number == signal.SIGKILL:
        return
    assert ended.status in (-number, 128 + number)
    # It may come as the program leaves, with all done; that it ends then may be told no more.
    assert "of 3 images done" in ended.stderr or ended.stderr.count(" sources") == 3


def test_killed_worker_costs_nothing(night):
    night.restore()
    disturb = night.kill_worker(0.6)
    ended = night.run("-DETECT_THRESH", "5", disturb=disturb)
    tally = Tally()
    night.inspect(tally, ended, complete=True)
    assert tally.clean, table({"worker": tally}) + ended.stderr
    assert "its process died (killed by SIGKILL)" in ended.stderr
    assert night.leftovers() == []


@pytest.mark.parametrize("scenario", [full_disk, read_only, little_memory, large_frame])
def test_surroundings(scenario, tmp_path):
    tally = scenario(tmp_path)
    assert tally.clean, table({scenario.__name__: tally})


def test_every_tenth_frame_kills_its_worker(tmp_path):
    tally = poison(tmp_path, 10)
    assert tally.clean, table({"poison": tally})


def test_killed_at_each_step_of_its_end(tmp_path):
    tally = every_step(tmp_path)
    assert tally.clean, table({"steps": tally})


def test_ten_corrupt_frames(tmp_path):
    tally = corrupt_frames(tmp_path, 20)
    assert tally.clean, table({"corrupt": tally})


def test_absurd_input(tmp_path_factory, capfd):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("desk")
        patch.chdir(folder)
        desk = Desk(folder)

        @settings(
            max_examples=60, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.data())
        def try_case(data):
            arguments = desk.case(data.draw)
            capfd.readouterr()
            status, seconds = desk.run(*arguments)
            messages = capfd.readouterr().err
            assert not fault(status, seconds, messages), (arguments, messages)

        try_case()
