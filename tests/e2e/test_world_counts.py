"""Real frames of data/world: as many real sources as SExtractor finds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

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


def test_stars_of_a_crowded_field(skyextract, shared_data):
    """Share found at magnitudes 17, 18, 19, 20: crowdsource has 99, 98, 94, 42 % in 72 s."""
    folder = shared_data / "world/crowded"
    Path("p.param").write_text("XPSF_IMAGE\nYPSF_IMAGE\nMAG_PSF\n")
    truth = Table.read(folder / "crowd5_truth.csv")
    done = skyextract(
        folder / "crowd5.fits.gz", "-ASTREFCAT_NAME", folder / "crowd5_refcat.csv",
        "-CATALOG_TYPE", "FITS_1.0", "-PARAMETERS_NAME", "p.param",
    )  # fmt: skip
    rows = fits.getdata(done.folder / "crowd5.cat")
    x, y, mag = rows["XPSF_IMAGE"], rows["YPSF_IMAGE"], rows["MAG_PSF"]
    found = []
    for middle in (17.0, 18.0, 19.0, 20.0):
        stars = truth[np.abs(truth["mag"] - middle) < 0.5]
        seen = [
            np.any((np.hypot(x - star["x"], y - star["y"]) < 1.75)
                   & (np.abs(mag - star["mag"]) < 0.75))
            for star in stars
        ]  # fmt: skip
        found.append(np.mean(seen))
    assert np.all(np.array(found) > (0.98, 0.97, 0.93, 0.42))
