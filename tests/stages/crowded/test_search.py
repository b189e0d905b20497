"""Crowded fields with truth: what hides beneath others is found, and galaxies are left whole."""

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages import find
from skyextract.stages.crowded import errors, likely, rest
from skyextract.stages.find import find_sources
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs
from skyextract.stages.pointsources.growth import MODEL_ERROR

find_is_full, find_prepare = find.is_full, find.prepare_plane
SIZE, FWHM, SKY, NOISE, GAIN = 300, 3.5, 200.0, 10.0, 2.0
WANTED = frozenset(
    "X_IMAGE Y_IMAGE FLUX_PSF FLUXERR_PSF XPSF_IMAGE YPSF_IMAGE FLUX_AUTO FLUX_APER FRACFLUX_PSF"
    " SPREAD_MODEL ID_PARENT A_IMAGE".split()
)


def simulate(density, seed=1, galaxies=0):
    """Gaussian stars, `density` per 100 FWHM**2, of fluxes ~ f^-1.6; and exponential discs."""
    rng = np.random.default_rng(seed)
    n = int(density * SIZE**2 / 100 / FWHM**2)
    x, y = rng.uniform(4, SIZE - 5, (2, n))
    flux = 400.0 * rng.uniform(size=n) ** (-1 / 0.6)
    flux = np.minimum(flux, 1e5)
    image = np.full((SIZE, SIZE), SKY)
    psf = Psf.gaussian(FWHM, PsfSource.FILE)
    radius = psf.radius
    padded = np.pad(image, radius)
    row, column = np.rint(y).astype(int), np.rint(x).astype(int)
    stamps = psf.stamps(x, y, x - column, y - row)
    for stamp, j, i, f in zip(stamps, row, column, flux, strict=True):
        padded[j : j + 2 * radius + 1, i : i + 2 * radius + 1] += f * stamp
    image = padded[radius:-radius, radius:-radius]
    yy, xx = np.mgrid[:SIZE, :SIZE]
    discs = rng.uniform(30, SIZE - 30, (galaxies, 2))
    for gx, gy in discs:
        image += 120.0 * np.exp(-np.hypot(xx - gx, 1.4 * (yy - gy)) / 6.0)
    image = rng.poisson(image * GAIN) / GAIN + rng.normal(0, NOISE / 2, image.shape)
    exposure = Exposure(
        image=image.astype(np.float32), mask=np.zeros(image.shape, np.uint16),
        detector=Detector(gain=GAIN), psf=psf,
    )  # fmt: skip
    return exposure, x, y, flux, discs


def run_measure(exposure, niter=8, threads=2):
    config = Config()
    extraction = replace(config.extraction, crowd_niter=niter)
    background = replace(config.background, back_size=(64,))
    config = replace(config, extraction=extraction, background=background)
    return measure(exposure, config, WANTED, MeasureInputs(pixel_scale=1.0), Run(threads))


def once(exposure):
    """Return the sources of one pass of detection."""
    config = Config()
    config = replace(
        config, extraction=replace(config.extraction, detect_niter=1),
        background=replace(config.background, back_size=(64,)),
    )  # fmt: skip
    return find_sources(exposure, config, MeasureInputs(pixel_scale=1.0), Run(2)).detections


def recovered(sources, x, y, flux):
    """Tell which stars have a source within 0.5 FWHM and 0.75 mag; and the share of true ones."""
    sx, sy, sf = (np.asarray(sources[k]) for k in ("XPSF_IMAGE", "YPSF_IMAGE", "FLUX_PSF"))
    distance = np.hypot(sx[:, None] - 1 - x, sy[:, None] - 1 - y)
    with np.errstate(divide="ignore", invalid="ignore"):
        close = (distance < 0.5 * FWHM) & (np.abs(2.5 * np.log10(sf[:, None] / flux)) < 0.75)
    return close.any(axis=0), close.any(axis=1).mean()


@pytest.fixture(scope="module")
def crowd():
    exposure, x, y, flux, _ = simulate(12)
    return run_measure(exposure, niter=0), run_measure(exposure), x, y, flux


def test_hidden_stars_are_found(crowd):
    before, after, x, y, flux = crowd
    bright = flux > 1500.0
    was, _ = recovered(before.sources, x, y, flux)
    now, purity = recovered(after.sources, x, y, flux)
    assert was[bright].mean() < 0.75
    assert now[bright].mean() > 0.9
    assert purity > 0.96


def test_a_crowd_is_detected_once(crowd):
    """Its sources would leave a second pass few pixels of sky; other fields have both passes."""
    assert crowd[1].metrics["iterations"] == 1
    assert crowd[0].metrics["iterations"] == 2
    sparse = simulate(0.5)[0]
    assert run_measure(sparse).metrics["iterations"] == 2


def test_a_crowd_is_detected_on_the_plane_that_showed_it_full():
    exposure, *_ = simulate(12)
    with pytest.MonkeyPatch.context() as patch:
        planes = []
        patch.setattr(
            find,
            "prepare_plane",
            lambda *a, **k: planes.append(find_prepare(*a, **k)) or planes[-1],
        )
        run_measure(exposure, niter=1)
    assert len(planes) == 1


