"""No keyword is without effect: each one set to another value changes a product or a message."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from astropy.io import fits

from skyextract.cli import main
from skyextract.settings.grammar import declarations
from tests.simulate.keywordscene import NETWORK, write_scene

SUPPORTED = [name for name, item in declarations().items() if item.keyword.support == "yes"]

# Scenes: the image and the settings that both runs share.
PLAIN = "field.fits -PARAMETERS_NAME scene.param -CATALOG_TYPE ASCII_HEAD"
SEX = f"{PLAIN} -BASE_DEFAULTS SEXTRACTOR -CATALOG_NAME x.cat -FILTER_NAME default"
PSF = "field.fits -CATALOG_TYPE ASCII_HEAD"
MODEL = f"{PSF} -PARAMETERS_NAME model.param"
PSFMODEL = f"{PSF} --steps characterize -PSFMODEL_NAME out.psf"
WEIGHT = f"{SEX} -WEIGHT_TYPE MAP_WEIGHT -WEIGHT_IMAGE weight.fits"
FLAG = f"{SEX} -PARAMETERS_NAME flag.param -FLAG_IMAGE flags.fits"
ASSOC = f"{SEX} -PARAMETERS_NAME assoc.param -ASSOC_NAME list.txt -ASSOC_RADIUS 5"
REF = f"{PLAIN} -ASTREFCAT_NAME ref.fits -MATCH_NAME match.fits"
BENT = f"{REF.replace('field', 'whole')} -ASTREFCAT_NAME bent.fits"
RAW = "raw.fits -ISR_TRIMSEC [1:90,1:80] -ISR_BIASSEC [91:100,1:80] --steps isr"
TWO = (
    "raw.fits -ISR_TRIMSEC [1:45,1:80],[46:90,1:80] "
    "-ISR_BIASSEC [91:95,1:80],[96:100,1:80] --steps isr"
)
CALIBRATED = f"{RAW} -ISR_BIASSEC NONE -ISR_GAIN 2 -ISR_FLAT flat.fits -ISR_FLAT_STATE MASTER"
BIAS = f"{RAW} -ISR_BIAS bias1.fits,bias2.fits,bias3.fits"
XML = f"{PLAIN} -WRITE_XML Y"

CASES: dict[str, tuple[str, str]] = {
    "STEPS": (PLAIN, "CHARACTERIZE,MEASURE,ASTROMETRY -ASTREFCAT_NAME ref.fits"),
    "BASE_DEFAULTS": (PLAIN, "SEXTRACTOR"),
    "VERBOSE_TYPE": (PLAIN, "QUIET"),
    "CATALOG_NAME": (PLAIN, "other.cat"),
    "CATALOG_TYPE": (PLAIN, "ASCII"),
    "PARAMETERS_NAME": (PSF, "scene.param"),
    "SUMMARY_NAME": (PLAIN, "other.json"),
    "EXPOSURE_NAME": (PLAIN, "exposure.fits"),
    "HEAD_NAME": (REF, "out.head"),
    "PSFMODEL_NAME": (PLAIN, "out.psf"),
    "MATCH_NAME": (PLAIN, "match.fits"),
    "REGIONS_NAME": (PLAIN, "out.reg"),
    "NIGHT_NAME": (PLAIN, "night.ecsv"),
    "REPORT_NAME": (PLAIN, "report.html"),
    "CHECKIMAGE_TYPE": (PLAIN, "MASK"),
    "CHECKIMAGE_NAME": (f"{PLAIN} -CHECKIMAGE_TYPE MASK", "other.fits"),
    "WRITE_XML": (PLAIN, "Y"),
    "XML_NAME": (XML, "other.xml"),
    "GAIN": (f"{SEX} -GAIN_KEY NONE", "4"),
    "GAIN_KEY": (SEX, "NONE"),
    "RDNOISE": (f"{RAW} -ISR_RDNOISE AUTO -RDNOISE_KEY NONE", "9"),
    "RDNOISE_KEY": (RAW, "RON"),
    "SATUR_LEVEL": (f"{SEX} -SATUR_KEY NONE", "3000"),
    "SATUR_KEY": (SEX, "LOWSAT"),
    "DATA_CHECK": (PLAIN.replace("field", "padded"), "N"),
    "EXPOTIME_KEY": (REF, "SHUTTIME"),
    "BAYER": (PLAIN.replace("field", "mosaic"), "NONE"),
    "PIXEL_SCALE": (PLAIN, "0.9"),
    "SEEING_FWHM": (f"{SEX} -STARNNW_NAME default.nnw", "3"),
    "HEADER_SUFFIX": (PLAIN, ".other"),
    "FITS_UNSIGNED": (f"{SEX.replace('field', 'int')}", "Y"),
    "CAMERA": (RAW, "camera.conf"),
    "ISR_UNIT": (RAW, "ADU"),
    "ISR_OVERSCAN": (RAW, "MEAN"),
    "ISR_OVERSCAN_DEGREE": (f"{RAW} -ISR_OVERSCAN POLY", "0"),
    "ISR_BIASSEC": (RAW, "[93:100,1:80]"),
    "ISR_TRIMSEC": (RAW, "[1:80,1:80]"),
    "ISR_DETSEC": (f"{TWO} -ISR_DETSEC [1:45,1:80],[46:90,1:80]", "[46:90,1:80],[1:45,1:80]"),
    "ISR_GAIN": (RAW, "3"),
    "ISR_RDNOISE": (RAW, "11"),
    "ISR_BIAS": (RAW, "master.fits"),
    "ISR_DARK": (CALIBRATED, "dark.fits"),
    "ISR_FLAT": (f"{RAW} -ISR_BIASSEC NONE -ISR_GAIN 2", "flat.fits"),
    "ISR_FRINGE": (CALIBRATED, "fringe.fits"),
    "ISR_BIAS_STATE": (f"{RAW} -ISR_BIAS bias1.fits", "MASTER -ISR_MISMATCH WARN"),
    "ISR_DARK_STATE": (f"{CALIBRATED} -ISR_DARK dark.fits", "RAW"),
    "ISR_FLAT_STATE": (CALIBRATED, "RAW"),
    "ISR_FRINGE_STATE": (f"{CALIBRATED} -ISR_FRINGE fringe.fits", "RAW"),
    "ISR_COMBINE": (BIAS, "MEDIAN"),
    "ISR_CLIP_SIGMA": (BIAS, "1"),
    "ISR_MASTER_NAME": (BIAS, "mine_{kind}.fits"),
    "ISR_DEFECTS": (RAW, "defects.csv"),
    "ISR_LINEARITY": (RAW, "1e-6"),
    "ISR_CROSSTALK": (f"{TWO} -ISR_DETSEC [1:45,1:80],[46:90,1:80]", "crosstalk.txt"),
    "ISR_INTERPOLATE": (f"{RAW} -ISR_DEFECTS defects.csv", "N"),
    "ISR_MISMATCH": (f"{CALIBRATED} -ISR_FLAT flat_g.fits -ISR_MISMATCH WARN", "ERROR"),
    "BACK_TYPE": (SEX, "MANUAL"),
    "BACK_VALUE": (f"{SEX} -BACK_TYPE MANUAL", "200"),
    "BACK_SIZE": (SEX, "40"),
    "BACK_FILTERSIZE": (SEX, "1"),
    "BACK_FILTTHRESH": (SEX, "1000"),
    "BACK_PEARSON": (SEX, "1.5"),
    "CHAR_NITER": (PSF, "1"),
    "DEFAULT_FWHM": (f"{PSF} --steps measure", "2"),
    "PSF_NAME": (PSF, "given.psf"),
    "PSF_SAMPLING": (PSFMODEL, "0.8"),
    "PSF_SIZE": (PSFMODEL, "31"),
    "PSFVAR_DEGREES": (PSFMODEL, "0"),
    "SAMPLE_AUTOSELECT": (f"{PSFMODEL} -SAMPLE_MINSN 10", "N"),
    "SAMPLE_FWHMRANGE": (PSFMODEL, "8,20"),
    "SAMPLE_VARIABILITY": (PSFMODEL.replace("field", "varying"), "0.1"),
    "SAMPLE_MINSN": (PSFMODEL, "100"),
    "SAMPLE_MAXELLIP": (PSFMODEL, "0.04"),
    "APERCOR_DIAMETER": (f"{PSF} -PARAMETERS_NAME apercor.param", "4"),
    "CR_REPAIR": (PSF, "N"),
    "CR_MINSIGMA": (PSF, "50"),
    "CR_NITER": (PSF, "1"),
    "DETECT_TYPE": (SEX.replace("field", "photo"), "PHOTO"),
    "DETECT_MINAREA": (SEX, "20"),
    "DETECT_MAXAREA": (SEX, "30"),
    "THRESH_TYPE": (SEX, "ABSOLUTE"),
    "DETECT_THRESH": (SEX, "4"),
    "ANALYSIS_THRESH": (SEX, "4"),
    "NOISE_TYPE": (PLAIN.replace("field", "smooth"), "INDEPENDENT"),
    "DETECT_NITER": (f"{PLAIN} -BACK_SIZE 24", "1"),
    "CROWD_NITER": (PSF.replace("field", "crowd"), "0"),
    "FILTER": (SEX, "N"),
    "FILTER_NAME": (SEX, "gauss_3.0_7x7"),
    "DEBLEND_NTHRESH": (SEX, "1"),
    "DEBLEND_MINCONT": (SEX, "1"),
    "MEMORY_OBJSTACK": (SEX, "3"),
    "MEMORY_BUFSIZE": (SEX, "20"),
    "CLEAN": (f"{SEX} -DETECT_THRESH 1", "N"),
    "CLEAN_PARAM": (f"{SEX} -DETECT_THRESH 1", "0.1"),
    "MODEL_TYPE": (MODEL, "EXP"),
    "MODEL_PRIORS": (MODEL, "N"),
    "MASK_TYPE": (SEX, "NONE"),
    "PHOT_APERTURES": (SEX, "9"),
    "PHOT_AUTOPARAMS": (SEX, "2,3.5"),
    "PHOT_PETROPARAMS": (SEX, "1.5,3.5"),
    "PHOT_AUTOAPERS": (SEX, "30,30"),
    "PHOT_FLUXFRAC": (SEX, "0.7"),
    "BACKPHOTO_TYPE": (SEX, "LOCAL"),
    "BACKPHOTO_THICK": (f"{SEX} -BACKPHOTO_TYPE LOCAL", "40"),
    "STARNNW_NAME": (f"{SEX} -STARNNW_NAME none.nnw", "default.nnw"),
    "MAG_GAMMA": (f"{SEX.replace('field', 'photo')} -DETECT_TYPE PHOTO", "2"),
    "WEIGHT_TYPE": (WEIGHT, "MAP_RMS"),
    "WEIGHT_IMAGE": (WEIGHT, "rms.fits"),
    "WEIGHT_GAIN": (WEIGHT, "N"),
    "WEIGHT_THRESH": (WEIGHT, "0.9"),
    "RESCALE_WEIGHTS": (WEIGHT, "N"),
    "FLAG_IMAGE": (FLAG, "flags2.fits"),
    "FLAG_TYPE": (FLAG, "MAX"),
    "INTERP_MAXXLAG": (f"{WEIGHT} -INTERP_TYPE ALL", "1 -INTERP_MAXYLAG 1"),
    "INTERP_MAXYLAG": (f"{WEIGHT} -INTERP_TYPE ALL -INTERP_MAXXLAG 1", "1"),
    "INTERP_TYPE": (f"{WEIGHT} -INTERP_TYPE NONE", "ALL"),
    "ASSOC_NAME": (ASSOC, "list2.txt"),
    "ASSOC_DATA": (ASSOC, "3,2,1"),
    "ASSOC_PARAMS": (ASSOC, "3,2"),
    "ASSOCCOORD_TYPE": (f"{ASSOC} -ASSOC_NAME world.txt", "WORLD"),
    "ASSOC_RADIUS": (ASSOC, "0.1"),
    "ASSOC_TYPE": (ASSOC, "SUM"),
    "ASSOCSELEC_TYPE": (ASSOC, "ALL"),
    "ASTREF_CATALOG": (f"{PLAIN} -REF_SERVER http://127.0.0.1:9", "SDSS"),
    "ASTREFCAT_NAME": (REF, "ref2.fits"),
    "ASTREFCENT_KEYS": (REF, "RA2,DEC2"),
    "ASTREFERR_KEYS": (REF, "e_RA,e_DEC"),
    "ASTREFPROP_KEYS": (f"{REF} -ASTREFCAT_NAME moving.fits", "east,north"),
    "ASTREFMAG_KEY": (f"{REF} -ASTREFMAG_LIMITS 0,19", "g"),
    "ASTREFMAG_LIMITS": (REF, "0,17.5"),
    "CROSSID_RADIUS": (REF, "0.05"),
    "POSITION_MAXERR": (f"{REF} -HEADER_SUFFIX .far", "0.05"),
    "POSANGLE_MAXERR": (f"{REF} -HEADER_SUFFIX .turned", "1"),
    "PIXSCALE_MAXERR": (f"{REF} -HEADER_SUFFIX .scaled", "1.02"),
    "MATCH_FLIPPED": (f"{REF} -HEADER_SUFFIX .flipped -MATCH_FLIPPED Y -POSITION_MAXERR 10", "N"),
    "PROJECTION_TYPE": (f"{BENT} -HEAD_NAME out.head", "TAN"),
    "DISTORT_DEGREES": (BENT, "1"),
    "ASTRCLIP_NSIGMA": (REF, "1"),
    "SN_THRESHOLDS": (REF, "60,100"),
    "MAG_ZEROPOINT": (PLAIN, "25"),
    "MAGZP_KEY": (PLAIN, "MYZERO"),
    "PHOTREFCAT_NAME": (REF, "ref2.fits"),
    "PHOTREF_CATALOG": (f"{PLAIN} -REF_SERVER http://127.0.0.1:9", "SDSS"),
    "PHOTREF_MAG_KEY": (REF, "g"),
    "PHOTREF_MAGERR_KEY": (f"{REF} -PHOTREFCAT_NAME ref.fits -PHOTREF_MAG_KEY r", "big_err"),
    "PHOTREF_MAG_LIMITS": (REF, "0,19.5"),
    "PHOTREF_COLOR_KEYS": (f"{REF} -COLOR_TERM FIT", "r,i"),
    "COLOR_TERM": (REF, "0.1"),
    "PHOT_FLUX_KEY": (REF, "AUTO -PHOT_APERTURES 9"),
    "PHOT_DEGREES": (REF, "1"),
}  # fmt: skip
"""Keyword: the scene, and another value (with what else the run takes)."""

REFUSED = {
    **dict.fromkeys(
        ("ISR_BIAS_STATE", "ISR_DARK_STATE", "ISR_FLAT_STATE", "ISR_FRINGE_STATE"), "1"
    ),
    "ISR_MISMATCH": "1",
    **dict.fromkeys(("ASTREF_CATALOG", "PHOTREF_CATALOG"), "3"),
    **dict.fromkeys(
        ("POSITION_MAXERR", "POSANGLE_MAXERR", "PIXSCALE_MAXERR", "MATCH_FLIPPED"), "3"
    ),
    **dict.fromkeys(("CROSSID_RADIUS", "PHOTREF_MAG_KEY", "ASTREFMAG_LIMITS"), "3"),
}
"""Exit status where the other value refuses what the scene allows."""

ELSEWHERE = {
    **dict.fromkeys(
        ("REF_SERVER", "REF_TIMEOUT", "REFOUT_CATPATH"),
        "tests/e2e/test_online.py",
    ),
    "NTHREADS": "tests/e2e/test_same_bytes.py: results never depend on it",
    "APERCOR_DEGREE": "tests/stages/pointsources/test_apercor.py: it takes a strong variation",
}


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    write_scene(folder)
    previous = Path.cwd()
    os.chdir(folder)
    main("field.fits --steps characterize -PSFMODEL_NAME given.psf -SAMPLE_MINSN 60".split())
    os.chdir(previous)
    (folder / "field.char.fits").unlink()
    (folder / "field.json").unlink()
    return folder


@pytest.fixture(scope="session")
def outcomes() -> dict[str, dict[str, str]]:
    """Outcomes of the scenes, each run once."""
    return {}


@pytest.fixture
def run(
    scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict[str, str]]:
    """Run the program; returns what a user can see: products, streams, status."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")

    def call(arguments: str) -> dict[str, str]:
        folder = tmp_path / hashlib.sha256(arguments.encode()).hexdigest()[:8]
        shutil.copytree(scene, folder, copy_function=os.link)  # inputs, which nothing changes
        monkeypatch.chdir(folder)
        status = main(arguments.split())
        out, err = capfd.readouterr()
        seen = {"status": str(status), "stdout": out, "stderr": err}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not (scene / path.relative_to(folder)).exists():
                seen[path.name] = digest(path)
        return seen

    return call


