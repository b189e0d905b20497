"""Asking VizieR: one circle of one table, and whether the answer is all of it.

The question is astroquery's, in the terms of VizieR's ASU protocol (`/viz-bin/votable`), which all
its mirrors speak.  What comes back is read here, and strictly: a server in trouble may send half
of a table, an error as a table, or a table cut at its own limit of rows.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

from skyextract.errors import ReferenceCatalogError
from skyextract.io.references.online.sources import Source
from skyextract.io.references.tables import Table, parse_votable
from skyextract.messages import quiet
from skyextract.record import record
from skyextract.settings.extras import require

PATIENCE = 10.0
"""Time for a whole answer, in units of the longest silence."""


class UnreachableError(ReferenceCatalogError):
    """There is no such server, or it keeps silent: asking again is of no use."""


@record
class Circle:
    """A place on the sky, deg."""

    ra: float
    dec: float
    radius: float


@record
class Answer:
    """Rows of a table.

    Attributes
    ----------
    table : Table
        Empty, without columns, if there are no rows.
    cut : bool
        There are more rows than these.
    vouched : bool
        The server says how many rows there are, and they are here.
    question : str
        What was asked, in one line.
    """

    table: Table
    cut: bool
    vouched: bool
    question: str


def check_library() -> None:
    """Raise a ConfigError if what asks servers is not installed."""
    require("a reference catalogue from the network", "online", "astroquery", "hpgeom")


def ask(server: str, source: Source, circle: Circle, limit: int, timeout: float) -> Answer:
    """Ask a server for the rows of a table in a circle.

    Parameters
    ----------
    server : str
        A host, or http://host:port.
    limit : int
        Rows, at most.
    timeout : float
        Longest silence, s.

    Raises
    ------
    UnreachableError
        No such server, or silence.
    ReferenceCatalogError
        An answer that cannot be used.
    """
    with quiet():
        question, post = _prepared(server, source, circle, limit, timeout)
        content = _within(PATIENCE * timeout, post)
    return _checked(content, source, limit, question)


def _prepared(server: str, source: Source, circle: Circle, limit: int, timeout: float) -> Any:
    """Return the question as text, and the function that puts it."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astroquery.vizier import VizierClass

    vizier = VizierClass(
        columns=source.columns(),
        column_filters=dict(source.constraints),
        vizier_server=server,
        row_limit=limit,
        timeout=timeout,
    )
    if "://" in server:  # astroquery takes hosts, and speaks https to them
        vizier._server_to_url = lambda return_type="votable": (
            f"{server.rstrip('/')}/viz-bin/{return_type}"
        )
    vizier._session.headers["Accept-Encoding"] = "gzip"
    centre = SkyCoord(circle.ra, circle.dec, unit="deg")
    given = {"radius": circle.radius * u.deg, "catalog": source.table, "frame": "icrs"}
    payload = vizier.query_region_async(centre, get_query_payload=True, **given)

    def post() -> Any:
        return vizier.query_region_async(centre, cache=False, **given)

    return " ".join(payload.split()), post


def _within(seconds: float, post: Any) -> bytes:
    """Put the question; one that is not answered in time is left to itself."""
    import requests

    done: list[Any] = []

    def work() -> None:
        try:
            response = post()
            done.append((response.status_code, response.content))
        except Exception as error:
            done.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise UnreachableError(f"no whole answer within {seconds:g} s")
    found = done[0]
    if isinstance(found, requests.Timeout):
        raise UnreachableError("no answer in time")
    if isinstance(found, requests.exceptions.ChunkedEncodingError):
        raise ReferenceCatalogError("the answer breaks off")
    if isinstance(found, requests.ConnectionError):
        reset = "reset" in str(found).lower() or "aborted" in str(found).lower()
        raise (ReferenceCatalogError if reset else UnreachableError)(_reason(found))
    if isinstance(found, requests.RequestException | ValueError | OSError):
        raise ReferenceCatalogError(_reason(found))
    if isinstance(found, BaseException):
        raise found
    status, content = found
    if status != 200:
        raise ReferenceCatalogError(f"HTTP status {status}")
    return bytes(content)


