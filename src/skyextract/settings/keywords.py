"""Every configuration keyword, declared once.

A group is a frozen dataclass; a keyword is one of its fields, and the keyword's name is
the field's name in capitals.  The declaration gives the parser, the checks, the dumps
(`-d`, `-dd`), the documentation page and the types that the stages see.

Names, units and meanings are those of SExtractor, PSFEx and SCAMP where they have the
keyword; see their manuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any, TypeVar

from skyextract.record import record

T = TypeVar("T")

SAME = object()
"""The SExtractor base layer has the same default as ours."""


@record
class Keyword:
    """What is known about one keyword, apart from its value."""

    help: str
    sextractor: Any = SAME
    """Default in the SExtractor base layer; SAME if it does not differ."""
    choices: tuple[str, ...] = ()
    pattern: str = ""
    """Regular expression of a value, in any case; the help says it in words."""
    low: float | None = None
    high: float | None = None
    unit: str = ""
    size: tuple[int, int] | None = None
    """Fewest and most values of a list keyword; None for a single value."""
    support: str = "yes"
    """'yes', 'ignored' (no meaning here: one warning) or 'later' (an error if changed)."""
    new: bool = False
    """Not a keyword of SExtractor: a file that contains one is a skyextract file."""
    basic: bool = True
    """Shown by `-d`; `-dd` shows all."""
    opens: bool = False
    """Names a file to read."""
    ascending: bool = False
    """Of its values, the limits of a range, the smaller comes first."""


def key(default: Any, help: str, **declaration: Any) -> Any:
    """Declare one keyword: a dataclass field that carries its `Keyword`."""
    return field(default=default, metadata={"keyword": Keyword(help, **declaration)})


def of_image(values: Sequence[T], index: int) -> T:
    """Return what a list keyword says of one image: 0 detection, 1 measurement.

    A single value holds for both.
    """
    return values[min(index, len(values) - 1)]


ANY = 10_000
"""As many values as wanted; a longer list of files is an @list."""
MAX_APERTURES = 1024
"""SExtractor's limit."""

FLAG_TYPES = ("OR", "AND", "MIN", "MAX", "MOST")
CATALOG_TYPES = (
    "NONE", "ASCII", "ASCII_HEAD", "ASCII_SKYCAT", "ASCII_VOTABLE",
    "FITS_1.0", "FITS_LDAC", "ECSV", "CSV", "PARQUET",
)  # fmt: skip
CHECKIMAGE_TYPES = (
    "NONE", "IDENTICAL", "BACKGROUND", "BACKGROUND_RMS", "MINIBACKGROUND", "MINIBACK_RMS", "-BACKGROUND",
    "FILTERED", "OBJECTS", "-OBJECTS", "SEGMENTATION", "APERTURES",
    "MASK", "VARIANCE", "PSF", "PSFS", "-PSFS", "RESIDUALS",
    "MODELS", "-MODELS", "SPHEROIDS", "-SPHEROIDS", "DISKS", "-DISKS",
)  # fmt: skip
MODEL_TYPES = ("SERSIC", "EXP", "DEV", "EXP_DEV", "AUTO")
WEIGHT_TYPES = ("NONE", "BACKGROUND", "MAP_RMS", "MAP_VAR", "MAP_WEIGHT")
SURVEY_NAMES = (
    "GAIA-DR3", "PANSTARRS-1", "ATLAS-REFCAT2", "SDSS", "2MASS", "APASS", "TYCHO-2", "SKYMAPPER",
)  # fmt: skip
"""Reference catalogues that are kept in the local store and fetched from VizieR, by SCAMP's names."""
ASSOC_TYPES = ("FIRST", "NEAREST", "MEAN", "MAG_MEAN", "SUM", "MAG_SUM", "MIN", "MAX")


