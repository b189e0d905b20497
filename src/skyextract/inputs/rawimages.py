"""Raw frames as the pipeline takes them: corrected by isr, with the calibration frames it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skyextract.datamodel.calibrations import Calibrations
from skyextract.datamodel.exposure import ReadImage
from skyextract.datamodel.rawframe import RawFrame, whole
from skyextract.errors import ImageError
from skyextract.inputs.calibrations import calibration_files, load_calibrations
from skyextract.io.images.images import read_exposures
from skyextract.io.names import ImageSpec
from skyextract.io.raw.frames import AlreadyCorrectedError, read_raw_frames
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Step, explicit_steps
from skyextract.stages.isr.signature import remove_signature

Image = ReadImage | tuple[int, ImageError]


def read_corrected(spec: ImageSpec, settings: Settings, folder: Path, run: Run) -> Iterator[Image]:
    """Read the raw frames of a file, one at a time, and correct them.

    Parameters
    ----------
    folder : Path
        Of the products, for the masters that are made.

    Yields
    ------
    ReadImage, or (number of the header unit, ImageError) for one that cannot be used.

    Raises
    ------
    ImageError
        The file as a whole cannot be read.
    ConfigError
        A calibration file does not exist or cannot be understood.
    """
    run.files += calibration_files(settings)
    frames = read_raw_frames(spec, settings.config, run, corrected_too=_is_forced(settings))
    try:
        for frame in frames:
            yield frame if isinstance(frame, tuple) else _correct(frame, settings, folder, run)
    except AlreadyCorrectedError:
        if Step.ISR in explicit_steps(settings.config.pipeline.steps):
            raise
        for exposure in read_exposures(spec, settings.config, run):
            yield exposure if isinstance(exposure, tuple) else ReadImage(exposure)


def _is_forced(settings: Settings) -> bool:
    """Tell whether isr stands in STEPS on the command line itself."""
    asked = Step.ISR in explicit_steps(settings.config.pipeline.steps)
    return asked and settings.origins["STEPS"] == "command line"


def _correct(frame: RawFrame, settings: Settings, folder: Path, run: Run) -> Image:
    try:
        with run.timed("isr"):
            calibrations = load_calibrations(frame, settings, folder, run)
            _check_purpose(frame, calibrations)
            signature = remove_signature(frame, calibrations, settings.config, run)
            return ReadImage(signature.exposure, signature.metrics)
    except ImageError as error:
        named = frame.path in str(error)
        return frame.extension, error if named else ImageError(f"{frame.name}: {error}")


def _check_purpose(frame: RawFrame, calibrations: Calibrations) -> None:
    first = frame.amplifiers[0]
    plain = len(frame.amplifiers) == 1 and first.data == whole(frame.planes[0].shape)
    if calibrations.is_empty and plain and not first.bias and not first.gain > 0.0:
        raise ImageError(
            f"{frame.name}: isr has nothing to correct with: no calibration frame (ISR_BIAS ...), "
            "no overscan, no gain"
        )
