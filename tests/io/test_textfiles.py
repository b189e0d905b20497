"""Text files that keywords name."""

import numpy as np
import pytest

from skyextract.errors import ConfigError
from skyextract.io.textfiles import read_number_list, read_text
from skyextract.run import Run


def test_number_list(tmp_path):
    path = tmp_path / "sky.list"
    path.write_text("# id x y\n1 10.5 -2e1  # first\n\n 2, 11, x\n")
    table = read_number_list(path, "ASSOC_NAME", Run())
    np.testing.assert_array_equal(table, [[1, 10.5, -20], [2, 11, np.nan]])
    path.write_text("# nothing\n")
    assert read_number_list(path, "ASSOC_NAME", Run()).shape == (0, 0)


def test_errors(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(ConfigError, match=r"FILTER_NAME .*a: no such file"):
        read_text(path, "FILTER_NAME", Run())
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(tmp_path, "FILTER_NAME", Run())
    path.write_bytes(b"SIMPLE\0\0")
    with pytest.raises(ConfigError, match="no text file"):
        read_text(path, "FILTER_NAME", Run())
    path.write_text("1 2\n1 2 3\n")
    with pytest.raises(ConfigError, match="a:2: 3 columns, but 2 before"):
        read_number_list(path, "ASSOC_NAME", Run())


def test_text(tmp_path):
    (tmp_path / "a").write_text("NUMBER\n")
    assert read_text(tmp_path / "a", "PARAMETERS_NAME", Run()) == "NUMBER\n"