@record
class Pipeline:
    """Pipeline"""

    steps: tuple[str, ...] = key(
        ("AUTO",), "steps to run, one or a list",
        sextractor=("AUTO",), size=(1, 5), new=True,
        choices=("AUTO", "CALIBRATE", "ISR", "CHARACTERIZE", "MEASURE", "ASTROMETRY", "PHOTOMETRY"),
    )  # fmt: skip
    base_defaults: str = key(
        "AUTO", "defaults of keywords that are not set (AUTO = SEXTRACTOR for a file without keywords of skyextract)", new=True,
        choices=("AUTO", "SKYEXTRACT", "SEXTRACTOR"),
    )  # fmt: skip
    nthreads: int = key(0, "threads per process (0 = all cores, -N = all, but at most N)", low=-1024, high=1024)
    verbose_type: str = key(
        "NORMAL", "messages on stderr", choices=("QUIET", "NORMAL", "FULL", "EXTRA_WARNINGS")
    )


@record
class Output:
    """Products"""

    catalog_name: str = key("{stem}.cat", "name of the catalogue, or STDOUT", sextractor="test.cat")
    catalog_type: str = key(
        "FITS_LDAC", "format of the catalogue", sextractor="ASCII_HEAD", choices=CATALOG_TYPES
    )
    parameters_name: str = key(
        "", "file with the columns wanted (empty = built-in list)",
        sextractor="default.param", opens=True,
    )  # fmt: skip
    summary_name: str = key("{stem}.json", "name of the JSON summary (empty = none)", new=True)
    exposure_name: str = key("", "name of the exposure file: image, mask, variance, background, PSF (empty = only by --steps isr or characterize)", new=True)
    head_name: str = key("", "name of the SCAMP-style .head file with the fitted WCS (empty = none)", new=True)
    psfmodel_name: str = key("", "name of the PSF model in PSFEx format (empty = none)", new=True)
    match_name: str = key("", "name of the table of matches with the reference catalogues (empty = none)", new=True)
    regions_name: str = key("", "name of the DS9 region file of the sources (empty = none)", new=True)
    report_name: str = key("", "name of the HTML page with pictures (empty = none)", new=True)
    night_name: str = key(
        "AUTO", "name of the table of the night, a row per frame (ECSV); AUTO: night.ecsv of several images; empty: none",
        sextractor="", new=True,
    )  # fmt: skip
    checkimage_type: tuple[str, ...] = key(
        ("NONE",), "check images to write", choices=CHECKIMAGE_TYPES, size=(0, ANY)
    )
    checkimage_name: tuple[str, ...] = key(("check.fits",), "names of the check images, one for each of CHECKIMAGE_TYPE", size=(0, ANY))
    write_xml: bool = key(False, "write an XML summary (XML_NAME)?", basic=False)
    xml_name: str = key("{stem}.xml", "name of the XML summary", sextractor="sex.xml", basic=False)
    xsl_url: str = key("", "style sheet of the XML summary", support="ignored", basic=False)


