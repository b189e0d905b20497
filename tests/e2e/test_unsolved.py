"""What is said where the astrometry finds nothing."""

from dataclasses import replace

import numpy as np

from tests.simulate.badframes import good_frame


def test_a_mirrored_frame(skyextract, tmp_path):
    """The keywords that hold the search back are named, and whose WCS photometry goes by."""
    frame = good_frame(1)
    files = replace(frame, image=np.ascontiguousarray(frame.image[:, ::-1])).write(tmp_path)
    done = skyextract(*files)
    assert done.status == 3
    reason = done.summary("f.json")[0]["steps"]["astrometry"]["reason"]
    for keyword in ("POSITION_MAXERR", "POSANGLE_MAXERR", "PIXSCALE_MAXERR", "MATCH_FLIPPED N"):
        assert keyword in reason
    assert "f.fits: with the WCS of the header: photometry failed" in done.stderr
    found = skyextract(*files, "-MATCH_FLIPPED", "Y").summary("f.json")[0]["steps"]
    assert found["astrometry"]["status"] == "complete"