def test_what_is_full_but_no_crowd_is_detected_twice():
    """Light above the sky in a good part of the frame, which two sources have: as without a try."""
    exposure, *_ = simulate(0.5)
    y, x = np.mgrid[:SIZE, :SIZE]
    light = sum(250.0 * np.exp(-0.5 * (np.hypot(x - at, y - at) / 30.0) ** 2) for at in (90, 210))
    exposure = replace(exposure, image=exposure.image + light.astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "is_full", lambda *_: False)
        expected = run_measure(exposure)
        patch.undo()
        tries = []
        patch.setattr(find, "is_full", lambda *args: tries.append(find_is_full(*args)) or tries[-1])
        now = run_measure(exposure)
    assert tries == [True]
    assert now.metrics["iterations"] == 2
    for name in ("X_IMAGE", "FLUX_PSF", "FLUX_AUTO"):
        np.testing.assert_array_equal(now.sources[name], expected.sources[name])


def test_fluxes_are_unbiased(crowd):
    _, after, x, y, flux = crowd
    s = after.sources
    d = np.hypot(s["XPSF_IMAGE"][:, None] - 1 - x, s["YPSF_IMAGE"][:, None] - 1 - y)
    star = np.argmin(d, axis=1)
    good = (d.min(axis=1) < 1.0) & (flux[star] > 3000.0) & (s["FRACFLUX_PSF"] > 0.7)
    ratio = s["FLUX_PSF"][good] / flux[star][good]
    assert good.sum() > 100
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)


def test_errors_know_what_is_left(crowd):
    """Their pulls stay near one where stars that nobody can tell apart add to the noise."""
    _, after, x, y, flux = crowd
    s = after.sources
    d = np.hypot(s["XPSF_IMAGE"][:, None] - 1 - x, s["YPSF_IMAGE"][:, None] - 1 - y)
    star = np.argmin(d, axis=1)
    good = (d.min(axis=1) < 0.5 * FWHM) & (flux[star] > 1500.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(errors, "_mean_of_rest", lambda hidden, *_: np.ones(hidden.x.size))
        patch.setattr(errors, "blended_errors", lambda x, y, flux, error, fwhm, share: error)
        without = run_measure(simulate(12)[0])
    of_all = np.full(without.detections.n, np.nan)
    of_all[without.rows] = without.sources["FLUXERR_PSF"]
    bare = of_all[after.rows]
    pulls = [
        np.diff(np.nanpercentile(((s["FLUX_PSF"] - flux[star]) / error)[good], (16, 84)))[0] / 2
        for error in (s["FLUXERR_PSF"], bare)
    ]
    assert 0.8 < pulls[0] < 1.4
    assert pulls[0] < pulls[1]
    factor = s["FLUXERR_PSF"] / bare
    assert (factor[np.isfinite(factor)] > 1.0 - 1e-6).all()


def test_rows_of_hidden_sources(crowd):
    """They carry a flag, the blend that they come from, and fluxes without their neighbours."""
    _, after, *_ = crowd
    s = after.sources
    hidden = (s["FLAGS_SKY"] & FlagsSky.HIDDEN) != 0
    assert s.n_rows == once(simulate(12)[0]).n + hidden.sum()
    assert s["NUMBER"].tolist() == list(range(1, s.n_rows + 1))
    assert after.detections.n >= after.rows.size == s.n_rows
    assert (s["ID_PARENT"][hidden] > 0).mean() > 0.8
    strong = hidden & (s["FLUX_PSF"] > 3000.0)
    assert strong.sum() > 20
    ratio = s["FLUX_AUTO"][strong] / s["FLUX_PSF"][strong]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.08)
    assert np.median(s["FRACFLUX_PSF"][hidden]) < 0.95


def test_fits_of_hidden_sources_are_significant(crowd):
    """Their likeliest fluxes are less, but no rows fewer."""
    _, after, *_ = crowd
    exposure, *_ = simulate(12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likely, "with_likely_fluxes", lambda sources, _: sources)
        fits = run_measure(exposure).sources
    hidden = (fits["FLAGS_SKY"] & FlagsSky.HIDDEN) != 0
    assert (fits["FLUX_PSF"][hidden] >= errors.LEAST_SNR * fits["FLUXERR_PSF"][hidden]).all()
    assert fits.n_rows == after.sources.n_rows
    assert (after.sources["FLUX_PSF"][hidden] < fits["FLUX_PSF"][hidden]).all()


def test_correlated_noise_holds_no_stars():
    """As of resampled frames: the noise of the filtered image counts, not that of the pixels."""
    exposure, x, y, flux, _ = simulate(12)
    noise = np.random.default_rng(2).normal(0.0, 60.0, (SIZE + 4, SIZE + 4))
    for axis in (0, 1):
        noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)) / 3.0
    exposure = replace(exposure, image=exposure.image + noise[4:, 4:].astype(np.float32))
    _, purity = recovered(run_measure(exposure).sources, x, y, flux)
    assert purity > 0.93
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest, "SHARED", (2.0, 3.0))
        _, impure = recovered(run_measure(exposure).sources, x, y, flux)
    assert impure < purity - 0.05


