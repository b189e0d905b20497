"""The one line that a run prints of a frame."""

import pytest

from skyextract.outputs.report import Report
from skyextract.run import Run
from skyextract.settings.steps import Plan, Status, Step


@pytest.mark.parametrize(
    ("rms", "shown"), [(0.0254, "0.025"), (0.0006, "0.001"), (0.00027, "0.0003"), (2e-9, "2e-09")]
)
def test_the_rms_of_a_fit_is_never_shown_as_zero(rms, shown):
    report = Report(Plan(frozenset({Step.MEASURE, Step.ASTROMETRY})), Run())
    report.metrics[Step.MEASURE] = {"n_sources": 80}
    report.metrics[Step.ASTROMETRY] = {"n_matched": 66, "rms_arcsec": rms}
    report.statuses[Step.ASTROMETRY] = Status.COMPLETE
    assert f'astrometry 66 stars, rms {shown}"' in report.headline()
