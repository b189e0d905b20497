"""Which of the known surveys suits a frame: by filter, declination and size of the field.

Depths and footprints: Gaia DR3 (Gaia Collaboration 2023, A&A 674, A1), Pan-STARRS1 (Chambers et
al. 2016, north of -30 deg), ATLAS-REFCAT2 (Tonry et al. 2018, ApJ 867, 105: all sky, griz to
19 mag on the Pan-STARRS1 system), SDSS DR16, 2MASS, APASS DR9, Tycho-2, SkyMapper DR4 (south of
+16 deg, complete south of 0).
"""

from __future__ import annotations

from skyextract.record import record

WIDE = 2.0
"""Radius (deg) from which stars of a bright catalogue are enough, and others are too many."""


@record
class Survey:
    """What a reference catalogue covers.

    Attributes
    ----------
    bands : tuple of str
        As `bands` names them.
    south, north : float
        Declinations (deg) that it covers, if not all of them.
    whole : bool
        There are stars in every part of it that is asked for.
    """

    bands: tuple[str, ...]
    south: float = -90.0
    north: float = 90.0
    whole: bool = True

    def covers(self, dec: float) -> bool:
        """Tell whether a declination (deg) can be in it."""
        return self.south <= dec <= self.north


SURVEYS = {
    "GAIA-DR3": Survey(("G", "BP", "RP")),
    "PANSTARRS-1": Survey(("g", "r", "i", "z", "y"), south=-30.0, whole=False),
    "ATLAS-REFCAT2": Survey(("g", "r", "i", "z", "G", "BP", "RP")),
    "SDSS": Survey(("u", "g", "r", "i", "z"), south=-26.0, whole=False),
    "2MASS": Survey(("J", "H", "Ks")),
    "APASS": Survey(("B", "V", "g", "r", "i"), whole=False),
    "TYCHO-2": Survey(("BT", "VT")),
    "SKYMAPPER": Survey(("u", "g", "r", "i", "z"), north=16.0, whole=False),
}

_BY_BAND = {
    **dict.fromkeys("griz", ("PANSTARRS-1", "ATLAS-REFCAT2")),
    "y": ("PANSTARRS-1",),
    **dict.fromkeys("BV", ("APASS",)),
    **dict.fromkeys(("J", "H", "Ks"), ("2MASS",)),
    **dict.fromkeys(("G", "BP", "RP"), ("GAIA-DR3",)),
    **dict.fromkeys(("BT", "VT"), ("TYCHO-2",)),
}
_BY_BAND_WIDE = {"G": ("ATLAS-REFCAT2",), **dict.fromkeys("griz", ("ATLAS-REFCAT2",))}


def astrometric_survey(radius: float) -> str:
    """Return the survey for the astrometry of a field of a radius in degrees."""
    return "TYCHO-2" if radius > WIDE else "GAIA-DR3"


def photometric_survey(band: str, dec: float, radius: float) -> str:
    """Return the survey for the zero point in a band; empty if none of them has it there.

    Parameters
    ----------
    band : str
        See `bands.filter_band`.
    dec, radius : float
        Of the field, deg.
    """
    candidates = _BY_BAND.get(band, ())
    if band == "u":
        # SDSS where it is; SkyMapper's u is another passband.
        candidates = ("SKYMAPPER",) if dec < -10.0 else ("SDSS",)
    if radius > WIDE:
        candidates = _BY_BAND_WIDE.get(band, candidates)
    return next((name for name in candidates if SURVEYS[name].covers(dec)), "")
