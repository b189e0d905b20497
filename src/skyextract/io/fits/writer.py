"""Writing FITS files unit by unit, so that of many extensions only one is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.header import extend_missing, is_structural
from skyextract.messages import quiet

if TYPE_CHECKING:
    from astropy.io.fits import Header


def primary_unit(header: Header | None = None) -> Any:
    """Return a primary header unit without data, with the cards of `header`."""
    from astropy.io import fits

    unit = fits.PrimaryHDU()
    unit.header["EXTEND"] = True
    return unit if header is None else _with(unit, header)


def _with(unit: Any, header: Header) -> Any:
    with quiet():
        extend_missing(unit.header, header, is_structural)
    return unit


def write_units(stream: BinaryIO, units: list[Any]) -> None:
    """Write header units, the first one primary, into an empty file."""
    from astropy.io import fits

    with quiet():
        fits.HDUList(units).writeto(stream, output_verify="ignore")


def append_unit(stream: BinaryIO, unit: Any) -> None:
    """Append a header unit to a file that `stream` is open for, flushed and named."""
    from astropy.io import fits

    stream.flush()
    with quiet():
        fits.append(stream.name, unit.data, unit.header, verify=False)


def image_unit(
    array: AnyArray,
    header: Header | None = None,
    *,
    primary: bool = False,
    name: str = "",
    version: int = 0,
) -> Any:
    """Return an image header unit.

    Parameters
    ----------
    array : (ny, nx) or (n, ny, nx)
        Any integer or real type; unsigned integers are stored with BZERO.
    header : Header, optional
        Cards to carry over; those that describe its own storage are left out.
    primary : bool
        As the primary unit, else as an IMAGE extension.
    name, version : str, int
        EXTNAME and EXTVER, if given.
    """
    from astropy.io import fits

    with quiet():
        if primary:
            unit = fits.PrimaryHDU(array)
        else:
            unit = fits.ImageHDU(array, name=name or None, ver=version or None)
    return unit if header is None else _with(unit, header)
