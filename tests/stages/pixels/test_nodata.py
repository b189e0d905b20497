"""Padding and clipping levels are found; what noise makes of an integer image is not padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.settings.keywords import Detector as Config
from skyextract.stages.pixels.nodata import check_data
from skyextract.stages.pixels.saturation import MIN_PILE, clipping_level
from tests.simulate.badframes import good_frame

SHAPE = (300, 280)
DEFAULT = Config().satur_level


def sky(noise=5.0, level=1000.0, shape=SHAPE, seed=1):
    return np.random.default_rng(seed).normal(level, noise, shape)


def stars(peak, n=12, shape=SHAPE, seed=3):
    rng = np.random.default_rng(seed)
    v, u = np.indices(shape)
    image = np.zeros(shape)
    for x, y in rng.uniform(60, 220, (n, 2)):
        image += peak * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 4.0)
    return image


def exposure_of(image, **given):
    image = np.ascontiguousarray(image, np.float32)
    detector = Detector(saturation=given.pop("saturation", DEFAULT))
    return Exposure(image, np.zeros(image.shape, np.uint16), detector=detector, **given)


def checked(image, **given):
    run = Run(2)
    return check_data(exposure_of(image, **given), Config(), run), run


def rotated_square():
    v, u = np.indices(SHAPE)
    return np.abs(u - 140) + np.abs(v - 150) > 150


def columns():
    outside = np.zeros(SHAPE, bool)
    outside[:, :6] = True
    outside[:, -40:] = True
    return outside


@pytest.mark.parametrize("outside", [rotated_square(), columns()], ids=["rotated", "columns"])
@pytest.mark.parametrize("value", [0.0, -32768.0, 1000.0, 3e5])
@pytest.mark.parametrize("integer", [True, False])
def test_padding_of_any_value(outside, value, integer):
    image = sky() + stars(3e4)
    image = np.rint(image) if integer else image
    image[outside] = value
    result, run = checked(image)
    missing = (result.mask & Mask.NO_DATA) != 0
    assert missing[outside].all()
    # pixels of the sky level that touch the padding may be lost with it
    assert np.count_nonzero(missing & ~outside) < 0.002 * image.size
    assert (result.image[missing] == 0).all()
    assert not (result.mask[missing] & Mask.SAT).any()
    share = 100 * missing.mean()
    assert len(run.warnings) == 1
    assert run.warnings[0].startswith(f"{share:.2g} % of the frame are no data")


@pytest.mark.parametrize("value", [0.0, 1000.0])
@pytest.mark.parametrize("integer", [True, False])
def test_small_patches_of_one_value(value, integer):
    """Fiducial crosses, defects and trails that were filled in: no light of a star is there."""
    image = sky() + stars(3e4)
    image = np.rint(image) if integer else image
    filled = np.zeros(SHAPE, bool)
    filled[40:52, 30:42] = True
    filled[100, 60:75] = filled[93:108, 67] = True
    image[filled] = value
    result, run = checked(image)
    missing = (result.mask & Mask.NO_DATA) != 0
    assert missing[filled].all()
    assert np.count_nonzero(missing & ~filled) <= 10
    assert "of the frame are no data" in run.warnings[0]


@pytest.mark.parametrize("rms", [0.05, 0.18, 0.34, 0.6, 2.0])
def test_coarse_noise_is_no_padding(rms):
    v, _ = np.indices(SHAPE)
    for gradient in (0.0, 0.003, 0.03):
        image = np.rint(sky(rms, 100.2) + gradient * v + stars(900.0))
        result, run = checked(image)
        assert run.warnings == []
        assert not result.mask.any()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_photograph_of_8_bits_is_no_padding(seed):
    """Two thirds of the pixels have one value; less than half of the others equal the next."""
    image = np.rint(255.0 * (np.clip(good_frame(seed).image, 0.0, 65535.0) / 65535.0) ** 0.4545)
    result, run = checked(image)
    assert not run.warnings
    assert not result.mask.any()


@pytest.mark.parametrize("photons", [0.02, 0.05, 0.5])
def test_few_photons_are_no_padding(photons):
    image = np.random.default_rng(2).poisson(photons + stars(200.0))
    result, run = checked(image)
    assert run.warnings == []
    assert not result.mask.any()


def test_constant_image_is_left_to_the_background():
    result, run = checked(np.full(SHAPE, 7.0))
    assert run.warnings == []
    assert not result.mask.any()


def test_one_line_tells_nan_and_missing_weight_too():
    image = sky()
    given = exposure_of(image, weight=np.where(np.indices(SHAPE)[0] < 30, 1e30, 1.0).astype("f4"))
    mask = given.mask.copy()
    mask[200:230] = Mask.NO_DATA
    run = Run(1)
    result = check_data(replace(given, mask=mask), Config(), run)
    assert result.mask is mask
    assert run.warnings == [
        "20 % of the frame are no data: 10 % have no value, 10 % have no weight"
    ]


@pytest.mark.parametrize(("rows", "warned"), [(30, False), (200, True)])
def test_what_a_weight_map_leaves_out_is_no_warning_but_most_of_the_frame(rows, warned, caplog):
    run, weight = Run(1), np.ones(SHAPE, np.float32)
    weight[:rows] = 1e30
    caplog.set_level(0)
    check_data(exposure_of(sky(), weight=weight), Config(), run)
    assert bool(run.warnings) is warned
    assert "have no weight" in caplog.text


def test_data_check_n_takes_everything_for_data():
    image = sky()
    image[:60] = 0.0
    given = exposure_of(image)
    run = Run(1)
    assert check_data(given, replace(Config(), data_check=False), run) is given
    assert run.warnings == []


@pytest.mark.parametrize("level", [4095.0, 65535.0])
def test_clipping_level_becomes_the_saturation(level):
    image = np.minimum(np.rint(sky() + stars(8 * level)), level)
    result, run = checked(image)
    assert result.detector.saturation == level
    np.testing.assert_array_equal((result.mask & Mask.SAT) != 0, image == level)
    assert f"clipped at {level:g}" in run.warnings[0]


def test_one_star_at_full_scale_is_saturated_where_the_sky_is_above_the_default():
    """Twilight of 52 000 in 16 bits, whose brightest star is flat in some pixels."""
    image = np.minimum(51000.0 + sky() + stars(2e4, n=1), 65535.0)
    n_flat = np.count_nonzero(image == 65535.0)
    assert 0 < n_flat < MIN_PILE
    result, run = checked(image, saturation=DEFAULT)
    assert result.detector.saturation == 65535.0
    np.testing.assert_array_equal((result.mask & Mask.SAT) != 0, image == 65535.0)
    assert f"{n_flat} pixels are clipped at 65535" in run.warnings[1]
    assert checked(np.minimum(image, 65534.0), saturation=DEFAULT)[0].detector.saturation == np.inf


def test_a_card_that_no_pixel_reaches_is_not_the_saturation():
    image = np.minimum(np.rint(sky() + stars(3e4)), 4095.0)
    result, run = checked(image, saturation=60000.0)
    assert result.detector.saturation == 4095.0
    np.testing.assert_array_equal((result.mask & Mask.SAT) != 0, image == 4095.0)
    assert "the card says 60000" in run.warnings[0]
    unclipped = np.rint(sky() + stars(3e3))
    result, run = checked(unclipped, saturation=60000.0)
    assert (result.detector.saturation, run.warnings) == (60000.0, [])


@pytest.mark.parametrize("clip", [None, 3e4])
def test_masked_pixels_are_no_clipping_level(clip):
    """Bad lines of 60000 say nothing; stars that are cut off beside them do."""
    image = np.rint(sky() + stars(8e4 if clip else 2e4))
    if clip:
        image = np.minimum(image, clip)
    mask = np.zeros(SHAPE, np.uint16)
    image[100:104], mask[100:104] = 60000.0, int(Mask.BAD)
    run = Run(1)
    result = check_data(replace(exposure_of(image), mask=mask), Config(), run)
    assert result.detector.saturation == (clip or DEFAULT)
    assert any("are clipped at 30000" in text for text in run.warnings) == (clip is not None)


def test_a_known_saturation_stays():
    image = np.minimum(np.rint(sky() + stars(3e4)), 4095.0)
    result, run = checked(image, saturation=3000.0)
    assert result.detector.saturation == 3000.0
    run = Run(1)
    config = replace(Config(), satur_level=4000.0)
    result = check_data(exposure_of(image, saturation=4000.0), config, run)
    assert (result.detector.saturation, run.warnings) == (4000.0, [])


@pytest.mark.parametrize("card", [1002.0, 1100.0, 5000.0])
def test_a_card_far_below_the_light_of_stars_is_not_believed(card):
    """The sky is 1000 and the stars reach 41 000: a sum of frames with the card of one."""
    result, run = checked(np.rint(sky() + stars(4e4)), saturation=card)
    assert result.detector.saturation == np.inf
    assert not (result.mask & Mask.SAT).any()
    assert f"a card says that pixels saturate at {card:g}, but sources rise" in run.warnings[0]
    # What is clipped above it is found.
    image = np.minimum(np.rint(sky() + stars(8e4)), 30000.0)
    assert checked(image, saturation=card)[0].detector.saturation == 30000.0
    config, run = replace(Config(), satur_level=card), Run(1)
    given = check_data(exposure_of(image, saturation=card), config, run)
    assert (given.detector.saturation, run.warnings) == (card, [])


@pytest.mark.parametrize("kind", ["marks", "column", "flat", "pixels"])
def test_a_card_stays_where_its_light_is_no_sum(kind):
    """Marks of saturated cores, and pixels that a flat field of next to nothing has made bright."""
    image, card = np.minimum(sky() + stars(8e4), 3e4), 2e4
    v, u = np.indices(SHAPE)
    if kind == "marks":
        image[image >= card] = 1e30
    elif kind == "column":
        image[:, 140] = np.random.default_rng(5).uniform(2e4, 3e6, SHAPE[0])
    elif kind == "flat":
        image /= 1.0 - 0.5 * np.hypot(v - 150, u - 140) / 206.0
    else:
        image[np.random.default_rng(6).uniform(size=SHAPE) < 0.002] = 1e6
    assert checked(image, saturation=card)[0].detector.saturation <= card


@pytest.mark.parametrize("peak", [30.0, 3000.0, 4e4])
def test_stars_that_are_not_clipped_have_no_clipping_level(peak):
    image = np.rint(sky() + stars(peak)).astype(np.float32)
    assert clipping_level(image, np.zeros(SHAPE, np.uint16), image.max(), Run()) is None
    few = np.random.default_rng(0).poisson(0.2, SHAPE).astype(np.float32)
    assert clipping_level(few, np.zeros(SHAPE, np.uint16), few.max(), Run()) is None
