"""The files of a run, read once: column list, filter, network, lists, PSF, weights, flags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyextract.columns.request import (
    Requested,
    check_sizes,
    default_columns,
    needs_psf,
    parse_parameters,
)
from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.exposure import Exposure, ReadImage
from skyextract.datamodel.psf import Psf
from skyextract.errors import ConfigError, ImageError
from skyextract.io.images.images import read_exposures
from skyextract.io.images.weights import read_flag_maps, read_weights, with_weight
from skyextract.io.psf.psfex import psf_for_extension, read_psfs
from skyextract.io.textfiles import read_number_list, read_text
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import isr_is_asked, psf_is_given
from skyextract.stages.detection.filters import builtin_filter

if TYPE_CHECKING:
    from skyextract.inputs.rawimages import Image
    from skyextract.io.names import ImageSpec
    from skyextract.jobs import Job


@dataclass(frozen=True)
class Inputs:
    """What the side files of a run say; None where nothing needs the file.

    Attributes
    ----------
    columns : list of Requested or None
        Of PARAMETERS_NAME; None: the built-in list.
    filter : str or None
        Text of FILTER_NAME, where that is a file.
    network : str or None
        Text of STARNNW_NAME.
    associates : (n, k) float64 or None
        Rows of ASSOC_NAME.
    psfs : list of Psf
        Of PSF_NAME.
    """

    columns: list[Requested] | None
    filter: str | None
    network: str | None
    associates: AnyArray | None
    psfs: list[Psf]

    def requested(self, settings: Settings, *, psf: bool) -> list[Requested]:
        """Return the columns wanted; the built-in list has PSF columns if there is a PSF."""
        if self.columns is not None:
            return self.columns
        measurement = settings.config.measurement
        return default_columns(
            psf=psf,
            n_apertures=len(measurement.phot_apertures),
            n_fractions=len(measurement.phot_fluxfrac),
        )

    def needs_psf(self, settings: Settings) -> bool:
        """Tell whether the filter or a column of PARAMETERS_NAME needs a PSF."""
        extraction = settings.config.extraction
        by_filter = extraction.filter and extraction.filter_name.upper() == "PSF"
        return by_filter or (self.columns is not None and needs_psf(self.columns))


def read_inputs(settings: Settings, run: Run) -> Inputs:
    """Read the side files that the settings need.

    Raises
    ------
    ConfigError
        A file that is needed is missing, or its content is wrong.
    """
    config = settings.config
    columns = read_columns(settings, run)
    names = {item.name for item in columns or ()}
    network = None
    if "CLASS_STAR" in names:
        if Path(config.measurement.starnnw_name).is_file():
            network = read_text(config.measurement.starnnw_name, "STARNNW_NAME")
        else:
            run.warn(
                f"CLASS_STAR is NaN: no file STARNNW_NAME {config.measurement.starnnw_name}".strip()
            )
    associates = None
    if names & {"VECTOR_ASSOC", "NUMBER_ASSOC"}:
        associates = read_number_list(config.assoc.assoc_name, "ASSOC_NAME")
    if "IMAFLAGS_ISO" in names and not config.weights.flag_image:
        raise settings.error("FLAG_IMAGE", "IMAFLAGS_ISO needs a flag map")
    inputs = Inputs(columns, _read_filter(settings), network, associates, [])
    if psf_is_given(settings) and (not settings.sextractor or inputs.needs_psf(settings)):
        name = config.characterize.psf_name
        if not Path(name).is_file():
            raise settings.error("PSF_NAME", "no such file")
        try:
            inputs = replace(inputs, psfs=read_psfs(name))
        except ImageError as error:
            raise ConfigError(f"PSF_NAME {error}") from None
    return inputs


def read_columns(settings: Settings, run: Run) -> list[Requested] | None:
    """Read PARAMETERS_NAME; None if it is empty, or the default name and not there."""
    name = settings.config.output.parameters_name
    if not name:
        return None
    if not Path(name).exists() and name == "default.param":
        run.warn("no default.param in this directory: using the built-in column list")
        return None
    columns = parse_parameters(read_text(name, "PARAMETERS_NAME"), name)
    config = settings.config
    available = {
        "PHOT_APERTURES": len(config.measurement.phot_apertures),
        "PHOT_FLUXFRAC": len(config.measurement.phot_fluxfrac),
        "FLAG_IMAGE": len(config.weights.flag_image),
    }
    for warning in check_sizes(columns, available):
        run.warn(warning)
    return columns


def _read_filter(settings: Settings) -> str | None:
    """Return the text of FILTER_NAME unless it is PSF or a built-in filter."""
    extraction = settings.config.extraction
    name = extraction.filter_name
    if not extraction.filter or name.upper() == "PSF":
        return None
    if Path(name).is_file():
        return read_text(name, "FILTER_NAME")
    if builtin_filter(name.removesuffix(".conv")) is not None:
        return None
    raise settings.error("FILTER_NAME", "neither a file nor a built-in filter")


@dataclass(frozen=True)
class Frame:
    """One image extension with what goes with it.

    Attributes
    ----------
    exposure : Exposure
        The image to measure.
    detection : Exposure or None
        The image to detect on, if it is another one or has another weight map.
    flag_maps : list of (ny, nx) int32
        FLAG_IMAGE.
    number : int
        EXT_NUMBER: its place among the images of the file, from 1.
    isr_metrics : dict or None
        Numbers of isr, if it has just run on the image.
    """

    exposure: Exposure
    detection: Exposure | None
    flag_maps: list[AnyArray]
    number: int
    isr_metrics: dict[str, Any] | None = None


def read_images(spec: ImageSpec, settings: Settings, folder: Path, run: Run) -> Iterator[Image]:
    """Read the images of a file, corrected by isr where that is wanted, else as they are."""
    if isr_is_asked(settings):
        from skyextract.inputs.rawimages import read_corrected

        yield from read_corrected(spec, settings, folder, run)
        return
    for exposure in read_exposures(spec, settings.config, run):
        yield exposure if isinstance(exposure, tuple) else ReadImage(exposure)


def read_frames(
    job: Job, settings: Settings, inputs: Inputs, run: Run
) -> Iterator[Frame | tuple[int, ImageError]]:
    """Read the image extensions of a job, one at a time, with weights, flags and PSF.

    Raw frames are corrected here (isr): weights, flags and PSF belong to the corrected frame.

    Yields
    ------
    Frame, or (number of the header unit, ImageError) for one that cannot be used.

    Raises
    ------
    ImageError
        A file as a whole cannot be read.
    """
    config = settings.config
    detections = read_images(job.detection, settings, job.folder, run) if job.detection else None
    for number, image in enumerate(read_images(job.measurement, settings, job.folder, run)):
        other = next(detections, None) if detections else None
        if isinstance(image, tuple):
            yield image
            continue
        exposure = image.exposure
        try:
            if isinstance(other, tuple):
                raise other[1]
            if job.detection and other is None:
                raise ImageError(f"{job.detection}: no extension for {job.measurement}")
            detection = other.exposure if other else None
            if detection is not None and detection.shape != exposure.shape:
                raise ImageError(
                    f"{job.detection} is {_size(detection)}, {job.measurement} is "
                    f"{_size(exposure)}: dual-image mode needs equal sizes"
                )
            maps = read_weights(config.weights, exposure, number, run)
            names = {item.name for item in inputs.columns or ()}
            flags = (
                read_flag_maps(config.weights, exposure, number)
                if names & {"IMAFLAGS_ISO", "NIMAFLAGS_ISO"}
                else []
            )
            if detection is not None or maps.detection is not maps.measurement:
                detection = with_weight(detection or exposure, maps.detection)
            exposure = with_weight(exposure, maps.measurement)
            if inputs.psfs:
                psf = psf_for_extension(inputs.psfs, number, config.characterize.psf_name)
                exposure = replace(exposure, psf=psf)
            yield Frame(exposure, detection, flags, number + 1, image.isr_metrics)
        except ImageError as error:
            yield exposure.extension, error


def _size(exposure: Exposure) -> str:
    return f"{exposure.shape[1]} x {exposure.shape[0]}"
