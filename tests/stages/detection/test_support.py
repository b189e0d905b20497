"""Whether detections can be believed."""

from dataclasses import fields

import numpy as np
import pytest

from skyextract.datamodel.detections import Detections
from skyextract.stages.detection.support import support

SHAPE = (200, 300)


def detections(n: int, filled: float) -> Detections:
    """Return `n` sources that fill this share of the frame."""
    segmentation = np.zeros(SHAPE, np.int32)
    segmentation[: round(filled * SHAPE[0])] = n
    nothing = {field.name: np.zeros(n) for field in fields(Detections)}
    return Detections(**nothing | {"labels": segmentation})


def test_a_common_frame_is_not_doubted():
    found = support(detections(20, 0.4), np.zeros(SHAPE, bool), level_given=False)
    assert found.sky_share == pytest.approx(0.6)
    assert found.doubt == ""


def test_no_source_on_a_frame_with_data():
    bad = np.zeros(SHAPE, bool)
    assert "no source in 60000 pixels" in support(detections(0, 0.0), bad, level_given=False).doubt
    bad[30:] = True
    assert support(detections(0, 0.0), bad, level_given=False).doubt == ""
    nothing = support(detections(0, 0.0), np.ones(SHAPE, bool), level_given=False)
    assert np.isnan(nothing.sky_share)
    assert nothing.doubt == ""


def test_hardly_any_sky():
    bad = np.zeros(SHAPE, bool)
    assert "rests on 10 %" in support(detections(9, 0.9), bad, level_given=False).doubt
    assert support(detections(9, 0.9), bad, level_given=True).doubt == ""
    # Sky without data counts for nothing.
    bad[120:] = True
    assert "rests on 0 %" in support(detections(9, 0.6), bad, level_given=False).doubt
