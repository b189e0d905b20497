"""Results that are to be taken with care say so: status, exit status, error."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import median_filter

from skyextract.cli import main
from skyextract.datamodel.wcs import SkyWcs
from tests.simulate import lights
from tests.simulate.badframes import field_curvature, good_frame, two_seeings
from tests.simulate.starfield import simulate
from tests.simulate.zeropointfields import GAIN, Sources, draw_sources, simulate_field


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The steps of a frame that is as it should be, which tests spoil."""
    folder = tmp_path_factory.mktemp("clean")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(good_frame(1).write(folder)) == 0
    return json.loads((folder / "f.json").read_text())[0]["steps"]


def test_no_source_on_a_frame_with_data(skyextract, tmp_path):
    rng = np.random.default_rng(1)
    image = rng.normal(1000.0, 10.0, (200, 200)).astype(np.float32)
    fits.writeto(tmp_path / "empty.fits", image)
    done = skyextract("empty.fits", "--steps", "measure", "-DETECT_THRESH", "30")
    assert done.status == 0
    step = done.summary("empty.json")[0]["steps"]["measure"]
    assert (step["status"], step["n_sources"], step["sky_share"]) == ("fallback", 0, 1.0)
    assert step["reason"] == "no source in 40000 pixels with data"
    assert "no source in 40000 pixels" in done.stderr
    assert fits.getval("empty.cat", "SKYMEAS", 2) == "FALLBACK"
    assert skyextract("empty.fits", "--strict", "-DETECT_THRESH", "30").status == 3


