"""The reference catalogues of a run: found on disk, read once per process, cut to the field."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.io.references.reference import read_reference
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


def astrometric_reference(exposure: Exposure, settings: Settings) -> RefCatalog:
    """Read the part of ASTREFCAT_NAME that the frame can reach.

    Raises
    ------
    ReferenceCatalogError
        A catalogue that cannot be read or lacks columns.
    """
    config = settings.config.astrometry
    return _read(
        config.astrefcat_name,
        config.astrefcent_keys,
        config.astreferr_keys,
        config.astrefprop_keys,
        config.astrefmag_key,
        _also(settings),
        _region(exposure, settings, config.astrefcat_name),
    )


def photometric_reference(exposure: Exposure, settings: Settings) -> RefCatalog:
    """Read the part of PHOTREFCAT_NAME, or else of ASTREFCAT_NAME, that the frame can reach.

    Raises
    ------
    ReferenceCatalogError
        A catalogue that cannot be read or lacks columns.
    """
    names = settings.config.photometry.photrefcat_name
    if not names:
        return astrometric_reference(exposure, settings)
    return _read(names, (), (), (), "", _also(settings), _region(exposure, settings, names))


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
) -> RefCatalog:
    return read_reference(
        names,
        centre_keys=centre_keys,
        error_keys=error_keys,
        motion_keys=motion_keys,
        mag_key=mag_key,
        also=also,
        region=region,
    )