def digest(path: Path) -> str:
    """Content of a product, less what repeats the configuration or the clock."""
    content = path.read_bytes()
    if path.suffix == ".json":
        objects = json.loads(content)
        for item in objects:
            item.pop("provenance")
            for step in item["steps"].values():
                step.pop("seconds")
        content = json.dumps(objects).encode()
    elif path.suffix == ".xml":
        content = b""
    elif content.startswith(b"SIMPLE"):
        with fits.open(path) as units:
            kept = [u for u in units if u.name != "PROVENANCE"]
            content = b"".join(
                bytes(str(u.header), "latin-1") + (b"" if u.data is None else u.data.tobytes())
                for u in kept
            )
    return hashlib.sha256(content).hexdigest()


def test_every_supported_keyword_has_its_case():
    assert set(SUPPORTED) == set(CASES) | set(ELSEWHERE)


@pytest.mark.parametrize("keyword", CASES)
def test_another_value_changes_what_a_user_sees(keyword, run, outcomes):
    base, value = CASES[keyword]
    if "default.nnw" in base + value and not NETWORK.exists():
        pytest.skip("no ../shared/data with a neural network")
    if base not in outcomes:
        outcomes[base] = run(base)
    before = outcomes[base]
    after = run(f"{base} -{keyword} {value}")
    assert "internal error" not in before["stderr"] + after["stderr"]
    assert before["status"] == "0", before["stderr"]
    assert after["status"] in ("0", REFUSED.get(keyword, "0")), after["stderr"]
    assert before != after


@pytest.mark.parametrize("keyword", ["RESCALE_WEIGHTS", "WEIGHT_GAIN"])
def test_lists_for_the_two_images(keyword, run):
    """The first value is that of the detection image, the second of the measurement image."""
    two = f"field.fits,{WEIGHT} -WEIGHT_TYPE MAP_WEIGHT,MAP_WEIGHT"
    both = run(f"{two} -{keyword} N,N")
    detection, measurement = run(f"{two} -{keyword} N,Y"), run(f"{two} -{keyword} Y,N")
    assert {both["status"], detection["status"], measurement["status"]} == {"0"}
    assert both == run(f"{two} -{keyword} N")
    assert both["x.cat"] != detection["x.cat"]
    if keyword == "RESCALE_WEIGHTS":
        assert both["x.cat"] != measurement["x.cat"]
