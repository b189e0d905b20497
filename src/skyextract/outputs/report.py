"""What a run reports: step statuses, header cards and the JSON summary."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from skyextract import __version__
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.mosaic import frame_pixels
from skyextract.datamodel.photocal import PhotoCal, PhotSource
from skyextract.datamodel.plain import plain
from skyextract.datamodel.psf import PsfSource
from skyextract.errors import SkyextractError, StepError
from skyextract.messages import tell_step
from skyextract.run import Run
from skyextract.settings.steps import Plan, Status, Step, is_done

log = logging.getLogger("skyextract")


class Outcome(Protocol):
    """What every step returns, whatever else is in it."""

    @property
    def status(self) -> Status:
        """COMPLETE, FALLBACK, FAILED or SKIPPED."""

    @property
    def reason(self) -> str:
        """Why it is not COMPLETE; empty if it is."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Numbers for the JSON summary; None for an unknown one."""


_Outcome = TypeVar("_Outcome", bound=Outcome)

CARD_METRICS = {
    "FWHMPIX": (Step.CHARACTERIZE, "fwhm_pix", "[pix] FWHM of the PSF"),
    "SEEING": (Step.CHARACTERIZE, "fwhm_arcsec", "[arcsec] FWHM of the PSF"),
    "NOISESCL": (Step.MEASURE, "noise_scale", "noise of the filtered image over independent"),
    "ASTRRMS": (Step.ASTROMETRY, "rms_arcsec", "[arcsec] rms of the astrometric fit per axis"),
    "MAGZP": (Step.PHOTOMETRY, "zero_point", "[mag] MAG = MAGZP - 2.5 log10(flux)"),
    "MAGZPERR": (Step.PHOTOMETRY, "zero_point_error", "[mag] standard error of MAGZP"),
    "NJYUNIT": (Step.PHOTOMETRY, "nanojansky", "[nJy] flux of one image unit (AB)"),
    "MAGLIM": (Step.PHOTOMETRY, "limiting_mag_5sigma", "[mag] 5 sigma limit of a point source"),
    "MAGSCAT": (Step.PHOTOMETRY, "scatter_mag", "[mag] scatter about the zero point"),
    "SKYBRITE": (Step.PHOTOMETRY, "sky_brightness", "[mag/arcsec2] sky brightness"),
    "PHOTFLUX": (Step.PHOTOMETRY, "flux_key", "flux that MAGZP was fitted to"),
    "PHOTCAT": (Step.PHOTOMETRY, "catalog", "photometric reference catalogue"),
    "PHOTBAND": (Step.PHOTOMETRY, "band", "its magnitude column"),
}
"""Cards of every product that repeat a number of the summary."""


