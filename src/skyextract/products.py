"""The products of one image: written extension by extension, moved into place at the end."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skyextract import __version__
from skyextract.batch import Job
from skyextract.catalog import Array, Catalog
from skyextract.config import Settings
from skyextract.errors import ExitStatus
from skyextract.io.atomic import atomic_output
from skyextract.io.catalogs import (
    check_catalog,
    sextractor_cards,
    write_catalog,
    write_xml_summary,
)
from skyextract.io.checkimages import CheckImageWriter, aperture_plane, object_planes
from skyextract.io.checksums import sha256
from skyextract.io.exposures import ExposureWriter, current_header
from skyextract.io.headfile import write_head
from skyextract.io.images import pixel_scale
from skyextract.io.matches import write_matches
from skyextract.io.psfex import write_psf
from skyextract.io.regions import write_regions
from skyextract.messages import RESULT
from skyextract.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.stages.background import background_image, rms_image
from skyextract.stages.planes import with_detected
from skyextract.steps import Plan, Step, isr_is_asked
from skyextract.summary import Report, summary

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from skyextract.pipeline import Result

log = logging.getLogger("skyextract")


class Products:
    """Collects the results of the extensions of one image; a context manager.

    Image-sized products are written at once, into temporary files; nothing appears under
    its name before `finish`, and nothing at all after an error.

    Parameters
    ----------
    job : Job
        Names of the files.
    settings : Settings
    run : Run
        Warnings and step times of the image.

    Raises
    ------
    ConfigError
        A format that is not possible for its file.
    """

    def __init__(self, job: Job, settings: Settings, run: Run) -> None:
        self.job = job
        self.settings = settings
        self.run = run
        self._catalogs: list[tuple[Catalog, Header, dict[str, tuple[Any, str]]]] = []
        self._psfs: list[Psf] = []
        self._heads: list[Mapping[str, Any]] = []
        self._matches: list[tuple[Catalog, Catalog]] = []
        self._summaries: list[tuple[int, Report, dict[str, float], list[str]]] = []
        self._stack = ExitStack()
        self._exposures: ExposureWriter | None = None
        self._checks: CheckImageWriter | None = None
        specs = [spec for spec in (job.measurement, job.detection) if spec]
        self._inputs = [Path(spec.path) for spec in specs]
        output = settings.config.output
        if "CATALOG_NAME" in job.products:
            check_catalog(str(job.products["CATALOG_NAME"]), output.catalog_type)

    def __enter__(self) -> Products:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add_failure(self, extension: int, message: str) -> None:
        """Note an extension that could not be processed."""
        log.error("%s", message)
        report = Report(Plan(frozenset()), failure=message)
        self._note(extension, report)

    def _note(self, extension: int, report: Report) -> None:
        """Keep report, times and warnings of an extension, and start those of the next."""
        self._summaries.append((extension, report, self.run.seconds, self.run.warnings))
        self.run.seconds, self.run.warnings = {}, []

    def add(self, result: Result) -> None:
        """Take the result of one extension and write its image-sized products."""
        report = result.report
        measured = result.measured if Step.MEASURE in report.plan else None
        if measured and ("EXPOSURE_NAME" in self.job.products or self.job.check_images):
            marked = with_detected(result.exposure, measured.detections)
            result = replace(result, exposure=marked)
        exposure = result.exposure
        cards = report.cards()
        header = current_header(exposure)
        if measured is not None:
            numbers = sextractor_cards(
                background=measured.background.mean,
                background_rms=measured.background.sigma,
                threshold=measured.threshold,
                analysis_threshold=measured.analysis_threshold,
                n_sources=result.catalog.n_rows,
                gain=exposure.detector.gain,
                pixel_scale=pixel_scale(exposure, self.settings.config.detector),
                saturation=exposure.detector.saturation,
                zero_point=exposure.photocal.zero_point,
            )
            self._catalogs.append((result.catalog, header, {**cards, **numbers}))
        if exposure.psf is not None and exposure.psf.source is not PsfSource.DEFAULT:
            self._psfs.append(exposure.psf)
        if result.astrometry is not None and result.astrometry.source == "FITTED":
            self._heads.append(result.astrometry.head_cards())
        self._matches.append(
            (
                result.astrometry.matches if result.astrometry else Catalog(),
                result.photometry.matches if result.photometry else Catalog(),
            )
        )
        if "EXPOSURE_NAME" in self.job.products:
            if self._exposures is None:
                writer = ExposureWriter(self.job.products["EXPOSURE_NAME"], self._inputs)
                self._exposures = self._stack.enter_context(writer)
            self._exposures.add(exposure, cards, self._provenance, total_variance(result, self.run))
        self._add_check_images(result)
        if measured is not None:
            log.log(RESULT, "%s%s", self.run.label, report.headline())
        self._note(exposure.extension, report)

    def _add_check_images(self, result: Result) -> None:
        if not self.job.check_images or Step.MEASURE not in result.report.plan:
            return
        if self._checks is None:
            several = result.exposure.extension > 0
            files = dict(self.job.check_images)
            self._checks = self._stack.enter_context(CheckImageWriter(files, several, self._inputs))
        planes = check_planes(result, self._checks.types, self.settings, self.run)
        self._checks.add(result.exposure, planes, result.report.cards())

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        """How the products were made: settings with origins, checksums of the inputs."""
        return {
            "config": self.settings.provenance(),
            "inputs": [{"path": str(path), "sha256": sha256(path)} for path in self._files_read()],
        }

    def _files_read(self) -> list[Path]:
        """Return the files that this run has read."""
        config = self.settings.config
        names: list[str | Path] = [
            *self._inputs,
            *config.weights.weight_image,
            *config.weights.flag_image,
            *config.astrometry.astrefcat_name,
            *config.photometry.photrefcat_name,
            config.output.parameters_name,
            config.extraction.filter_name,
            config.measurement.starnnw_name,
            config.characterize.psf_name,
            config.assoc.assoc_name,
            *self._calibration_files(),
        ]
        paths = dict.fromkeys(Path(name) for name in names if name)
        return [path for path in paths if path.is_file()]

    def _calibration_files(self) -> list[str]:
        if not isr_is_asked(self.settings):
            return []
        from skyextract.calibrations import calibration_files

        return calibration_files(self.settings)

    def finish(self, strict: bool) -> ExitStatus:
        """Move the products into place, write the small ones, and return the exit status."""
        reports = [report for _, report, _, _ in self._summaries]
        status = ExitStatus.OK
        if any(report.step_failed or (strict and report.fell_back) for report in reports):
            status = ExitStatus.STEP_FAILED
        if not reports or any(report.failure for report in reports):
            status = ExitStatus.IMAGE_FAILED
        products = self.job.products
        self._stack.close()
        output = self.settings.config.output
        if self._catalogs and "CATALOG_NAME" in products:
            name = str(products["CATALOG_NAME"])
            write_catalog(name, output.catalog_type, self._catalogs, self._inputs)
        if self._psfs and "PSFMODEL_NAME" in products:
            write_psf(str(products["PSFMODEL_NAME"]), self._psfs)
        if self._catalogs and "REGIONS_NAME" in products:
            catalogs = [catalog for catalog, _, _ in self._catalogs]
            write_regions(products["REGIONS_NAME"], catalogs, self._inputs)
        if self._heads and "HEAD_NAME" in products:
            write_head(products["HEAD_NAME"], self._heads, self._inputs)
        if self._matches and "MATCH_NAME" in products:
            write_matches(products["MATCH_NAME"], self._matches, self._inputs)
        if reports and "SUMMARY_NAME" in products:
            self._write_summary(products["SUMMARY_NAME"], status)
        if self._catalogs and "XML_NAME" in products:
            self._write_xml(products["XML_NAME"])
        return status

    def _write_xml(self, path: Path) -> None:
        software = {
            "Software": "skyextract",
            "Version": __version__,
            "Image_Name": str(self.job.measurement.path),
        }
        config = {key: item["value"] for key, item in self.settings.provenance().items()}
        cards = [cards for _, _, cards in self._catalogs]
        warnings = [text for _, _, _, texts in self._summaries for text in texts]
        write_xml_summary(path, software, cards, warnings, config)

    def _write_summary(self, path: Path, status: ExitStatus) -> None:
        provenance = self._provenance
        objects = [
            summary(
                report,
                image=str(self.job.measurement.path),
                extension=extension,
                exit_status=status,
                seconds=seconds,
                warnings=warnings,
                provenance=provenance,
            )
            for extension, report, seconds, warnings in self._summaries
        ]
        with atomic_output(path, self._inputs) as stream:
            stream.write((json.dumps(objects, indent=1) + "\n").encode())


def total_variance(result: Result, run: Run) -> NDArray[np.float32] | None:
    """Return the variance of an image without a plane of its own: the sky's and the photons'."""
    exposure, measured = result.exposure, result.measured
    if exposure.variance is not None or measured is None:
        return None
    variance = measured.variance.copy()
    if exposure.detector.gain > 0.0:
        above = exposure.image - background_image(measured.background, run)
        variance += np.maximum(above, np.float32(0.0)) / np.float32(exposure.detector.gain)
    return variance


def check_planes(
    result: Result, kinds: frozenset[str], settings: Settings, run: Run
) -> dict[str, Array]:
    """Compute the check images of the given types."""
    exposure, measured = result.exposure, result.measured
    assert measured is not None
    level = background_image(measured.background, run)
    subtracted = exposure.image - level
    segmentation = measured.detections.segmentation
    planes: dict[str, Array] = {}
    for kind in kinds:
        if kind == "BACKGROUND":
            planes[kind] = level
        elif kind == "BACKGROUND_RMS":
            planes[kind] = rms_image(measured.background, run)
        elif kind == "MINIBACKGROUND":
            planes[kind] = measured.background.level
        elif kind == "MINIBACK_RMS":
            planes[kind] = measured.background.rms
        elif kind == "-BACKGROUND":
            planes[kind] = subtracted
        elif kind == "SEGMENTATION":
            planes[kind] = np.abs(segmentation)
        elif kind in ("OBJECTS", "-OBJECTS"):
            planes[kind] = object_planes(subtracted, segmentation)[kind == "-OBJECTS"]
        elif kind == "APERTURES":
            diameters = settings.config.measurement.phot_apertures
            sigma = measured.background.sigma
            planes[kind] = aperture_plane(subtracted, measured.shapes, diameters, sigma)
        elif kind == "MASK":
            planes[kind] = exposure.mask
        elif kind == "VARIANCE":
            planes[kind] = measured.variance
        elif kind == "FILTERED":
            planes[kind] = measured.filtered()
        elif kind == "PSF":
            planes[kind] = psf_plane(exposure.psf)
        elif kind == "RESIDUALS":
            planes[kind] = measured.residual if measured.residual is not None else subtracted
    return planes


def psf_plane(psf: Psf | None) -> Array:
    """Return the PSF at the middle of the field; a blank pixel if there is none."""
    if psf is None:
        return np.zeros((1, 1), dtype=np.float32)
    return psf.stamp(psf.x_zero, psf.y_zero)
