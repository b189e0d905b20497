"""What to do about a message is found by its text."""

from __future__ import annotations

import pytest

from skyextract.datamodel.psf import default_psf_warning
from skyextract.outputs.html.remedies import remedy


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ("x.fits: needs isr", ""),
        ("magnitudes are instrumental: no zero point is known", "zero point"),
        ("r.html: cannot be written (No space left on device)", "the reason stands in brackets"),
        ("x.conf:3: no such file", "The image, or a file named by a keyword, is missing"),
        ("no source in 1048576 pixels with data", "dome closed"),
        ("a sentence that the program never says", ""),
    ],
)
def test_remedies(message, part):
    found = remedy(message)
    assert part.lower() in found.lower()
    assert bool(part) == bool(found)


def test_the_default_psf_has_a_remedy():
    assert remedy(default_psf_warning(3.5, "no star found")) != ""
