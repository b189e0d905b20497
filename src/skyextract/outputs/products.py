"""The products of one image: written extension by extension, moved into place at the end."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract import __version__
from skyextract.columns.request import UNITS
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import FailedExtension
from skyextract.datamodel.header import Cards, Header, common_cards
from skyextract.datamodel.mosaic import frame_pixels, full_frame_cards, on_full_frame
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.errors import ExitStatus, OutputError, SkyextractError
from skyextract.io.atomic import Outputs
from skyextract.io.catalogs.formats import (
    check_catalog,
    sextractor_cards,
    write_catalog,
    write_xml_summary,
)
from skyextract.io.catalogs.matches import write_matches
from skyextract.io.catalogs.regions import write_regions
from skyextract.io.fits.headfile import write_head
from skyextract.io.images.detectorcards import read_detector
from skyextract.io.images.exposures import ExposureWriter, catalog_header
from skyextract.io.images.scale import pixel_scale
from skyextract.io.names import without_image
from skyextract.io.psf.psfex import write_psf
from skyextract.io.streams import Stream
from skyextract.jobs import Job
from skyextract.messages import LABELLED, RESULT, encoded
from skyextract.outputs.checks import CheckImages
from skyextract.outputs.failure import (
    call_facts,
    product_names,
    provenance,
    remove_stale,
    without_products_kept,
)
from skyextract.outputs.frame import frame_facts
from skyextract.outputs.planes import total_variance
from skyextract.outputs.report import Report, headline_of, summary
from skyextract.outputs.summaries import night_rows, note_night, write_summaries
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Plan
from skyextract.stages.background.planes import with_detected

if TYPE_CHECKING:
    from skyextract.outputs.html.page import Section
    from skyextract.outputs.result import Result

log = logging.getLogger("skyextract")

_Table = tuple[Catalog, Header, Cards]


@record
class _Part:
    """What the small products have of one extension.

    Clients take catalogues, PSF models and headers by their place: a failed extension has one.
    """

    header: Header
    cards: Cards
    catalog: Catalog = field(default_factory=Catalog)
    numbers: Cards = field(default_factory=dict)
    """More cards, of the catalogue alone."""
    psf: Psf | None = None
    head: Cards = field(default_factory=dict)
    """The fitted WCS."""
    matches: tuple[Catalog, Catalog] = field(default_factory=lambda: (Catalog(), Catalog()))


@record
class _Entry:
    """What the summary says of one extension."""

    extension: int
    frame: dict[str, Any]
    report: Report
    seconds: dict[str, float]
    warnings: list[str]


class Products:
    """Collects the results of the extensions of one image; a context manager.

    Image-sized products are written at once, into temporary files; all appear together at the
    end of `finish`, and none after an error.

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
        self._outputs = Outputs()
        self.job = job
        self.settings = settings
        self.run = run
        self._parts: list[_Part] = []
        self._entries: list[_Entry] = []
        self._stack = ExitStack()
        self._exposures: ExposureWriter | None = None
        self._checks = CheckImages(job, settings, run, self._outputs)
        self._stack.push(self._checks)
        self._errors: list[SkyextractError] = []
        self._sections: list[Section] = []
        if "REPORT_NAME" in job.products:
            from skyextract.outputs.html.plots import prepare_drawing

            prepare_drawing("REPORT_NAME")
        output = settings.config.output
        if "CATALOG_NAME" in job.products:
            check_catalog(str(job.products["CATALOG_NAME"]), output.catalog_type)

    def __enter__(self) -> Products:
        for path in self.job.files:
            self._outputs.check(path)
        return self

    def __exit__(self, *error: Any) -> None:
        with self._outputs:
            self._stack.__exit__(*error)

    @property
    def need_image(self) -> bool:
        """Whether one of them is made of the pixels of the image as it was measured."""
        made = self.job.products
        return "EXPOSURE_NAME" in made or "REPORT_NAME" in made or bool(self.job.check_images)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What is to be written through to pipes and devices, after `finish`."""
        return tuple(self._outputs.streams)

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """What fell back or failed, in words."""
        found: dict[str, None] = {}
        for entry in self._entries:
            found |= dict.fromkeys(entry.report.shortfalls())
            if entry.report.sources["PSFSRC"] == "DEFAULT":
                found["default PSF"] = None
        return tuple(found)

    @property
    def headline(self) -> str:
        """The gist of all extensions in one line; empty where each of them has its own."""
        reports = [entry.report for entry in self._entries]
        return headline_of(reports) if len(reports) > 1 else ""

    def add_failure(self, failed: FailedExtension) -> None:
        """Note an extension that could not be processed."""
        message = self.job.shown(str(failed))
        log.error(LABELLED, "", message)
        log.debug("why", exc_info=failed.error)
        self._errors.append(failed.error)
        report = Report(Plan(frozenset()), self.run, failure=message)
        if failed.header is not None:
            self._parts.append(_Part(failed.header, report.cards()))
            self._checks.leave_out(failed.header, report.cards())
        camera = self.settings.config.isr.camera
        time = math.nan
        if failed.header is not None:  # without its warnings: the image failed for another reason
            detector = self.settings.config.detector
            time = read_detector(failed.header, detector, Run(), failed.name).exposure_time
        frame = frame_facts(failed.header, time, camera)
        self._note(failed.extension, frame, report)
        if "REPORT_NAME" in self.job.products:
            from skyextract.outputs.html.page import failed_section

            warnings = self._entries[-1].warnings
            title = f"extension {failed.extension}"
            failure = without_image(message, self.job.measurement.name)
            self._sections.append(failed_section(failure, frame, warnings, title))

    def _note(self, extension: int, frame: dict[str, Any], report: Report) -> None:
        """Keep report, times and warnings of an extension, and start those of the next."""
        entry = _Entry(extension, frame, report, self.run.seconds, self.run.warnings)
        self._entries.append(entry)
        self.run.seconds, self.run.warnings = {}, []

    def add(self, result: Result) -> None:
        """Take the result of one extension and write its image-sized products."""
        report = result.report
        measured = result.measured
        if measured and ("EXPOSURE_NAME" in self.job.products or self.job.check_images):
            marked = with_detected(result.exposure, measured.detections)
            result = replace(result, exposure=marked)
        exposure = result.exposure
        cards = report.cards()
        self._parts.append(self._part(result))
        if "EXPOSURE_NAME" in self.job.products:
            if self._exposures is None:
                writer = ExposureWriter(self.job.products["EXPOSURE_NAME"], self._outputs.open)
                self._exposures = self._stack.enter_context(writer)
            variance = total_variance(result, self.run)
            self._exposures.add(
                exposure, cards, provenance(self.job, self.settings, self.run), variance
            )
        if lost := self._checks.add(result):
            self.run.warnings.append(lost)
        if measured is not None:
            log.log(RESULT, LABELLED, self.run.label, report.headline())
        time, camera = exposure.detector.exposure_time, self.settings.config.isr.camera
        facts = frame_facts(exposure.header, time, camera)
        self._note(
            exposure.extension, facts | {"camera": exposure.camera or facts["camera"]}, report
        )
        if "REPORT_NAME" in self.job.products:
            from skyextract.outputs.html.page import make_section

            entry = self._entries[-1]
            title = f"extension {exposure.extension} {exposure.extension_name}".strip()
            self._sections.append(make_section(result, entry.frame, entry.warnings, title))

    def _part(self, result: Result) -> _Part:
        """Return what the small products have of an extension that was processed."""
        exposure, astrometry, photometry = result.exposure, result.astrometry, result.photometry
        header = exposure.header
        part = _Part(
            catalog_header(exposure),
            result.report.cards(),
            psf=exposure.psf,
            matches=(
                on_full_frame(astrometry.matches, header, UNITS) if astrometry else Catalog(),
                on_full_frame(photometry.matches, header, UNITS) if photometry else Catalog(),
            ),
        )
        if astrometry is not None and astrometry.source == "FITTED":
            part = replace(part, head=full_frame_cards(astrometry.head_cards(), header))
        measured = result.measured
        if measured is None:
            return part
        numbers = sextractor_cards(
            background=measured.background.mean,
            background_rms=measured.background.sigma,
            threshold=measured.threshold,
            analysis_threshold=measured.analysis_threshold,
            n_sources=result.catalog.n_rows,
            gain=exposure.detector.gain,
            pixel_scale=pixel_scale(exposure, self.settings.config.detector) / frame_pixels(header),
            saturation=exposure.detector.saturation,
            zero_point=exposure.photocal.zero_point,
        )
        return replace(part, catalog=result.catalog, numbers=numbers)

    def finish(self) -> ExitStatus:
        """Write the small products, move all into place, and return the exit status."""
        reports = [entry.report for entry in self._entries]
        status = ExitStatus.OK
        strict = self.settings.strict
        if any(report.step_failed or (strict and report.fell_back) for report in reports):
            status = ExitStatus.STEP_FAILED
        if not reports or any(report.failure for report in reports):
            status = ExitStatus.IMAGE_FAILED
        self.job = without_products_kept(self.job, self._errors, len(reports))
        if lost := self._checks.end():
            self._entries[-1].warnings.append(lost)
        self._stack.close()
        if self._checks.lost:
            status = ExitStatus.IMAGE_FAILED
        n_streams = len(self._outputs.streams)
        try:
            objects = self._write_small(reports, status)
        except OutputError as error:
            lost = self._checks.make_room(error)
            if not lost:
                raise
            self._entries[-1].warnings.append(lost)
            del self._outputs.streams[n_streams:]
            status = ExitStatus.IMAGE_FAILED
            objects = self._write_small(reports, status)
        remove_stale(self.job, self._outputs)
        rows = night_rows(self.job, objects)  # before: the moon takes longer than the products
        self._outputs.commit()
        if not note_night(self.job, rows):
            status = ExitStatus.IMAGE_FAILED
        return status

    def _write_small(self, reports: Sequence[Report], status: ExitStatus) -> list[dict[str, Any]]:
        """Write the products that are no images; returns the summary objects."""
        products, open_output = self.job.products, self._outputs.open
        catalogs = _tables(self._parts)
        if catalogs and "CATALOG_NAME" in products:
            kind = self.settings.config.output.catalog_type
            write_catalog(str(products["CATALOG_NAME"]), kind, catalogs, open_output)
        if any(part.psf and part.psf.source is not PsfSource.DEFAULT for part in self._parts):
            self._write_psfs()
        if catalogs and "REGIONS_NAME" in products:
            sources = [catalog for catalog, _, _ in catalogs]
            write_regions(products["REGIONS_NAME"], sources, open_output)
        heads = [part.head for part in self._parts]
        if any(heads) and "HEAD_NAME" in products:
            write_head(products["HEAD_NAME"], heads, open_output)
        if "MATCH_NAME" in products and not all(report.failure for report in reports):
            pairs = [part.matches for part in self._parts]
            write_matches(products["MATCH_NAME"], pairs, self._cards, open_output)
        if self._sections and "REPORT_NAME" in products:
            from skyextract.outputs.html.page import render

            page = render(self.job.label, self._sections, self._provenance())
            with open_output(products["REPORT_NAME"]) as stream:
                stream.write(encoded(page))
        if catalogs and "XML_NAME" in products:
            self._write_xml(products["XML_NAME"])
        objects = self._summaries(status)
        write_summaries(self.job, objects, open_output)
        return objects

    @property
    def _cards(self) -> list[Cards]:
        return [part.cards for part in self._parts]

    def _write_psfs(self) -> None:
        """Write the PSF models; where there is none the default stands in, as PSFSRC says."""
        if "PSFMODEL_NAME" not in self.job.products:
            return
        guess = Psf.gaussian(self.settings.config.characterize.default_fwhm)
        psfs = [part.psf or guess for part in self._parts]
        name = str(self.job.products["PSFMODEL_NAME"])
        write_psf(name, psfs, common_cards(self._cards), self._outputs.open)

    def _write_xml(self, path: Path) -> None:
        software = {
            "Software": "skyextract",
            "Version": __version__,
            "Image_Name": self.job.measurement.name,
        }
        config = {key: item["value"] for key, item in self.settings.provenance().items()}
        cards = [{**part.cards, **part.numbers} for part in self._parts if part.catalog.columns]
        warnings = [text for entry in self._entries for text in entry.warnings]
        write_xml_summary(path, software, cards, warnings, config, self._outputs.open)

    def _provenance(self) -> dict[str, Any]:
        failed = all(entry.report.failure for entry in self._entries)
        return provenance(self.job, self.settings, self.run, failed)

    def _summaries(self, status: ExitStatus) -> list[dict[str, Any]]:
        """Return the summary objects of the extensions."""
        made = {}
        if self.job.has_summary:  # checksums of large files take a while
            made = self._provenance() | call_facts(self.job, self.settings)
        written = {key for key, path in self.job.named_files.items() if self._outputs.has(path)}
        names = product_names(self.job, written | {"SUMMARY_NAME"})
        return [
            summary(
                entry.report,
                image=self.job.measurement.name,
                extension=entry.extension,
                frame=entry.frame,
                exit_status=status,
                seconds=entry.seconds,
                warnings=entry.warnings,
                products=names,
                provenance=made,
            )
            for entry in self._entries
        ]


def _tables(parts: Sequence[_Part]) -> Sequence[_Table]:
    """Return the catalogues with their cards; those without sources with the columns of others."""
    columns = next((part.catalog for part in parts if part.catalog.columns), None)
    if columns is None:
        return []
    none = columns.take(np.zeros(0, np.int64))
    return [
        (
            part.catalog if part.catalog.columns else none,
            part.header,
            {**part.cards, **part.numbers},
        )
        for part in parts
    ]
