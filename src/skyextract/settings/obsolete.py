"""Keywords and values of SExtractor's own that older or experimental configurations have.

SExtractor warns of keywords that it does not have any more, and runs; of these check images it
writes empty ones.  An existing configuration has to work here, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from skyextract.settings.grammar import Setting

KEYWORDS = frozenset({
    "BLANK", "DETECT_IMAGE", "SCAN_ISOAPRATIO",  # 1.0
    "MAMA_CORFLEX", "PSFDISPLAY_TYPE",  # 2.0 to 2.8
    "RAD_THRESH", "RAD_TYPE",  # Starlink's EXTRACTOR
    "PSF_RECENTER",  # PSFEx, whose dumps lie beside them
})  # fmt: skip
"""What no version from 2.19 on has, nor this program."""

_CHECK_IMAGES = (
    "-MASK", "ASSOC", "PC_CONVPROTOS", "-PC_CONVPROTOS", "PC_PROTOS", "MAP_SOM", "PATTERNS",
    "OTHER",
)  # fmt: skip
_VALUES = {
    "CHECKIMAGE_TYPE": dict.fromkeys(_CHECK_IMAGES, "NONE"),
    "CATALOG_TYPE": {"FITS_TPX": "FITS_LDAC"},
    "VERBOSE_TYPE": {"EXTRA_WARNING": "EXTRA_WARNINGS"},
}
"""By keyword: what stands in the place of a value.  Names of check images go by their places."""


def as_today(
    settings: Iterable[Setting], ignored: list[str], notes: list[str]
) -> Iterator[Setting]:
    """Yield settings in today's keywords and values.

    Parameters
    ----------
    settings : iterable of Setting
    ignored, notes : list of str
        Keywords that are left out, and what there is to say of values, are appended.
    """
    for setting in settings:
        if setting.name in KEYWORDS:
            ignored.append(setting.name)
            continue
        instead = _VALUES.get(setting.name, {})
        old = [word.upper() for word in setting.values if word.upper() in instead]
        if not old:
            yield setting
            continue
        values = tuple(instead.get(word.upper(), word) for word in setting.values)
        yield dataclasses.replace(setting, values=values)
        if setting.name == "CHECKIMAGE_TYPE":
            notes.append(f"{setting.origin}: no meaning here, not written: {', '.join(old)}")
        elif setting.name == "CATALOG_TYPE":
            notes.append(f"{setting.origin}: CATALOG_TYPE {old[0]} is not written: FITS_LDAC is")
