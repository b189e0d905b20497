"""An exposure: the pixels of one image extension and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from skyextract.datamodel.arrays import F4, U2
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.photocal import PhotoCal
from skyextract.datamodel.psf import Psf

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.wcs import SkyWcs


@dataclass(frozen=True)
class Detector:
    """What the header and the configuration say about the detector.

    Attributes
    ----------
    gain : float
        e-/ADU; 0 is unknown: background noise only, as SExtractor's GAIN 0.
    read_noise : float
        Electrons; 0 is unknown.
    saturation : float
        Level in image units at which pixels saturate; inf if unknown.
    exposure_time : float
        Seconds; NaN if unknown.
    """

    gain: float = 0.0
    read_noise: float = 0.0
    saturation: float = float("inf")
    exposure_time: float = float("nan")


@dataclass(frozen=True)
class Exposure:
    """The pixels of one image extension and what is known about them.

    All planes are C-contiguous, native byte order, indexed [y, x]; 0-based inside.
    Frozen: a stage returns a changed copy (`dataclasses.replace`), which shares the
    arrays that did not change; no stage writes into the arrays of its input.

    Attributes
    ----------
    image : (ny, nx) float32
        Image units (ADU or electrons), background not subtracted.  Pixels without data
        (NaN, inf, BLANK) are 0 here and NO_DATA in the mask.
    mask : (ny, nx) uint16
        `Mask` planes; 0 is a good pixel.
    variance : (ny, nx) float32 or None
        Total variance per pixel in image units squared, photon noise of the sources
        included, as isr makes it and the VARIANCE extension holds it; inf: no information.
        None: not known yet; the noise then is what the background mesh says.
    weight : (ny, nx) float32 or None
        Background variance from a weight map, relative or absolute (see the
        configuration), 1e30 for a bad pixel, SExtractor's convention; None without a map.
    """

    image: F4
    mask: U2
    variance: F4 | None = None
    weight: F4 | None = None
    detector: Detector = Detector()
    psf: Psf | None = None
    wcs: SkyWcs | None = None
    photocal: PhotoCal = field(default_factory=PhotoCal)
    background: BackgroundMap | None = None
    psf_stars: Catalog | None = None
    aperture_corrections: Catalog | None = None
    header: Header | None = None
    path: str = ""
    extension: int = 0
    extension_name: str = ""
    history: dict[str, Any] = field(default_factory=dict)
    """Provenance read from the file: version, settings and steps of earlier runs."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape [y, x] in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class ReadImage:
    """An exposure as it was read, with the numbers of isr if that has just corrected it."""

    exposure: Exposure
    isr_metrics: dict[str, Any] | None = None
