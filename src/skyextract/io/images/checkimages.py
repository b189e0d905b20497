"""Check images: what detection and measurement saw, as FITS images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from skyextract.datamodel.arrays import F4, AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.header import Cards, Header, extend_missing, remove, set_cards
from skyextract.datamodel.wcscards import is_wcs_keyword
from skyextract.io.atomic import OpenOutput, atomic_output
from skyextract.io.fits.writer import empty_unit, image_unit, primary_unit, write_units
from skyextract.io.images.exposures import current_header, mask_cards

_DTYPES: dict[str, np.dtype[Any]] = {
    "SEGMENTATION": np.dtype(np.int32),
    "MASK": np.dtype(np.uint16),
}
_FLOAT: np.dtype[Any] = np.dtype(np.float32)
_CROWDED = 1  # FLAGS: neighbours bias the AUTO photometry
_OVERLAY = 30.0  # brightness of drawn apertures in sigma of the sky, SExtractor's


class CheckImageWriter:
    """Writes check images, image by image; a context manager.

    The files appear together, when the block ends without an error.

    Parameters
    ----------
    files : mapping of type to path
        The check images wanted.
    extensions : bool
        The input has several images: each becomes an extension.  Else the check image is in
        the primary header unit.
    open_output : callable
        What opens the file; default: by itself, see `atomic_output`.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        extensions: bool,
        open_output: OpenOutput = atomic_output,
    ) -> None:
        self._files = dict(files)
        self._extensions = extensions
        self._open = open_output
        self._stack = ExitStack()
        self._streams: dict[str, BinaryIO] = {}

    @property
    def types(self) -> frozenset[str]:
        """The types wanted."""
        return frozenset(self._files)

    def __enter__(self) -> CheckImageWriter:
        with ExitStack() as stack:
            for kind, path in self._files.items():
                self._streams[kind] = stack.enter_context(self._open(path))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add(
        self, exposure: Exposure, planes: Mapping[str, AnyArray], cards: Cards | None = None
    ) -> None:
        """Write the check images of one image.

        Parameters
        ----------
        exposure : Exposure
            Where the header comes from; its WCS is kept where a plane has the image's shape.
        planes : mapping of type to (ny, nx) array
            One for every type wanted; others are ignored.
        cards : mapping, optional
            Status cards to add.
        """
        base = set_cards(current_header(exposure), cards or {})
        for kind, stream in self._streams.items():
            plane = np.asarray(planes[kind])
            plane = np.ascontiguousarray(plane, _DTYPES.get(kind, _FLOAT))
            header = base.copy()
            if plane.shape != exposure.shape:
                remove(header, [k for k in header if is_wcs_keyword(k)])
            if kind == "MASK":
                extend_missing(header, mask_cards())
            if self._extensions:
                self._start(stream, cards)
                image_unit(plane, header, name=exposure.extension_name).write(stream)
            else:
                write_units(stream, [image_unit(plane, header, primary=True)])

    def leave_out(self, header: Header, cards: Cards | None = None) -> None:
        """Keep the place of an image without results by an extension without pixels."""
        for stream in self._streams.values():
            self._start(stream, cards)
            unit = empty_unit(header, str(header.get("EXTNAME") or ""))
            set_cards(unit.header, cards or {})
            unit.write(stream)

    def _start(self, stream: BinaryIO, cards: Cards | None) -> None:
        if stream.tell() == 0:
            primary = primary_unit()
            set_cards(primary.header, cards or {})
            write_units(stream, [primary])


def object_planes(subtracted: AnyArray, segmentation: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return OBJECTS and -OBJECTS: the background-subtracted image in, and outside sources."""
    inside = segmentation != 0
    zero = subtracted.dtype.type(0)
    return np.where(inside, subtracted, zero), np.where(inside, zero, subtracted)


def aperture_plane(
    subtracted: AnyArray, sources: Catalog, diameters: Sequence[float], sigma: float
) -> F4:
    """Return APERTURES: the background-subtracted image with the apertures drawn over it.

    As SExtractor: each outline adds 30 sigma of the sky; AUTO and PETRO ellipses (A_IMAGE, B_IMAGE
    times KRON_RADIUS, PETRO_RADIUS) are dotted for sources whose FLAGS say crowded.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Image minus background.
    sources : Catalog
        X_IMAGE, Y_IMAGE; with A_IMAGE, B_IMAGE, THETA_IMAGE ellipses of the radii that are there.
    diameters : sequence of float
        PHOT_APERTURES in pixels; empty: no circles.
    sigma : float
        Noise of the sky in image units.
    """
    plane = np.array(subtracted, np.float32)
    x = np.asarray(sources["X_IMAGE"], np.float64) - 1.0
    y = np.asarray(sources["Y_IMAGE"], np.float64) - 1.0
    value = np.float32(_OVERLAY * sigma)
    zero = np.zeros_like(x)
    for diameter in diameters:
        radius = zero + diameter / 2.0
        _draw(plane, (x, y), (radius, radius), zero, value=value)
    for name in {"KRON_RADIUS", "PETRO_RADIUS"} & set(sources):
        radius = np.asarray(sources[name], np.float64)
        major, minor = radius * sources["A_IMAGE"], radius * sources["B_IMAGE"]
        dotted = (np.asarray(sources["FLAGS"]) & _CROWDED) > 0 if "FLAGS" in sources else None
        theta = np.asarray(sources["THETA_IMAGE"], np.float64)
        _draw(plane, (x, y), (major, minor), theta, value=value, dotted=dotted)
    return plane


def _draw(
    plane: F4,
    centres: tuple[AnyArray, AnyArray],
    axes: tuple[AnyArray, AnyArray],
    theta: AnyArray,
    *,
    value: np.float32,
    dotted: AnyArray | None = None,
) -> None:
    """Add `value` to the pixels on the outlines of ellipses, each pixel once per ellipse."""
    ny, nx = plane.shape
    (x, y), (major, minor) = centres, axes
    usable = np.isfinite(x + y + major + minor + theta) & (major > 0.0) & (minor > 0.0)
    usable &= major < 2.0 * (nx + ny)
    for k in np.flatnonzero(usable):
        n = max(8, int(np.ceil(4.0 * np.pi * major[k])))
        angle = np.arange(n) * (2.0 * np.pi / n)
        if dotted is not None and dotted[k]:
            angle = angle[(np.arange(n) // 4) % 2 == 0]
        u, v = major[k] * np.cos(angle), minor[k] * np.sin(angle)
        c, s = np.cos(np.radians(theta[k])), np.sin(np.radians(theta[k]))
        px = np.rint(x[k] + u * c - v * s).astype(np.int64)
        py = np.rint(y[k] + u * s + v * c).astype(np.int64)
        inside = (px >= 0) & (px < nx) & (py >= 0) & (py < ny)
        pixels = np.unique(py[inside] * nx + px[inside])
        plane.reshape(-1)[pixels] += value
