"""The five steps, their status words, and the rules for which of them run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from skyextract.record import record
from skyextract.settings.cameras import NO_PRESET
from skyextract.settings.resolve import Settings


class Step(StrEnum):
    """A step of the pipeline, in order; the value is its name in the JSON summary."""

    ISR = "isr"
    CHARACTERIZE = "characterize"
    MEASURE = "measure"
    ASTROMETRY = "astrometry"
    PHOTOMETRY = "photometry"

    @property
    def card(self) -> str:
        """Header card that holds the status of the step."""
        return {
            Step.ISR: "SKYISR",
            Step.CHARACTERIZE: "SKYCHAR",
            Step.MEASURE: "SKYMEAS",
            Step.ASTROMETRY: "SKYASTR",
            Step.PHOTOMETRY: "SKYPHOT",
        }[self]


class Status(StrEnum):
    """What became of a step; upper case in headers, lower case in the summary."""

    COMPLETE = "COMPLETE"
    FALLBACK = "FALLBACK"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"

    @property
    def has_result(self) -> bool:
        """The step gave a result, if perhaps one to be taken with care."""
        return self in {Status.COMPLETE, Status.FALLBACK}


def is_done(header: Mapping[str, Any] | None, step: Step) -> bool:
    """Tell whether the header of an image says that an earlier run completed a step."""
    return header is not None and header.get(step.card) == Status.COMPLETE


CALIBRATE = frozenset({Step.MEASURE, Step.ASTROMETRY, Step.PHOTOMETRY})


@record
class Plan:
    """The steps of one image extension.

    Attributes
    ----------
    steps : frozenset of Step
        The steps to run.
    opportunistic_photometry : bool
        Photometry was not asked for; run it only if a band can be identified.
    """

    steps: frozenset[Step]
    opportunistic_photometry: bool = False

    def __contains__(self, step: Step) -> bool:
        return step in self.steps


def check_steps(settings: Settings) -> None:
    """Check that the steps that were asked for have their inputs.

    Raises
    ------
    ConfigError
        If STEPS asks for astrometry or photometry without a reference catalogue.
    """
    words = settings.config.pipeline.steps
    if len(words) > 1 and {"AUTO", "CALIBRATE"} & set(words):
        raise settings.error("STEPS", "AUTO and CALIBRATE stand alone")
    asked = explicit_steps(words)
    if Step.ASTROMETRY in asked and not has_astrometric_reference(settings):
        raise settings.error(
            "STEPS",
            "astrometry needs a reference catalogue: set ASTREFCAT_NAME or ASTREF_CATALOG",
        )
    if Step.PHOTOMETRY in asked and not (
        has_photometric_reference(settings) or has_astrometric_reference(settings)
    ):
        raise settings.error(
            "STEPS",
            "photometry needs a reference catalogue: set PHOTREFCAT_NAME or PHOTREF_CATALOG",
        )
    if (Step.ASTROMETRY in asked or Step.PHOTOMETRY in asked) and Step.MEASURE not in asked:
        message = "astrometry and photometry need the sources of the same run: list measure, too"
        raise settings.error("STEPS", message)


def explicit_steps(words: tuple[str, ...]) -> frozenset[Step]:
    """Return the steps that STEPS lists; none for AUTO."""
    if words == ("AUTO",):
        return frozenset()
    if words == ("CALIBRATE",):
        return CALIBRATE
    return frozenset(Step(word.lower()) for word in words)


def plan_steps(settings: Settings, *, isr_done: bool, char_done: bool, psf_wanted: bool) -> Plan:
    """Decide which steps run on one image extension.

    Parameters
    ----------
    isr_done, char_done : bool
        The header says SKYISR, SKYCHAR COMPLETE.
    psf_wanted : bool
        A filter or a column that was asked for needs a PSF (in the SExtractor base layer
        this switches characterize on).
    """
    config = settings.config
    words = config.pipeline.steps
    if words != ("AUTO",):
        return Plan(explicit_steps(words))
    steps = {Step.MEASURE}
    if isr_is_asked(settings) and not isr_done:
        steps.add(Step.ISR)
    if not char_done and not psf_is_given(settings) and (psf_wanted or not settings.sextractor):
        steps.add(Step.CHARACTERIZE)
    if has_astrometric_reference(settings):
        steps.add(Step.ASTROMETRY)
    opportunistic = not has_photometric_reference(settings)
    if not opportunistic or Step.ASTROMETRY in steps:
        steps.add(Step.PHOTOMETRY)
    return Plan(frozenset(steps), opportunistic and Step.PHOTOMETRY in steps)


NO_SURVEY = ("NONE", "FILE")
"""Values of ASTREF_CATALOG and PHOTREF_CATALOG with which no catalogue is fetched."""


def has_astrometric_reference(settings: Settings) -> bool:
    """Tell whether a reference catalogue for the astrometry is named."""
    config = settings.config.astrometry
    return bool(config.astrefcat_name) or config.astref_catalog not in NO_SURVEY


def has_photometric_reference(settings: Settings) -> bool:
    """Tell whether a reference catalogue for the photometry is named: it is asked for."""
    config = settings.config.photometry
    return bool(config.photrefcat_name) or config.photref_catalog not in NO_SURVEY


def psf_is_given(settings: Settings) -> bool:
    """Tell whether PSF_NAME names a model: the mere default name of SExtractor does not."""
    return bool(settings.config.characterize.psf_name) and settings.is_set("PSF_NAME")


def isr_is_asked(settings: Settings) -> bool:
    """Tell whether isr is to run on raw frames: listed, or AUTO and there is what it needs."""
    words = settings.config.pipeline.steps
    if words != ("AUTO",):
        return Step.ISR in explicit_steps(words)
    isr = settings.config.isr
    frames = (isr.isr_bias, isr.isr_dark, isr.isr_flat, isr.isr_fringe, isr.isr_defects)
    preset = isr.camera.upper() not in NO_PRESET
    return any(frames) or bool(isr.isr_linearity or isr.isr_crosstalk or preset)
