"""Write a WCS as a SCAMP-style additional header (`image.head`): 80-character lines of cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skyextract import __version__
from skyextract.datamodel.card import CARD
from skyextract.datamodel.header import Header, card_lines, set_cards
from skyextract.io.atomic import OpenOutput, atomic_output


def head_text(cards: Mapping[str, Any]) -> str:
    """Return the lines of one image: a HISTORY line, the cards, and END."""
    header = Header()
    solution = "Astrometric solution" if cards else "No astrometric solution"
    header["HISTORY"] = f"{solution} by skyextract {__version__}"
    return "".join(f"{line:<{CARD}}\n" for line in card_lines(set_cards(header, cards)))


def write_head(
    path: str | Path,
    images: Sequence[Mapping[str, Any]],
    open_output: OpenOutput = atomic_output,
) -> None:
    """Write the cards of one or more image extensions, each ended by END.

    Parameters
    ----------
    path : str or Path
    images : sequence of mappings
        `Astrometry.head_cards` of each extension, in their order: readers take them by their
        place.  Empty where there is no solution, and the WCS of the image stands.
    open_output : callable
        What opens the file; default: by itself, see `atomic_output`.
    """
    with open_output(path) as stream:
        stream.write("".join(head_text(cards) for cards in images).encode("ascii"))