@pytest.mark.parametrize("kind", ["double exposure", "repeated rows"])
def test_stars_that_are_seen_twice(skyextract, tmp_path, kind):
    frame = good_frame(1)
    image = frame.image
    if kind == "double exposure":
        image = 0.5 * (image + np.roll(image, (6, 9), (0, 1)))
    else:
        image = np.concatenate([image[: len(image) // 2]] * 2)
    spoilt = replace(frame, image=image.astype(np.float32))
    done = skyextract(*spoilt.write(tmp_path))
    steps = done.summary("f.json")[0]["steps"]
    assert {name: steps[name]["status"] for name in ("measure", "astrometry", "photometry")} == {
        "measure": "fallback", "astrometry": "fallback", "photometry": "fallback",
    }  # fmt: skip
    assert "seen a second time" in done.stderr
    assert done.status == 0
    assert "seen a second time" in steps["measure"]["reason"]
    assert steps["astrometry"]["reason"]
    assert steps["photometry"]["reason"]
    why = skyextract("--explain", "f.cat").stdout
    assert why.count("FALLBACK: ") == 3, why


def test_glow_at_an_edge(skyextract, tmp_path):
    """Six times the sky, gone within 20 pixels: meshes of 64 do not follow, those of 16 do."""
    frame = good_frame(1)
    glow = 1800.0 * np.exp(-np.arange(frame.image.shape[1]) / 20.0)
    noise = np.sqrt(glow / 1.5) * np.random.default_rng(1).standard_normal(frame.image.shape)
    files = replace(frame, image=(frame.image + glow + noise).astype(np.float32)).write(tmp_path)
    done = skyextract(*files)
    step = done.summary("f.json")[0]["steps"]["measure"]
    assert step["status"] == "fallback"
    assert done.stderr.count("the background lies above the sky by more than the noise") == 1
    finer = skyextract(*files, "-BACK_SIZE", "16")
    assert "lies above" not in finer.stderr
    rows = fits.getdata("f.cat", 2)
    distance = np.hypot(rows["X_IMAGE"][:, None] - 1 - frame.truth.x,
                        rows["Y_IMAGE"][:, None] - 1 - frame.truth.y)  # fmt: skip
    assert np.mean(distance.min(axis=1) < 2.0) > 0.98
    assert np.mean(distance.min(axis=0) < 2.0) > 0.8


def test_a_black_point_amid_the_noise(skyextract, tmp_path, clean):
    frame = good_frame(1)
    files = replace(frame, image=np.maximum(frame.image - 290.0, 0.0)).write(tmp_path)
    done = skyextract(*files)
    steps = done.summary("f.json")[0]["steps"]
    assert {steps[name]["status"] for name in ("measure", "photometry")} == {"fallback"}
    assert done.stderr.count("% of the pixels have the lowest value, amid the noise") == 1
    found = steps["photometry"]
    known = clean["photometry"]
    assert found["zero_point_error"] > 1.5 * known["zero_point_error"]
    off = found["zero_point"] - known["zero_point"]  # both of the same reference aperture
    assert abs(off) < 4.0 * found["zero_point_error"]


@pytest.mark.parametrize(("share", "status"), [(0.04, "fallback"), (0.027, "complete")])
def test_images_of_bright_stars(skyextract, tmp_path, clean, share, status):
    """Ghosts opposite to their stars, in focus: rows that a catalogue of stars must not have."""
    frame = good_frame(1)
    ghosts = share * (frame.image[::-1, ::-1] - np.median(frame.image))
    files = replace(frame, image=(frame.image + ghosts).astype(np.float32)).write(tmp_path)
    done = skyextract(*files)
    step = done.summary("f.json")[0]["steps"]["measure"]
    assert step["status"] == status
    assert done.stderr.count("are images of brighter ones") == 1
    assert "opposite to them about 256." in done.stderr
    rows = fits.getdata("f.cat", 2)
    distance = np.hypot(rows["X_IMAGE"][:, None] - 1 - frame.truth.x,
                        rows["Y_IMAGE"][:, None] - 1 - frame.truth.y)  # fmt: skip
    is_star = distance.min(axis=1) < 2.0
    is_ghost = rows["FLAGS_SKY"] & 512 != 0
    assert step["n_ghosts"] == is_ghost.sum() >= 8
    assert np.mean(is_star[~is_ghost]) > 0.98
    assert np.count_nonzero(is_star & is_ghost) <= 1
    assert (clean["measure"]["status"], clean["measure"]["n_ghosts"]) == ("complete", 0)


@pytest.mark.parametrize("wider", [1.2, 1.4])
def test_chips_of_other_seeing(skyextract, tmp_path, wider):
    """The PSF is that of one half, or between both: fluxes of PSF fits are wrong on one side."""
    done = skyextract(*two_seeings(1, wider).write(tmp_path))
    step = done.summary("f.json")[0]["steps"]["characterize"]
    assert step["status"] == "fallback"
    assert "focus or seeing of their own" in step["reason"]
    assert step["reason"] in done.stderr


def test_a_curved_field_is_followed(skyextract, tmp_path):
    done = skyextract(*field_curvature(1).write(tmp_path))
    assert done.summary("f.json")[0]["steps"]["characterize"]["status"] == "complete"


def test_the_reason_of_a_default_psf(skyextract, tmp_path):
    rng = np.random.default_rng(1)
    fits.writeto(tmp_path / "empty.fits", rng.normal(1000.0, 10.0, (200, 200)).astype(np.float32))
    step = skyextract("empty.fits").summary("empty.json")[0]["steps"]["characterize"]
    assert step["status"] == "fallback"
    assert step["reason"] == "no star found"


def test_a_gain_that_is_not_of_these_pixels(skyextract, tmp_path):
    """A background-free image in another unit: with the camera's gain no star has S/N 5."""
    frame = good_frame(1)
    scaled = replace(frame, image=((frame.image - np.median(frame.image)) * 1e-5).astype("f4"))
    done = skyextract(*scaled.write(tmp_path))
    steps = done.summary("f.json")[0]["steps"]
    assert "a GAIN of 1.5 makes the noise of the sky" in done.stderr
    assert {steps[name]["status"] for name in ("characterize", "measure")} == {"complete"}
    photometry = steps["photometry"]
    assert abs(photometry["zero_point"] - (27.0 - 12.5)) < 4.0 * photometry["zero_point_error"]


def test_the_zero_point_of_a_crowded_field(skyextract, shared_data):
    folder = shared_data / "world/crowded"
    done = skyextract(folder / "crowd5.fits.gz", "-ASTREFCAT_NAME", folder / "crowd5_refcat.csv")
    step = done.summary("crowd5.json")[0]["steps"]["photometry"]
    assert step["status"] == "complete"
    assert abs(step["zero_point"] - 27.0) < 4.0 * step["zero_point_error"] < 0.1


def test_the_zero_point_of_a_handful_of_stars(skyextract, tmp_path):
    zero_point, pulls = 25.0, []
    for seed in range(4):
        field = simulate(300, 9, 3.0, beta=3.0, snr=(60.0, 600.0), separation=45.0, seed=seed)
        header = fits.Header({
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
            "CRPIX1": 150.0, "CRPIX2": 150.0, "CD1_1": -1e-4, "CD2_2": 1e-4, "GAIN": field.gain,
            "FILTER": "r",
        })  # fmt: skip
        fits.writeto(tmp_path / f"f{seed}.fits", field.image, header)
        ra, dec = SkyWcs.from_header(header).to_j2000(field.x, field.y)
        mag = zero_point - 2.5 * np.log10(field.flux)
        rows = "\n".join(f"{a},{d},{m}" for a, d, m in zip(ra, dec, mag, strict=True))
        (tmp_path / f"r{seed}.csv").write_text(f"ra,dec,r\n{rows}\n")
        done = skyextract(f"f{seed}.fits", "-ASTREFCAT_NAME", f"r{seed}.csv")
        step = done.summary(f"f{seed}.json")[0]["steps"]["photometry"]
        if step["status"] == "complete":
            pulls.append((step["zero_point"] - zero_point) / step["zero_point_error"])
    assert len(pulls) >= 2
    assert np.abs(pulls).max() < 5.0


@pytest.mark.parametrize(("share", "value"), [(2e-3, -999.0), (5e-4, -32768.0), (2e-3, 0.0)])
def test_dead_pixels_cost_no_sources(skyextract, tmp_path, clean, share, value):
    frame = good_frame(1)
    dead = np.random.default_rng(4).random(frame.image.shape) < share
    spoilt = replace(frame, image=np.where(dead, np.float32(value), frame.image))
    done = skyextract(*spoilt.write(tmp_path))
    steps = done.summary("f.json")[0]["steps"]
    assert f"are masked (DATA_CHECK): {dead.sum()}" in done.stderr
    assert steps["measure"]["noise_scale"] < 1.2
    assert steps["measure"]["n_sources"] > 0.95 * clean["measure"]["n_sources"]
    photometry = steps["photometry"]
    assert abs(photometry["zero_point"] - clean["photometry"]["zero_point"]) < 0.02
    unchecked = skyextract("f.fits", "-DATA_CHECK", "N")
    assert "dead pixels" not in unchecked.stderr
    assert "times that of independent pixels" in unchecked.stderr or value != -999.0


@pytest.mark.parametrize(
    ("seed", "steps"), [(1, ""), (2, "characterize,measure,astrometry,photometry")]
)
def test_a_given_psf_has_its_errors_from_the_stars_of_the_frame(skyextract, tmp_path, seed, steps):
    """Its own, and one that is a seventh narrower, which loses light that the stars show."""
    frame = good_frame(seed, n=80)
    files = [*frame.write(tmp_path), *(("--steps", steps) if steps else ())]
    measured = skyextract(*files, "-PSFMODEL_NAME", "own.psf").summary("f.json")[0]["steps"]
    with fits.open("own.psf") as model:
        model[1].header["PSF_SAMP"] *= 0.86
        model[1].header["PSF_FWHM"] *= 0.86
        model.writeto("narrow.psf")
    known = measured["photometry"]
    own = skyextract(*files, "-PSF_NAME", "own.psf")
    assert "PSF" not in own.stderr.replace("own.psf", "")
    step = own.summary("f.json")[0]["steps"]["photometry"]
    assert step["zero_point_error"] < 1.3 * known["zero_point_error"] < 0.013
    assert step["zero_point"] == pytest.approx(known["zero_point"], abs=0.005)
    narrow = skyextract(*files, "-PSF_NAME", "narrow.psf")
    assert "the PSF that was given is 0.8" in narrow.stderr
    step = narrow.summary("f.json")[0]["steps"]["photometry"]
    off = step["zero_point"] - known["zero_point"]
    # Half of the light that is missed is claimed as error.
    assert abs(off) < 2.5 * np.hypot(step["zero_point_error"], known["zero_point_error"])
    for line in narrow.stderr.splitlines():
        assert "two sources of the reference" not in line or "not that of the stars?" in line


def test_a_given_psf_of_another_image(skyextract, tmp_path):
    """The model of a frame whose pixels are a quarter as large: four times as wide."""
    files = good_frame(1, n=80).write(tmp_path)
    measured = skyextract(*files, "-PSFMODEL_NAME", "own.psf").summary("f.json")[0]["steps"]
    with fits.open("own.psf") as model:
        model[1].header["PSF_SAMP"] *= 4.0
        model[1].header["PSF_FWHM"] *= 4.0
        model.writeto("wide.psf")
    own = skyextract(*files, "-PSF_NAME", "own.psf")
    assert "given" not in own.stderr
    steps = own.summary("f.json")[0]["steps"]
    assert steps["measure"]["status"] == "complete"
    zero_points = [s["photometry"]["zero_point"] for s in (measured, steps)]
    assert abs(zero_points[1] - zero_points[0]) < 0.01
    for more, name, card in (
        ((), "measure", "SKYMEAS"),
        (("--steps", "characterize,measure"), "characterize", "SKYCHAR"),
    ):
        wide = skyextract(*files, "-PSF_NAME", "wide.psf", *more)
        step = wide.summary("f.json")[0]["steps"][name]
        assert step["status"] == "fallback"
        told = float(step["reason"].removeprefix("the PSF that was given is ").split()[0])
        assert abs(told - 4.0) < 0.2
        assert wide.stderr.count(step["reason"]) == 1
        assert fits.getval("f.cat", card, 2) == "FALLBACK"


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("nothing", ""),
        ("no flat", "the sky falls by "),
        ("amplifiers by turns", "of every second of the rows"),
        ("median filter", "exactly the same value"),
    ],
)
def test_fluxes_that_depend_on_place_or_brightness(skyextract, tmp_path, kind, part):
    """Stars lack light in corners, in every second row, or in their cores; no catalogue tells."""
    field = simulate_field(4, n_stars=150)
    y, x = np.indices(field.image.shape)
    random = np.random.default_rng(2)
    if kind == "no flat":
        r2 = ((x - 255.5) ** 2 + (y - 255.5) ** 2) / (2.0 * 255.5**2)
        light = (draw_sources(field.sources, field.fwhm, 512) + field.sky) * (1.0 - 0.5 * r2)
        image = random.poisson(light * GAIN) / GAIN + random.normal(0.0, 3.0, light.shape)
    elif kind == "median filter":
        image = median_filter(field.image, 3)
    elif kind == "amplifiers by turns":
        image = np.where(y % 2, field.image * 1.2, field.image)
    else:
        image = field.image
    fits.writeto(tmp_path / "f.fits", image.astype(np.float32), field.header)
    done = skyextract("f.fits")
    assert done.status == 0
    step = done.summary("f.json")[0]["steps"]["measure"]
    assert step["status"] == ("fallback" if part else "complete")
    assert not part or part in step["reason"]


def test_a_gain_far_too_low(skyextract, tmp_path):
    """Photons of stars and sky would scatter more than these do: their own gain is used."""
    field = simulate_field(3)
    for gain in (GAIN, 0.1 * GAIN):
        field.header["GAIN"] = gain
        fits.writeto(tmp_path / "f.fits", field.image, field.header, overwrite=True)
        done = skyextract("f.fits")
        told = re.search("scatter with (0.[0-9]+) of the variance that a GAIN", done.stderr)
        assert (told is not None) is (gain < GAIN)
    assert float(told[1]) == pytest.approx(0.1, abs=0.02)


def test_smear_of_a_frame_transfer(skyextract, tmp_path):
    """Columns hold light of all stars in them, in which is looked for sources as in a crowd."""
    random, n = np.random.default_rng(5), 130
    x, y = random.uniform(0.0, 447.0, (2, n))
    stars = Sources(x, y, 300.0 * 1e3 ** random.random(n), *np.zeros((3, n)))
    light = draw_sources(stars, 3.0, 448)
    for name, smear in (("f", 0.002), ("g", 0.0)):
        whole = light + smear * light.sum(axis=0) + 200.0
        image = random.poisson(whole * GAIN) / GAIN + random.normal(0.0, 3.0, light.shape)
        fits.writeto(tmp_path / f"{name}.fits", image.astype(np.float32))
    assert "columns differ by" in skyextract("f.fits").stderr
    assert "differ by" not in skyextract("g.fits").stderr


def test_stars_on_a_sky_that_was_clipped_at_zero(skyextract, tmp_path):
    """Their pixels were not raised, as those of the sky were; errors hold what that may be."""
    frame = lights.make(lights.dark, 1, size=384, n=120)
    image = np.maximum(np.rint(frame.image - lights.SKY), 0.0).astype(np.float32)
    header = fits.Header({"GAIN": lights.GAIN})
    fits.writeto(tmp_path / "f.fits", image, header)
    done = skyextract("f.fits")
    assert "% of the pixels have the lowest value" in done.stderr
    assert done.summary("f.json")[0]["steps"]["measure"]["status"] == "fallback"
    table = fits.getdata(tmp_path / "f.cat", 2)
    away = np.hypot(
        table["X_IMAGE"][:, None] - 1.0 - frame.x, table["Y_IMAGE"][:, None] - 1.0 - frame.y
    )
    star = away.argmin(axis=1)
    good = (away.min(axis=1) < 1.5) & (frame.snr[star] > 30.0) & (table["FLAGS"] == 0)
    assert good.sum() > 12
    flux, error = table["FLUX_PSF"][good], table["FLUXERR_PSF"][good]
    assert np.median(flux / frame.flux[star][good]) == pytest.approx(1.0, abs=0.045)
    assert abs(np.median((flux - frame.flux[star][good]) / error)) < 1.5