@dataclass
class Report:
    """Statuses and numbers of the steps of one image extension.

    Attributes
    ----------
    plan : Plan
    run : Run
        Takes times and warnings.
    statuses : dict
        Status per step; all five from the start.
    metrics : dict
        Numbers per step, in the order of the JSON summary.
    sources : dict
        PSFSRC, ASTRSRC and PHOTSRC.
    failure : str
        Why the extension as a whole could not be processed; empty if it was.
    """

    plan: Plan
    run: Run
    statuses: dict[Step, Status] = field(
        default_factory=lambda: dict.fromkeys(Step, Status.SKIPPED)
    )
    metrics: dict[Step, dict[str, Any]] = field(default_factory=lambda: {s: {} for s in Step})
    sources: dict[str, str] = field(
        default_factory=lambda: {"PSFSRC": "NONE", "ASTRSRC": "NONE", "PHOTSRC": "NONE"}
    )
    failure: str = ""

    def continued(self, plan: Plan, run: Run) -> Report:
        """Return a report that starts from this one, for more steps on the same sources."""
        return replace(
            self,
            plan=plan,
            run=run,
            statuses=dict(self.statuses),
            metrics={step: dict(numbers) for step, numbers in self.metrics.items()},
            sources=dict(self.sources),
        )

    @contextmanager
    def step(self, step: Step) -> Iterator[Callable[[_Outcome], _Outcome]]:
        """Run the block as a step: its time is taken, a StepError makes it FAILED.

        Characterize is a FALLBACK then, as a default PSF stands in.
        Gives the function that records what came out, and returns it.  A mistake of ours in a
        calibration makes it FAILED, too: it must not cost the sources that were measured.
        """

        def done(outcome: _Outcome) -> _Outcome:
            reason = {"reason": outcome.reason} if outcome.reason else {}
            self.record(step, outcome.status, {**outcome.metrics, **reason})
            return outcome

        planned = sorted(self.plan.steps, key=list(Step).index)
        if step in planned:
            tell_step(self.run.label, step.value, planned.index(step), len(planned))
        with self.run.timed(step):
            try:
                yield done
            except StepError as error:
                self._note_failure(step, self.run.shown(str(error)))
            except (SkyextractError, MemoryError, OSError):
                raise
            except Exception as error:
                if step not in {Step.ASTROMETRY, Step.PHOTOMETRY}:
                    raise
                log.debug("traceback", exc_info=True)
                what = f"{type(error).__name__}: {error}"
                self._note_failure(
                    step, f"internal error: {what}; please report it with the output of --debug"
                )

    def _note_failure(self, step: Step, reason: str) -> None:
        known = any(numbers.get("reason") == reason for numbers in self.metrics.values())
        self.run.warn(f"{step} failed: {'the same' if known else reason}")
        # A default PSF stands in for what characterize does not give.
        status = Status.FALLBACK if step is Step.CHARACTERIZE else Status.FAILED
        self.record(step, status, {"reason": reason})

    def record(self, step: Step, status: Status, metrics: Mapping[str, Any]) -> None:
        """Note the outcome of a step."""
        self.statuses[step] = status
        self.metrics[step] = dict(metrics)

    def note_earlier(self, exposure: Exposure) -> None:
        """Note the steps that an earlier run has done, and a PSF that comes with the image."""
        if is_done(exposure.header, Step.ISR) and not self.metrics[Step.ISR]:
            self.record(Step.ISR, Status.COMPLETE, {})
        if exposure.has_psf:
            done = is_done(exposure.header, Step.CHARACTERIZE)
            status = Status.COMPLETE if done else Status.SKIPPED
            self.record(Step.CHARACTERIZE, status, known_psf(exposure))

    def note_detection(self, detection: Exposure | None, reason: str) -> None:
        """Note the PSF of the image to detect on, in dual-image mode, and what is wrong with it."""
        if detection is None or detection.psf is None:
            return
        character = self.metrics[Step.CHARACTERIZE]
        character["detection_psf_source"] = str(detection.psf.source)
        fwhm = frame_pixels(detection.header) * detection.psf.fwhm
        character["detection_fwhm_pix"] = fwhm if detection.has_psf else None
        if reason and self.statuses[Step.CHARACTERIZE] is Status.COMPLETE:
            self.statuses[Step.CHARACTERIZE] = Status.FALLBACK
            character["reason"] = reason

    def describe(self, exposure: Exposure, pixel_scale: float) -> None:
        """Note where PSF and WCS come from, and convert the FWHM.

        Parameters
        ----------
        pixel_scale : float
            Arcsec, of the exposure's pixels; NaN if it is unknown.
        """
        self.sources["PSFSRC"] = str(exposure.psf.source if exposure.psf else PsfSource.NONE)
        if self.statuses[Step.ASTROMETRY].has_result:
            self.sources["ASTRSRC"] = "FITTED"
        else:
            self.sources["ASTRSRC"] = "NONE" if exposure.wcs is None else "HEADER"
        character = self.metrics[Step.CHARACTERIZE]
        if character.get("fwhm_pix") is not None:
            pixels = character["fwhm_pix"] / frame_pixels(exposure.header)
            character["fwhm_arcsec"] = pixels * pixel_scale

    def note_zero_point(self, photocal: PhotoCal, summed_time: float) -> None:
        """Give the numbers of the zero point that the magnitudes have, fitted or not."""
        self.sources["PHOTSRC"] = str(photocal.source)
        if photocal.source is not PhotSource.NONE:
            self.metrics[Step.PHOTOMETRY] |= {
                "zero_point": photocal.zero_point,
                "zero_point_error": photocal.zero_point_error,
                "zero_point_1s": photocal.zero_point_1s(summed_time),
                "nanojansky": photocal.nanojansky,
                "origin": photocal.origin or None,
            }
        elif not math.isnan(photocal.zero_point):
            self.run.warn("magnitudes are instrumental: no zero point is known")

    @property
    def step_failed(self) -> bool:
        """A step that was asked for FAILED."""
        return any(self.statuses[step] == Status.FAILED for step in self.plan.steps)

    @property
    def fell_back(self) -> bool:
        """A step fell back, or the default PSF stands in for a measured one."""
        return Status.FALLBACK in self.statuses.values() or self.sources["PSFSRC"] == "DEFAULT"

    @property
    def status(self) -> str:
        """complete, partial or failed, for the summary."""
        if self.failure:
            return "failed"
        fallback = Status.FALLBACK in self.statuses.values()
        return "partial" if self.step_failed or fallback else "complete"

    def headline(self) -> str:
        """Return the gist in one line: sources, seeing, astrometry, zero point."""
        character, astrometry, photometry = (
            self.metrics[step] for step in (Step.CHARACTERIZE, Step.ASTROMETRY, Step.PHOTOMETRY)
        )
        parts = [_counts([self.metrics[Step.MEASURE]])]
        if character.get("fwhm_pix") is not None:
            seeing = plain(character.get("fwhm_arcsec"))
            arcsec = "" if seeing is None else f' ({seeing:.2f}")'
            parts.append(f"FWHM {character['fwhm_pix']:.2f} px{arcsec}")
        if self.statuses[Step.ASTROMETRY].has_result:
            pairs, rms = astrometry["n_matched"], astrometry["rms_arcsec"]
            shown = f"{rms:.3f}" if rms >= 0.0005 else f"{rms:.1g}"
            parts.append(f'astrometry {pairs} stars, rms {shown}"')
        if self.statuses[Step.PHOTOMETRY].has_result:
            zero_point, error = photometry["zero_point"], photometry["zero_point_error"]
            parts.append(f"zero point {zero_point:.3f} +- {error:.3f}")
        return ", ".join([*parts, *self.shortfalls()])

    def shortfalls(self) -> list[str]:
        """Return the steps that fell back or failed, in words."""
        named = (Status.FALLBACK, Status.FAILED)
        return [f"{step} {self.statuses[step]}" for step in Step if self.statuses[step] in named]

    def cards(self) -> dict[str, tuple[Any, str]]:
        """Return the header cards of every product: value and comment; None is undefined."""
        cards: dict[str, tuple[Any, str]] = {"SKYVERS": (__version__, "version of skyextract")}
        for step in Step:
            cards[step.card] = (str(self.statuses[step]), f"status of {step.value}")
        cards["PSFSRC"] = (self.sources["PSFSRC"], "where the PSF comes from")
        cards["ASTRSRC"] = (self.sources["ASTRSRC"], "where the WCS comes from")
        cards["PHOTSRC"] = (self.sources["PHOTSRC"], "where the zero point comes from")
        for name, (step, key, comment) in CARD_METRICS.items():
            cards[name] = (plain(self.metrics[step].get(key)), comment)
        return cards


