"""The image extensions of a job, read one at a time, and the maps that belong to them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from skyextract.columns.unit import in_unit
from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.beam import psf_of_beam
from skyextract.datamodel.exposure import Exposure, FailedExtension
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import PsfSource
from skyextract.datamodel.rawframe import RawFrame
from skyextract.errors import ImageError, MapSizeError, SkyextractError
from skyextract.inputs.sidefiles import Inputs
from skyextract.io.images.images import read_exposures
from skyextract.io.images.weights import read_flag_maps, read_weights, with_weight
from skyextract.io.names import ImageSpec
from skyextract.io.psf.psfex import psf_for_extension
from skyextract.io.raw.frames import AlreadyCorrectedError, read_raw_frames
from skyextract.jobs import Job
from skyextract.kernels.values import NO_INFORMATION
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Detector as DetectorConfig
from skyextract.settings.keywords import of_image
from skyextract.settings.resolve import COMMAND_LINE, Settings
from skyextract.settings.steps import Step, explicit_steps, isr_is_asked
from skyextract.sky.dates import doubtful_dates
from skyextract.stages.background.gain import with_gain_of_variance, with_plausible_gain
from skyextract.stages.background.noise import (
    with_plausible_rms,
    with_plausible_variance,
    working_unit,
)
from skyextract.stages.background.weightkind import with_plausible_kind
from skyextract.stages.isr.mosaic import colour_flags, colour_plane

Image = Exposure | RawFrame

CARDS_WIN = {"GAIN": "gain", "RDNOISE": "read_noise", "SATUR_LEVEL": "saturation"}
"""Keywords that header cards come before, as in SExtractor, and what the detector has of them."""


@record
class Frame:
    """One image extension as it was read.

    Attributes
    ----------
    image : Exposure or RawFrame
        The image to measure; raw before isr.
    detection : Exposure, RawFrame or None
        The image to detect on, if it is another one.
    number : int
        EXT_NUMBER: its place among the images of the file, from 1.
    """

    image: Image
    detection: Image | None = None
    number: int = 1


def read_frames(job: Job, settings: Settings, run: Run) -> Iterator[Frame | FailedExtension]:
    """Read the image extensions of a job, one at a time.

    Yields
    ------
    Frame, or FailedExtension for one that cannot be used.  The pixels of a frame are the caller's
    alone, who may let them go.

    Raises
    ------
    ImageError
        A file as a whole cannot be read.
    """
    others = read_images(job.detection, settings, run) if job.detection else None
    images = read_images(job.measurement, settings, run)
    for number in itertools.count(1):
        image = next(images, None)
        if image is None:
            return
        other = next(others, None) if others else None
        if isinstance(image, FailedExtension):
            yield image
            continue
        try:
            frames = [Frame(image, _paired(image, other, job), number)]
        except ImageError as error:
            yield failure_of(image)(error)
            continue
        del image, other
        yield frames.pop()


def failure_of(image: Image) -> Callable[[SkyextractError], FailedExtension]:
    """Return what makes a failure of an image that could be read; it does not keep the pixels."""
    name = image.path if image.alone else f"{image.path}[{image.extension}]"
    extension, header = image.extension, image.header
    return lambda error: FailedExtension(extension, name, error, header)


def _paired(image: Image, other: Image | FailedExtension | None, job: Job) -> Image | None:
    """Return the detection image of an image; None without dual-image mode."""
    if isinstance(other, FailedExtension):
        raise ImageError(str(other))
    if job.detection and other is None:
        raise ImageError(f"{job.detection}: no extension for {job.measurement}")
    if other is not None and other.shape != image.shape:
        raise MapSizeError(
            f"{job.detection} is {_size(other)}, {job.measurement} is {_size(image)}: "
            "dual-image mode needs equal sizes"
        )
    return other


def _size(image: Image) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def read_images(
    spec: ImageSpec, settings: Settings, run: Run
) -> Iterator[Exposure | RawFrame | FailedExtension]:
    """Read the images of a file, raw where isr is to correct them.

    Raises
    ------
    ImageError
        The file as a whole cannot be read, or isr is asked for and has run already.
    """
    if not isr_is_asked(settings):
        yield from _corrected(spec, settings, run)
        return
    asked = Step.ISR in explicit_steps(settings.config.pipeline.steps)
    forced = asked and settings.origins["STEPS"] == COMMAND_LINE
    try:
        yield from read_raw_frames(spec, settings.config, run, corrected_too=forced)
    except AlreadyCorrectedError:
        if asked:
            raise
        yield from _corrected(spec, settings, run)


def _corrected(
    spec: ImageSpec, settings: Settings, run: Run
) -> Iterator[Exposure | FailedExtension]:
    """Read images that need no isr; cards that win over the command line are told of."""
    given = [name for name in CARDS_WIN if settings.origins[name] == COMMAND_LINE]

    def compared(image: Exposure | FailedExtension) -> Exposure | FailedExtension:
        if not isinstance(image, Exposure):
            return image
        for name in given:
            value, used = settings.value(name), getattr(image.detector, CARDS_WIN[name])
            if value != used:
                key = f"{name.removesuffix('_LEVEL')}_KEY"
                run.warn(
                    f"{image.name}: {name} {value:g} has no effect: the header's {used:g} counts "
                    f"({key} NONE leaves it out)"
                )
        return image

    return map(compared, read_exposures(spec, settings.config, run))  # keeps no pixels


def with_maps(
    frame: Frame, settings: Settings, inputs: Inputs, run: Run
) -> tuple[Exposure, Exposure | None, list[AnyArray]]:
    """Return the images of a frame with weight maps and PSF, which belong to them after isr.

    What is no data though nothing says so is found here (`check_data`).

    Returns
    -------
    exposure : Exposure
        The image to measure.
    detection : Exposure or None
        The image to detect on, if it is another one or has another weight map.
    flag_maps : list of (ny, nx) int32
        FLAG_IMAGE, where a column needs it.

    Raises
    ------
    ConfigError
        A map is needed and not named, or does not exist.
    ImageError
        A map does not fit, or there is no PSF for this extension.
    """
    image, detection = frame.image, frame.detection
    if isinstance(image, RawFrame) or isinstance(detection, RawFrame):
        raise ImageError("the raw frame could not be corrected")
    config, place = settings.config, frame.number - 1
    maps = read_weights(config.weights, image, place, run)
    names = {item.name for item in inputs.columns or ()}
    flag_maps: list[AnyArray] = []
    if names & {"IMAFLAGS_ISO", "NIMAFLAGS_ISO"}:
        flag_maps += read_flag_maps(config.weights, image, place, run)
    if detection is not None or maps.detection is not maps.measurement:
        # Another weight map makes no other image: what characterize finds holds for both.
        detection = with_weight(detection or replace(image, psf=None), maps.detection)
        detection = _with_data(detection, config.detector, run)
        detection = colour_plane(detection, config.detector.bayer, run)
    image = _with_data(with_weight(image, maps.measurement), config.detector, run)
    image = colour_plane(image, config.detector.bayer, run)
    if image.header is not None and (dates := doubtful_dates(image.header)):
        run.warn(f"{image.name}: {dates}")
    image = with_plausible_variance(image, run)
    measured = config.extraction.noise_type == "MEASURED"
    kind = of_image(config.weights.weight_type, 1)
    image = with_plausible_kind(image, kind, run, mends=measured)
    if measured and kind == "MAP_RMS":
        image = with_plausible_rms(image, run)
    if measured:
        image = with_plausible_gain(image, run)
    image = with_gain_of_variance(image, run)
    if measured and not image.detector.gain > 0.0:
        run.tell(f"{image.name}: no gain is known (GAIN): errors lack the photons of the sources")
    image = _in_working_unit(image, settings)
    if detection is not None:
        detection = _in_working_unit(detection, settings)
    flag_maps = [colour_flags(flags, image) for flags in flag_maps]
    if inputs.psfs:
        image = _with_model(image, 1, place, settings, inputs, run)
        if detection is not None:
            detection = _with_model(detection, 0, place, settings, inputs, run)
    elif measured:
        image = _with_beam(image)
        detection = None if detection is None else _with_beam(detection)
    return image, detection, flag_maps


def _with_beam(exposure: Exposure) -> Exposure:
    """Return a radio map with its beam as PSF; any other image as it is."""
    psf = None if exposure.psf else psf_of_beam(exposure.header, exposure.wcs)
    return exposure if psf is None else replace(exposure, psf=psf)


def _with_model(
    exposure: Exposure, which: int, place: int, settings: Settings, inputs: Inputs, run: Run
) -> Exposure:
    """Return the image to detect on (0) or to measure (1) with its PSF of PSF_NAME.

    Where a guess stands in the file for a model that could not be measured, the image stays
    without.
    """
    name = of_image(settings.config.characterize.psf_name, which)
    psf = psf_for_extension(of_image(inputs.psfs, which), place, name)
    if psf.source is PsfSource.DEFAULT:
        run.warn(f"{name}: image extension {place + 1} has no PSF there, only a guess (PSFSRC)")
        return exposure
    return replace(exposure, psf=psf)


def _with_data(exposure: Exposure, config: DetectorConfig, run: Run) -> Exposure:
    """Return an image whose padding is marked (`check_data`); ImageError if no pixel is left."""
    _require_pixels(exposure)
    if not config.data_check:
        return exposure
    from skyextract.stages.pixels.nodata import check_data

    exposure = check_data(exposure, config, run)
    _require_pixels(exposure)
    return exposure


def _require_pixels(exposure: Exposure) -> None:
    without = np.uint16(Mask.NO_DATA | Mask.BAD)
    if not exposure.mask[0, 0] & without or not (exposure.mask & without).all():
        return
    if exposure.weight is not None and (exposure.weight >= NO_INFORMATION).all():
        raise ImageError(f"{exposure.name}: no pixel has a weight (WEIGHT_IMAGE)")
    raise ImageError(f"{exposure.name}: no pixel is left (all are bad or without a value)")


def _in_working_unit(exposure: Exposure, settings: Settings) -> Exposure:
    """Return an image of extreme numbers in a unit of its noise; thresholds in its own stay."""
    config = settings.config
    given = "ABSOLUTE" in config.extraction.thresh_type or len(config.extraction.detect_thresh) > 1
    unit = 1.0 if given or "MANUAL" in config.background.back_type else working_unit(exposure)
    return exposure if unit == 1.0 else in_unit(exposure, unit)
