"""Real frames of data/world: as many real sources as SExtractor finds."""

import shutil

import pytest

from tests.compare.realframes import pairs, plane

pytestmark = pytest.mark.skipif(
    shutil.which("source-extractor") is None, reason="needs source-extractor"
)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("twomass_m17.fits.gz", 0.95),
        ("des_r.fits.gz", 0.95),
        ("lsst_mini.fits.gz", 0.95),
        ("seestar_m94.fit.gz", 0.95),
        # Crowded: of SExtractor's rows upon the nebula some are no stars.
        ("rcw49.fits.gz", 0.85),
    ],
)
def test_counts_of_real_sources(shared_data, tmp_path, name, share):
    """What is found less what is found with the sign of the pixels turned."""
    (ours, bad), (theirs, theirs_bad) = pairs(shared_data / "world/real" / name, tmp_path)
    assert ours.size - bad.size >= share * (theirs.size - theirs_bad.size) > 0.0


def test_cards_that_cannot_be_written_are_left_out(shared_data):
    image, header = plane(shared_data / "fits_oddities/image_M12c_bad_CONTINUE.fits.gz")
    assert image.ndim == 2
    assert header.tostring()
