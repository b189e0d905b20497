"""The command line: arguments, messages, exit status, start-up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skyextract.cli import lift_keywords, main
from skyextract.errors import ConfigError
from skyextract.settings.grammar import dump


def test_an_equals_sign_will_do():
    words = ["x.fits", "-PHOTREF_MAG_LIMITS=-99,19.5", "-gain=2", "-SEEING_FWHM="]
    assert lift_keywords(words) == (
        ["x.fits"],
        [("PHOTREF_MAG_LIMITS", "-99,19.5"), ("GAIN", "2"), ("SEEING_FWHM", "")],
    )
    with pytest.raises(ConfigError, match="unknown keyword DETECT_TRESH"):
        lift_keywords(["-DETECT_TRESH=3"])


def test_keywords_are_lifted_in_any_case_and_place():
    rest, pairs = lift_keywords(
        [
            "-c",
            "a.conf",
            "x.fits",
            "-detect_thresh",
            "-1.5",
            "-CHECKIMAGE_TYPE",
            "-BACKGROUND",
            "-v",
        ]
    )
    assert rest == ["-c", "a.conf", "x.fits", "-v"]
    assert pairs == [("DETECT_THRESH", "-1.5"), ("CHECKIMAGE_TYPE", "-BACKGROUND")]


def test_what_looks_like_a_keyword_and_is_none_is_an_error():
    with pytest.raises(ConfigError, match="DETECT_TRESH: did you mean DETECT_THRESH"):
        lift_keywords(["x.fits", "-DETECT_TRESH", "3"])
    with pytest.raises(ConfigError, match="unknown keyword FOO"):
        lift_keywords(["x.fits", "-FOO", "3"])
    with pytest.raises(ConfigError, match="GAIN: value missing"):
        lift_keywords(["x.fits", "-GAIN"])


def test_short_options_together_and_with_their_values_are_no_keywords():
    words = ["-qv", "-j2", "-j16", "x.fits"]
    assert lift_keywords(words) == (words, [])


def test_option_values_are_not_keywords():
    rest, pairs = lift_keywords(["-o", "-GAIN", "--steps", "measure", "--", "-GAIN"])
    assert rest == ["-o", "-GAIN", "--steps", "measure", "--", "-GAIN"]
    assert pairs == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no image given"),
        (["x.fits", "--no-such"], "No such option"),
        (["x.fits", "-c", "missing.conf"], "missing.conf: No such file"),
        (["x.fits", "--steps", "measur"], "did you mean MEASURE"),
        (["x.fits", "--steps", "measure,astrometry"], "set ASTREFCAT_NAME"),
        (["x.fits", "--steps", "measure,auto"], "stand alone"),
        (["a/x.fits", "b/x.fits"], "two images, one CATALOG_NAME"),
        (["x.fits", "y.fits", "-CATALOG_NAME", "test.cat"], "det.fits,meas.fits"),
        (["x.fits", "-CATALOG_NAME", "x.fits"], "is an input"),
        (["x.fits", "-CATALOG_NAME", "a", "-SUMMARY_NAME", "a"], "both CATALOG_NAME"),
        (["x.fits", "-CHECKIMAGE_TYPE", "OBJECTS,BACKGROUND"], "2 names are needed"),
        (["a,b,c"], "detection.fits,measurement.fits"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(arguments, message, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_working_folder_that_was_deleted(capfd, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main([str(tmp_path / "x.fits")]) == 2
    assert "the working folder was deleted" in capfd.readouterr().err


def test_dumps(capfd):
    assert main(["-d"]) == 0
    assert capfd.readouterr().out == dump(full=False) + "\n"
    assert main(["-dd"]) == 0
    assert capfd.readouterr().out == dump(full=True) + "\n"
    assert main(["-dp"]) == 0
    assert "MAG_AUTO" in capfd.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["-dd"], ["x.fits", "-GAINN", "1"]]
)
def test_help_and_usage_errors_import_nothing_heavy(arguments):
    code = (
        "import sys\nfrom skyextract.cli import main\n"
        f"main({arguments!r})\n"
        "heavy = {'numpy', 'astropy', 'numba', 'sep'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_default_sex_is_mentioned_but_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default.sex").write_text("NO_SUCH_KEYWORD 1\n")
    from skyextract.cli import settings_from

    assert any("default.sex" in note for note in settings_from(None, None, []).notes)


@pytest.mark.parametrize("option", ["-h", "-d", "-dd", "-dp", "--version"])
def test_a_reader_that_has_gone_is_no_error(option):
    """As in `skyextract -dd | head`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "skyextract", option]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled")
def test_a_run_imports_nothing_that_takes_longer_than_it(tmp_path):
    """All steps on a small field: what they need is no more than numpy."""
    example = Path(__file__).parents[1] / "examples"
    arguments = [
        str(example / "field.fits.fz"), "-ASTREFCAT_NAME", str(example / "field_refcat.fits"),
        "-VERBOSE_TYPE", "QUIET",
    ]  # fmt: skip
    code = (
        "import sys\nfrom skyextract.run import prepare_process\nprepare_process()\n"
        f"from skyextract.cli import main\nstatus = main({arguments})\n"
        "slow = {'astropy', 'llvmlite.ir', 'numpy.ma', 'shutil', 'socket', 'tempfile', 'zipfile'}\n"
        "slow &= set(sys.modules)\n"
        "texts = vars(sys.modules['numpy._core._add_newdocs'])\n"
        "slow |= {'docstrings'} if 'add_newdoc' in texts else set()\n"
        "compiles = 'numba' in sys.modules\n"
        "sys.exit(f'imported {slow}' if slow and not compiles else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _interrupt_a_class(*_: object) -> None:
    raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()


@pytest.mark.parametrize("interrupt", [_interrupt, _interrupt_a_class])
def test_an_interrupt_is_told_wherever_it_comes(monkeypatch, capfd, interrupt):
    monkeypatch.setattr("skyextract.batch.images.run_batch", interrupt)
    assert main(["x.fits"]) == 130
    assert capfd.readouterr().err.strip() == "skyextract: error: interrupted"
