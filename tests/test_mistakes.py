"""What a mistake of ours costs: a calibration, but never the sources that were measured."""

import json
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from skyextract.cli import main
from skyextract.errors import StepError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_a_mistake_in_a_calibration_costs_no_sources(tmp_path, monkeypatch, capsys):
    def mistaken(*_):
        return 1 / 0

    monkeypatch.setattr("skyextract.pipeline.calibrate_zero_point", mistaken)
    reference = str(EXAMPLES / "field_refcat.fits")
    field = str(EXAMPLES / "field.fits.fz")
    status = main([field, "-ASTREFCAT_NAME", reference, "-o", str(tmp_path)])
    assert status == 3
    said = capsys.readouterr().err
    assert "photometry failed: internal error: ZeroDivisionError: division by zero" in said
    assert "Traceback" not in said
    (summary,) = json.loads((tmp_path / "field.json").read_text())
    assert summary["steps"]["astrometry"]["status"] == "complete"
    assert summary["steps"]["photometry"]["status"] == "failed"
    assert len(Table.read(tmp_path / "field.cat", hdu="LDAC_OBJECTS")) > 100


def test_a_characterization_that_fails_late_leaves_a_default_psf(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise StepError("the PSF model has no measurable core")

    monkeypatch.setattr("skyextract.stages.characterize.with_misfit", fails)
    field = str(EXAMPLES / "field.fits.fz")
    assert main([field, "-o", str(tmp_path)]) == 0
    assert "characterize failed: the PSF model has no measurable core" in capsys.readouterr().err
    (summary,) = json.loads((tmp_path / "field.json").read_text())
    step = summary["steps"]["characterize"]
    assert (step["status"], step["reason"]) == ("fallback", "the PSF model has no measurable core")
    assert fits.getval(tmp_path / "field.cat", "SKYCHAR", "LDAC_OBJECTS") == "FALLBACK"
    assert fits.getval(tmp_path / "field.cat", "PSFSRC", "LDAC_OBJECTS") == "DEFAULT"


def test_what_is_set_and_has_no_effect_is_told(tmp_path, monkeypatch, capsys):
    """Not what has, or what is as it is anyway."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(1).normal(400.0, 20.0, (64, 64)).astype(np.float32)
    fits.writeto("x.fits", image, fits.Header({"GAIN": 1.5, "SATURATE": 6e4}))
    told = "ISR_TRIMSEC, ISR_GAIN: no effect, isr does not run", "GAIN 3 has no effect: the"
    given = "-ISR_TRIMSEC", "[1:50,1:50]", "-ISR_GAIN", "3", "-ISR_BIAS", "NONE", "-GAIN", "3"
    for more, n in ((given, 2), (("-GAIN", "3", "-GAIN_KEY", "NONE", "-RDNOISE", "4"), 0)):
        main(["x.fits", "--steps", "measure", *more])
        said = capsys.readouterr().err
        assert said.count("no effect") == n
        assert all(text in said for text in told[:n])
    Path("list.txt").write_text("1 30 30\n")
    main(["x.fits", "--steps", "measure", "-ASSOC_NAME", "list.txt"])
    assert "ASSOC_NAME list.txt is not read: no column asks for it" in capsys.readouterr().err
