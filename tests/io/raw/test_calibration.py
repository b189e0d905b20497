from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.rawframe import Amplifier, RawFrame, Section, parse_section, whole
from skyextract.errors import ConfigError, ImageError
from skyextract.inputs.calibrations import load_calibrations
from skyextract.io.names import expand_names, parse_image_spec, unlisted
from skyextract.io.raw.calibration import is_master, read_crosstalk, read_linearity
from skyextract.io.raw.defects import read_defects
from skyextract.io.raw.frames import read_raw_frames
from skyextract.io.raw.stack import FrameStack
from skyextract.run import Run
from skyextract.settings.resolve import command_line_settings, resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[17:528,1:520]", "[17:528,1:520]"),
        ("[ 5: 513,  2:2001 ]", "[5:513,2:2001]"),
        ("[4096:4109]", "[4096:4109,1:50]"),
        ("[1:40, :]", "[1:40,1:50]"),
        ("[3072:2049,1:5]", "[3072:2049,1:5]"),
        ("[:,3]", "[1:60,3:3]"),
    ],
)
def test_sections(text, expected):
    assert str(parse_section(text, (50, 60))) == expected


@pytest.mark.parametrize("text", ["UNKNOWN", "", "N/A", "[0:0,0:0]"])
def test_no_section(text):
    assert parse_section(text, (5, 5)) is None


@pytest.mark.parametrize(
    "text", ["[a:b]", "[1:2,3:4,5:6]", "[0:5,1:2]", "[-3:5,1:2]", "1,2,3", "[5"]
)
def test_wrong_sections(text):
    with pytest.raises(ImageError, match="no section"):
        parse_section(text, (50, 60))


def test_lists_and_globs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b2.fits", "b1.fits", "sub/c.fits"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("sub/list.txt").write_text("# biases\nc.fits\n../b1.fits\n")
    assert expand_names(["b*.fits"], "ISR_BIAS", Run()) == ["b1.fits", "b2.fits"]
    assert expand_names(["b2.fits", "b*.fits"], "ISR_BIAS", Run()) == ["b2.fits", "b1.fits"]
    assert expand_names(["@sub/list.txt"], "ISR_BIAS", Run()) == ["sub/c.fits", "sub/../b1.fits"]
    with pytest.raises(ConfigError, match="no such file"):
        expand_names(["x.fits"], "ISR_BIAS", Run())
    # A list may be named twice, or by several others; it must not name itself.
    run = Run()
    assert (
        list(unlisted(["@sub/list.txt"] * 2, "list", run)) == ["sub/c.fits", "sub/../b1.fits"] * 2
    )
    assert run.opened == ["sub/list.txt"]
    Path("sub/outer.txt").write_text("@list.txt\n@list.txt\n@outer.txt\n")
    with pytest.raises(ConfigError, match="names itself"):
        list(unlisted(["@sub/outer.txt"], "list", Run()))


def test_masters_are_known_by_their_cards():
    assert not is_master(fits.Header(), "dark")
    assert is_master(fits.Header({"SUBBIAS": "ccd=<CCDData>"}), "dark")
    assert is_master(fits.Header({"ZEROCOR": "Oct 3 zero.fits"}), "flat")
    assert is_master(fits.Header({"SKYPROD": "EXPOSURE"}), "bias")
    assert is_master(fits.Header({"COMBINED": True}), "bias")
    assert not is_master(fits.Header({"COMBINED": True}), "dark")
    for cards in ({"CALSTAT": "BD"}, {"CALSTAT": "D"}, {"IMAGETYP": "Master Flat"}):
        assert is_master(fits.Header(cards), "flat")
    assert is_master(fits.Header({"IMAGETYP": "master bias"}), "bias")
    # What other programs call a master dark has its bias in it.
    assert not is_master(fits.Header({"IMAGETYP": "Master Dark"}), "dark")
    assert not is_master(fits.Header({"CALSTAT": "", "IMAGETYP": "FLAT"}), "flat")


