"""Whether detections can be believed."""

from dataclasses import fields

import numpy as np
import pytest

from skyextract.datamodel.detections import Detections
from skyextract.run import Run
from skyextract.stages.detection.support import support, warn_of_noise

SHAPE = (200, 300)


def detections(n: int, filled: float) -> Detections:
    """Return `n` sources that fill this share of the frame."""
    segmentation = np.zeros(SHAPE, np.int32)
    segmentation[: round(filled * SHAPE[0])] = n
    nothing = {field.name: np.zeros(n) for field in fields(Detections)}
    pixel = np.flatnonzero(segmentation)
    return Detections(**nothing | {"labels": segmentation, "pixel": pixel})


def supported(found, bad, level_given):
    return support(found, bad, int(bad.sum()), level_given=level_given)


def test_a_common_frame_is_not_doubted():
    found = supported(detections(20, 0.4), np.zeros(SHAPE, bool), level_given=False)
    assert found.sky_share == pytest.approx(0.6)
    assert found.doubt == ""


def test_no_source_on_a_frame_with_data():
    bad = np.zeros(SHAPE, bool)
    assert (
        "no source in 60000 pixels" in supported(detections(0, 0.0), bad, level_given=False).doubt
    )
    bad[30:] = True
    assert supported(detections(0, 0.0), bad, level_given=False).doubt == ""
    nothing = supported(detections(0, 0.0), np.ones(SHAPE, bool), level_given=False)
    assert np.isnan(nothing.sky_share)
    assert nothing.doubt == ""


def test_hardly_any_sky():
    bad = np.zeros(SHAPE, bool)
    assert "rests on 10 %" in supported(detections(9, 0.9), bad, level_given=False).doubt
    assert supported(detections(9, 0.9), bad, level_given=True).doubt == ""
    # Sky without data counts for nothing.
    bad[120:] = True
    assert "rests on 0 %" in supported(detections(9, 0.6), bad, level_given=False).doubt


def test_noise_that_is_not_of_pixels_is_told_of():
    run = Run()
    warn_of_noise(1.2, run, 1.3)
    assert run.warnings == []
    warn_of_noise(1.2, run, 6.0)
    assert "structure of the sky makes the noise of the filtered image 6.0 times" in run.warnings[0]
    warn_of_noise(3.0, run)
    assert "the noise of the filtered image is 3.0 times" in run.warnings[1]