@record
class Detector:
    """Detector and header"""

    gain: float = key(0.0, "gain (0 = unknown: background noise only); a card of GAIN_KEY comes first", low=0.0, unit="e-/ADU")
    gain_key: tuple[str, ...] = key(("GAIN",), "header keyword(s) of the gain, NONE = do not look", size=(0, ANY))
    rdnoise: float = key(0.0, "read noise (0 = unknown); a card of RDNOISE_KEY comes first", low=0.0, unit="e-", new=True)
    rdnoise_key: tuple[str, ...] = key(
        ("RDNOISE", "READNOIS"), "header keyword(s) of the read noise", size=(0, ANY), new=True
    )
    satur_level: float = key(50000.0, "level at which pixels saturate; a card of SATUR_KEY comes first", unit="ADU")
    satur_key: tuple[str, ...] = key(("SATURATE",), "header keyword(s) of the saturation level", size=(0, ANY))
    data_check: bool = key(True, "look for areas of one exact value (no data), dead pixels, fringes, trails and a clipping level?", sextractor=False, new=True)
    expotime_key: tuple[str, ...] = key(
        ("EXPTIME", "EXPOSURE", "EXP_TIME"), "header keyword(s) of the exposure time in s", size=(0, ANY),
        new=True,
    )  # fmt: skip
    bayer: str = key(
        "GREEN", "colour of a mosaic that is measured, or the sum of all",
        choices=("GREEN", "R", "B", "SUPERPIXEL", "NONE"), new=True,
    )  # fmt: skip
    pixel_scale: float = key(0.0, "pixel size (0 = from the WCS)", sextractor=1.0, low=0.0, unit="arcsec")
    seeing_fwhm: float = key(1.2, "FWHM of stars, for CLASS_STAR", low=0.0, unit="arcsec")
    header_suffix: str = key(".head", "suffix of the file of additional header cards beside an image", basic=False)
    fits_unsigned: bool = key(False, "read integer pixels as unsigned?", basic=False)
    dgeo_type: str = key("NONE", "type of the differential geometry map", choices=("NONE", "PIXEL"), support="later", basic=False)
    dgeo_image: tuple[str, ...] = key((), "file of the differential geometry map", sextractor=("dgeo.fits",), size=(0, 2), support="ignored", basic=False)


@record
class Isr:
    """Instrument signature removal"""

    camera: str = key("AUTO", "camera: AUTO (its header cards are known), NONE, or a preset for raw frames (docs/cameras.md)", sextractor="NONE", new=True)
    isr_unit: str = key("ELECTRON", "unit of the corrected image", choices=("ADU", "ELECTRON"), new=True)
    isr_overscan: str = key(
        "ROW_MEDIAN", "estimate of the overscan level",
        choices=("NONE", "MEDIAN", "MEAN", "ROW_MEDIAN", "POLY"), new=True,
    )  # fmt: skip
    isr_overscan_degree: int = key(3, "degree of the polynomial along the overscan (ISR_OVERSCAN POLY)", low=0, high=20, new=True, basic=False)
    isr_biassec: tuple[str, ...] = key(("AUTO",), "overscan region: AUTO (from the header), NONE, or per amplifier [x1:x2,y1:y2] or a header keyword", size=(1, ANY), new=True)
    isr_trimsec: tuple[str, ...] = key(("AUTO",), "pixels to keep: AUTO, or per amplifier [x1:x2,y1:y2] or a header keyword", size=(1, ANY), new=True)
    isr_detsec: tuple[str, ...] = key(("AUTO",), "place of each amplifier on the detector: AUTO, [x1:x2,y1:y2] or a header keyword (NONE = do not assemble)", size=(1, ANY), new=True)
    isr_gain: tuple[str, ...] = key(("AUTO",), "gain: AUTO (GAIN_KEY, GAIN), or per amplifier a number or a header keyword", unit="e-/ADU", size=(1, ANY), new=True)
    isr_rdnoise: tuple[str, ...] = key(("AUTO",), "read noise: AUTO (RDNOISE_KEY, RDNOISE, else overscan or raw bias frames), or per amplifier a number or a header keyword", unit="e-", size=(1, ANY), new=True)
    isr_bias: tuple[str, ...] = key((), "bias frames: a master, or raw frames to combine; files, quoted glob or @list", size=(0, ANY), new=True, opens=True)
    isr_dark: tuple[str, ...] = key((), "dark frames: a master, or raw frames to combine; files, quoted glob or @list", size=(0, ANY), new=True, opens=True)
    isr_flat: tuple[str, ...] = key((), "flat fields: a master, or raw frames to combine; files, quoted glob or @list", size=(0, ANY), new=True, opens=True)
    isr_fringe: tuple[str, ...] = key((), "fringe frames: a master, or raw frames to combine; files, quoted glob or @list", size=(0, ANY), new=True, opens=True)
    isr_bias_state: str = key("AUTO", "state of the frames in ISR_BIAS (AUTO = by their headers)", choices=("AUTO", "MASTER", "RAW"), new=True, basic=False)
    isr_dark_state: str = key("AUTO", "state of the frames in ISR_DARK (AUTO = by their headers)", choices=("AUTO", "MASTER", "RAW"), new=True, basic=False)
    isr_flat_state: str = key("AUTO", "state of the frames in ISR_FLAT (AUTO = by their headers)", choices=("AUTO", "MASTER", "RAW"), new=True, basic=False)
    isr_fringe_state: str = key("AUTO", "state of the frames in ISR_FRINGE (AUTO = by their headers)", choices=("AUTO", "MASTER", "RAW"), new=True, basic=False)
    isr_combine: str = key("CLIPPED", "combination of raw calibration frames: sigma-clipped mean, or median", choices=("CLIPPED", "MEDIAN"), new=True, basic=False)
    isr_clip_sigma: float = key(4.0, "clipping of raw calibration frames that are combined (ISR_COMBINE CLIPPED)", low=1.0, high=100.0, unit="sigma", new=True, basic=False)
    isr_master_name: str = key("master_{kind}.fits", "name under which masters made of raw frames are kept for reuse (empty = not kept)", new=True)
    isr_defects: tuple[str, ...] = key((), "defect map: FITS mask, DS9 or IRAF box list, or CSV", size=(0, ANY), new=True, opens=True)
    isr_linearity: tuple[str, ...] = key((), "correction of non-linearity: coefficients of x^2, x^3 ..., or a table", size=(0, ANY), new=True, opens=True)
    isr_crosstalk: tuple[str, ...] = key((), "file of the crosstalk matrix between amplifiers", size=(0, ANY), new=True, opens=True)
    isr_interpolate: bool = key(True, "interpolate over narrow defects?", new=True, basic=False)
    isr_mismatch: str = key("ERROR", "consequence of a calibration frame that does not fit the image", choices=("ERROR", "WARN"), new=True)