def _counts(measured: Sequence[Mapping[str, Any]]) -> str:
    """Return how many sources there are, and how many of them are saturated and have flags."""
    n_sources, n_saturated, n_flagged = (
        sum(metrics.get(key) or 0 for metrics in measured)
        for key in ("n_sources", "n_saturated", "n_flagged")
    )
    counts = [(n_saturated, "saturated"), (n_flagged, "with flags")]
    told = ", ".join(f"{n} {what}" for n, what in counts if n)
    return f"{n_sources} sources" + (f" ({told})" if told else "")


def headline_of(reports: Sequence[Report]) -> str:
    """Return the gist of the extensions of a file in one line; that of the only one as it is."""
    done = [report for report in reports if "n_sources" in report.metrics[Step.MEASURE]]
    if len(reports) == 1 and done:
        return reports[0].headline()
    parts = [f"{len(reports)} extensions"]
    if done:
        parts.append(_counts([report.metrics[Step.MEASURE] for report in done]))
    sizes = [report.metrics[Step.CHARACTERIZE].get("fwhm_pix") for report in done]
    known = sorted(size for size in sizes if size is not None)
    if known:
        parts.append(f"FWHM {known[0]:.2f} to {known[-1]:.2f} px")
    for step, name in ((Step.ASTROMETRY, "astrometry"), (Step.PHOTOMETRY, "zero point")):
        if any(step in report.plan for report in done):
            n_good = sum(report.statuses[step].has_result for report in done)
            parts.append(f"{name} of {n_good}")
    n_failed = sum(bool(report.failure) for report in reports)
    if n_failed:
        parts.append(f"{n_failed} FAILED")
    shortfalls: dict[str, int] = {}
    for report in reports:
        for text in report.shortfalls():
            shortfalls[text] = shortfalls.get(text, 0) + 1
    return ", ".join([*parts, *(f"{text} in {n}" for text, n in shortfalls.items())])


