"""Which sources of a crowd are light of others in the end, by the errors that they have then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import distinct
from skyextract.datamodel.flags import FlagsSky
from skyextract.record import record
from skyextract.stages.crowded.errors import insignificant, of_structure
from skyextract.stages.crowded.knots import knots_beneath

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I8
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.detections import Detections
    from skyextract.stages.crowded.hidden import Hidden


@record
class Dropped:
    """Sources that are none, and sources that are no points.

    Attributes
    ----------
    lost : (k,) int64
        Light of others, or of the sky: insignificant, pieces of structure, knots of clouds.
    wholes : (m,) int64
        Galaxies, and the brightest of what is structure alone.
    """

    lost: I8
    wholes: I8

    @classmethod
    def of(cls, sources: Catalog, found: Detections, hidden: Hidden) -> Dropped:
        """Return them, by fits of the PSF to all sources of `hidden`."""
        place = hidden.x, hidden.y, hidden.psf.fwhm, hidden.plane.background.shape
        lost = insignificant(sources, *place)
        lost = lost[~np.isin(lost, hidden.extended)]
        pieces, wholes = of_structure(sources, found.id_parent, found.dflux, *place)
        knots = [knots_beneath(sources, hidden)] if hidden.sky is not None else []
        return cls(
            distinct(np.concatenate([lost, pieces, *knots])),
            distinct(np.concatenate([wholes, hidden.extended])),
        )

    def flagged(self, sources: Catalog) -> Catalog:
        """Return the sources, those that are no points flagged."""
        flags = sources["FLAGS_SKY"].copy()
        flags[self.wholes] |= np.int16(FlagsSky.NO_POINT)
        return sources.with_columns(FLAGS_SKY=flags)