@record
class Background:
    """Background"""

    back_type: tuple[str, ...] = key(("AUTO",), "background level, for detection[,measurement]: measured or constant", choices=("AUTO", "MANUAL"), size=(1, 2))
    back_value: tuple[float, ...] = key((0.0,), "constant level of BACK_TYPE MANUAL, for detection[,measurement]", unit="ADU", size=(1, 2))
    back_size: tuple[int, ...] = key((64,), "size of the background meshes: one size, or width,height", low=1, unit="pixels", size=(1, 2))
    back_filtersize: tuple[int, ...] = key((3,), "size of the median filter over background meshes: one size, or width,height", low=1, high=11, unit="meshes", size=(1, 2))
    back_filtthresh: float = key(0.0, "difference from which on a background mesh is filtered", unit="ADU", low=0.0, basic=False)
    back_pearson: float = key(2.5, "Pearson factor of the mode estimator of the background", low=0.0, high=10.0, basic=False)


@record
class Characterize:
    """Image characterization"""

    char_niter: int = key(5, "passes of background, cosmic rays, stars and PSF, at most", low=1, high=100, new=True)
    default_fwhm: float = key(3.5, "FWHM of the Gaussian that stands in when no PSF is known", low=0.5, high=100.0, unit="pixels", new=True)
    psf_name: tuple[str, ...] = key((), "PSF model to use instead of measuring one: for both images, or for detection,measurement", sextractor=("default.psf",), size=(0, 2), opens=True)
    basis_type: str = key("PIXEL_AUTO", "PSF basis: always pixels", new=True, support="ignored", basic=False)
    psf_sampling: float = key(0.0, "sampling step of the PSF model (0 = automatic)", low=0.0, high=2.0, unit="pixels", new=True, basic=False)
    psf_size: tuple[int, ...] = key((), "size of the PSF model (empty = automatic)", low=5, high=511, unit="samples", size=(0, 2), new=True, basic=False)
    psfvar_degrees: int = key(6, "degree of the PSF's polynomial in x, y, at most", low=0, high=6, new=True)
    sample_autoselect: bool = key(True, "select PSF stars at the stellar locus of size and magnitude?", new=True, basic=False)
    sample_fwhmrange: tuple[float, ...] = key((0.8, 60.0), "FWHM of a PSF star: smallest, largest", low=0.0, unit="pixels", size=(2, 2), ascending=True, new=True, basic=False)
    sample_variability: float = key(0.5, "relative variation of the FWHM of PSF stars over the frame, at most", low=0.0, new=True, basic=False)
    sample_minsn: float = key(20.0, "S/N of a PSF star, at least", low=0.0, new=True)
    sample_maxellip: float = key(0.3, "(A-B)/(A+B) of a PSF star, at most", low=0.0, high=1.0, new=True)
    apercor_diameter: float = key(6.0, "diameter of the aperture that PSF fluxes are corrected to (0 = none)", sextractor=0.0, low=0.0, high=50.0, unit="FWHM", new=True)
    apercor_degree: int = key(1, "degree of the aperture corrections over the field, at most", low=0, high=5, new=True, basic=False)


