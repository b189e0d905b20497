"""Sources that are none of the sky, as checks find them."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import Bools
from skyextract.record import record


@record
class Marked:
    """Sources that are alike: pieces of spikes, of spectra, dots on a lattice.

    Attributes
    ----------
    rows : (n,) bool
    doubt : str
        What is there, in one line.
    many : float
        Share of the sources above which the list of these is doubtful.
    """

    rows: Bools
    doubt: str
    many: float = 1.0

    @property
    def are_many(self) -> bool:
        """The list of sources is doubtful."""
        return int(np.count_nonzero(self.rows)) > self.many * self.rows.size
