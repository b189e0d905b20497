"""All faults in full: `python -m tests.faults [tries] [fuzz cases]` prints the table."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.fuzz import Desk, fault
from tests.faults.harness import Night, Tally, table
from tests.faults.scenarios import SCENARIOS


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        yield Path(name)


def kills(n: int) -> dict[str, Tally]:
    """Signals at random moments, to the program and to its workers."""
    tallies: dict[str, Tally] = {}
    with folder() as place:
        night = Night(place, 6)
        random.seed(1)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            tally = tallies[f"{number.name} to the program"] = Tally()
            for _ in range(n):
                night.restore()
                share = random.uniform(0.05, 1.0)
                ended = night.run("-DETECT_THRESH", "5", disturb=night.kill_parent(number, share))
                night.inspect(tally, ended, complete=False)
            print(table(tallies), file=sys.stderr)
        tally = tallies["SIGKILL to a worker"] = Tally()
        for _ in range(n):
            night.restore()
            share = random.uniform(0.05, 1.0)
            ended = night.run("-DETECT_THRESH", "5", disturb=night.kill_worker(share))
            night.inspect(tally, ended, complete=True)
        assert not night.leftovers(), night.leftovers()
    return tallies


def fuzz(n: int) -> Tally:
    """Absurd input, drawn by hypothesis."""
    tally = Tally()
    found: dict[str, list[str]] = {}
    before = Path.cwd()
    with folder() as place:
        desk = Desk(place)

        @settings(
            max_examples=n, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.data())
        def try_case(data: st.DataObject) -> None:
            arguments = desk.case(data.draw)
            messages = io.StringIO()
            with contextlib.redirect_stderr(messages):
                status, seconds = desk.run(*arguments)
            tally.tries += 1
            wrong = fault(status, seconds, messages.getvalue())
            tally.tracebacks += wrong == "internal error"
            tally.hangs += wrong.endswith(" s")
            tally.survived += not wrong
            if wrong:
                summary = Path("f.json")
                trace = (
                    json.loads(summary.read_text())[0].get("traceback", [])
                    if wrong == "internal error" and summary.exists()
                    else []
                )
                found.setdefault(
                    "\n".join([wrong, *trace]) or messages.getvalue()[-300:], arguments
                )

        try_case()
        os.chdir(before)
    for text, arguments in found.items():
        sys.stderr.write(f"{arguments}\n{text}\n\n")
    return tally


def main() -> int:
    """Print the table; the status is 1 if anything was lost, half, mixed or left behind."""
    n, n_fuzz = [*map(int, sys.argv[1:3]), 20, 1000][:2] if len(sys.argv) > 2 else (20, 1000)
    tallies = kills(n)
    for name, scenario in SCENARIOS.items():
        with folder() as place:
            tallies[name] = scenario(place)
        print(table({name: tallies[name]}), file=sys.stderr)
    tallies["absurd input"] = fuzz(n_fuzz)
    print(table(tallies))
    return int(not all(tally.clean for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
