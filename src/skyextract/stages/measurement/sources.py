"""Measurement of detected sources: from a frame and its detections to the base columns.

Names, units and formulas are SExtractor's (manual, "Measurements"); only groups of columns
that are wanted are computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, AnyArray, Bools
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.mosaic import MosaicPlane
from skyextract.errors import ConfigError, ImageError
from skyextract.kernels.measurement.localsky import local_backgrounds
from skyextract.kernels.measurement.vignettes import shifted_vignettes, vignettes
from skyextract.kernels.values import SATURATED, TOUCHES_BAD
from skyextract.record import record
from skyextract.run import Run, physical_memory
from skyextract.stages.background.interpolate import background_at
from skyextract.stages.measurement.apertures import (
    find_bad_pixels,
    measure_apertures,
    measure_ellipses,
    measure_growth,
    measure_windowed,
    resample_growth,
)
from skyextract.stages.measurement.association import associate
from skyextract.stages.measurement.classify import class_star, parse_network
from skyextract.stages.measurement.frame import in_chunks
from skyextract.stages.measurement.isophotal import (
    count_low_weights,
    isophotal_corrected,
    measure_isophotes,
    stack_flags,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skyextract.datamodel.arrays import F4, F8
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.detections import Detections
    from skyextract.settings.keywords import Config
    from skyextract.stages.measurement.apertures import Growth
    from skyextract.stages.measurement.frame import MeasureFrame
    from skyextract.stages.measurement.isophotal import Isophotal


_WIN = frozenset(
    f"{name}_IMAGE"
    for name in (
        "XWIN", "YWIN", "X2WIN", "Y2WIN", "XYWIN", "ERRX2WIN", "ERRY2WIN", "ERRXYWIN",
    )
) | {"FLUX_WIN", "FLUXERR_WIN", "SNR_WIN", "NITER_WIN", "FLAGS_WIN"}  # fmt: skip
_GROWTH = frozenset({"FLUX_RADIUS", "FLUX_GROWTH", "FLUX_GROWTHSTEP"})
_AUTO = frozenset({"FLUX_AUTO", "FLUXERR_AUTO", "KRON_RADIUS", "FLUX_BEST", "FLUXERR_BEST"})
_PETRO = frozenset({"FLUX_PETRO", "FLUXERR_PETRO", "PETRO_RADIUS"})
_APER = frozenset({"FLUX_APER", "FLUXERR_APER"})
_ISOCOR = frozenset({"FLUX_ISOCOR", "FLUXERR_ISOCOR", "FLUX_BEST", "FLUXERR_BEST"})


@record
class MeasureInputs:
    """What measurement needs besides the exposure and the configuration, already read.

    Attributes
    ----------
    pixel_scale : float
        Arcsec; for surface-brightness thresholds and CLASS_STAR.
    seeing : float
        FWHM of stars in arcsec, for CLASS_STAR; 0: SEEING_FWHM.
    sizes : dict
        Shape of an element of VIGNET, VIGNET_SHIFT [y, x], FLUX_GROWTH, VECTOR_ASSOC.
    flag_maps : tuple of (ny, nx) int arrays
        FLAG_IMAGE.
    network : str or None
        Text of the STARNNW_NAME file.
    filter : str or None
        Text of the FILTER_NAME file, where that is a file.
    associates : (m, k) float64 or None
        Table of ASSOC_NAME, all columns; positions in FITS pixels of the full frame.
    mosaic : MosaicPlane or None
        The colour of a mosaic that the image is.
    """

    pixel_scale: float = 1.0
    seeing: float = 0.0
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    flag_maps: tuple[AnyArray, ...] = ()
    network: str | None = None
    filter: str | None = None
    associates: F8 | None = None
    mosaic: MosaicPlane | None = None


@record
class DetectionImage:
    """The detection image, as measurement needs it; in single-image mode the image itself.

    Attributes
    ----------
    pixels : (ny, nx) float32
        Background-subtracted, NaN where bad; Kron and Petrosian radii are found on it.
    noise : float
        Representative noise of its background.
    low_weight : (ny, nx) bool or None
        Pixels of no weight in it.
    reach : (int, int)
        A detection pixel counts in NLOWDWEIGHT_ISO if such a pixel is this near in y and x:
        half the filter and one pixel.
    """

    pixels: F4
    noise: float
    low_weight: Bools | None = None
    reach: tuple[int, int] = (1, 1)


def measure_sources(
    frame: MeasureFrame,
    detections: Detections,
    background: BackgroundMap,
    detected: DetectionImage,
    config: Config,
    wanted: frozenset[str],
    inputs: MeasureInputs,
    run: Run,
    *,
    low_weight: Bools | None = None,
) -> Catalog:
    """Measure the wanted columns of all detections.

    Parameters
    ----------
    low_weight : (ny, nx) bool or None
        Pixels of the measurement image that have no weight.

    Returns
    -------
    Catalog
        One row per detection: NUMBER, FLAGS, FLAGS_SKY, with associates NUMBER_ASSOC, and
        the wanted columns among those that are measured here.
    """
    d, c = detections, config.measurement
    columns: dict[str, AnyArray] = {"NUMBER": np.arange(1, d.n + 1, dtype=np.int32)}
    flags = d.flags.astype(np.int32)
    sky = np.zeros(d.n)
    if c.backphoto_type == "LOCAL":
        pixels = frame.source_densities(d)
        in_chunks(
            run,
            d.n,
            lambda first, last: local_backgrounds(
                pixels, d.xmin, d.xmax, d.ymin, d.ymax, int(c.backphoto_thick), first, last, sky
            ),
        )
    level = sky + background_at(
        background, (d.x + 0.5).astype(np.int64), (d.y + 0.5).astype(np.int64)
    )
    iso = measure_isophotes(frame, d, sky, level, run, detection_noise=detected.noise)
    flags[iso.n_saturated > 0] |= SATURATED

    _add_detection(columns, d, iso, level)
    _add_isophotal(columns, d, iso, wanted)
    if wanted & _APER:
        fluxes = measure_apertures(frame, d, sky, c.phot_apertures, flags, run)
        columns.update(FLUX_APER=fluxes.flux, FLUXERR_APER=fluxes.error)
    if wanted & (_AUTO | _GROWTH | _WIN):
        fluxes = measure_ellipses(frame, detected.pixels, d, sky, c, flags, run)
        columns.update(FLUX_AUTO=fluxes.flux, FLUXERR_AUTO=fluxes.error, KRON_RADIUS=fluxes.radius)
    if wanted & _PETRO:
        fluxes = measure_ellipses(frame, detected.pixels, d, sky, c, flags, run, petrosian=True)
        columns.update(
            FLUX_PETRO=fluxes.flux, FLUXERR_PETRO=fluxes.error, PETRO_RADIUS=fluxes.radius
        )
    if wanted & (_GROWTH | _WIN):
        whole = bool(wanted & {"FLUX_GROWTH", "FLUX_GROWTHSTEP"})
        growth = measure_growth(frame, d, columns["FLUX_AUTO"], c, flags, run, whole=whole)
        columns["FLUX_RADIUS"] = growth.radii
        if whole:
            n = inputs.sizes.get("FLUX_GROWTH", (1,))[0]
            columns["FLUX_GROWTH"] = resample_growth(growth, n)
            columns["FLUX_GROWTHSTEP"] = growth.reach / n
        if wanted & _WIN:
            _add_windowed(columns, frame, d, growth, iso, flags, run)
    if "CLASS_STAR" in wanted:
        columns["CLASS_STAR"] = _stellarity(iso, frame, config, inputs, run)
    _add_flag_maps(columns, d, wanted, config, inputs, low_weight, detected)
    _add_vignettes(columns, frame, d, wanted, inputs, run)
    if wanted & {"VECTOR_ASSOC", "NUMBER_ASSOC"}:
        _add_associates(columns, d, config, inputs, run)

    columns["FLAGS"] = (flags & 0xFF).astype(np.int16)
    holes = find_bad_pixels(frame, d, (flags & TOUCHES_BAD) != 0)
    ours = np.where(holes | (iso.n_bad > 0), int(FlagsSky.BAD_PIXEL), 0)
    if frame.gain == 0.0:
        ours |= int(FlagsSky.NO_VARIANCE)
    columns["FLAGS_SKY"] = ours.astype(np.int16)
    if wanted & {"FLUX_BEST", "FLUXERR_BEST"}:
        crowded = (flags & 1) > 0
        for name in ("FLUX", "FLUXERR"):
            columns[f"{name}_BEST"] = np.where(
                crowded, columns[f"{name}_ISOCOR"], columns[f"{name}_AUTO"]
            )
    kept: Iterable[str] = ("NUMBER", "NUMBER_ASSOC", "FLAGS", "FLAGS_SKY", *sorted(wanted))
    return Catalog({name: columns[name] for name in dict.fromkeys(kept) if name in columns})


def _add_detection(columns: dict[str, AnyArray], d: Detections, iso: Isophotal, level: F8) -> None:
    """Add what detection knows; views of its arrays, or nearly, so that all is added."""
    columns.update(
        ID_PARENT=d.id_parent, BACKGROUND=level,
        X_IMAGE=d.x + 1.0, Y_IMAGE=d.y + 1.0, X2_IMAGE=d.x2, Y2_IMAGE=d.y2, XY_IMAGE=d.xy,
        XMIN_IMAGE=d.xmin + 1, XMAX_IMAGE=d.xmax + 1, YMIN_IMAGE=d.ymin + 1,
        YMAX_IMAGE=d.ymax + 1, XPEAK_IMAGE=d.xpeak + 1, YPEAK_IMAGE=d.ypeak + 1,
        ISOAREAF_IMAGE=d.fdnpix, FWHM_IMAGE=iso.fwhm, THRESHOLD=d.dthresh,
        THRESHOLDMAX=d.dthresh,
    )  # fmt: skip


def _add_isophotal(
    columns: dict[str, AnyArray], d: Detections, iso: Isophotal, wanted: frozenset[str]
) -> None:
    columns.update(
        FLUX_ISO=iso.flux, FLUXERR_ISO=np.sqrt(iso.variance), FLUX_MAX=iso.peak,
        THRESHOLD_ANALYSIS=iso.threshold, ISOAREA_IMAGE=iso.area,
        ERRX2_IMAGE=iso.errors[:, 0], ERRY2_IMAGE=iso.errors[:, 1], ERRXY_IMAGE=iso.errors[:, 2],
    )  # fmt: skip
    columns.update({f"ISO{i}": iso.areas[:, i] for i in range(iso.areas.shape[1])})
    if wanted & _ISOCOR:
        flux, error = isophotal_corrected(iso, d.fdnpix, d.dthresh.astype(np.float64))
        columns.update(FLUX_ISOCOR=flux, FLUXERR_ISOCOR=error)


def _add_windowed(
    columns: dict[str, AnyArray],
    frame: MeasureFrame,
    d: Detections,
    growth: Growth,
    iso: Isophotal,
    flags: I4,
    run: Run,
) -> None:
    win = measure_windowed(frame, d, growth.half_light, iso.errors, flags, run)
    known = win.error > 0.0
    columns.update(
        XWIN_IMAGE=win.x + 1.0, YWIN_IMAGE=win.y + 1.0,
        X2WIN_IMAGE=win.x2, Y2WIN_IMAGE=win.y2, XYWIN_IMAGE=win.xy,
        ERRX2WIN_IMAGE=win.errx2, ERRY2WIN_IMAGE=win.erry2, ERRXYWIN_IMAGE=win.errxy,
        FLUX_WIN=win.flux, FLUXERR_WIN=win.error,
        SNR_WIN=np.where(known, win.flux / np.where(known, win.error, 1.0), np.nan),
        NITER_WIN=win.iterations.astype(np.int16), FLAGS_WIN=win.flags.astype(np.int16),
    )  # fmt: skip


def _stellarity(
    iso: Isophotal, frame: MeasureFrame, config: Config, inputs: MeasureInputs, run: Run
) -> F8:
    """Return CLASS_STAR; NaN without a network, and with a warning without a seeing."""
    seeing = inputs.seeing or config.detector.seeing_fwhm
    if inputs.network is None:
        return np.full(iso.flux.size, np.nan)
    if not (seeing > 0.0 and math.isfinite(inputs.pixel_scale) and inputs.pixel_scale > 0.0):
        run.warn("CLASS_STAR: SEEING_FWHM or the pixel scale is unknown, it is NaN")
        return np.full(iso.flux.size, np.nan)
    network = parse_network(inputs.network, config.measurement.starnnw_name)
    return class_star(network, iso.areas, iso.peak, frame.threshold, seeing, inputs.pixel_scale)


def _add_flag_maps(
    columns: dict[str, AnyArray],
    d: Detections,
    wanted: frozenset[str],
    config: Config,
    inputs: MeasureInputs,
    low: Bools | None,
    detected: DetectionImage,
) -> None:
    if wanted & {"IMAFLAGS_ISO", "NIMAFLAGS_ISO"}:
        values, counts = stack_flags(inputs.flag_maps, config.weights.flag_type, d)
        columns.update(IMAFLAGS_ISO=values, NIMAFLAGS_ISO=counts)
    if wanted & {"FLAGS_WEIGHT", "NLOWWEIGHT_ISO", "NLOWDWEIGHT_ISO"}:
        n_low = n_detection_low = np.zeros(d.n, dtype=np.int32)
        if low is not None:
            n_low = count_low_weights(d, low)
        if detected.low_weight is not None:
            n_detection_low = count_low_weights(d, detected.low_weight, detected.reach)
        columns.update(
            NLOWWEIGHT_ISO=n_low, NLOWDWEIGHT_ISO=n_detection_low,
            FLAGS_WEIGHT=((n_low > 0) + 2 * (n_detection_low > 0)).astype(np.int16),
        )  # fmt: skip


def _add_vignettes(
    columns: dict[str, AnyArray],
    frame: MeasureFrame,
    d: Detections,
    wanted: frozenset[str],
    inputs: MeasureInputs,
    run: Run,
) -> None:
    pixels = frame.source_densities(d)
    for name, cut in (("VIGNET", vignettes), ("VIGNET_SHIFT", shifted_vignettes)):
        if name in wanted:
            height, width = inputs.sizes.get(name, (1, 1))
            needed = 4 * d.n * height * width
            if needed > physical_memory():
                raise ImageError(
                    f"{name}({width},{height}) of {d.n} sources takes {needed / 1e9:.0f} GB, more "
                    "than the memory"
                )
            out = np.zeros((d.n, height, width), dtype=np.float32)

            def task(first: int, last: int, cut: object = cut, out: F4 = out) -> None:
                cut(pixels, d.x, d.y, first, last, out)  # type: ignore[operator]

            in_chunks(run, d.n, task)
            columns[name] = out


def _add_associates(
    columns: dict[str, AnyArray],
    d: Detections,
    config: Config,
    inputs: MeasureInputs,
    run: Run,
) -> None:
    table = inputs.associates
    if table is None:
        raise ConfigError("VECTOR_ASSOC, NUMBER_ASSOC: ASSOC_NAME names no list")
    n_columns = table.shape[1]
    c = config.assoc
    if max(c.assoc_params) > n_columns:
        raise ConfigError(
            f"ASSOC_PARAMS = {max(c.assoc_params)}: {c.assoc_name} has {n_columns} columns"
        )
    chosen = [k - 1 for k in c.assoc_data if 0 < k <= n_columns]
    if not chosen:
        chosen = list(range(n_columns))
    size = inputs.sizes.get("VECTOR_ASSOC", (len(chosen),))[0]
    weights = table[:, c.assoc_params[2] - 1] if len(c.assoc_params) > 2 else None
    positions = table[:, [c.assoc_params[0] - 1, c.assoc_params[1] - 1]]
    x, y = d.x + 1.0, d.y + 1.0
    if inputs.mosaic is not None:
        x, y = inputs.mosaic.full_pixels(x, "X"), inputs.mosaic.full_pixels(y, "Y")
    data = table[:, chosen[:size]]
    vectors, numbers = associate(x, y, positions, weights, data, c.assoc_radius, c.assoc_type)
    columns.update(VECTOR_ASSOC=vectors, NUMBER_ASSOC=numbers)
    if d.n and not numbers.any():
        run.warn(
            f"ASSOC_NAME: none of the {len(table)} entries of {c.assoc_name} lies within "
            f"{c.assoc_radius:g} pixels of a source"
        )
