"""The table at the end of a batch."""

from __future__ import annotations

from skyextract.batch.tally import Fate, Tally
from skyextract.errors import ExitStatus


def test_the_table_tells_done_failed_fallback_and_slowest():
    tally = Tally(
        [
            Fate("a.fits", ExitStatus.OK, 2.0),
            Fate("b.fits", ExitStatus.OK, 5.0, ("characterize FALLBACK",)),
            Fate("c.fits", ExitStatus.IMAGE_FAILED, 0.5),
            Fate("d.fits", ExitStatus.OK, earlier=True),
        ]
    )
    table = dict(tally.table())
    assert table["done"].startswith("3 of 4 images in ")
    assert table["skipped"] == "1, done before"
    assert table["fallback"] == "1: b.fits (characterize FALLBACK)"
    assert table["failed"] == "1: c.fits"
    assert table["slowest"] == "b.fits 5.0 s, a.fits 2.0 s, c.fits 0.5 s"


def test_an_image_that_failed_is_worse_than_a_step():
    fates = [Fate("a", ExitStatus.STEP_FAILED), Fate("b", ExitStatus.OK)]
    assert Tally(list(fates)).worst() == ExitStatus.STEP_FAILED
    assert Tally([*fates, Fate("c", ExitStatus.IMAGE_FAILED)]).worst() == ExitStatus.IMAGE_FAILED
    assert Tally(fates, [ExitStatus.IMAGE_FAILED]).worst() == ExitStatus.IMAGE_FAILED
    assert Tally().worst() == ExitStatus.OK