@record
class Cosmics:
    """Cosmic rays"""

    cr_repair: bool = key(True, "find and repair cosmic rays?", sextractor=False, new=True)
    cr_minsigma: float = key(5.0, "contrast of a cosmic-ray pixel with its neighbours, at least", low=0.0, unit="sigma", new=True)
    cr_niter: int = key(4, "iterations of the cosmic-ray search, at most", low=1, high=50, new=True, basic=False)


@record
class Extraction:
    """Detection"""

    detect_type: str = key("CCD", "type of the detector: CCD (linear) or PHOTO (densities, gamma-corrected)", choices=("CCD", "PHOTO"), basic=False)
    detect_minarea: int = key(1, "area of a detection above the threshold, at least", sextractor=5, low=1, high=1_000_000, unit="pixels")
    detect_maxarea: int = key(0, "area of a detection above the threshold, at most (0 = any)", low=0, unit="pixels", basic=False)
    thresh_type: tuple[str, ...] = key(("RELATIVE",), "unit of the thresholds, for detection[,analysis]: sigma or ADU", choices=("RELATIVE", "ABSOLUTE"), size=(1, 2))
    detect_thresh: tuple[float, ...] = key((5.0,), "threshold of detection: sigma, or threshold,zero point in mag/arcsec2", sextractor=(1.5,), size=(1, 2))
    analysis_thresh: tuple[float, ...] = key((1.5,), "threshold of the isophotal analysis: sigma, or threshold,zero point in mag/arcsec2", size=(1, 2))
    noise_type: str = key(
        "MEASURED", "noise of filtered image and fluxes: measured where no sources are, or of independent pixels",
        sextractor="INDEPENDENT", choices=("MEASURED", "INDEPENDENT"), new=True,
    )  # fmt: skip
    detect_niter: int = key(2, "passes of detection and background", sextractor=1, low=1, high=20, new=True)
    crowd_niter: int = key(8, "passes of the search beneath the sources of a crowded field, at most (0 = none)", sextractor=0, low=0, high=50, new=True)
    filter: bool = key(True, "filter the image for detection?")
    filter_name: str = key("PSF", "detection filter: PSF (matched filter), a built-in name or a file", sextractor="default.conv", opens=True)
    filter_thresh: tuple[float, ...] = key((), "pixel range of retina filters, which are not supported", size=(0, 2), support="ignored", basic=False)
    deblend_nthresh: int = key(512, "number of deblending sub-thresholds", sextractor=32, low=1, high=1024)
    deblend_mincont: float = key(0.005, "contrast of a deblended source, at least", low=0.0, high=1.0)
    clean: bool = key(True, "remove detections in the wings of others?")
    clean_param: float = key(1.0, "cleaning efficiency", low=0.1, high=10.0)

    @property
    def filters_by_psf(self) -> bool:
        """Whether the detection filter is the PSF."""
        return self.filter and self.filter_name.upper() == "PSF"