def frame(n: int = 20) -> RawFrame:
    place = Section(0, n, 0, n)
    data = Section(4, 4 + n, 0, n)
    amplifier = Amplifier("1", 0, data, None, place)
    return RawFrame((np.zeros((n, n + 8), np.float32),), (amplifier,), (n, n), fits.Header())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("iraf.txt", "# x1 x2 y1 y2\n3 5 1 20\n10 10 4 4\n"),
        ("corners.csv", "x1,x2,y1,y2\n3,5,1,20\n10,10,4,4\n"),
        ("boxes.csv", "x, y, width, height\n3, 1, 3, 20\n10, 4, 1, 1\n"),
        ("ds9.reg", "# Region file\nglobal color=red\nimage\nbox(4,10.5,3,20,0)\npoint(10,4)\n"),
    ],
)
def test_defect_lists(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    defects = read_defects([str(tmp_path / name)], frame(), Run(1))
    expected = np.zeros((20, 20), np.uint8)
    expected[:, 2:5] = 1
    expected[3, 9] = 1
    np.testing.assert_array_equal(defects, expected)


def test_defect_masks(tmp_path):
    mask = np.zeros((20, 20), np.int16)
    mask[3, 7] = 4
    fits.PrimaryHDU(mask).writeto(tmp_path / "trimmed.fits")
    untrimmed = np.zeros((20, 28), np.uint8)
    untrimmed[3, 11] = 1
    fits.PrimaryHDU(untrimmed).writeto(tmp_path / "raw.fits")
    fits.PrimaryHDU(np.zeros((9, 9), np.uint8)).writeto(tmp_path / "wrong.fits")
    for name in ("trimmed.fits", "raw.fits"):
        np.testing.assert_array_equal(
            read_defects([str(tmp_path / name)], frame(), Run(1)), mask > 0
        )
    with pytest.raises(ImageError, match="9 x 9 pixels"):
        read_defects([str(tmp_path / "wrong.fits")], frame(), Run(1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fk5\nbox(10,10,2,2)\n", "image coordinates"),
        ("image\nbox(4,10,3,20,30)\n", "rotated"),
        ("1 2\n", "x1 x2 y1 y2"),
        ("a,b\n1,2\n", "columns"),
    ],
)
def test_wrong_defect_lists(tmp_path, text, message):
    (tmp_path / "d.txt").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_defects([str(tmp_path / "d.txt")], frame(), Run(1))


def test_linearity(tmp_path):
    assert read_linearity(["1e-6", "-2e-12"], Run()).polynomial.tolist() == [[1e-6, -2e-12]]
    table = tmp_path / "table.txt"
    table.write_text("measured,true\n0,0\n1000,1010\n2000,2040\n")
    found = read_linearity([str(table)], Run())
    np.testing.assert_array_equal(found.table[0], [[0, 1000, 2000], [0, 1010, 2040]])
    table.write_text("amp c2 c3\n2 2e-6 0\n1 1e-6 1e-12\n")
    np.testing.assert_array_equal(
        read_linearity([str(table)], Run()).polynomial, [[1e-6, 1e-12], [2e-6, 0]]
    )
    table.write_text("0 0\n5 5\n4 6\n")
    with pytest.raises(ConfigError, match="must rise"):
        read_linearity([str(table)], Run())


def test_crosstalk(tmp_path):
    (tmp_path / "x.txt").write_text("0 1e-3\n2e-3 0\n")
    assert read_crosstalk(str(tmp_path / "x.txt"), Run())[1, 0] == 2e-3
    (tmp_path / "x.txt").write_text("0 1e-3\n")
    with pytest.raises(ConfigError, match="square"):
        read_crosstalk(str(tmp_path / "x.txt"), Run())


def test_frame_stack_gives_bands():
    frames = np.random.default_rng(0).normal(size=(5, 30, 17)).astype(np.float32)
    with FrameStack((30, 17)) as stack:
        for one in frames:
            stack.add(one)
        np.testing.assert_array_equal(stack.band(7, 19), frames[:, 7:19])
        with pytest.raises(ImageError, match="10 x 10"):
            stack.add(np.zeros((10, 10), np.float32))


# ------------------------------------------------------------------ masters from files


def write(path: Path, level: float, **cards: object) -> str:
    rng = np.random.default_rng(sum(path.name.encode()))
    pixels = rng.normal(level, 3.0, (32, 32)).astype(np.float32)
    fits.PrimaryHDU(pixels, fits.Header({"GAIN": 2.0, "RDNOISE": 6.0} | cards)).writeto(
        path, overwrite=True
    )
    return str(path)


def load(folder: Path, science: dict[str, object] | None = None, **values: str):
    cards = {"EXPTIME": 60.0, "FILTER": "r"} | (science or {})
    name = write(folder / "science.fits", 1500.0, **cards)
    settings = resolve(None, command_line_settings(list(values.items())))
    run = Run(1)
    (raw,) = read_raw_frames(parse_image_spec(name), settings.config, run)
    return load_calibrations(raw, settings, folder, run), run


def test_masters_of_raw_frames_are_kept_and_found_again(tmp_path):
    for k in range(5):
        write(tmp_path / f"bias{k}.fits", 500.0, EXPTIME=0.0)
    pattern = str(tmp_path / "bias?.fits")
    first, _ = load(tmp_path, ISR_BIAS=pattern)
    kept = tmp_path / "master_bias.fits"
    time = kept.stat().st_mtime_ns
    assert first.bias.n_frames == 5
    assert first.bias.image.mean() == pytest.approx(500.0, abs=0.3)
    again, _ = load(tmp_path, ISR_BIAS=pattern, ISR_CLIP_SIGMA="4.0")
    assert kept.stat().st_mtime_ns == time
    np.testing.assert_array_equal(again.bias.image, first.bias.image)
    load(tmp_path, ISR_BIAS=pattern, ISR_CLIP_SIGMA="3.0")
    assert kept.stat().st_mtime_ns != time
    direct, _ = load(tmp_path, ISR_BIAS=str(kept))
    assert direct.bias.name == str(kept)
    facts = direct.bias.facts
    assert [Path(f["path"]).name for f in facts["inputs"]] == [f"bias{k}.fits" for k in range(5)]
    assert all(len(f["sha256"]) == 64 for f in facts["inputs"])


def test_flats_are_normalised_and_chosen_by_filter(tmp_path):
    write(tmp_path / "bias.fits", 500.0, EXPTIME=0.0)
    for k in range(3):
        write(tmp_path / f"flat_r{k}.fits", 500.0 + 1000.0 * (k + 1), EXPTIME=1.0, FILTER="r")
        write(tmp_path / f"flat_g{k}.fits", 9000.0, EXPTIME=1.0, FILTER="g")
    values = {"ISR_BIAS": str(tmp_path / "bias.fits"), "ISR_FLAT": str(tmp_path / "flat_*.fits")}
    found, _ = load(tmp_path, **values)
    assert np.median(found.flat.image) == pytest.approx(1.0, abs=1e-6)
    assert found.flat.n_frames == 3
    assert (tmp_path / "master_flat_r.fits").exists()
    other, _ = load(tmp_path, {"FILTER": "g"}, **values)
    assert "flat_g0" in other.flat.facts["inputs"][0]["path"]
    unknown = {"FILTER": None}
    with pytest.raises(ImageError, match="the flat frames are of several: g, r"):
        load(tmp_path, unknown, **values)
    _, run = load(tmp_path, unknown, **values, ISR_MISMATCH="WARN")
    assert any("of several: g, r" in warning for warning in run.warnings)
    load(tmp_path, unknown, **values | {"ISR_FLAT": str(tmp_path / "flat_r?.fits")})


@pytest.mark.parametrize(("state", "number"), [("RAW", 1), ("RAW", 2), ("MASTER", 1)])
def test_flats_of_a_mosaic_leave_the_electrons_of_each_colour(tmp_path, state, number):
    """Whatever the colours of the lamp are."""
    write(tmp_path / "bias.fits", 500.0 * (state == "RAW"), EXPTIME=0.0)
    cards = {"EXPTIME": 1.0, "BAYERPAT": "RGGB"}
    names = [
        write(tmp_path / f"flat{k}.fits", 500.0 * (state == "RAW"), **cards) for k in range(number)
    ]
    light = np.ones((32, 32), np.float32)
    light[::2, ::2], light[1::2, 1::2] = 1.8, 0.3
    shape = np.linspace(0.9, 1.1, 32, dtype=np.float32)
    for name in names:
        with fits.open(name, mode="update") as file:
            file[0].data += np.float32(10_000.0) * light * shape
    values = {"ISR_BIAS": str(tmp_path / "bias.fits"), "ISR_FLAT": ",".join(names)}
    values["ISR_FLAT_STATE"] = state
    flat = load(tmp_path, {"BAYERPAT": "RGGB"}, **values)[0].flat.image
    np.testing.assert_allclose(flat.mean(axis=0), shape, atol=0.02)
    for colour in (flat[::2, ::2], flat[1::2, 1::2], flat[::2, 1::2]):
        assert np.median(colour) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "cards", "message"),
    [
        ("BIAS", {"XBINNING": 2, "YBINNING": 2}, "binning 2 x 2, not 1 x 1"),
        ("BIAS", {"GAIN": 4.0}, "gain 4, not 2"),
        ("BIAS", {"EXPTIME": 30.0}, "exposure time of 30 s"),
        ("DARK", {"EXPTIME": 1.0}, "exposure time of 1 s for 60 s"),
        ("DARK", {"BUNIT": "electron", "EXPTIME": 60.0}, "unit electron"),
        ("DARK", {"CCD-TEMP": -3.0, "EXPTIME": 60.0}, "temperature of -3, not -20 degrees"),
        ("FLAT", {"FILTER": "B"}, "filter B, not r"),
    ],
)
def test_mismatch(tmp_path, kind, cards, message):
    name = write(tmp_path / "c.fits", 600.0, **({"EXPTIME": 0.0} | cards))
    values = {f"ISR_{kind}": name, f"ISR_{kind}_STATE": "MASTER"}
    science = {"XBINNING": 1, "YBINNING": 1, "CCD-TEMP": -20.0}
    with pytest.raises(ImageError, match=message):
        load(tmp_path, science, **values)
    _, run = load(tmp_path, science, **values, ISR_MISMATCH="WARN")
    assert any(message in warning for warning in run.warnings)


