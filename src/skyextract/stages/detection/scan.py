"""How SExtractor would go through an image, which decides the order of its rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from skyextract.kernels.detection.queue import Scan

if TYPE_CHECKING:
    from skyextract.settings.keywords import Config


def scan_of(
    config: Config,
    height: int,
    filter_height: int,
    wanted: Collection[str],
    sizes: Mapping[str, tuple[int, ...]],
) -> Scan:
    """Return the strip that SExtractor would hold of an image, and its list of sources.

    Parameters
    ----------
    config : Config
        MEMORY_BUFSIZE, MEMORY_OBJSTACK, BACKPHOTO_TYPE, BACKPHOTO_THICK, PHOT_APERTURES.
    height : int
        Rows of the image.
    filter_height : int
        Rows of the detection filter; 0: none.
    wanted : collection of str
        Columns: those with apertures or images need more rows around a source.
    sizes : mapping
        Shape of an element of VIGNET and VIGNET_SHIFT, [y, x].
    """
    memory = config.memory
    around = 0
    if config.measurement.backphoto_type == "LOCAL":
        around = int(config.measurement.backphoto_thick) + memory.memory_bufsize // 4
    strip = max(min(memory.memory_bufsize + around, height), filter_height)
    margin = max(1 + around, (filter_height - 1) // 2 + 1 if filter_height else 0)
    aperture = 0
    if "FLUX_APER" in wanted:
        aperture = int((max(config.measurement.phot_apertures) + 1.0) / 2.0) + 1
    for name, more in (("VIGNET", 0), ("VIGNET_SHIFT", 3)):
        if name in wanted and name in sizes:
            aperture = max(aperture, (sizes[name][0] + 1) // 2 + more)
    return Scan(height, strip, margin, memory.memory_objstack, aperture, filter_height // 2)
