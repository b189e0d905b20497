"""Built-in detection filters and the .conv format."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.errors import ConfigError
from skyextract.stages.detection.filters import builtin_filter, parse_filter


def test_builtin_filters_equal_the_files_of_sextractor(shared_data):
    files = sorted((shared_data / "sextractor_configs" / "source-extractor").glob("*.conv"))
    assert len(files) > 20
    for file in files:
        want = parse_filter(file.read_text(), file.name)
        # the files have six digits
        np.testing.assert_allclose(builtin_filter(file.name), want, rtol=0, atol=3e-6)
        np.testing.assert_array_equal(builtin_filter(file.stem), builtin_filter(file.name))


@pytest.mark.parametrize("name", ["gauss", "gauss_2.0_4x4", "gauss_2.0_3x5", "block_1_3x3", "PSF"])
def test_unknown_names(name):
    assert builtin_filter(name) is None


def test_normalisation():
    np.testing.assert_allclose(
        parse_filter("CONV NORM\n# c\n1 -1\n2 0\n", "f"), [[0.25, -0.25], [0.5, 0]]
    )
    np.testing.assert_array_equal(parse_filter("CONV NONORM\n1 2\n", "f"), [[1, 2]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no CONV line"),
        ("SIMPLE  =  T", "not supported"),
        ("CONV NORM\n", "or none"),
        ("CONV NORM\n1 2\n1\n", "unequal"),
        ("CONV NORM\n1 x\n", "could not convert"),
        ("CONV NORM\n0 0\n", "not all 0"),
        ("CONV NORM\n1 -1 0\n", "add up to 0"),
        ("CONV NONORM\n0.1 0.2 -0.3\n", "add up to 0"),
        ("CONV NORM\nnan 1\n", "finite"),
    ],
)
def test_bad_files(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_filter(text, "my.conv")
