"""A part of the frame that is out of place is told of, and is in the error of the sky."""

from dataclasses import replace

import numpy as np
import pytest

from tests.simulate.badframes import SCALE, good_frame


def displaced(frame, rows, columns, shift):
    image = frame.image.copy()
    image[rows, columns] = np.roll(image[rows, columns], shift, (0, 1))
    return replace(frame, image=image)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("part", "shift"),
    [
        ((slice(450, None), slice(None)), (0, 4)),  # an eighth, within the matching radius
        ((slice(460, None), slice(None)), (0, 6)),  # a tenth, beyond it
        ((slice(None), slice(256, None)), (0, 2)),  # half: polynomials bend
    ],
    ids=["eighth", "tenth", "half"],
)
def test_a_part_that_is_out_of_place(skyextract, tmp_path, seed, part, shift):
    done = skyextract(*displaced(good_frame(seed), *part, shift).write(tmp_path))
    step = done.summary("f.json")[0]["steps"]["astrometry"]
    assert step["status"] in ("fallback", "failed")
    if step["status"] == "fallback":
        size = SCALE * np.hypot(*shift)
        assert step["checks"]["seam_arcsec"] == pytest.approx(size, rel=0.1)
        assert step["checks"]["error_of_field"] > 0.15 * size
        assert "out of place" in step["reason"]
    else:
        assert "displaced alike" in step["reason"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_frame_in_one_piece(skyextract, tmp_path, seed):
    step = skyextract(*good_frame(seed).write(tmp_path)).summary("f.json")[0]["steps"]["astrometry"]
    assert (step["status"], step["checks"]["seam_arcsec"]) == ("complete", 0.0)