def test_a_gain_that_corrects_the_cards_is_for_the_calibration_frames_too(tmp_path):
    """They have the same wrong card, as those of amplifiers of other gains have one of these."""
    name = write(tmp_path / "c.fits", 600.0, EXPTIME=0.0, GAIN=2.0)
    values = {"ISR_BIAS": name, "ISR_BIAS_STATE": "MASTER", "ISR_GAIN": "4"}
    load(tmp_path, {"GAIN": 2.0}, **values)
    with pytest.raises(ImageError, match="gain 2, not 3"):
        load(tmp_path, {"GAIN": 3.0}, **values)


@pytest.mark.parametrize(("kind", "cards"), [
    ("BIAS", {"CALSTAT": "BDF"}), ("FLAT", {"CALSTAT": "BDF"}), ("FLAT", {"FLATCOR": "yes"}),
])  # fmt: skip
def test_an_image_that_was_corrected_before(tmp_path, kind, cards):
    name = write(tmp_path / "c.fits", 600.0, EXPTIME=0.0, FILTER="r")
    values = {f"ISR_{kind}": name, f"ISR_{kind}_STATE": "MASTER"}
    with pytest.raises(ImageError, match=f"leave ISR_{kind} out"):
        load(tmp_path, cards, **values)
    load(tmp_path, {"CALSTAT": ""}, **values)


