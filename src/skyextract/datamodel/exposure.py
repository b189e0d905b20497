"""An exposure: the pixels of one image extension and what is known about them."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from skyextract.datamodel.arrays import F4, U2
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.beam import beam_of
from skyextract.datamodel.header import Header
from skyextract.datamodel.imageunit import FLUX, PER_FLUX, VARIANCE
from skyextract.datamodel.instruments import PixelUnit
from skyextract.datamodel.photocal import PhotoCal
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.datamodel.statedzeropoint import is_flux
from skyextract.errors import SkyextractError
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.unfollowed import Unfollowed
    from skyextract.datamodel.wcs import SkyWcs


@record
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
    pedestal : float
        A constant that was added to all pixels, in image units; it is no sky.
    """

    gain: Annotated[float, PER_FLUX] = 0.0
    read_noise: float = 0.0
    saturation: Annotated[float, FLUX] = float("inf")
    exposure_time: float = float("nan")
    pedestal: Annotated[float, FLUX] = 0.0


@record
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
    plane : int or None
        Plane of a cube, from 1.
    camera : str
        Name of the instrument that was recognised from the header; empty if none was.
    doubts : tuple of str
        What makes the sources of this image doubtful, found when it was read.
    copied : bool
        Many pixels have exactly the values of their neighbours.
    denoised : str
        What is to be said of noise that a program took off but for islands; empty if none did.
    uneven : str
        Why its fluxes are not in proportion to light; empty where nothing is known against it.
    waves : (ny, nx) float32 or None
        Waves that were subtracted from all of it.
    exposed : (ny, nx) float32 or None
        Exposure of pixels that are counts, relative: fluxes of the catalogue are divided by it.
    matched : bool
        Skies of its parts were brought to one: their noise is that of the light they had.
    unfollowed : Unfollowed or None
        The part whose stars are not those of the PSF.
    unit : float
        Image units of one unit of the pixels here, a power of two; 1 but for extreme units.
    """

    image: Annotated[F4, FLUX]
    mask: U2
    variance: Annotated[F4 | None, VARIANCE] = None
    weight: Annotated[F4 | None, VARIANCE] = None
    detector: Detector = field(default_factory=Detector)
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
    alone: bool = True
    """It is the only image that is read of its file."""
    plane: int | None = None
    camera: str = ""
    doubts: tuple[str, ...] = ()
    copied: bool = False
    denoised: str = ""
    uneven: str = ""
    waves: Annotated[F4 | None, FLUX] = None
    exposed: F4 | None = None
    matched: bool = False
    unfollowed: Unfollowed | None = None
    unit: Annotated[float, PER_FLUX] = 1.0
    history: dict[str, Any] = field(default_factory=dict)
    """Provenance read from the file: version, settings and steps of earlier runs."""

    def __post_init__(self) -> None:
        given: Any = self.header
        if given is not None and not isinstance(given, Header):
            object.__setattr__(self, "header", Header.of(given))

    @property
    def summed_time(self) -> float:
        """Seconds of light in a pixel: the exposure time; 1 where BUNIT is a rate or a flux."""
        header = self.header or Header()
        unit = PixelUnit.of(header)
        if (unit is not None and unit.per_second) or is_flux(header):
            return 1.0
        return self.detector.exposure_time

    @property
    def shape(self) -> tuple[int, int]:
        """Shape [y, x] in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def name(self) -> str:
        """File, and extension and plane if the file has several images, for messages."""
        plane = "" if self.plane is None else f",{self.plane}"
        path = self.path or "the array"
        return path if self.alone else f"{path}[{self.extension}{plane}]"

    @property
    def has_psf(self) -> bool:
        """It has a PSF, measured or given: no default."""
        return self.psf is not None and self.psf.source is not PsfSource.DEFAULT

    @property
    def beam(self) -> tuple[float, float] | None:
        """Axes of the beam of a radio map, pixels FWHM; None of what is none."""
        return beam_of(self.header, self.wcs)

    def as_rates(self) -> Exposure:
        """Return counts over the exposure of their pixel as the rates that were read."""
        if self.exposed is None:
            return self
        variance = None if self.variance is None else self.variance / self.exposed**2
        return replace(self, image=self.image / self.exposed, variance=variance, exposed=None)

    def without_image(self) -> Exposure:
        """Return the exposure when its pixels are lost: NaN everywhere, which takes no memory."""
        return replace(self, image=np.broadcast_to(np.float32(np.nan), self.shape))

    __eq__ = object.__eq__  # of arrays there is no one answer
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        facts = [f"{self.shape[1]} x {self.shape[0]} pixels"]
        if self.psf is not None:
            facts.append(f"FWHM {self.psf.fwhm:.2f} px ({self.psf.source})")
        facts += [] if self.wcs is None else ["WCS"]
        return f"Exposure({', '.join([self.name] * bool(self.path) + facts)})"


@record
class FailedExtension:
    """An image extension that cannot be read or processed.

    Attributes
    ----------
    extension : int
        Number of the header unit.
    name : str
        File, and extension if the file has several images.
    error : SkyextractError
        Why.
    header : Header or None
        As far as it could be read.
    """

    extension: int
    name: str
    error: SkyextractError
    header: Header | None = None

    def __str__(self) -> str:
        """Return the reason in one line that names the extension."""
        reason = str(self.error)
        return reason if self.name in reason else f"{self.name}: {reason}"
