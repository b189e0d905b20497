"""Reference stars of a survey: chosen for the frame, taken from the local store or fetched."""

from __future__ import annotations

import math
from functools import lru_cache

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.errors import ConfigError, ExitStatus, ReferenceCatalogError
from skyextract.io.references.online.fetch import MAX_TILES, fetch_tiles, touched_tiles
from skyextract.io.references.online.sources import SOURCES
from skyextract.io.references.online.store import Store
from skyextract.io.references.online.vizier import check_library
from skyextract.io.references.reference import read_reference
from skyextract.run import Run
from skyextract.settings.keywords import SURVEY_NAMES
from skyextract.settings.resolve import Settings
from skyextract.sky.angles import parse_angle
from skyextract.sky.bands import filter_band, frame_filter
from skyextract.sky.surveys import astrometric_survey, photometric_survey

Region = tuple[float, float, float]
"""Centre and radius, deg."""

MAX_RADIUS = 30.0
"""Degrees around a place that are asked of a server at most: 2800 square degrees."""


def astrometric_survey_stars(region: Region | None, settings: Settings, run: Run) -> RefCatalog:
    """Return the stars of ASTREF_CATALOG in the region that the frame can reach.

    Raises
    ------
    ReferenceCatalogError
        They are not in the store, and no server has an answer; nobody knows where to look.
    """
    config = settings.config
    name = config.astrometry.astref_catalog
    region = _known(region, name)
    if name == "AUTO":
        name = astrometric_survey(region[2])
        run.tell(f"ASTREF_CATALOG AUTO: {name} for a field of {region[2]:.2f} deg radius")
    also = (*config.photometry.photref_color_keys, config.photometry.photref_mag_key)
    return _stars(name, region, settings, run, config.astrometry.astrefmag_key, also)


def photometric_survey_stars(
    exposure: Exposure, region: Region | None, settings: Settings, run: Run
) -> RefCatalog:
    """Return the stars of PHOTREF_CATALOG in the region that the frame can reach.

    Raises
    ------
    ReferenceCatalogError
        As `astrometric_survey_stars`, or AUTO knows none with the frame's filter.
    """
    config = settings.config.photometry
    name = config.photref_catalog
    region = _known(region, name)
    if name == "AUTO":
        filter_name = frame_filter(exposure.header)
        _, dec, radius = region
        name = photometric_survey(filter_band(filter_name), dec, radius)
        what = f"filter '{filter_name}'" if filter_name else "an unknown filter"
        where = f"{what} at declination {dec:+.1f}"
        if not name:
            raise ReferenceCatalogError(
                f"PHOTREF_CATALOG AUTO: no catalogue known for {where}; name one"
            )
        run.tell(f"PHOTREF_CATALOG AUTO: {name} for {where}")
    also = (*config.photref_color_keys, config.photref_mag_key, config.photref_magerr_key)
    return _stars(name, region, settings, run, "", also)


def _known(region: Region | None, name: str) -> Region:
    if region is None:
        raise ReferenceCatalogError(
            f"{name}: neither a WCS nor a pointing in the header tells which part to take"
        )
    return region


def _stars(
    name: str, region: Region, settings: Settings, run: Run, mag_key: str, also: tuple[str, ...]
) -> RefCatalog:
    """Return the stars of a survey in a region, from the store, which is filled first."""
    tiles = touched_tiles(SOURCES[name].order, *region)
    if len(tiles) > MAX_TILES:
        raise ReferenceCatalogError(
            f"{name}: the field could be anywhere within {region[2]:.0f} deg, too much to fetch; "
            "set PIXEL_SCALE, PIXSCALE_MAXERR or POSITION_MAXERR"
        )
    config = settings.config.store
    store = Store(config.refout_catpath)
    fetch_tiles(name, tiles, store, config.ref_server, config.ref_timeout, run.tell)
    paths = tuple(str(store.path(name, tile)) for tile in tiles)
    run.note_opened(*paths)
    return _read(name, paths, region, mag_key, also)


@lru_cache(maxsize=4)
def _read(
    name: str, paths: tuple[str, ...], region: Region, mag_key: str, also: tuple[str, ...]
) -> RefCatalog:
    return read_reference(paths, Run(), mag_key=mag_key, also=also, region=region, name=name)


def fetch_catalog(name: str, ra: str, dec: str, radius: float, settings: Settings) -> ExitStatus:
    """Fill the store with a part of a catalogue, ahead of the observations.

    Parameters
    ----------
    ra, dec : str
        Degrees, or sexagesimal with RA in hours.
    radius : float
        Degrees.

    Raises
    ------
    ConfigError
        No such catalogue, or not a place on the sky.
    ReferenceCatalogError
        No server has an answer.
    """
    name = name.upper()
    if name not in SOURCES:
        raise ConfigError(f"--fetch-catalog {name}: must be one of {', '.join(SURVEY_NAMES)}")
    place = parse_angle(ra, hours=":" in ra or " " in ra), parse_angle(dec, hours=False)
    known = math.isfinite(place[0]) and 0.0 <= place[0] <= 360.0 and abs(place[1]) <= 90.0
    if not known or not 0.0 < radius <= MAX_RADIUS:
        raise ConfigError(
            f"--fetch-catalog {name} {ra} {dec} {radius:g}: RA, Dec and radius must be degrees "
            f"on the sky (RA and Dec may be sexagesimal), the radius at most {MAX_RADIUS:g}"
        )
    check_library()
    run = Run()
    tiles = touched_tiles(SOURCES[name].order, *place, radius)
    config = settings.config.store
    store = Store(config.refout_catpath)
    fetch_tiles(name, tiles, store, config.ref_server, config.ref_timeout, run.tell, again=True)
    facts = [store.facts(name, tile) for tile in tiles]
    n_stars = sum(found.n_stars for found in facts if found is not None)
    run.tell(f"{name}: {n_stars} stars in {len(tiles)} tiles of {store.folder}")
    return ExitStatus.OK


def list_catalogs(settings: Settings) -> str:
    """Return what is in the local store, as lines of text."""
    store = Store(settings.config.store.refout_catpath)
    rows: dict[str, list[tuple[float, int, int, str]]] = {}
    damaged = []
    for name, tile, path in store.tiles():
        facts = store.facts(name, tile)
        if facts is None:
            damaged.append(str(path))
        else:
            size = path.stat().st_size
            rows.setdefault(name, []).append((tile.area, facts.n_stars, size, facts.date))
    lines = [
        f"# {store.folder}",
        "# catalogue     VizieR table            tiles   deg2      stars     MB  fetched",
    ]
    if not rows and not damaged:
        return f"# {store.folder}: empty; skyextract --fetch-catalog NAME RA DEC RADIUS fills it"
    for name, found in sorted(rows.items()):
        table = SOURCES[name].table if name in SOURCES else "?"
        dates = sorted(date[:10] for *_, date in found)
        when = " ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "-"
        area = sum(row[0] for row in found)
        stars, size = sum(row[1] for row in found), sum(row[2] for row in found)
        lines.append(
            f"{name:<15} {table:<22} {len(found):>6} {area:>6.1f} {stars:>10} {size / 1e6:>6.1f}  "
            f"{when}"
        )
    lines += [f"# damaged, will be fetched again: {path}" for path in damaged]
    return "\n".join(lines)
