"""Files through isr."""

from __future__ import annotations

from pathlib import Path

from skyextract.datamodel.exposure import FailedExtension
from skyextract.inputs.calibrations import load_calibrations
from skyextract.io.names import parse_image_spec
from skyextract.io.raw.frames import read_raw_frames
from skyextract.run import Run
from skyextract.settings.resolve import Settings, command_line_settings, resolve
from skyextract.stages.isr.signature import Signature, remove_signature


def settings_of(**values: str) -> Settings:
    return resolve(None, command_line_settings([(k, str(v)) for k, v in values.items()]))


def corrected(path: Path, folder: Path, run: Run | None = None, **values: str) -> Signature:
    settings = settings_of(**values)
    run = run or Run(2)
    (raw,) = read_raw_frames(parse_image_spec(str(path)), settings.config, run)
    if isinstance(raw, FailedExtension):
        raise raw.error
    calibrations = load_calibrations(raw, settings, folder, run)
    return remove_signature(raw, calibrations, settings.config, run)