@record
class Measurement:
    """Measurement"""

    mask_type: str = key("CORRECT", "treatment of neighbours' pixels in apertures", choices=("NONE", "BLANK", "CORRECT"))
    phot_apertures: tuple[float, ...] = key((5.0,), "diameters of the apertures of FLUX_APER", low=0.0, high=100000.0, unit="pixels", size=(1, MAX_APERTURES))
    phot_autoparams: tuple[float, ...] = key((2.5, 3.5), "parameters of FLUX_AUTO: Kron factor, minimum radius", low=0.0, size=(2, 2))
    phot_petroparams: tuple[float, ...] = key((2.0, 3.5), "parameters of FLUX_PETRO: Petrosian factor, minimum radius", low=0.0, size=(2, 2))
    phot_autoapers: tuple[float, ...] = key((0.0, 0.0), "minimum apertures of FLUX_AUTO and FLUX_PETRO: for the radius, for the flux", low=0.0, unit="pixels", size=(2, 2), basic=False)
    phot_fluxfrac: tuple[float, ...] = key((0.5,), "fractions of light for FLUX_RADIUS", low=0.0, high=1.0, size=(1, MAX_APERTURES))
    backphoto_type: str = key("GLOBAL", "background of the photometry: of the whole mesh map or of an annulus", choices=("GLOBAL", "LOCAL"))
    backphoto_thick: float = key(24.0, "width of the annulus of BACKPHOTO_TYPE LOCAL", low=1.0, unit="pixels")
    starnnw_name: str = key("", "file of the neural network of CLASS_STAR", sextractor="default.nnw", opens=True)
    mag_gamma: float = key(4.0, "gamma of the emulsion (DETECT_TYPE PHOTO)", basic=False)
    model_type: str = key(
        "SERSIC", "profile of galaxy models (AUTO = the components whose columns are asked for)",
        sextractor="AUTO", choices=MODEL_TYPES, new=True,
    )  # fmt: skip
    model_priors: bool = key(True, "apply priors to radii, shapes and indices of galaxy models?", new=True, basic=False)
    psf_nmax: int = key(1, "number of PSFs fitted at once", low=1, high=10, support="ignored", basic=False)
    pattern_type: str = key(
        "RINGS-HARMONIC", "type of the pattern decomposition", support="ignored", basic=False,
    )  # fmt: skip
    som_name: str = key("default.som", "file of the self-organizing map", support="ignored", basic=False)


@record
class Weights:
    """Weights and flags"""

    weight_type: tuple[str, ...] = key(("NONE",), "kind of the weights, for detection[,measurement]", choices=WEIGHT_TYPES, size=(0, 2))
    weight_image: tuple[str, ...] = key((), "weight map, for detection[,measurement]", sextractor=("weight.fits",), size=(0, 2), opens=True)
    weight_gain: tuple[bool, ...] = key((True,), "gain that varies with the weights, for detection[,measurement]?", size=(1, 2), basic=False)
    weight_thresh: tuple[float, ...] = key((), "weight up to which a pixel is bad, for detection[,measurement]", size=(0, 2))
    rescale_weights: tuple[bool, ...] = key((True,), "weights scaled to the noise of the background, for detection[,measurement]?", size=(1, 2))
    flag_image: tuple[str, ...] = key((), "flag maps, for IMAFLAGS_ISO", sextractor=("flag.fits",), size=(0, 4), opens=True)
    flag_type: tuple[str, ...] = key(("OR",), "combination of the flags of a source's pixels", choices=FLAG_TYPES, size=(0, 4))
    interp_maxxlag: tuple[int, ...] = key((16,), "reach of the interpolation over zero weight along x, for detection[,measurement] (one value: detection alone)", low=1, unit="pixels", size=(1, 2), basic=False)
    interp_maxylag: tuple[int, ...] = key((16,), "reach of the interpolation over zero weight along y, for detection[,measurement] (one value: detection alone)", low=1, unit="pixels", size=(1, 2), basic=False)
    interp_type: tuple[str, ...] = key(("NONE",), "interpolation over zero weight, for detection[,measurement] (one value: detection alone)", sextractor=("ALL",), choices=("NONE", "VAR_ONLY", "ALL"), size=(1, 2), basic=False)


