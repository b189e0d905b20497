"""skyextract: from a FITS image to a calibrated catalogue.

The functions of `skyextract.api` are found here; they are imported when one is first used.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = [
    "SkyextractError",
    "astrometry",
    "characterize",
    "exposure",
    "measure",
    "photometry",
    "process",
    "read",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    attribute: object = getattr(import_module("skyextract.api"), name)
    return attribute


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
