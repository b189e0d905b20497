"""Instrument signature removal on small frames: geometry, real frames, ccdproc, bad input."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skyextract.datamodel.calibrations import Calibrations, Linearity, Master
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.rawframe import Amplifier, RawFrame, Section
from skyextract.errors import ConfigError, ImageError
from skyextract.io.names import parse_image_spec
from skyextract.io.raw.frames import read_raw_frames
from skyextract.run import Run
from skyextract.stages.isr.overscan import measure_overscan
from skyextract.stages.isr.signature import remove_signature
from tests.stages.isr.correcting import corrected, settings_of


def raw_frame(pixels: np.ndarray, *amplifiers: Amplifier, **facts: object) -> RawFrame:
    shape = max(a.place.y1 for a in amplifiers), max(a.place.x1 for a in amplifiers)
    planes = (np.ascontiguousarray(pixels, np.float32),)
    return RawFrame(planes, amplifiers, shape, fits.Header(), path="raw.fits", **facts)


def plain(n: int = 40, **facts: float) -> Amplifier:
    place = Section(0, n, 0, n)
    return Amplifier("1", 0, place, None, place, **{"gain": 2.0, "read_noise": 4.0} | facts)


def master(kind: str, image: np.ndarray, time: float = 10.0) -> Master:
    return Master(kind, image.astype(np.float32), None, time, fits.Header(), f"{kind}.fits")


def run_isr(raw: RawFrame, calibrations: Calibrations = Calibrations(), **v: str) -> Exposure:  # noqa: B008
    return remove_signature(raw, calibrations, settings_of(**v).config, Run(1)).exposure


# ------------------------------------------------------------------ against plain formulas


def test_order_of_the_corrections():
    rng = np.random.default_rng(1)
    n = 40
    pixels = rng.normal(3000.0, 50.0, (n, n + 8)).astype(np.float32)
    pixels[:, n:] = rng.normal(500.0, 2.0, (n, 8))
    amplifier = Amplifier(
        "1", 0, Section(0, n, 0, n), Section(n, n + 8, 0, n), Section(0, n, 0, n), 1.5, 6.0, 3100.0
    )
    bias, dark = rng.normal(10, 2, (n, n)), rng.gamma(2, 3, (n, n))
    flat = rng.normal(1.0, 0.05, (n, n))
    calibrations = Calibrations(
        master("bias", bias), master("dark", dark, 20.0), master("flat", flat),
        linearity=Linearity(np.array([[2e-6, -3e-11]]), np.zeros((1, 2, 0))),
    )  # fmt: skip
    raw = raw_frame(pixels, amplifier, exposure_time=50.0)
    exposure = run_isr(raw, calibrations)
    x = pixels[:, :n] - np.median(pixels[:, n:], axis=1)[:, None] - bias.astype(np.float32)
    x = x + 2e-6 * x**2 - 3e-11 * x**3
    noise = measure_overscan(pixels, amplifier, settings_of().config.isr).noise
    variance = x / 1.5 + (6.0 / 1.5) ** 2 + 0.5 * np.pi * noise**2 / 8
    x = (x - 2.5 * dark.astype(np.float32)) / flat.astype(np.float32) * 1.5
    np.testing.assert_allclose(exposure.image, x, rtol=2e-7, atol=1e-3)
    np.testing.assert_allclose(exposure.variance, variance * (1.5 / flat) ** 2, rtol=1e-5)
    assert ((exposure.mask & Mask.SAT) != 0).sum() == (pixels[:, :n] >= 3100.0).sum()
    assert exposure.header["BUNIT"] == "electron"
    assert exposure.header["GAIN"] == 1.0
    assert exposure.header["RDNOISE"] == 6.0


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_matter(threads):
    rng = np.random.default_rng(2)
    raw = raw_frame(rng.normal(1000, 30, (300, 300)), plain(300))
    images = [
        remove_signature(raw, Calibrations(), settings_of().config, Run(t)).exposure.image
        for t in (1, threads)
    ]
    assert images[0].tobytes() == images[1].tobytes()


@pytest.mark.parametrize("mode", ["MEDIAN", "MEAN", "ROW_MEDIAN", "POLY"])
@pytest.mark.parametrize("above", [False, True])
def test_overscan_modes(mode, above):
    rng = np.random.default_rng(3)
    n = 200
    t = np.linspace(-1.0, 1.0, n)
    drift = 700.0 + 5.0 * t - 3.0 * t**2 + t**3
    frame = rng.normal(0.0, 2.0, (n, n + 20)) + drift[:, None]
    data, bias = Section(0, n, 0, n), Section(n, n + 20, 0, n)
    if above:
        frame, bias = frame.T, Section(0, n, n, n + 20)
    amplifier = Amplifier("1", 0, data, bias, data, 1.0, 0.0)
    isr = settings_of(ISR_OVERSCAN=mode).config.isr
    overscan = measure_overscan(frame.astype(np.float32), amplifier, isr)
    total = overscan.columns + overscan.rows
    expected = drift if mode in ("ROW_MEDIAN", "POLY") else np.full(n, drift.mean())
    width = {"POLY": 0.15, "ROW_MEDIAN": 0.7}.get(mode, 0.5)
    assert np.std(total - expected) < width
    assert overscan.noise == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("width", [8, 32, 64])
def test_the_noise_of_a_large_overscan_is_that_of_all_columns(width):
    """Few pixels tell which lie far off; of columns of two kinds those are as many of each."""
    n = 4096
    rng = np.random.default_rng(width)
    sigma = np.where(np.arange(width) % 2, 3.0, 1.0)
    pixels = rng.normal(500.0, sigma, (n, width)).astype(np.float32)
    pixels[::50, -3] = 60_000.0
    frame = np.concatenate([np.zeros((n, 8), np.float32), pixels], axis=1)
    data, bias = Section(0, 8, 0, n), Section(8, 8 + width, 0, n)
    amplifier = Amplifier("1", 0, data, bias, data, 1.5, 6.0)
    overscan = measure_overscan(frame, amplifier, settings_of().config.isr)
    centred = pixels - np.median(pixels, axis=1, keepdims=True)
    limit = 5.0 * 1.4826 * np.median(np.abs(centred))
    expected = centred[np.abs(centred) < limit].std() * np.sqrt(width / (width - 1.0))
    assert overscan.noise == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(("in_data", "uneven"), [(False, 0.0), (True, 0.0), (True, 120.0)])
def test_light_that_leaks_into_the_overscan_is_no_level_of_its_lines(above, in_data, uneven):
    """Lines that stand out in the overscan alone; offsets of lines are in their data, too.

    In flats whose lines differ that is not seen of each.
    """
    rng = np.random.default_rng(5)
    n, width = 600, 40
    level = 1000.0 + 8.0 * np.sin(np.arange(n) / 150.0)
    offsets = np.zeros(n)
    for line, length in ((50, 12), (210, 25), (400, 3), (580, 20)):
        offsets[line : line + length] = 150.0
    data = rng.normal(500.0, 20.0, (n, 300)) + level[:, None] + in_data * offsets[:, None]
    data += uneven * np.sin(np.arange(n) / 8.0)[:, None]
    data[215:230, 100:115] += 50_000.0
    data[580:, 200:210] += 50_000.0
    bias = rng.normal(0.0, 4.0, (n, width)) + (level + offsets)[:, None]
    frame = np.concatenate([data, bias], axis=1).astype(np.float32)
    sections = Section(0, 300, 0, n), Section(300, 340, 0, n)
    if above:
        frame = np.ascontiguousarray(frame.T)
        sections = Section(0, n, 0, 300), Section(0, n, 300, 340)
    amplifier = Amplifier("1", 0, *sections, sections[0], 1.0, 0.0)
    overscan = measure_overscan(frame, amplifier, settings_of().config.isr)
    found = overscan.columns if above else overscan.rows
    expected = level + offsets if in_data else level
    assert np.abs(found - expected).max() < 4.0
    assert overscan.n_leaked == (0 if in_data else 60)


@pytest.mark.parametrize("of_light", [0.0, 20.0])
def test_a_level_that_settles_over_the_first_lines_is_in_their_data(of_light):
    """The last of these lines lie little above those after them, though far above the level;
    a flat falls toward the edge by itself."""
    rng = np.random.default_rng(7)
    n = 600
    level = 1000.0 + 60.0 * np.exp(-np.arange(n) / 30.0)
    frame = (rng.normal(0.0, 4.0, (n, 332)) + level[:, None]).astype(np.float32)
    frame[:, :300] += of_light * np.arange(n, dtype=np.float32)[:, None]
    sections = Section(0, 300, 0, n), Section(300, 332, 0, n)
    amplifier = Amplifier("1", 0, *sections, sections[0], 1.0, 0.0)
    overscan = measure_overscan(frame, amplifier, settings_of().config.isr)
    assert overscan.n_leaked == 0
    assert np.abs(overscan.rows - level).max() < 4.0


def test_charge_that_trails_into_the_overscan_is_no_noise():
    rng = np.random.default_rng(6)
    trail = 40.0 * np.exp(-np.arange(40) / 8.0)
    frame = rng.normal(1000.0, 4.0, (700, 340)) + np.append(np.zeros(300), trail)
    sections = Section(0, 300, 0, 700), Section(300, 340, 0, 700)
    amplifier = Amplifier("1", 0, *sections, sections[0], 1.0, 0.0)
    overscan = measure_overscan(frame.astype(np.float32), amplifier, settings_of().config.isr)
    assert overscan.noise == pytest.approx(4.0, rel=0.03)


# ------------------------------------------------------------------ geometry


def test_amplifiers_come_to_their_place():
    """Each amplifier is cut out of a known picture, turned as DETSEC says, and put back."""
    picture = np.arange(20 * 24, dtype=np.float32).reshape(20, 24) + 100.0
    planes, amplifiers = [], []
    for k, (right, top) in enumerate(itertools.product((False, True), repeat=2)):
        place = Section(12 * right, 12 * right + 12, 10 * top, 10 * top + 10, right, top)
        part = picture[place.slices]
        part = part[:, ::-1] if right else part
        part = part[::-1] if top else part
        plane = np.full((14, 20), 7.0 + k, np.float32)
        plane[2:12, 4:16] = part + 7.0 + k
        planes.append(plane)
        data, bias = Section(4, 16, 2, 12), Section(17, 20, 0, 14)
        amplifiers.append(Amplifier(str(k), k, data, bias, place, 1.0, 1.0))
    raw = RawFrame(tuple(planes), tuple(amplifiers), (20, 24), fits.Header())
    np.testing.assert_array_equal(run_isr(raw).image, picture)


def test_crosstalk_comes_from_the_pixel_read_at_the_same_time():
    n = 8
    pixels = np.full((n, 2 * n), 100.0, np.float32)
    pixels[5, 2] = 50000.0  # third pixel of the left amplifier, which is read from the left
    left = Amplifier("L", 0, Section(0, n, 0, n), None, Section(0, n, 0, n), 1.0, 3.0)
    # the right one is read from the right: it is written, and stands, the other way round
    right_data = Section(n, 2 * n, 0, n, flip_x=True)
    right = Amplifier("R", 0, right_data, None, right_data, 1.0, 3.0)
    matrix = np.array([[0.0, 0.0], [1e-3, 0.0]])
    exposure = run_isr(raw_frame(pixels, left, right), Calibrations(crosstalk=matrix))
    assert exposure.image[5, 2 * n - 3] == pytest.approx(100.0 - 50.0)
    assert exposure.mask[5, 2 * n - 3] == Mask.CROSSTALK
    assert exposure.image[5, 2] == pytest.approx(50000.0)
    assert exposure.image[2, 2 * n - 3] == pytest.approx(100.0 - 0.1)


def write_amplifiers(path: Path, wcs: bool = False) -> WCS:
    """Write a 2 x 1 MEF with a mirrored second amplifier, of a picture with a known WCS."""
    rng = np.random.default_rng(4)
    picture = rng.normal(1000.0, 5.0, (30, 40))
    sky = WCS(naxis=2)
    sky.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    sky.wcs.crval, sky.wcs.crpix = [150.0, 20.0], [17.0, 11.0]
    sky.wcs.cd = [[-1e-4, 2e-6], [3e-6, 1.1e-4]]
    units = [fits.PrimaryHDU()]
    for k in (0, 1):
        part = picture[:, 20 * k : 20 * k + 20]
        header = fits.Header({"BIASSEC": "[23:26,1:30]", "DATASEC": "[3:22,1:30]", "GAIN": 2.0})
        header["DETSEC"] = "[1:40,1:60]" if k == 0 else "[80:41,1:60]"
        plane = np.zeros((30, 26), np.float32)
        plane[:, 2:22] = part[:, ::-1] if k else part
        if wcs:
            cards = sky.to_header()
            cards["CRPIX1"] = 17.0 + 2 if k == 0 else 43.0 - (17.0)
            for axis in (1, 2):
                cards[f"PC{axis}_1"] = cards[f"PC{axis}_1"] * (1 if k == 0 else -1)
            header.update(cards)
        units.append(fits.ImageHDU(plane, header))
    fits.HDUList(units).writeto(path)
    return sky


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_wcs_moves_with_the_pixels(tmp_path, order):
    sky = write_amplifiers(tmp_path / "a.fits", wcs=True)
    with fits.open(tmp_path / "a.fits") as units:
        fits.HDUList([units[0], units[order[0]], units[order[1]]]).writeto(tmp_path / "b.fits")
    exposure = corrected(tmp_path / "b.fits", tmp_path).exposure
    assert exposure.shape == (30, 40)
    x, y = np.array([0.0, 25.0, 39.0]), np.array([3.0, 20.0, 29.0])
    expected = sky.all_pix2world(x, y, 0)
    np.testing.assert_allclose(exposure.wcs.to_sky(x, y), expected, atol=1e-9)


def test_an_additional_header_describes_the_corrected_frame(tmp_path):
    sky = write_amplifiers(tmp_path / "a.fits")
    cards = sky.to_header()
    (tmp_path / "a.head").write_text("\n".join(str(card) for card in cards.cards) + "\nEND\n")
    exposure = corrected(tmp_path / "a.fits", tmp_path).exposure
    x, y = np.array([0.0, 39.0]), np.array([3.0, 29.0])
    np.testing.assert_allclose(exposure.wcs.to_sky(x, y), sky.all_pix2world(x, y, 0), atol=1e-9)


def test_sip_of_a_mirrored_frame_turns_with_it():
    from skyextract.datamodel.rawframe import move_wcs

    rng = np.random.default_rng(5)
    header = {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 10.0, "CRVAL2": 5.0,
        "CRPIX1": 40.0, "CRPIX2": 70.0, "CD1_1": -1e-4, "CD1_2": 1e-6, "CD2_1": 2e-6,
        "CD2_2": 1e-4, "A_ORDER": 3, "B_ORDER": 3,
    }  # fmt: skip
    for name, (p, q) in itertools.product("AB", ((2, 0), (1, 1), (0, 2), (3, 0), (1, 2))):
        header[f"{name}_{p}_{q}"] = rng.normal(0.0, 1e-6)
    data = Section(8, 108, 4, 204)
    place = Section(0, 100, 0, 200, flip_x=True, flip_y=True)
    moved = move_wcs(header, Amplifier("1", 0, data, None, place))
    x, y = np.array([10.0, 60.0]), np.array([20.0, 150.0])
    before = WCS(fits.Header(header)).all_pix2world(x, y, 0)
    after = WCS(fits.Header(moved)).all_pix2world(99 - (x - 8), 199 - (y - 4), 0)
    np.testing.assert_allclose(after, before, atol=1e-11)


def test_extensions_that_are_no_amplifiers_stay_apart(tmp_path):
    write_amplifiers(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", mode="update") as units:
        units[2].header["DETSEC"] = "[180:141,1:60]"  # a gap: another CCD
    frames = list(
        read_raw_frames(parse_image_spec(str(tmp_path / "a.fits")), settings_of().config, Run(1))
    )
    assert [frame.shape for frame in frames] == [(30, 20), (30, 20)]
    assert [frame.number for frame in frames] == [0, 1]


# ------------------------------------------------------------------ real frames


# ------------------------------------------------------------------ bad input


def test_all_saturated():
    raw = raw_frame(np.full((40, 40), 60000.0), plain(saturation=50000.0))
    with pytest.raises(ImageError, match="all pixels are saturated"):
        run_isr(raw)


def test_no_values():
    with pytest.raises(ImageError, match="no pixel has a value"):
        run_isr(raw_frame(np.full((40, 40), np.nan), plain()))


def test_zero_flat_pixels_are_flagged():
    flat = np.ones((40, 40))
    flat[3, 4], flat[5, 6], flat[7, 8] = 0.0, -1.0, np.nan
    exposure = run_isr(
        raw_frame(np.full((40, 40), 1000.0), plain()), Calibrations(flat=master("flat", flat))
    )
    for y, x in ((3, 4), (5, 6), (7, 8)):
        assert exposure.mask[y, x] & Mask.NO_DATA
        assert exposure.image[y, x] == 0.0
        assert np.isinf(exposure.variance[y, x])
    assert (exposure.mask != 0).sum() == 3


def test_wrong_size():
    with pytest.raises(ImageError, match=r"bias.fits has 30 x 30 pixels.*40 x 40"):
        run_isr(
            raw_frame(np.ones((40, 40)), plain()),
            Calibrations(bias=master("bias", np.zeros((30, 30)))),
        )


@pytest.mark.parametrize(("mine", "dark"), [(np.nan, 10.0), (10.0, 0.0), (10.0, np.nan)])
def test_missing_exposure_time(mine, dark):
    raw = raw_frame(np.ones((40, 40)), plain(), exposure_time=mine)
    with pytest.raises(ImageError, match="exposure time"):
        run_isr(raw, Calibrations(dark=master("dark", np.zeros((40, 40)), dark)))


def test_overscan_must_cover_the_rows():
    data, bias = Section(0, 20, 0, 40), Section(20, 30, 0, 30)
    raw = raw_frame(np.ones((40, 30)), Amplifier("1", 0, data, bias, data, 1.0))
    with pytest.raises(ImageError, match="does not cover the rows"):
        run_isr(raw)
    assert run_isr(raw, ISR_OVERSCAN="MEDIAN").shape == (40, 20)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ISR_TRIMSEC": "[1:900,1:30]"}, ImageError, "TRIMSEC"),
        ({"ISR_TRIMSEC": "[a:b]"}, ConfigError, "no section"),
        ({"ISR_TRIMSEC": "NOCARD"}, ImageError, "no section in the header card NOCARD"),
        ({"ISR_GAIN": "NOCARD"}, ImageError, "NOCARD is neither a number"),
        ({"ISR_TRIMSEC": "[1:5,1:5],[6:10,1:5],[11:15,1:5]"}, ImageError, "3 sections"),
        ({"ISR_BIAS_STATE": "MASTER"}, ConfigError, "no frame is given"),
        ({"ISR_BIAS": "nothing*.fits"}, ConfigError, "no file matches"),
        ({"ISR_BIAS": "nothing.fits"}, ConfigError, "no such file"),
        ({"CAMERA": "nocamera"}, ConfigError, "generic, sinistro"),
    ],
)
def test_wrong_settings(tmp_path, options, error, message):
    write_amplifiers(tmp_path / "a.fits")
    with pytest.raises(error, match=message):
        corrected(tmp_path / "a.fits", tmp_path, **options)