@record
class Assoc:
    """Association"""

    assoc_name: str = key("", "ASCII list of positions to associate with sources", sextractor="sky.list", opens=True)
    assoc_data: tuple[int, ...] = key((2, 3, 4), "columns of ASSOC_NAME that VECTOR_ASSOC copies (0 = all)", low=0, size=(1, ANY))
    assoc_params: tuple[int, ...] = key((2, 3, 4), "columns of x, y[, magnitude] in ASSOC_NAME", low=1, size=(2, 3))
    assoccoord_type: str = key("PIXEL", "coordinates of ASSOC_NAME", choices=("PIXEL", "WORLD"))
    assoc_radius: float = key(2.0, "radius of the association with ASSOC_NAME", low=0.0, unit="pixels")
    assoc_type: str = key("NEAREST", "choice or combination of several associates of a source", choices=ASSOC_TYPES)
    assocselec_type: str = key("MATCHED", "sources that are kept after the association", choices=("ALL", "MATCHED", "-MATCHED"))


@record
class Astrometry:
    """Astrometry"""

    astref_catalog: str = key("NONE", "reference catalogue to fetch and keep where ASTREFCAT_NAME names none; AUTO: by the field", choices=("NONE", "FILE", "AUTO", *SURVEY_NAMES), new=True)
    astrefcat_name: tuple[str, ...] = key((), "astrometric reference catalogues, or a directory of HEALPix chunks", size=(0, ANY), new=True, opens=True)
    astrefcent_keys: tuple[str, ...] = key((), "columns of RA, Dec in ASTREFCAT_NAME (empty = by common names), numbers where they have no names", size=(0, 2), new=True)
    astreferr_keys: tuple[str, ...] = key((), "position error columns of ASTREFCAT_NAME", size=(0, 3), new=True, basic=False)
    astrefprop_keys: tuple[str, ...] = key((), "proper motion columns of ASTREFCAT_NAME", size=(0, 2), new=True, basic=False)
    astrefmag_key: str = key("", "magnitude column of ASTREFCAT_NAME", new=True)
    astrefmag_limits: tuple[float, ...] = key((-99.0, 99.0), "magnitudes of the astrometric reference stars that are used", unit="mag", size=(2, 2), ascending=True, new=True)
    crossid_radius: float = key(2.0, "radius of a match of source and reference star", low=0.0, unit="arcsec", new=True)
    position_maxerr: float | None = key(None, "error of the header's pointing, at most", low=0.0, unit="arcmin", new=True)
    posangle_maxerr: float | None = key(None, "error of the header's rotation, at most", low=0.0, high=180.0, unit="deg", new=True)
    pixscale_maxerr: float | None = key(None, "error of the header's pixel scale, at most (a factor)", low=1.0, new=True)
    match_flipped: bool | None = key(None, "match mirrored frames, too?", new=True)
    projection_type: str = key("SAME", "projection of the fitted WCS", choices=("SAME", "TAN", "TAN-SIP", "TPV"), new=True)
    distort_degrees: int | None = key(None, "degree of the distortion polynomial, at most; AUTO: 3, and up to 7 where it is clearly better", low=1, high=7, new=True)
    astrclip_nsigma: float = key(3.0, "clipping of the astrometric fit", low=1.0, high=20.0, unit="sigma", new=True, basic=False)
    sn_thresholds: tuple[float, ...] = key((10.0, 100.0), "S/N of the sources used for astrometry, and of the high-S/N sample", low=0.0, size=(1, 2), new=True, basic=False)


