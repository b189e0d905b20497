"""A server on loopback that speaks VizieR's protocol, well or badly.

`/viz-bin/votable` of the ASU convention as VizieR answers it: POST of lines `-key=value`, circles
(-c, -c.rd/-c.rm/-c.rs), -out, -out.max, constraints `column=<value`; VOTable with the INFO
elements of the real one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import numpy as np

UNITS = {"RA_ICRS": "deg", "DE_ICRS": "deg", "RAJ2000": "deg", "DEJ2000": "deg",
         "RAmdeg": "deg", "DEmdeg": "deg", "RAICRS": "deg", "DEICRS": "deg"}  # fmt: skip


class Vizier:
    """The tables of the server, how it behaves, and what it was asked.

    Attributes
    ----------
    tables : dict
        Name of VizieR: columns (first RA, then Dec, deg).
    mood : str
        well, slow, drip, error, html, empty, nothing, half, short, silent, status; or what the
        next answers are like, separated by commas, of which the last one stays.
    cap : int
        Rows of an answer, at most.
    told : bool
        A cut answer says so.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self.tables = {
            name: {key: np.asarray(values) for key, values in columns.items()}
            for name, columns in tables.items()
        }
        self.mood = "well"
        self.cap = 1_000_000
        self.told = True
        self.units = dict(UNITS)
        self.questions: list[dict[str, str]] = []
        self.url = ""
        self._lock = threading.Lock()

    def next_mood(self, question: dict[str, str]) -> str:
        with self._lock:
            self.questions.append(question)
            first, _, rest = self.mood.partition(",")
            self.mood = rest or first
            return first

    def answer(self, question: dict[str, str]) -> bytes:
        """Return the VOTable of a question."""
        table = self.tables.get(question.get("-source", ""))
        if table is None:
            return document('<INFO name="Error" value="no such table"/>', "")
        names = list(table)
        wanted = question.get("-out", "*").split(",")
        unknown = [name for name in wanted if name not in table and name != "*"]
        rows = np.flatnonzero(self._inside(question, table[names[0]], table[names[1]]))
        for name in names:
            rule = question.get(name, "")
            if rule:
                value, sign = float(rule.lstrip("<>=")), rule[0]
                values = table[name][rows]
                keep = {"<": values < value, ">": values > value, "=": values == value}[sign]
                rows = rows[keep]
        limit = question.get("-out.max", "50")
        most = min(self.cap, self.cap if limit == "unlimited" else int(limit))
        cut, rows = len(rows) > most, rows[:most]
        shown = [name for name in (names if wanted == ["*"] else wanted) if name in table]
        fields = "".join(
            f'<FIELD name="{n}" datatype="double" unit="{self.units.get(n, "")}"/>\n' for n in shown
        )
        body = "".join(
            "<TR>" + "".join(f"<TD>{_text(table[n][row])}</TD>" for n in shown) + "</TR>\n"
            for row in rows
        )
        infos = "".join(f'<INFO name="Warning" value="Column {n!r} unknown"/>' for n in unknown)
        after = f'<INFO name="matches" value="{len(rows)}">matching records</INFO>'
        if cut:
            after += f'<INFO name="Warning" value="truncated result (maxtup={most})"/>'
            after += f'<INFO name="QUERY_STATUS" value="OVERFLOW">truncated (maxtup={most})</INFO>'
        if not self.told:
            after = ""
        source = question["-source"]
        if not len(rows):
            return document(f'<INFO name="-out.max" value="{limit}"/>{infos}', "")
        return document(
            f'<INFO ID="MaxTuples" name="-out.max" value="{limit}"/>',
            f'<RESOURCE name="{source}"><TABLE name="{source}">\n{fields}<DATA><TABLEDATA>\n{body}'
            f"</TABLEDATA></DATA></TABLE>{infos}{after}</RESOURCE>",
        )

    def _inside(self, question: dict[str, str], ra: Any, dec: Any) -> Any:
        text = question["-c"].replace("+", " +").replace("-", " -").split()
        ra0, dec0 = float(text[0]), float(text[1])
        for key, unit in (("-c.rd", 1.0), ("-c.rm", 60.0), ("-c.rs", 3600.0)):
            if key in question:
                radius = float(question[key]) / unit
        a, d, a0, d0 = (np.deg2rad(value) for value in (ra, dec, ra0, dec0))
        cosine = np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(a - a0)
        return np.arccos(np.clip(cosine, -1.0, 1.0)) <= np.deg2rad(radius)


def _text(value: Any) -> str:
    return "" if isinstance(value, float) and np.isnan(value) else str(value)


def document(infos: str, resource: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="1.4" '
        'xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n'
        "<DESCRIPTION>VizieR Astronomical Server</DESCRIPTION>\n"
        f"{infos}\n{resource}\n</VOTABLE>\n"
    ).encode()


@contextmanager
def serving(vizier: Vizier) -> Iterator[Vizier]:
    """Serve in threads until the block ends; `url` is where."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self.reply({key: ",".join(values) for key, values in query.items()})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            pairs = (line.partition("=") for line in text.replace("&", "\n").splitlines())
            self.reply({key: unquote_plus(v) if "%" in v else v for key, _, v in pairs})

        def reply(self, question: dict[str, str]) -> None:
            mood = vizier.next_mood(question)
            if mood == "status":
                self.send_error(503)
                return
            if mood == "slow":
                time.sleep(3.0)
            content = {
                "html": b"<html><body>Service under maintenance</body></html>",
                "error": document('<INFO name="Error" value="out of memory"/>', ""),
                "empty": document('<INFO name="QUERY_STATUS" value="OK"/>', ""),
                "nothing": b"",
            }.get(mood) or (b"" if mood == "nothing" else vizier.answer(question))
            sent = content[: len(content) // 2] if mood in {"half", "short"} else content
            length = len(sent) if mood == "half" else len(content)
            try:
                self.send_response(200)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if mood == "drip":
                    for start in range(0, len(sent), max(1, len(sent) // 100)):
                        self.wfile.write(sent[start : start + max(1, len(sent) // 100)])
                        self.wfile.flush()
                        time.sleep(0.1)
                else:
                    self.wfile.write(sent)
            except OSError:
                pass
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    vizier.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield vizier
    finally:
        server.shutdown()
        server.server_close()