def test_a_gain_that_is_a_setting_is_no_gain_of_calibration_frames(tmp_path):
    """ZWO cameras: the light is translated, and so is what is compared with it."""
    setting = {"INSTRUME": "ZWO ASI533MM Pro", "GAIN": 100, "EGAIN": 2.0}
    name = write(tmp_path / "bias.fits", 600.0, IMAGETYP="Bias Frame", EXPTIME=0.0, **setting)
    _, run = load(tmp_path, ISR_BIAS=name, ISR_BIAS_STATE="MASTER")
    assert run.warnings == []


def test_flat_darks_stand_in_for_biases(tmp_path):
    for k in range(3):
        write(tmp_path / f"flatdark{k}.fits", 510.0, EXPTIME=2.0)
        write(tmp_path / f"dark{k}.fits", 800.0, EXPTIME=60.0)
        write(tmp_path / f"flat{k}.fits", 20_510.0, EXPTIME=2.0, FILTER="r")
    names = {f"ISR_{kind}": f"{tmp_path}/{kind.replace('_', '').lower()}?.fits"
             for kind in ("DARK", "FLAT")}  # fmt: skip
    found, run = load(tmp_path, ISR_BIAS=f"{tmp_path}/flatdark?.fits", **names, ISR_MISMATCH="WARN")
    # An image of 60 s loses the level of the darks, and a flat that of the flat-darks.
    assert np.median(found.bias.image + found.dark.image) == pytest.approx(800.0, abs=1.0)
    assert found.dark.exposure_time == 60.0
    assert np.median(found.flat.image) == pytest.approx(1.0, abs=1e-3)
    told = [text for text in run.warnings if "does not fit" in text]
    assert len(told) == 3
    assert all("(and 2 more like it)" in text for text in told)