@record
class Photometry:
    """Photometry"""

    mag_zeropoint: float = key(0.0, "magnitude zero point (0 = not set)", unit="mag")
    magzp_key: str = key("AUTO", "header keyword of the zero point, before MAG_ZEROPOINT; AUTO (the unit of the pixels, or cards that are known, after it) or NONE", sextractor="NONE", new=True)
    photrefcat_name: tuple[str, ...] = key((), "photometric reference catalogues (empty = the astrometric one, if it has the band)", size=(0, ANY), new=True, opens=True)
    photref_catalog: str = key("NONE", "reference catalogue to fetch and keep where PHOTREFCAT_NAME names none; AUTO: by filter and field", choices=("NONE", "FILE", "AUTO", *SURVEY_NAMES), new=True)
    photref_mag_key: str = key("", "magnitude column of PHOTREFCAT_NAME (empty = by the frame's filter)", new=True)
    photref_magerr_key: str = key("", "magnitude error column of PHOTREFCAT_NAME (empty = the one of PHOTREF_MAG_KEY)", new=True)
    photref_mag_limits: tuple[float, ...] = key((-99.0, 99.0), "magnitudes of the photometric reference stars that are used", unit="mag", size=(2, 2), ascending=True, new=True)
    photref_color_keys: tuple[str, ...] = key((), "two columns of PHOTREFCAT_NAME whose difference is the colour", size=(0, 2), new=True)
    color_term: str = key("0", "colour coefficient of the zero point: a number or FIT", new=True, pattern=r"FIT|[-+]?(\d+\.?\d*|\.\d+)(E[-+]?\d+)?")
    phot_flux_key: str = key("AUTO", "flux whose zero point is fitted: PSF, APERCOR, AUTO, APER ... (AUTO = the best there is)", new=True, pattern=r"(FLUX_)?(PSF|APERCOR|AUTO|APER|BEST|ISO|ISOCOR|PETRO|WIN)(\(\d+\))?")
    phot_degrees: int = key(0, "degree of the zero point over the field", low=0, high=5, new=True, basic=False)


@record
class Store:
    """Store of reference catalogues"""

    ref_server: tuple[str, ...] = key(
        ("vizier.cds.unistra.fr", "vizier.cfa.harvard.edu", "vizier.nao.ac.jp", "vizier.china-vo.org", "vizier.iucaa.in"),
        "VizieR servers, asked in this order: a host, or http://host:port", size=(1, 20), new=True,
    )  # fmt: skip
    ref_timeout: float = key(20.0, "silence of a server, at most (ten times of it for an answer)", low=0.1, high=3600.0, unit="s", new=True)
    refout_catpath: str = key("", "folder where fetched catalogues are kept (empty = skyextract/catalogs in XDG_DATA_HOME)", new=True)


@record
class Memory:
    """Memory"""

    memory_objstack: int = key(3000, "sources that SExtractor keeps in its list: with another filter than PSF, decides the order of the rows, nothing else", low=1, basic=False)
    memory_pixstack: int = key(300000, "memory grows by itself", support="ignored", basic=False)
    memory_bufsize: int = key(1024, "rows that SExtractor keeps in memory: as MEMORY_OBJSTACK", low=8, unit="rows", basic=False)


@record
class Config:
    """All settings of one run; one attribute per group."""

    pipeline: Pipeline = Pipeline()
    output: Output = Output()
    detector: Detector = Detector()
    isr: Isr = Isr()
    background: Background = Background()
    characterize: Characterize = Characterize()
    cosmics: Cosmics = Cosmics()
    extraction: Extraction = Extraction()
    measurement: Measurement = Measurement()
    weights: Weights = Weights()
    assoc: Assoc = Assoc()
    astrometry: Astrometry = Astrometry()
    photometry: Photometry = Photometry()
    store: Store = Store()
    memory: Memory = Memory()
