"""The reference catalogues of a run: found on disk, read once per process, cut to the field."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.io.references.reference import read_reference
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.stages.astrometry.pointing import search_region

Region = tuple[float, float, float]


def check_references(settings: Settings) -> None:
    """Check that the reference catalogues exist, and that no server is asked for.

    Raises
    ------
    ConfigError
    """
    kind = settings.config.astrometry.astref_catalog.upper()
    if kind not in ("FILE", "NONE"):
        raise settings.error(
            "ASTREF_CATALOG",
            "no server is asked here; download the field once and give ASTREFCAT_NAME file.fits",
        )
    for keyword in ("ASTREFCAT_NAME", "PHOTREFCAT_NAME"):
        for name in settings.value(keyword):
            if not Path(name).exists():
                raise settings.error(keyword, f"{name}: no such file or directory")


def astrometric_reference(exposure: Exposure, settings: Settings, run: Run) -> RefCatalog:
    """Read the part of ASTREFCAT_NAME that the frame can reach.

    Raises
    ------
    ReferenceCatalogError
        A catalogue that cannot be read or lacks columns.
    """
    config = settings.config.astrometry
    catalog, files = _read(
        config.astrefcat_name,
        config.astrefcent_keys,
        config.astreferr_keys,
        config.astrefprop_keys,
        config.astrefmag_key,
        _also(settings),
        _region(exposure, settings, config.astrefcat_name),
    )
    run.note_opened(*files)
    return catalog


def photometric_reference(exposure: Exposure, settings: Settings, run: Run) -> RefCatalog:
    """Read the part of PHOTREFCAT_NAME, or else of ASTREFCAT_NAME, that the frame can reach.

    Raises
    ------
    ReferenceCatalogError
        A catalogue that cannot be read or lacks columns.
    """
    names = settings.config.photometry.photrefcat_name
    if not names:
        return astrometric_reference(exposure, settings, run)
    region = _region(exposure, settings, names)
    catalog, files = _read(names, (), (), (), "", _also(settings), region)
    run.note_opened(*files)
    return catalog


def _also(settings: Settings) -> tuple[str, ...]:
    """Return the columns that photometry names."""
    config = settings.config.photometry
    return (*config.photref_color_keys, config.photref_mag_key, config.photref_magerr_key)


def _region(exposure: Exposure, settings: Settings, names: tuple[str, ...]) -> Region | None:
    """Return centre and radius (deg) of what the frame can reach; None to read all.

    Only directories of chunks are read in part: a file is read whole once, and kept.
    """
    if not any(Path(name).is_dir() for name in names):
        return None
    config = settings.config
    scale = config.detector.pixel_scale if settings.is_set("PIXEL_SCALE") else 0.0
    header = exposure.header if exposure.header is not None else {}
    return search_region(header, exposure.shape, exposure.wcs, config.astrometry, scale)


@lru_cache(maxsize=4)
def _read(
    names: tuple[str, ...],
    centre_keys: tuple[str, ...],
    error_keys: tuple[str, ...],
    motion_keys: tuple[str, ...],
    mag_key: str,
    also: tuple[str, ...],
    region: Region | None,
) -> tuple[RefCatalog, tuple[str, ...]]:
    """Return a catalogue and the files that it was read from."""
    reader = Run()
    catalog = read_reference(
        names,
        reader,
        centre_keys=centre_keys,
        error_keys=error_keys,
        motion_keys=motion_keys,
        mag_key=mag_key,
        also=also,
        region=region,
    )
    return catalog, tuple(reader.opened)