def test_flats_that_are_saturated_or_dark(tmp_path):
    write(tmp_path / "bias.fits", 500.0, EXPTIME=0.0)
    bias = {"ISR_BIAS": f"{tmp_path}/bias.fits", "ISR_MASTER_NAME": ""}
    bright = write(tmp_path / "bright.fits", 9000.0, EXPTIME=1.0, FILTER="r")
    with fits.open(bright, mode="update") as file:
        file[0].data[:8] = 65535
    with pytest.raises(ImageError, match="25% of the flat are saturated"):
        load(tmp_path, ISR_FLAT=bright, **bias)
    rng = np.random.default_rng(1)
    for level, is_noisy in ((60.0, True), (20_000.0, False)):
        for k in range(3):
            electrons = rng.poisson(level, (32, 32))
            cards = fits.Header({"EXPTIME": 1.0, "FILTER": "r", "GAIN": 2.0})
            image = (500.0 + electrons / 2.0).astype(np.float32)
            fits.PrimaryHDU(image, cards).writeto(tmp_path / f"f{level:g}_{k}.fits")
        _, run = load(tmp_path, ISR_FLAT=f"{tmp_path}/f{level:g}_?.fits", **bias)
        assert any("the flat has a noise of 7%" in text for text in run.warnings) == is_noisy


def test_wrong_calibration_frames(tmp_path):
    flat = write(tmp_path / "flat.fits", 9000.0, EXPTIME=1.0, FILTER="r")
    with pytest.raises(ImageError, match="a raw flat needs ISR_BIAS, or an overscan"):
        load(tmp_path, ISR_FLAT=flat)
    fits.PrimaryHDU(np.zeros((32, 32), np.float32)).writeto(tmp_path / "zero.fits")
    with pytest.raises(ImageError, match="the flat is zero"):
        load(tmp_path, ISR_FLAT=str(tmp_path / "zero.fits"), ISR_FLAT_STATE="MASTER")
    fits.PrimaryHDU(np.zeros((20, 32), np.float32)).writeto(tmp_path / "small.fits")
    with pytest.raises(ImageError, match="32 x 20 pixels"):
        load(tmp_path, ISR_BIAS=str(tmp_path / "small.fits"))
    write(tmp_path / "d1.fits", 520.0, SUBBIAS="yes", EXPTIME=60.0)
    write(tmp_path / "d2.fits", 520.0, EXPTIME=60.0)
    with pytest.raises(ConfigError, match="is a master"):
        load(tmp_path, ISR_DARK=f"{tmp_path}/d1.fits,{tmp_path}/d2.fits")
    assert not list(tmp_path.glob("master_*"))


def test_section_of_a_whole_frame():
    assert str(whole((50, 60))) == "[1:60,1:50]"
