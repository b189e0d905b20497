"""Configuration: grammar, layers, checks, messages and dumps."""

from __future__ import annotations

import re

import pytest

from skyextract.errors import ConfigError
from skyextract.settings.grammar import declarations, dump, parse
from skyextract.settings.obsolete import KEYWORDS
from skyextract.settings.resolve import Settings, command_line_settings, read_file, resolve


def from_text(text: str, *pairs: tuple[str, str]) -> Settings:
    return resolve(parse(text, "my.conf"), command_line_settings(pairs))


def test_values_comments_quotes_and_case():
    config = from_text(
        "steps measure # ours\n"
        "Detect_Thresh 2.5,24 # sigma\n"
        "PHOT_APERTURES 5, 10 15\t20\n"
        'CATALOG_NAME "my cat.fits"  # with a # sign\n'
        "FILTER n\nGAIN_KEY=GAIN,EGAIN\nPOSITION_MAXERR auto\n"
    ).config
    assert config.pipeline.steps == ("MEASURE",)
    assert config.extraction.detect_thresh == (2.5, 24.0)
    assert config.measurement.phot_apertures == (5.0, 10.0, 15.0, 20.0)
    assert config.output.catalog_name == "my cat.fits"
    assert config.extraction.filter is False
    assert config.detector.gain_key == ("GAIN", "EGAIN")
    assert config.astrometry.position_maxerr is None


def test_environment_variables(monkeypatch):
    monkeypatch.setenv("REFCATS", "/data/refcats")
    config = from_text("ASTREFCAT_NAME ${REFCATS}/gaia.fits,$REFCATS/b.fits").config
    assert config.astrometry.astrefcat_name == ("/data/refcats/gaia.fits", "/data/refcats/b.fits")
    monkeypatch.setenv("HOME", "/home/me")
    config = from_text("ASTREFCAT_NAME ~/a.fits,b~.fits\nCATALOG_NAME ~/y.cat").config
    assert config.astrometry.astrefcat_name == ("/home/me/a.fits", "b~.fits")
    assert config.output.catalog_name == "/home/me/y.cat"
    with pytest.raises(ConfigError, match=r"my.conf:1: environment variable NO_SUCH is not set"):
        from_text("ASTREFCAT_NAME $NO_SUCH/gaia.fits")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("DETECT_MINAREA 0", r"my.conf:1: DETECT_MINAREA = 0: must be in \[1, 1000000\] pixels"),
        ("DETECT_MINAREA 2.5", "must be an integer"),
        ("DETECT_MINAREA five", "'five' is not a number"),
        ("DETECT_MINAREA", "value missing"),
        ("CROWD_NITER 3 4", "CROWD_NITER = 3,4: one value expected"),
        ("CATALOG_NAME a.cat b.cat", "one value expected; quote a name with blanks"),
        ("DETECT_THRESH 1,2,3", "3 values, 1 to 2 expected"),
        ("ASTREFMAG_LIMITS 20,10", "ASTREFMAG_LIMITS = 20,10: the smaller value comes first"),
        ("SAMPLE_FWHMRANGE 10,2", "SAMPLE_FWHMRANGE = 10,2: the smaller value comes first"),
        ("BACK_SIZE nan", "must be finite"),
        ("DETCT_THRESH 1", "my.conf:1: unknown keyword DETCT_THRESH: did you mean DETECT_THRESH"),
        ("CATALOG_TYPE FITS_LADC", "did you mean FITS_LDAC"),
        ("FILTER maybe", "must be Y or N"),
        ("COLOR_TERM much", "COLOR_TERM = much: .*a number or FIT"),
        ("PHOT_FLUX_KEY XYZ", "PHOT_FLUX_KEY = XYZ: .*PSF, APERCOR"),
        ("!? 3", "expected KEYWORD value"),
    ],
)
def test_bad_lines_name_file_line_keyword_and_value(line, message):
    with pytest.raises(ConfigError, match=message):
        from_text(line)


@pytest.mark.parametrize(
    ("line", "value"), [("GAIN 1.5,2", 1.5), ("DETECT_MINAREA 3 4", 3), ("CLEAN N,Y", False)]
)
def test_of_several_values_sextractors_keywords_take_the_first(line, value):
    settings = from_text(line)
    name, others = line.split()[0], line.split()[-1].split(",")[-1]
    assert settings.value(name) == value
    assert settings.origins[name] == "my.conf:1"
    (note,) = (note for note in settings.notes if name in note)
    assert note.startswith(f"my.conf:1: {name} takes one value: ")
    assert note.endswith(f"{others} is not")


