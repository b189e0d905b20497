"""The table of a night: what astropy reads of it, and several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from astropy.table import Table

from skyextract.errors import OutputError
from skyextract.io.nights import COLUMNS, read_night, update_night, write_night

ROW = dict.fromkeys(COLUMNS) | {
    "file": "a, 'b' \"c\".fits", "extension": 2, "mjd": 61085.123456789, "seeing": 1.25,
    "status": "partial", "warnings": "first; second,\nthird", "object": "# M 31",
}  # fmt: skip


def test_astropy_reads_it(tmp_path):
    write_night(tmp_path / "n.ecsv", [ROW, dict.fromkeys(COLUMNS) | {"file": "x"}])
    table = Table.read(tmp_path / "n.ecsv")
    assert table.colnames == list(COLUMNS)
    assert table["seeing"].unit == "arcsec"
    assert table["seeing"].description == "FWHM of the PSF"
    assert table["file"][0] == ROW["file"]
    assert table["mjd"][0] == ROW["mjd"]
    assert table["object"][0] == "# M 31"
    assert table["extension"].dtype == "int32"
    assert table["warnings"][0] == "first; second, third"
    assert table["seeing"].mask.tolist() == [False, True]


def test_it_comes_back_as_it_was(tmp_path):
    write_night(tmp_path / "n.ecsv", [ROW])
    assert read_night(tmp_path / "n.ecsv") == [ROW | {"warnings": "first; second, third"}]
    assert read_night(tmp_path / "none.ecsv") == []


@pytest.mark.parametrize("text", ["hello\n", "# %ECSV 1.0\na,b\n1,2\n", "\x00\xff"])
def test_another_file_is_not_overwritten(tmp_path, text):
    path = tmp_path / "n.ecsv"
    path.write_text(text, "latin-1")
    with pytest.raises(OutputError, match="no table of a night"):
        update_night(path, lambda rows: rows)
    assert path.read_text("latin-1") == text


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        update_night(tmp_path / "no/n.ecsv", lambda rows: rows)


ADD = """
import sys
from pathlib import Path
from skyextract.io.nights import COLUMNS, update_night
for k in range(15):
    row = dict.fromkeys(COLUMNS) | {"file": f"{sys.argv[2]}_{k}", "extension": 0}
    update_night(Path(sys.argv[1]), lambda rows: [*rows, row])
"""


def test_several_processes_lose_no_row(tmp_path: Path):
    path = tmp_path / "n.ecsv"
    runs = [subprocess.Popen([sys.executable, "-c", ADD, path, str(k)]) for k in range(4)]
    assert [run.wait() for run in runs] == [0] * 4
    assert {row["file"] for row in read_night(path)} == {
        f"{run}_{k}" for run in range(4) for k in range(15)
    }
