"""The tables of VizieR that the surveys are, and what their columns are called here.

Names of tables and columns as VizieR has them (https://vizier.cds.unistra.fr, "ReadMe" of each
catalogue).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from skyextract.record import record


@record
class Source:
    """A table of VizieR.

    Attributes
    ----------
    table : str
    position : tuple of str
        Columns of right ascension and declination, ICRS.
    magnitudes : dict
        Name in the store, whose band `sky.bands` knows: columns, the first that there is is
        taken.  The error of column `x` is `e_x`.
    errors : tuple of str
        Columns of the position errors and their unit, where the answer does not tell it.
    motion : tuple of str
        Columns of the proper motion, mas/yr; none.
    epoch : float
        Julian year of the positions, where no column tells it.
    epoch_keys : tuple of str
        Columns of the epoch: Julian year, MJD or JD.
    constraints : dict
        Rows that are wanted, in VizieR's syntax.
    point_like : tuple of str
        Two magnitudes, of the PSF and of the whole light, of which the first must not be
        fainter by more than 0.05 mag; none.
    order : int
        HEALPix order of its tiles.
    """

    table: str
    position: tuple[str, str]
    magnitudes: Mapping[str, tuple[str, ...]]
    errors: tuple[str, str, str] = ("", "", "mas")
    motion: tuple[str, ...] = ()
    epoch: float = 2000.0
    epoch_keys: tuple[str, ...] = ()
    constraints: Mapping[str, str] = field(default_factory=dict)
    point_like: tuple[str, ...] = ()
    order: int = 7

    def columns(self) -> list[str]:
        """Return all columns to ask for, each once."""
        return list(dict.fromkeys(name for name in self._columns() if name))

    def _columns(self) -> Iterator[str]:
        yield from (*self.position, *self.errors[:2], *self.motion, *self.epoch_keys)
        for names in self.magnitudes.values():
            for name in names:
                yield from (name, f"e_{name}")
        yield from self.point_like


def _plain(names: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in names.split()}


SOURCES = {
    "GAIA-DR3": Source(
        "I/355/gaiadr3", ("RA_ICRS", "DE_ICRS"), _plain("Gmag BPmag RPmag"),
        errors=("e_RA_ICRS", "e_DE_ICRS", "mas"), motion=("pmRA", "pmDE"), epoch=2016.0,
    ),
    # Stars have less than 0.05 mag outside the PSF (Farrow et al. 2014, MNRAS 437, 748).
    "PANSTARRS-1": Source(
        "II/349/ps1", ("RAJ2000", "DEJ2000"), _plain("gmag rmag imag zmag ymag"),
        errors=("e_RAJ2000", "e_DEJ2000", "arcsec"), epoch=2012.0, epoch_keys=("Epoch",),
        constraints={"rmag": "<21.5"}, point_like=("imag", "iKmag"),
    ),
    "ATLAS-REFCAT2": Source(
        "J/ApJ/867/105/refcat2", ("RA_ICRS", "DE_ICRS"),
        _plain("gmag rmag imag zmag Gmag BPmag RPmag"),
        errors=("e_RA_ICRS", "e_DE_ICRS", "mas"), motion=("pmRA", "pmDE"), epoch=2015.5,
    ),
    # PSF magnitudes; primary detections of stars.
    "SDSS": Source(
        "V/154/sdss16", ("RA_ICRS", "DE_ICRS"),
        {f"{band}mag": (f"{band}pmag", f"{band}mag") for band in "ugriz"},
        errors=("e_RA_ICRS", "e_DE_ICRS", "arcsec"), epoch=2005.0, epoch_keys=("ObsDate",),
        constraints={"mode": "=1", "class": "=6"},
    ),
    "2MASS": Source(
        "II/246/out", ("RAJ2000", "DEJ2000"), _plain("Jmag Hmag Kmag"),
        errors=("errMaj", "errMin", "arcsec"), epoch=1999.5, epoch_keys=("_JD", "JD"),
    ),
    "APASS": Source(
        "II/336/apass9", ("RAJ2000", "DEJ2000"), _plain("Bmag Vmag g'mag r'mag i'mag"),
        errors=("e_RAJ2000", "e_DEJ2000", "arcsec"), epoch=2012.0,
    ),
    "TYCHO-2": Source(
        "I/259/tyc2", ("RAmdeg", "DEmdeg"), _plain("BTmag VTmag"),
        errors=("e_RAmdeg", "e_DEmdeg", "mas"), motion=("pmRA", "pmDE"), epoch=2000.0, order=4,
    ),
    # SkyMapper's v has no counterpart here.
    "SKYMAPPER": Source(
        "II/379/smssdr4", ("RAICRS", "DEICRS"),
        {f"{band}mag": (f"{band}PSF",) for band in "ugriz"},
        errors=("e_RAICRS", "e_DEICRS", "arcsec"), epoch=2017.0, epoch_keys=("MeanEpoch",),
        constraints={"ClassStar": ">0.8"},
    ),
}  # fmt: skip