def test_dump_reads_back_as_the_defaults():
    built_in = resolve(None).config
    assert resolve(parse(dump(full=True), "x")).config == built_in
    assert resolve(parse(dump(full=False), "x")).config == built_in


def test_every_keyword_is_in_the_full_dump():
    names = re.findall(r"^([A-Z_]+)", dump(full=True), re.M)
    assert names == list(declarations())


def test_layers_and_origins():
    settings = from_text("STEPS auto\nGAIN 2\nRDNOISE 5", ("GAIN", "3"))
    assert settings.config.detector.gain == 3.0
    assert settings.origins["GAIN"] == "command line"
    assert settings.origins["RDNOISE"] == "my.conf:3"
    assert settings.origins["DETECT_THRESH"] == "built-in (skyextract)"
    assert settings.is_set("GAIN")
    assert not settings.is_set("DETECT_THRESH")


def test_value_that_begins_with_a_dash():
    settings = from_text("STEPS auto", ("CHECKIMAGE_TYPE", "-BACKGROUND"), ("BACK_VALUE", "-1.5"))
    assert settings.config.output.checkimage_type == ("-BACKGROUND",)
    assert settings.config.background.back_value == (-1.5,)


def test_none_is_no_name_but_of_sextractors_keywords():
    output = from_text("SUMMARY_NAME NONE\nREPORT_NAME none\nCATALOG_NAME NONE").config.output
    assert (output.summary_name, output.report_name, output.catalog_name) == ("", "", "NONE")


@pytest.mark.parametrize("name", ["two words.csv", "a,b.csv", "plain.csv"])
def test_names_with_blanks_and_commas_need_no_second_quotes(tmp_path, name):
    (tmp_path / name).touch()
    path = str(tmp_path / name)
    settings = resolve(None, command_line_settings([("ASTREFCAT_NAME", path)]))
    assert settings.config.astrometry.astrefcat_name == (path,)


@pytest.mark.parametrize("name", ["sextractor_dd_full.sex", "source-extractor/default.sex"])
def test_sextractor_files_choose_the_sextractor_base(shared_data, name):
    settings = resolve(read_file(shared_data / "sextractor_configs" / name))
    assert settings.sextractor
    assert settings.config.extraction.detect_thresh == (1.5,)
    assert settings.config.extraction.filter_name == "default.conv"
    assert settings.config.output.catalog_type == "ASCII_HEAD"
    assert settings.config.extraction.detect_niter == 1
    assert not settings.config.cosmics.cr_repair
    assert settings.config.detector.pixel_scale == 1.0
    assert any("SExtractor's defaults" in note for note in settings.notes)
    assert any("MEMORY_PIXSTACK" in note for note in settings.notes)


def test_all_sextractor_keywords_are_known(shared_data):
    text = (shared_data / "sextractor_configs/sextractor_dd_full.sex").read_text()
    names = set(re.findall(r"^([A-Z_]+)", text, re.M))
    assert len(names) > 60
    assert names <= set(declarations())
    values = {s.name: s.values for s in parse(text, "dd")}
    settings = resolve(parse(text, "dd"))
    for name in values.keys() - {"NTHREADS"}:  # all cores unless it is given, as it is here
        assert not settings.is_set(name), name


def test_base_defaults_can_be_forced():
    assert resolve(None, command_line_settings([("BASE_DEFAULTS", "sextractor")])).sextractor
    assert not from_text("DETECT_THRESH 2", ("BASE_DEFAULTS", "SKYEXTRACT")).sextractor


def test_unsupported_keyword_is_an_error_only_when_changed():
    assert from_text("DGEO_TYPE NONE").sextractor
    with pytest.raises(ConfigError, match="DGEO_TYPE is not supported"):
        from_text("DGEO_TYPE PIXEL")


def test_missing_directory_and_binary_files(tmp_path):
    for path, message in [(tmp_path / "no.conf", "No such file"), (tmp_path, "directory")]:
        with pytest.raises(ConfigError, match=message):
            read_file(path)
    binary = tmp_path / "image.conf"
    binary.write_bytes(b"SIMPLE\0\xff\xfe")
    with pytest.raises(ConfigError, match="not a text file"):
        read_file(binary)


