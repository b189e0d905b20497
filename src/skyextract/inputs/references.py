"""The reference catalogues of a run: files, or tiles of a survey; read once, cut to the field."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.io.images.scale import given_scale
from skyextract.run import Run
from skyextract.settings.extras import require
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import NO_SURVEY
from skyextract.sky.bands import filter_band, frame_filter
from skyextract.stages.astrometry.pointing import search_region

Region = tuple[float, float, float]
"""Centre and radius, deg."""


def check_references(settings: Settings) -> None:
    """Check that the reference catalogues exist, and that there is what fetches others.

    Raises
    ------
    ConfigError
    """
    config = settings.config
    files = bool(config.astrometry.astrefcat_name), bool(config.photometry.photrefcat_name)
    chosen = config.astrometry.astref_catalog, config.photometry.photref_catalog
    if any(name not in NO_SURVEY and not file for name, file in zip(chosen, files, strict=True)):
        require("a reference catalogue by name", "online", "hpgeom")
    keywords = "ASTREF_CATALOG", "PHOTREF_CATALOG"
    names = "ASTREFCAT_NAME", "PHOTREFCAT_NAME"
    for keyword, survey, name, file in zip(keywords, chosen, names, files, strict=True):
        if survey == "FILE" and not file and settings.is_set(keyword):
            raise settings.error(keyword, f"{name} names no file")
    for keyword in names:
        for name in settings.value(keyword):
            if not Path(name).exists():
                raise settings.error(keyword, f"{name}: no such file or directory")


def frame_region(exposure: Exposure, settings: Settings) -> Region | None:
    """Return centre and radius (deg) of what the frame can reach; None if nothing is known."""
    config = settings.config
    given = given_scale(exposure, config.detector)
    scale = given if settings.is_set("PIXEL_SCALE") else 0.0
    header = exposure.header if exposure.header is not None else {}
    return search_region(header, exposure.shape, exposure.wcs, config.astrometry, scale)


def astrometric_reference(exposure: Exposure, settings: Settings, run: Run) -> RefCatalog:
    """Read the part of ASTREFCAT_NAME that the frame can reach.

    Raises
    ------
    ReferenceCatalogError
        A catalogue that cannot be read or lacks columns.
    """
    config = settings.config.astrometry
    if not config.astrefcat_name:
        from skyextract.inputs.surveys import astrometric_survey_stars

        return astrometric_survey_stars(frame_region(exposure, settings), settings, run)
    if config.astref_catalog not in NO_SURVEY:
        run.tell(f"ASTREFCAT_NAME is used; ASTREF_CATALOG {config.astref_catalog} is not")
    catalog, files = _read(
        config.astrefcat_name,
        config.astrefcent_keys,
        config.astreferr_keys,
        config.astrefprop_keys,
        config.astrefmag_key,
        _also(exposure, settings),
        _region(exposure, settings, config.astrefcat_name),
        _stamps(config.astrefcat_name),
    )
    run.note_opened(*files)
    return _as_named(catalog, run)


def photometric_reference(exposure: Exposure, settings: Settings, run: Run) -> RefCatalog:
    """Read the part that the frame can reach of the first of these that is named.

    PHOTREFCAT_NAME, PHOTREF_CATALOG, ASTREFCAT_NAME, ASTREF_CATALOG.

    Raises
    ------
    ReferenceCatalogError
        A catalogue that cannot be read or lacks columns.
    """
    names = settings.config.photometry.photrefcat_name
    survey = settings.config.photometry.photref_catalog
    if not names and survey not in NO_SURVEY:
        from skyextract.inputs.surveys import photometric_survey_stars

        region = frame_region(exposure, settings)
        return photometric_survey_stars(exposure, region, settings, run)
    if not names:
        return astrometric_reference(exposure, settings, run)
    if survey not in NO_SURVEY:
        run.tell(f"PHOTREFCAT_NAME is used; PHOTREF_CATALOG {survey} is not")
    region = _region(exposure, settings, names)
    catalog, files = _read(
        names, (), (), (), "", _also(exposure, settings), region, _stamps(names)
    )  # fmt: skip
    run.note_opened(*files)
    return _as_named(catalog, run)


def _as_named(catalog: RefCatalog, run: Run) -> RefCatalog:
    """Return a catalogue under the name that the user gave; itself where that is no pipe."""
    name = run.shown(catalog.name)
    return catalog if name == catalog.name else replace(catalog, name=name)


def _also(exposure: Exposure, settings: Settings) -> tuple[str, ...]:
    """Return the columns that photometry names, and those named like a filter of no known band."""
    config = settings.config.photometry
    keys = config.photref_color_keys, (config.photref_mag_key, config.photref_magerr_key)
    name = frame_filter(exposure.header)
    own = (name, f"{name}mag", f"{name}_mag") if name and not filter_band(name) else ()
    return (*keys[0], *keys[1], *own)


def _stamps(names: tuple[str, ...]) -> tuple[tuple[str, int, int], ...]:
    """Return what tells that files are those read before: place, time and size."""
    found = []
    for name in names:
        path = Path(name)
        state = path.stat() if path.exists() else None
        time, size = (state.st_mtime_ns, state.st_size) if state else (0, 0)
        found.append((str(path.absolute()), time, size))
    return tuple(found)


def _region(exposure: Exposure, settings: Settings, names: tuple[str, ...]) -> Region | None:
    """Return centre and radius (deg) of what the frame can reach; None to read all.

    Only directories of chunks are read in part: a file is read whole once, and kept.
    """
    if not any(Path(name).is_dir() for name in names):
        return None
    return frame_region(exposure, settings)


@lru_cache(maxsize=4)
def _read(
    names: tuple[str, ...],
    centre_keys: tuple[str, ...],
    error_keys: tuple[str, ...],
    motion_keys: tuple[str, ...],
    mag_key: str,
    also: tuple[str, ...],
    region: Region | None,
    stamps: tuple[tuple[str, int, int], ...],
) -> tuple[RefCatalog, tuple[str, ...]]:
    """Return a catalogue and the files that it was read from, as long as their stamps are these."""
    from skyextract.io.references.reference import read_reference

    del stamps
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
