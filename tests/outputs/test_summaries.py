"""The text of summaries."""

from __future__ import annotations

import json

import pytest

from skyextract.outputs.summaries import _indented
from skyextract.settings.steps import Step


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        'a\n"b" µ',
        [{}, [], [[1, 2.5, -1e-30], None, True]],
        {"a": {"b": (1, 2), "c": {}, "d": []}, "e": "", Step.ISR: Step.MEASURE, "f": [{"g": 1}]},
    ],
)
def test_indented_like_the_standard_library(value):
    assert _indented(value, "\n") == json.dumps(value, indent=1)
