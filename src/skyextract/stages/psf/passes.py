"""One pass of the PSF: stars are looked for, selected, and become a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf
from skyextract.errors import StepError
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Characterize
from skyextract.stages.psf.degree import USUAL, with_best_degree
from skyextract.stages.psf.fitted import PsfFit, Variation, is_constant
from skyextract.stages.psf.model import RADIUS_FWHM, affordable_degree, build_psf, without_stars
from skyextract.stages.psf.neighbours import Neighbours
from skyextract.stages.psf.sample import ROUND, StarSample
from skyextract.stages.starselection.candidates import Candidates, find_candidates
from skyextract.stages.starselection.endless import run_on
from skyextract.stages.starselection.stars import Selection, select_stars
from skyextract.stages.starselection.trails import ELONGATED as TRAILED
from skyextract.stages.starselection.trails import Ellipse, common_trail, find_trails

MIN_STARS, MAX_STARS = 60, 240
MAX_STAR_PIXELS = 400_000
"""Stars are taken up to this number, and up to this many pixels in their stamps."""

FIRST_STARS = 60
"""The first pass of several needs no better PSF than these many stars give, degree 1."""

ELONGATED = 0.2
"""(A-B)/(A+B) of stars above which the minor axis decides on the sampling of the PSF."""

SCALE_CHANGE, MAX_SCALES = 1.7, 3
"""Stars that turn out larger than the filter by more than this are looked for again with one of
their size, so many times at most in all."""

MIN_FREE = 0.8
"""Share of the pixels of PSF stars below which their neighbours are subtracted, not masked."""

MOST_KEPT, MORE_KEPT = 0.75, 1.2
"""A constant PSF is that of crowded stars if it rejects fewer than a quarter of them, or one that
varies does not keep a fifth more: those that it keeps always fit."""

RETRIES = (1.0, 2.5, 0.4, 6.0)
"""Where no star is found, the start of DEFAULT_FWHM is tried again times these factors."""


@record
class PsfPass:
    """PSF of one pass, and what it was made of.

    `models` is the light of all sources if it was fitted.
    """

    fit: PsfFit
    stars: Candidates
    selection: Selection
    models: F4 | None
    sample: StarSample
    build: Callable[[StarSample, Variation], PsfFit]

    def model(self, sample: StarSample) -> Psf:
        """Return the model of the same variation that other stars give."""
        return self.build(sample, self.fit.variation).psf


def measure_psf(
    exposure: Exposure,
    data: F4,
    variance: F4,
    psf: Psf | None,
    *,
    crowded: bool,
    preliminary: bool,
    variation: Variation | None = None,
    is_last: bool = True,
    settings: Characterize,
    run: Run,
) -> PsfPass | str:
    """Select stars and build a PSF from them; the reason if that is not possible.

    If they are `crowded` their neighbours are fitted with the PSF so far.  Without a PSF so
    far (None) the search starts from DEFAULT_FWHM and, where that fails, from widths far from
    it.  A `variation` that an earlier pass has chosen is kept; none but the usual one is tried if
    this is not the last pass (`is_last`).
    """
    starts = [psf.fwhm] if psf else [settings.default_fwhm * factor for factor in RETRIES]
    gain = exposure.detector.gain
    maker = _Maker(data, variance, gain, settings, run)
    reason = "no star found"
    for first in starts:
        candidates, selection, trail = _search(
            exposure, data, variance, first,
            n_most=FIRST_STARS if preliminary else MAX_STARS, n_scales=1 if psf else MAX_SCALES,
            settings=settings, run=run,
        )  # fmt: skip
        rows = selection.stars
        if rows.size == 0:
            n = candidates.x.size
            reason = f"no isolated stars of one size among {n} bright sources" if n else reason
            continue
        neighbours = None
        if crowded and psf:
            neighbours = Neighbours.fit(
                data, variance, gain, exposure.mask, psf, candidates.peaks, run
            )
        sample = _sample(candidates, selection, trail, neighbours)
        try:
            if variation is not None:
                fit = maker.build(sample, variation)
            else:
                sizes = np.log10(candidates.fwhm[rows])
                fit = maker.with_best_variation(
                    sample, sizes, preliminary=preliminary, is_last=is_last
                )
        except StepError as error:
            reason = str(error)
            continue
        low, high = settings.sample_fwhmrange
        if not low <= fit.psf.fwhm <= high:
            reason = f"a FWHM of {fit.psf.fwhm:.2f} pixels is outside SAMPLE_FWHMRANGE"
            continue
        if run_on(data, fit.psf, sample.x, sample.y):
            return "what looks like trailed stars are pieces of lines without ends (spectra?)"
        models = neighbours.models if neighbours else None
        return PsfPass(fit, _take(candidates, rows), selection, models, sample, maker.build)
    return reason


def _sample(
    candidates: Candidates, selection: Selection, trail: Ellipse | None,
    neighbours: Neighbours | None,
) -> StarSample:  # fmt: skip
    """Return the stars that were selected, as the model is made of them."""
    rows = selection.stars
    ellipticity = median(candidates.ellipticity[rows])
    shrunk = math.sqrt((1.0 - ellipticity) / (1.0 + ellipticity))
    return StarSample(
        x=candidates.x[rows],
        y=candidates.y[rows],
        flux=candidates.flux[rows],
        height=candidates.height[rows],
        fwhm=selection.fwhm,
        peaks=candidates.peaks,
        narrow=selection.fwhm * shrunk if ellipticity > ELONGATED else 0.0,
        shape=trail.form if trail else ROUND,
        neighbours=neighbours,
    )


@record
class _Maker:
    """Makes models of the PSF of stars of one image."""

    data: F4
    variance: F4
    gain: float
    settings: Characterize
    run: Run

    def build(
        self, sample: StarSample, variation: Variation, held_out: Bools | None = None,
        rough: bool = False,
    ) -> PsfFit:  # fmt: skip
        """Make a model that varies so."""
        return build_psf(
            self.data,
            self.variance,
            sample,
            gain=self.gain,
            degree=variation.degree,
            scaled=variation.scaled,
            sampling=self.settings.psf_sampling,
            size=max(self.settings.psf_size, default=0),
            held_out=held_out,
            rough=rough,
            run=self.run,
        )

    def with_best_variation(
        self, sample: StarSample, sizes: F8, *, preliminary: bool, is_last: bool = True
    ) -> PsfFit:
        """Make a model that varies as the stars ask for; a `preliminary` one by degree 1."""
        most = self.settings.psfvar_degrees
        wanted = min(most, 1 if preliminary else USUAL)
        if sample.neighbours is not None and wanted:
            # Wings that neighbours shine on would vary with the sky that is left there.
            constant = self.build(sample, Variation(0))
            if affordable_degree(sample.x.size, wanted) == 0:
                return constant
            fits, kept = is_constant(constant), float(constant.used.mean())
            if fits and kept > MOST_KEPT:
                return constant
            fit = self.build(sample, Variation(wanted))
            if fits and float(fit.used.mean()) < MORE_KEPT * kept:
                return constant
        else:
            fit = self.build(sample, Variation(wanted), rough=preliminary)
        if preliminary or not is_last or (sample.neighbours is None and fit.free_share < MIN_FREE):
            return fit  # another pass comes
        return with_best_degree(fit, sizes, Trials(partial(self.build, sample), {}), most)


@record
class Trials:
    """Models of a sample of stars.

    Without some of many stars a scaled profile is little another one: its equations are solved from
    the solution of all on.  Of fewer, those that a model rejects decide, which takes all its steps.
    """

    build: Callable[[Variation, Bools | None], PsfFit]
    made: dict[Variation, PsfFit]

    def __call__(self, variation: Variation, held_out: Bools | None) -> PsfFit:
        """Make a model that varies so, of all stars or without some."""
        if not variation.scaled:
            return self.build(variation, held_out)
        if variation not in self.made:
            self.made[variation] = self.build(variation, None)
        whole = self.made[variation]
        if held_out is None:
            return whole
        other = None
        if np.count_nonzero(whole.used & ~held_out) >= MIN_STARS:
            other = without_stars(whole, held_out)
        return other or self.build(variation, held_out)


def select_without_psf(
    exposure: Exposure, data: F4, variance: F4, start: float, n_least: int,
    settings: Characterize, run: Run,
) -> tuple[Candidates, Selection]:  # fmt: skip
    """Select stars as `measure_psf` does, from a FWHM that may be far from theirs."""
    candidates = selection = None
    for first in (start, *(settings.default_fwhm * factor for factor in RETRIES)):
        candidates, selection, _ = _search(
            exposure, data, variance, first,
            n_most=FIRST_STARS, n_scales=MAX_SCALES, settings=settings, run=run,
        )  # fmt: skip
        if selection.stars.size >= n_least:
            break
    assert candidates is not None
    assert selection is not None
    return candidates, selection


def _search(
    exposure: Exposure, data: F4, variance: F4, start: float, *, n_most: int, n_scales: int,
    settings: Characterize, run: Run,
) -> tuple[Candidates, Selection, Ellipse | None]:  # fmt: skip
    """Look for stars with a filter of so many pixels FWHM, and with larger ones if they are.

    Where there are none, or long ones, also along the trails that most objects make.
    """
    for scale in range(n_scales):
        candidates = find_candidates(
            data, variance, exposure.mask,
            fwhm=start, gain=exposure.detector.gain, min_snr=settings.sample_minsn, run=run,
        )  # fmt: skip
        most = _affordable(n_most, start)
        selection = select_stars(candidates, settings, exposure.shape, most)
        if not selection.fwhm > SCALE_CHANGE * start or scale + 1 == n_scales:
            break
        # The peaks of a narrower filter are parts of such stars: look again.
        start = selection.fwhm
    rows = selection.stars
    if rows.size and median(candidates.ellipticity[rows]) < TRAILED:
        return candidates, selection, None
    trail = common_trail(data, variance, candidates.peaks, start, settings.sample_minsn)
    if trail is None:
        return candidates, selection, None
    along = find_trails(
        data, variance, exposure.mask,
        ellipse=trail, gain=exposure.detector.gain, min_snr=settings.sample_minsn,
    )  # fmt: skip
    found = select_stars(along, settings, exposure.shape, _affordable(n_most, trail.fwhm))
    return (along, found, trail) if found.stars.size > rows.size else (candidates, selection, None)


def _affordable(n_most: int, fwhm: float) -> int:
    """Return how many stars are taken at most: as many as their stamps may have pixels."""
    most = MAX_STAR_PIXELS // (2 * math.ceil(RADIUS_FWHM * fwhm) + 3) ** 2
    return max(MIN_STARS, min(n_most, most))


def _take(candidates: Candidates, rows: I8) -> Candidates:
    """Return the candidates of the given rows, with all peaks."""
    per_star = {
        name: getattr(candidates, name)[rows]
        for name in (
            "x", "y", "fwhm", "ellipticity", "angle", "flux", "snr", "broadening", "height",
            "flags",
        )
    }  # fmt: skip
    return Candidates(**per_star, peaks=candidates.peaks)
