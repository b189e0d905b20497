"""Filling the store: questions small enough that no answer is cut, servers in their order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from skyextract.datamodel.arrays import F8, AnyArray, Bools
from skyextract.errors import ReferenceCatalogError
from skyextract.io.references.columns import (
    epoch_years,
    error_columns,
    find_columns,
    motion_columns,
)
from skyextract.io.references.online.sources import SOURCES, Source
from skyextract.io.references.online.store import Store, Tile
from skyextract.io.references.online.vizier import (
    Answer,
    Circle,
    UnreachableError,
    ask,
    check_library,
)
from skyextract.io.references.tables import Table, numbers
from skyextract.sky.surveys import SURVEYS

log = logging.getLogger("skyextract")

LIMIT = 50_000
"""Rows of one answer; a larger one is asked for in parts."""
DEEPEST = 12
"""HEALPix order of the smallest parts (51 arcsec)."""
COARSEST = 2
"""Levels above a tile at which a question may be put for all tiles in it."""
ROUNDS = 2
PAUSE = 1.0
"""Times that servers are asked, and seconds before the second time."""
MAX_TILES = 1000
EXTENDED = 0.05

SILENCE = 120.0
"""Seconds for which a server that keeps silent is not asked again by this process."""

_silent: dict[str, tuple[str, float]] = {}
"""Servers that this process found silent: why, and until when that is remembered."""

Columns = dict[str, AnyArray]


def touched_tiles(order: int, ra: float, dec: float, radius: float) -> list[Tile]:
    """Return the tiles that a disc (deg) touches."""
    import hpgeom

    pixels = hpgeom.query_circle(2**order, ra, dec, min(radius, 179.9), inclusive=True, nest=True)
    return [Tile(order, int(pixel)) for pixel in np.sort(pixels)]


def fetch_tiles(
    name: str, tiles: Sequence[Tile], store: Store, servers: Sequence[str], timeout: float,
    tell: Callable[[str], None], *, again: bool = False,
) -> None:  # fmt: skip
    """See that tiles are in the store; ask for those that are not.

    Parameters
    ----------
    name : str
        The survey.
    servers : sequence of str
        In the order in which they are asked.
    timeout : float
        Longest silence of a server, s.
    tell : callable
        Takes a line for the user before anything is asked.
    again : bool
        Ask for tiles without a star, too.

    Raises
    ------
    ReferenceCatalogError
        No server has an answer that can be used, or the store cannot be written.
    ConfigError
        astroquery or hpgeom is not installed.
    """
    if not _wanted(name, tiles, store, again):
        return
    check_library()
    start = time.time()
    with store.locked(name):
        missing = _wanted(name, tiles, store, again)
        if not missing:
            return
        failure = store.failure_since(name, start)
        if failure:
            raise ReferenceCatalogError(failure)
        tell(f"{name}: asking {_host(servers[0])} for {_area(missing)}")
        asker = _Asker(name, SOURCES[name], servers, timeout)
        try:
            for cell in _cells(missing):
                _fill(cell, asker, store, set(missing) if again else set())
        except ReferenceCatalogError as error:
            store.note_failure(name, str(error))
            raise


def _wanted(name: str, tiles: Sequence[Tile], store: Store, again: bool) -> list[Tile]:
    facts = {tile: store.facts(name, tile) for tile in tiles}
    return [tile for tile, found in facts.items() if found is None or (again and not found.n_stars)]


def _area(tiles: Sequence[Tile]) -> str:
    area = sum(tile.area for tile in tiles)
    return f"{len(tiles)} tile{'s' if len(tiles) > 1 else ''} ({area:.2f} deg2)"


def _host(server: str) -> str:
    return server.partition("://")[2] or server


def _cells(missing: Sequence[Tile]) -> list[Tile]:
    """Return the pixels to ask about: tiles, and what holds four of them that are all missing."""
    level = list(missing)
    done: list[Tile] = []
    for _ in range(COARSEST):
        parents: dict[Tile, list[Tile]] = {}
        for tile in level:
            parents.setdefault(Tile(tile.order - 1, tile.pixel // 4), []).append(tile)
        level = [parent for parent, inside in parents.items() if len(inside) == 4]
        done += [tile for inside in parents.values() if len(inside) < 4 for tile in inside]
    return sorted([*done, *level], key=lambda tile: (tile.order, tile.pixel))


def _fill(cell: Tile, asker: _Asker, store: Store, anew: set[Tile]) -> None:
    """Fetch a cell and write the tiles in it, but for those that are there."""
    stars = asker.stars(cell)
    stars = _take(stars, np.lexsort((stars["dec"], stars["ra"])))  # whatever the parts were
    depth = asker.source.order - cell.order
    pixels = _pixels(asker.source.order, stars)
    cards = asker.cards()
    for pixel in range(cell.pixel << 2 * depth, (cell.pixel + 1) << 2 * depth):
        tile = Tile(asker.source.order, pixel)
        if tile in anew or store.facts(asker.name, tile) is None:
            store.write(asker.name, tile, _take(stars, pixels == pixel), cards)


def _pixels(order: int, stars: Columns) -> AnyArray:
    import hpgeom

    if not len(stars["ra"]):
        return np.zeros(0, np.int64)
    return np.asarray(hpgeom.angle_to_pixel(2**order, stars["ra"], stars["dec"], nest=True))


def _take(stars: Columns, rows: AnyArray) -> Columns:
    return {key: values[rows] for key, values in stars.items()}


def circle_of(cell: Tile) -> Circle:
    """Return the circle around a HEALPix pixel."""
    import hpgeom

    nside = 2**cell.order
    ra, dec = (float(value) for value in hpgeom.pixel_to_angle(nside, cell.pixel, nest=True))
    edge = hpgeom.boundaries(nside, cell.pixel, step=4, nest=True)
    half_ra, half_dec = (0.5 * np.deg2rad(e - c) for e, c in zip(edge, (ra, dec), strict=True))
    haversine = np.sin(half_dec) ** 2 + (
        np.cos(np.deg2rad(dec)) * np.cos(np.deg2rad(edge[1])) * np.sin(half_ra) ** 2
    )
    return Circle(ra, dec, 1.01 * float(np.rad2deg(2.0 * np.arcsin(np.sqrt(haversine.max())))))


@dataclass
class _Asker:
    """Puts questions about one survey, and remembers who answered."""

    name: str
    source: Source
    servers: Sequence[str]
    timeout: float
    server: str = ""
    questions: list[str] = field(default_factory=list)

    def cards(self) -> dict[str, tuple[object, str]]:
        """Return what a tile says of where it comes from, and begin anew."""
        first, count = self.questions[0], len(self.questions)
        self.questions = []
        wanted = " ".join(f"{key}{value}" for key, value in self.source.constraints.items())
        return {
            "TABLE": (self.source.table, "table of VizieR"),
            "SERVER": (_host(self.server)[:60], "who answered"),
            "ROWS": (wanted or "all", "which rows of the table were wanted"),
            "NQUERIES": (count, "questions for this part of the sky"),
            "QUERY": (first, "the first of them"),
        }

    def stars(self, cell: Tile) -> Columns:
        """Return all stars of a HEALPix pixel; it is asked about in parts if need be.

        Raises
        ------
        ReferenceCatalogError
        """
        answer = self._ask(cell)
        stars = self._inside(answer.table, cell)
        if not answer.cut and (answer.vouched or self._is_whole(stars, cell)):
            return stars
        if cell.order >= DEEPEST:
            circle = circle_of(cell)
            raise ReferenceCatalogError(
                f"{self.name}: {_host(self.server)} cuts its answers even for {circle.radius:.4f} "
                f"deg around {circle.ra:.4f} {circle.dec:+.4f}: not used"
            )
        parts = [self.stars(Tile(cell.order + 1, 4 * cell.pixel + i)) for i in range(4)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _is_whole(self, stars: Columns, cell: Tile) -> bool:
        """Tell whether there are no more stars than a server gave that does not count them.

        Its quarters are asked about, too: together they must not have more.
        """
        if cell.order >= DEEPEST:
            return True
        quarters = [Tile(cell.order + 1, 4 * cell.pixel + i) for i in range(4)]
        counts = [len(self._inside(self._ask(part).table, part)["ra"]) for part in quarters]
        return sum(counts) <= len(stars["ra"])

    def _ask(self, cell: Tile) -> Answer:
        """Put a question to the servers in their order."""
        circle = circle_of(cell)
        reasons: dict[str, str] = {}
        empty: Answer | None = None
        for turn in range(ROUNDS):
            for server in self._asked(reasons, turn):
                try:
                    answer = ask(server, self.source, circle, LIMIT, self.timeout)
                except ReferenceCatalogError as error:
                    log.debug("%s: %s: %s", self.name, server, error)
                    reasons[server] = str(error)
                    if isinstance(error, UnreachableError):
                        _silent[server] = str(error), time.monotonic() + SILENCE
                    continue
                if not answer.table.n_rows and self._must_have_stars(cell):
                    reasons[server] = "a table without rows"
                    continue
                self.server = server
                self.questions.append(answer.question)
                if answer.table.n_rows:
                    return answer
                empty = empty or answer
            if empty is not None:
                return empty
        reasons = {server: why for server, (why, _) in _silent.items()} | reasons
        said = _in_short({_host(s): reasons[s] for s in self.servers if s in reasons})
        raise ReferenceCatalogError(f"{self.name}: no server has an answer ({said})")

    def _asked(self, reasons: dict[str, str], turn: int) -> Iterator[str]:
        """Yield servers that may answer; who answered last comes first."""
        order = sorted(self.servers, key=lambda server: server != self.server)
        now = time.monotonic()
        able = [server for server in order if _silent.get(server, ("", 0.0))[1] < now]
        if turn and able and any(server in reasons for server in able):
            time.sleep(PAUSE)
        yield from able

    def _must_have_stars(self, cell: Tile) -> bool:
        return SURVEYS[self.name].whole and cell.order <= self.source.order

    def _inside(self, table: Table, cell: Tile) -> Columns:
        """Return the stars of a table that stand in a pixel, with the columns of the store."""
        stars = store_columns(table, self.source)
        return _take(stars, _pixels(cell.order, stars) == cell.pixel)


def _in_short(reasons: Mapping[str, str]) -> str:
    """Return why servers gave no answer, each reason once."""
    hosts: dict[str, list[str]] = {}
    for host, reason in reasons.items():
        hosts.setdefault(reason, []).append(host)
    return "; ".join(
        f"{names[0]}: {reason}" if len(names) == 1 else f"{len(names)} servers: {reason}"
        for reason, names in hosts.items()
    )


def store_columns(table: Table, source: Source) -> Columns:
    """Return a table of VizieR with the columns and units of the store.

    Parameters
    ----------
    table : Table
        As it was received; what a column lacks is NaN.
    """
    n_rows = table.n_rows
    unknown = np.full(n_rows, np.nan)

    def column(name: str) -> F8:
        return numbers(table.columns[name]) if name in table.columns else unknown

    ra, dec = (column(name) for name in source.position)
    ra_error, dec_error = error_columns(table, *source.errors) or (unknown, unknown)
    moving = find_columns(table, source.motion) if source.motion else None
    pmra, pmdec = motion_columns(table, moving) if moving else (unknown, unknown)
    epoch = unknown
    for name in source.epoch_keys:
        if name in table.columns:
            epoch = np.where(np.isfinite(epoch), epoch, epoch_years(table.columns[name]))
    epoch = np.where(np.isfinite(epoch), epoch, source.epoch)
    stars: dict[str, AnyArray] = {
        "ra": ra, "dec": dec, "ra_error": 1e3 * ra_error, "dec_error": 1e3 * dec_error,
        "pmra": pmra, "pmdec": pmdec, "epoch": epoch,
    }  # fmt: skip
    for name, choices in source.magnitudes.items():
        found = next((c for c in choices if np.any(np.isfinite(column(c)))), choices[0])
        stars[name], stars[f"e_{name}"] = column(found), column(f"e_{found}")
    good = np.isfinite(ra) & np.isfinite(dec) & _point_like(table, source, column)
    return {
        key: (values if key in {"ra", "dec", "epoch"} else values.astype(np.float32))[good]
        for key, values in stars.items()
    }


def _point_like(table: Table, source: Source, column: Callable[[str], F8]) -> Bools:
    """Tell which rows are no galaxies, as far as the table tells it."""
    if not source.point_like:
        return np.ones(table.n_rows, np.bool_)
    psf, whole = (column(name) for name in source.point_like)
    with np.errstate(invalid="ignore"):
        return ~(psf - whole > EXTENDED)