def known_psf(exposure: Exposure) -> dict[str, float | int | None]:
    """Return the numbers of a PSF that an earlier run measured."""
    psf, background = exposure.psf, exposure.background
    assert psf is not None
    return {
        "fwhm_pix": frame_pixels(exposure.header) * psf.fwhm,
        "ellipticity": psf.ellipticity,
        "n_psf_stars": psf.n_stars,
        "background": background.mean if background else None,
        "background_rms": background.sigma if background else None,
    }


STEP_FIELDS = {
    Step.ISR: (),
    Step.CHARACTERIZE: (
        "psf_source", "fwhm_pix", "fwhm_arcsec", "ellipticity", "n_psf_stars", "n_bright_sources",
        "psf_star_share", "n_cosmic_rays", "background", "background_rms", "iterations",
        "converged",
    ),
    Step.MEASURE: (
        "n_sources", "n_saturated", "n_flagged", "n_ghosts", "n_sharp", "n_tracks",
        "iterations",
        "noise_scale", "detection_scale", "sky_share",
    ),
    Step.ASTROMETRY: (
        "source", "n_reference", "n_matched", "n_used", "rms_arcsec", "rms_holdout_arcsec",
        "pixel_scale", "rotation_deg", "parity", "shift_arcsec", "false_match_probability",
    ),
    Step.PHOTOMETRY: (
        "source", "zero_point", "zero_point_error", "zero_point_1s", "flux_key", "scatter_mag",
        "n_stars", "n_rejected", "color_term", "limiting_mag_5sigma", "sky_brightness",
    ),
}  # fmt: skip
"""Numbers of each step that the summary always has: null when unknown."""


def summary(
    report: Report,
    *,
    image: str,
    extension: int | None,
    frame: Mapping[str, Any],
    exit_status: int,
    seconds: Mapping[str, float],
    warnings: list[str],
    products: Mapping[str, str],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the summary object of one image extension.

    Parameters
    ----------
    products : mapping
        Files of the image by their keyword, relative to the folder of the products.
    """
    steps: dict[str, dict[str, Any]] = {}
    for step in Step:
        numbers = dict.fromkeys(STEP_FIELDS[step]) | report.metrics[step]
        steps[step.value] = {
            "status": report.statuses[step].lower(),
            "seconds": round(seconds[step], 4) if step in seconds else None,
            **plain(numbers),
        }
    named = {Step.CHARACTERIZE: "PSFSRC", Step.ASTROMETRY: "ASTRSRC", Step.PHOTOMETRY: "PHOTSRC"}
    for step, card in named.items():
        key = "psf_source" if step is Step.CHARACTERIZE else "source"
        steps[step.value][key] = report.sources[card]
    return {
        "image": image,
        "extension": extension,
        "frame": plain(dict(frame)),
        "status": report.status,
        "exit_status": int(exit_status),
        **({"error": report.failure} if report.failure else {}),
        "steps": steps,
        "warnings": warnings,
        "products": dict(products),
        "provenance": {"version": __version__, **provenance},
    }