def test_threads_do_not_matter(crowd):
    exposure, *_ = simulate(12)
    one = run_measure(exposure, threads=1)
    for name in one.sources:
        np.testing.assert_array_equal(one.sources[name], crowd[1].sources[name], err_msg=name)


def test_an_uncrowded_field_has_its_rows_and_companions():
    """What is detected stays, but for the fluxes of stars that are two; the others are true."""
    exposure, x, y, *_ = simulate(0.8)
    found, without = (run_measure(exposure, niter=n).sources for n in (8, 0))
    n = without.n_rows
    for name in without:
        if "PSF" not in name and name not in ("SPREAD_MODEL", "FLAGS"):
            np.testing.assert_array_equal(found[name][:n], without[name])
    # Who has light of one of the others in its footprint is flagged as a blend.
    changed = np.flatnonzero(found["FLAGS"][:n] != without["FLAGS"])
    np.testing.assert_array_equal(found["FLAGS"][changed], without["FLAGS"][changed] | 3)
    for k in changed:
        apart = np.hypot(*(found[c][n:] - found[c][k] for c in ("X_IMAGE", "Y_IMAGE")))
        assert apart.min() < 3 * FWHM
    # Stars that are two tell less of the light in the wings, which all fluxes share.
    common = np.median(found["FLUX_PSF"][:n] / without["FLUX_PSF"])
    assert abs(common - 1.0) < MODEL_ERROR
    change = np.abs(found["FLUX_PSF"][:n] / common - without["FLUX_PSF"]) / without["FLUXERR_PSF"]
    assert n < found.n_rows < 1.1 * n
    assert np.count_nonzero(change > 0.1) <= found.n_rows - n
    added = np.arange(found.n_rows) >= n
    assert ((found["FLAGS_SKY"] & FlagsSky.HIDDEN) != 0)[added].all()
    offset = np.hypot(
        found["XPSF_IMAGE"][added, None] - 1 - x, found["YPSF_IMAGE"][added, None] - 1 - y
    )
    assert (offset.min(axis=1) < 0.3 * FWHM).all()


def test_galaxies_are_not_torn():
    """Discs that no bright star or other disc covers get no point sources of their own."""
    torn = []
    for seed in (3, 4):
        exposure, x, y, flux, discs = simulate(4, seed=seed, galaxies=12)
        beside = np.hypot(discs[:, :1] - x, discs[:, 1:] - y) < 15.0
        apart = np.hypot(*(discs[:, None] - discs).T) + np.diag(np.full(12, np.inf))
        discs = discs[~(beside & (flux > 4000.0)).any(axis=1) & (apart.min(axis=0) > 21.0)]
        s = run_measure(exposure).sources
        hidden = (s["FLAGS_SKY"] & FlagsSky.HIDDEN) != 0
        assert hidden.sum() > 10
        sx, sy = s["X_IMAGE"][hidden] - 1, s["Y_IMAGE"][hidden] - 1
        near = np.hypot(sx[:, None] - discs[:, 0], sy[:, None] - discs[:, 1]) < 10
        star = np.hypot(sx[:, None] - x, sy[:, None] - y).min(axis=1) < 0.6 * FWHM
        torn += (near & ~star[:, None]).any(axis=0).tolist()
    assert len(torn) >= 6
    assert np.mean(torn) < 0.2


def test_what_an_assumed_psf_leaves_over_is_not_searched():
    exposure, *_ = simulate(10)
    given = run_measure(exposure).sources
    assumed = run_measure(replace(exposure, psf=Psf.gaussian(5.0))).sources
    assert (given["FLAGS_SKY"] & FlagsSky.HIDDEN).any()
    assert not (assumed["FLAGS_SKY"] & FlagsSky.HIDDEN).any()


@pytest.mark.parametrize("factor", [1.0, 5.0])
def test_noise_that_raises_the_threshold_is_told_in_crowds(factor):
    """Sky noise shared by neighbours, of `factor` times what independent pixels would have."""
    exposure, _, _, _, _ = simulate(12)
    rng = np.random.default_rng(3)
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    noise = rng.normal(0.0, 1.0, exposure.image.shape)
    for axis in (0, 1):
        noise = np.apply_along_axis(np.convolve, axis, noise, kernel / kernel.sum(), "same")
    more = (factor - 1.0) * 1.5 * NOISE * noise / noise.std()
    measured = run_measure(replace(exposure, image=(exposure.image + more).astype(np.float32)))
    told = any("times that of independent pixels" in text for text in measured.run.warnings)
    assert (measured.sources["FLAGS_SKY"] & int(FlagsSky.HIDDEN)).any()
    assert told == (factor > 1.0)