def _reason(error: Exception) -> str:
    """Return what went wrong on the network in a few words."""
    text = str(error).lower()
    for mark, words in (
        ("resol", "name not known"),
        ("name or service", "name not known"),
        ("refused", "connection refused"),
        ("unreachable", "network unreachable"),
        ("reset", "connection reset"),
        ("aborted", "connection closed without an answer"),
        ("certificate", "its certificate is not valid"),
    ):
        if mark in text:
            return words
    return " ".join(str(error).split())[:80] or type(error).__name__


@dataclass
class _Notes:
    """The INFO elements and the number of rows of a VOTable."""

    infos: list[tuple[str, str, str]] = field(default_factory=list)
    n_tables: int = 0
    n_rows: int = 0
    _inside: bool = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take an opening tag."""
        kind = name.rpartition(":")[2].upper()
        self._inside = kind == "INFO"
        if self._inside:
            self.infos.append((attributes.get("name", ""), attributes.get("value", ""), ""))
        self.n_tables += kind == "TABLE"
        self.n_rows += kind == "TR"

    def text(self, data: str) -> None:
        """Take the text of an element."""
        if self._inside:
            name, value, before = self.infos[-1]
            self.infos[-1] = (name, value, before + data)

    def end(self, _: str) -> None:
        """Take a closing tag."""
        self._inside = False

    def value(self, name: str) -> str:
        """Return the last value of that name."""
        return next((v for key, v, _ in reversed(self.infos) if key.lower() == name), "")


def _checked(content: bytes, source: Source, limit: int, question: str) -> Answer:
    """Read an answer, and see whether it is whole."""
    if not content.strip():
        raise ReferenceCatalogError("an empty answer")
    notes = _Notes()
    parser = ParserCreate()
    parser.StartElementHandler = notes.start
    parser.EndElementHandler = notes.end
    parser.CharacterDataHandler = notes.text
    try:
        parser.Parse(content, True)
    except ExpatError as error:
        what = "breaks off" if "no element" in str(error) or "unclosed" in str(error) else ""
        raise ReferenceCatalogError(f"the answer {what or 'is no VOTable'} ({error})") from None
    if b"VOTABLE" not in content[:2000]:
        raise ReferenceCatalogError("the answer is no VOTable")
    status = notes.value("query_status").upper()
    for name, value, text in notes.infos:
        if name.lower() in {"error", "errors"} or (
            name.lower() == "query_status" and "ERR" in status
        ):
            said = " ".join((text or value).split())[:100]
            raise ReferenceCatalogError(f"the server says: {said}")
    if notes.n_tables == 0 or notes.n_rows == 0:
        table = Table({}, {}) if notes.n_tables == 0 else _empty_or_packed(content)
    else:
        table = parse_votable(content, "the answer")
    if table.n_rows:
        missing = [name for name in source.position if name not in table.columns]
        found = [name for names in source.magnitudes.values() for name in names]
        if missing or not set(found) & set(table.columns):
            text = ", ".join(missing or found)
            raise ReferenceCatalogError(f"the answer has no column {text}")
    cut = status == "OVERFLOW" or any("truncated" in f"{v} {t}".lower() for _, v, t in notes.infos)
    cut |= table.n_rows >= limit or table.n_rows >= (_number(notes.value("maxtuples")) or limit)
    cut |= table.n_rows >= (_number(notes.value("-out.max")) or limit)
    matches = _number(notes.value("matches"))
    if matches is not None and table.n_rows < matches:
        raise ReferenceCatalogError(f"the answer has {table.n_rows} of {matches} rows")
    return Answer(table, bool(cut), matches is not None or status == "OK", question)


def _empty_or_packed(content: bytes) -> Table:
    """Return the rows of a table without TR elements: none, or binary ones."""
    table = parse_votable(content, "the answer")
    return table if table.n_rows else Table({}, {})


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
