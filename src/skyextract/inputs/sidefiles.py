"""The small files of a run, read once per image: column list, filter, network, lists, PSF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skyextract.columns.request import (
    Requested,
    check_sizes,
    default_columns,
    needs_psf,
    parse_parameters,
)
from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.psf import Psf
from skyextract.errors import ConfigError, ImageError
from skyextract.io.names import parse_image_spec
from skyextract.io.psf.psfex import read_psfs
from skyextract.io.textfiles import read_number_list, read_text
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.resolve import COMMAND_LINE, Settings
from skyextract.settings.steps import isr_is_asked, psf_is_given
from skyextract.stages.detection.filters import builtin_filter


@record
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
    psfs : list of list of Psf
        Of each file of PSF_NAME, one PSF per extension; empty where no model is given.
    folder : Path
        Of the products: masters that isr makes are kept there.
    """

    columns: list[Requested] | None
    filter: str | None
    network: str | None
    associates: AnyArray | None
    psfs: list[list[Psf]]
    folder: Path = Path()

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
        by_filter = settings.config.extraction.filters_by_psf
        return by_filter or (self.columns is not None and needs_psf(self.columns))


def read_inputs(settings: Settings, folder: Path, run: Run) -> Inputs:
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
            network = read_text(config.measurement.starnnw_name, "STARNNW_NAME", run)
        else:
            run.warn(
                f"CLASS_STAR is NaN: STARNNW_NAME {config.measurement.starnnw_name!r} is no file"
            )
    associates = None
    if names & {"VECTOR_ASSOC", "NUMBER_ASSOC"}:
        if not config.assoc.assoc_name:
            raise ConfigError("VECTOR_ASSOC, NUMBER_ASSOC: ASSOC_NAME names no list")
        associates = read_number_list(config.assoc.assoc_name, "ASSOC_NAME", run)
    elif config.assoc.assoc_name and Path(config.assoc.assoc_name).is_file():
        run.warn(
            f"ASSOC_NAME {config.assoc.assoc_name} is not read: no column asks for it "
            "(VECTOR_ASSOC, NUMBER_ASSOC)"
        )
    if "IMAFLAGS_ISO" in names and not config.weights.flag_image:
        raise settings.error("FLAG_IMAGE", "IMAFLAGS_ISO needs a flag map")
    unread = [] if names & {"IMAFLAGS_ISO", "NIMAFLAGS_ISO"} else config.weights.flag_image
    if there := [name for name in unread if Path(parse_image_spec(name).path).is_file()]:
        run.warn(
            f"FLAG_IMAGE {', '.join(there)} is not read: no column asks for it "
            "(IMAFLAGS_ISO, NIMAFLAGS_ISO)"
        )
    if _lacks_weight_type(settings):
        run.warn(
            f"WEIGHT_IMAGE {', '.join(config.weights.weight_image)} is not read: WEIGHT_TYPE, "
            "which says what its values are, is NONE"
        )
    if unused := _unused_isr(settings):
        run.warn(
            f"{', '.join(unused)}: no effect, isr does not run (no calibration frames are given; "
            "--steps isr)"
        )
    inputs = Inputs(columns, _read_filter(settings, run), network, associates, [], folder)
    if psf_is_given(settings) and (not settings.sextractor or inputs.needs_psf(settings)):
        models = config.characterize.psf_name
        if not all(Path(model).is_file() for model in models):
            raise settings.error("PSF_NAME", "no such file")
        try:
            inputs = replace(inputs, psfs=[read_psfs(model, run) for model in models])
        except ImageError as error:
            raise ConfigError(f"PSF_NAME {error}") from None
    return inputs


def listed_columns(names: Sequence[str]) -> str:
    """Return a PARAMETERS_NAME that holds the columns themselves, as no name of a file does."""
    return "".join(f"\n{name}" for name in names)


def read_columns(settings: Settings, run: Run) -> list[Requested] | None:
    """Read PARAMETERS_NAME; None if it is empty, or the default name and not there."""
    name = settings.config.output.parameters_name
    if not name:
        return None
    if not Path(name).exists() and name == "default.param":
        run.warn("no default.param in this directory: using the built-in column list")
        return None
    if name.startswith("\n"):
        columns = parse_parameters(name[1:], "PARAMETERS_NAME")
    else:
        columns = parse_parameters(read_text(name, "PARAMETERS_NAME", run), name)
    config = settings.config
    available = {
        "PHOT_APERTURES": len(config.measurement.phot_apertures),
        "PHOT_FLUXFRAC": len(config.measurement.phot_fluxfrac),
        "FLAG_IMAGE": len(config.weights.flag_image),
    }
    for warning in check_sizes(columns, available):
        run.warn(warning)
    return columns


def _lacks_weight_type(settings: Settings) -> bool:
    """Tell whether a weight map was asked for without its kind.

    One that a configuration file names is none: SExtractor's own names weight.fits, and NONE.
    """
    weights, origins = settings.config.weights, settings.origins
    asked = bool(weights.weight_image) and origins["WEIGHT_IMAGE"] == COMMAND_LINE
    none = all(kind == "NONE" for kind in weights.weight_type)
    return asked and none and origins["WEIGHT_TYPE"] != COMMAND_LINE


def _unused_isr(settings: Settings) -> list[str]:
    """Return the keywords of isr that are given though it does not run.

    Where the steps are chosen, a configuration file may be that of other runs.
    """
    if isr_is_asked(settings):
        return []
    steps_are_given = settings.config.pipeline.steps != ("AUTO",)
    return [
        name
        for name, origin in settings.origins.items()
        if name.startswith("ISR_") and settings.is_set(name)
        if origin == COMMAND_LINE or not steps_are_given
    ]


def _read_filter(settings: Settings, run: Run) -> str | None:
    """Return the text of FILTER_NAME unless it is PSF or a built-in filter."""
    extraction = settings.config.extraction
    name = extraction.filter_name
    if not extraction.filter or name.upper() == "PSF":
        return None
    if Path(name).is_file():
        return read_text(name, "FILTER_NAME", run)
    if builtin_filter(name.removesuffix(".conv")) is not None:
        return None
    raise settings.error("FILTER_NAME", "neither a file nor a built-in filter")