def test_a_file_of_defaults_does_not_undo_the_camera(tmp_path):
    (tmp_path / "cam.conf").write_text("GAIN 2.5\nSATUR_LEVEL 60000\nRDNOISE 7\n")
    camera = ("CAMERA", str(tmp_path / "cam.conf"))
    settings = resolve(parse(dump(full=False), "default.conf"), command_line_settings([camera]))
    assert settings.config.detector.gain == 2.5
    assert settings.origins["GAIN"].startswith("camera")
    pairs = [camera, ("GAIN", "0"), ("RDNOISE", "3")]
    settings = resolve(
        parse("STEPS AUTO\nSATUR_LEVEL 100", "my.conf"), command_line_settings(pairs)
    )
    assert settings.config.detector.gain == 0.0
    assert settings.config.detector.rdnoise == 3.0
    assert settings.config.detector.satur_level == 100.0


def test_every_help_stands_alone():
    """No help needs the line above, in `-dd` sorted by group as in the pages and in editors."""
    leaning = re.compile(
        r"(its|it|their|for|of|and|or|also|likewise|ditto|same|as|which|what|that|this|these|"
        r"those|the other|above|another)\b",
        re.IGNORECASE,
    )
    helps = {
        name: item.keyword.help
        for name, item in declarations().items()
        if item.keyword.support == "yes"
    }
    assert [name for name, text in helps.items() if leaning.match(text)] == []
    assert [name for name, text in helps.items() if len(text.split()) < 2] == []
    assert len(set(helps.values())) == len(helps), "two keywords with one help"


@pytest.mark.parametrize("name", ["DETECT_THRESH", "ANALYSIS_THRESH"])
def test_thresholds_are_positive_and_refused_with_their_origin(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"^command line: {name} = -1.0: must be positive"):
        resolve(None, command_line_settings([(name, "-1")]))
    file = tmp_path / "x.sex"
    file.write_text(f"# thresholds\n{name} 0\n")
    with pytest.raises(ConfigError, match=rf"x.sex:2: {name} = 0.0: must be positive"):
        resolve(read_file(file), [])


OLD = """
SCAN_ISOAPRATIO 0.6 # 1.0 to 2.2
BLANK Y
DETECT_IMAGE SAME
MAMA_CORFLEX 3.3e-5
PSFDISPLAY_TYPE SPLIT
psf_recenter y
RAD_THRESH 1,2,3
DETECT_THRESH 2
CHECKIMAGE_TYPE IDENTICAL,assoc,-BACKGROUND
CATALOG_TYPE FITS_TPX
VERBOSE_TYPE EXTRA_WARNINGS
NTHREADS -2
"""


def test_keywords_and_values_that_sextractor_had_are_ignored():
    settings = from_text(OLD, ("PSFDISPLAY_TYPE", "VECTOR"))
    assert settings.sextractor
    assert settings.config.extraction.detect_thresh == (2.0,)
    # A check image that is not made keeps its place: names go by it.
    assert settings.config.output.checkimage_type == ("IDENTICAL", "NONE", "-BACKGROUND")
    assert settings.config.output.catalog_type == "FITS_LDAC"
    assert settings.config.pipeline.verbose_type == "EXTRA_WARNINGS"
    assert settings.config.pipeline.nthreads == -2
    told = "\n".join(settings.notes)
    assert (
        "no meaning here, ignored: SCAN_ISOAPRATIO, BLANK, DETECT_IMAGE, MAMA_CORFLEX, "
        "PSFDISPLAY_TYPE, PSF_RECENTER, RAD_THRESH"
    ) in told
    assert "my.conf:10: no meaning here, not written: ASSOC" in told
    assert "my.conf:11: CATALOG_TYPE FITS_TPX is not written: FITS_LDAC is" in told


@pytest.mark.parametrize("full", [False, True])
def test_a_dumped_configuration_has_nothing_to_be_told(full):
    """Keywords without a meaning here are told where they do not have their default."""
    assert not from_text(dump(full)).notes
    assert from_text("BASE_DEFAULTS SKYEXTRACT\nPSF_NMAX 3\nSOM_NAME default.som").notes == [
        "no meaning here, ignored: PSF_NMAX"
    ]


def test_no_keyword_of_today_is_taken_for_an_old_one():
    assert not KEYWORDS & declarations().keys()


def test_a_typo_is_still_one():
    with pytest.raises(ConfigError, match="unknown keyword PSF_RECENTRE"):
        from_text("PSF_RECENTRE Y")
