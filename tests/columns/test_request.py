"""The column table against SExtractor's own listing, and the reading of parameter lists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from skyextract.columns.families import DERIVE
from skyextract.columns.request import (
    COLUMNS,
    Requested,
    base_columns,
    check_name,
    check_sizes,
    columns_markdown,
    default_columns,
    dump_parameters,
    needs_psf,
    needs_wcs,
    parse_parameters,
)
from skyextract.columns.table import NOT_SUPPORTED
from skyextract.errors import ConfigError

WRONG_UNITS = {"ERRAPSF_WORLD": "pixel", "ERRBPSF_WORLD": "pixel"}
"""Units in SExtractor's listing that are not those of its values (degrees)."""


def listed(text: str) -> dict[str, str]:
    found = re.findall(r"^#(\w+) .{57,}?(?:\[(.*)\])?\s*$", text, flags=re.MULTILINE)
    return dict(found)


def test_all_parameters_of_sextractor_are_known(shared_data: Path) -> None:
    oracle = listed((shared_data / "sextractor_configs/sextractor_dp_all_params.txt").read_text())
    assert len(oracle) == 428
    unsupported = 0
    for name, unit in oracle.items():
        if name in COLUMNS:
            assert COLUMNS[name].unit == ("deg" if name in WRONG_UNITS else unit), name
            continue
        with pytest.raises(ConfigError, match=f"^{name}: not supported \\("):
            check_name(name)
        unsupported += 1
    assert unsupported < 185
    assert not any(re.fullmatch(p, name) for name in set(COLUMNS) - {"SPREAD_MODEL",
                   "SPREADERR_MODEL"} for p, _ in NOT_SUPPORTED)  # fmt: skip


def test_the_listing_has_the_form_of_sextractor() -> None:
    lines = dump_parameters().splitlines()
    assert lines[0] == "#NUMBER                   Running number of the source" + " " * 29
    assert len(lines) == len(COLUMNS)
    assert all(len(column.description) <= 57 for column in COLUMNS.values())
    assert listed(dump_parameters()) == {name: c.unit for name, c in COLUMNS.items()}


def test_the_listing_without_its_comment_signs_is_a_parameter_list() -> None:
    text = re.sub("^#", "", dump_parameters(), flags=re.MULTILINE)
    assert [item.name for item in parse_parameters(text, "all.param")] == list(COLUMNS)


@pytest.mark.parametrize("name", ["source-extractor/default.param", "psfex/prepsfex.param"])
def test_lists_that_come_with_the_programs(shared_data: Path, name: str) -> None:
    text = (shared_data / "sextractor_configs" / name).read_text()
    if name.endswith("default.param"):  # all its lines are comments
        with pytest.raises(ConfigError, match="no output parameter"):
            parse_parameters(text, name)
    else:
        assert Requested("VIGNET", (35, 35)) in parse_parameters(text, name)


def test_sizes_comments_repeats_and_case() -> None:
    text = """
        NUMBER
        #X_IMAGE
        mag_aper(4)   # four of them
        FLUX_APER  Flux vector within fixed circular aperture(s)   [count]
        VIGNET( 35, 21 )
        FLUX_RADIUS#half-light
        MAG_APER(2)
        NUMBER
    """
    assert parse_parameters(text, "my.param") == [
        Requested("NUMBER"),
        Requested("MAG_APER", (4,)),
        Requested("FLUX_APER", (1,)),
        Requested("VIGNET", (21, 35)),
        Requested("FLUX_RADIUS", (1,)),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("MAG_APPER", r"MAG_APPER: unknown output parameter; did you mean MAG_APER"),
        ("QQQQQQ", r"unknown output parameter; `skyextract -dp`"),
        ("FLUX_BAR", r"not supported \(bars"),
        ("VECTOR_MODEL", r"not supported \(SExtractor's own"),
        ("VECTOR_SOMFIT", r"not supported \(self-organizing"),
        ("FLUX_GALFIT", r"not supported \(galaxies of"),
        ("X_IMAGE(2)", r"X_IMAGE\(2\): write X_IMAGE$"),
        ("VIGNET(35)", r"write VIGNET\(width,height\)"),
        ("MAG_APER(0)", r"must be in \[1, 10000\]"),
        ("MAG_APER(-1)", r"whole numbers"),
        ("MAG_APER(2.5)", r"whole numbers"),
        ("MAG_APER(2", r"whole numbers"),
        ("MAG_APER()", r"write MAG_APER\(n\)"),
    ],
)
def test_errors_name_the_place(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        parse_parameters(f"NUMBER\n{line}\n", "my.param")
    assert str(error.value).startswith("my.param:2: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# NUMBER\n#X_IMAGE\n"])
def test_an_empty_list_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="no output parameter"):
        parse_parameters(text, "my.param")


def test_dependencies_end_in_measured_columns() -> None:
    for column in COLUMNS.values():
        assert (column.stage == DERIVE) == bool(column.needs), column.name
        assert all(need in COLUMNS for need in column.needs)
    base = base_columns([Requested("MAGERR_BEST"), Requested("ERRTHETAWIN_J2000")])
    assert base == {
        "FLUX_AUTO", "FLUX_ISOCOR", "FLUXERR_AUTO", "FLUXERR_ISOCOR", "FLAGS",
        "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE", "ERRXYWIN_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE",
    }  # fmt: skip
    assert base_columns([Requested("FLUX_ISO")]) == {"FLUX_ISO"}


def test_what_a_list_needs() -> None:
    assert needs_psf([Requested("NUMBER"), Requested("MAG_PSF")])
    assert not needs_psf([Requested("MAG_AUTO")])
    assert needs_wcs([Requested("THETA_J2000")])
    assert not needs_wcs([Requested("THETA_IMAGE"), Requested("X_IMAGE")])


def test_default_columns_follow_the_psf() -> None:
    without = default_columns(psf=False, n_apertures=3)
    assert not needs_psf(without)
    with_psf = default_columns(psf=True, n_apertures=3)
    assert {item.name for item in with_psf} - {item.name for item in without} == {
        "FLUX_PSF", "FLUXERR_PSF", "MAG_PSF", "MAGERR_PSF", "SPREAD_MODEL", "SPREADERR_MODEL",
    }  # fmt: skip
    assert Requested("MAG_APER", (3,)) in without
    assert Requested("FLUX_RADIUS", (1,)) in without
    assert len({item.name for item in without}) == len(without)


def test_a_vector_larger_than_its_keyword_is_a_warning() -> None:
    wanted = [Requested("MAG_APER", (4,)), Requested("FLUX_RADIUS", (1,)), Requested("X_IMAGE")]
    (warning,) = check_sizes(wanted, {"PHOT_APERTURES": 1, "PHOT_FLUXFRAC": 1})
    assert warning.startswith("MAG_APER(4): PHOT_APERTURES has 1 value")
    assert check_sizes(wanted, {"PHOT_APERTURES": 5}) == []


def test_the_page_of_columns_is_up_to_date() -> None:
    page = Path(__file__).resolve().parents[2] / "docs/columns.md"
    assert page.read_text() == columns_markdown(), "run python docs/generate.py"


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, skyextract.columns\n"
        "assert not {'numpy', 'astropy', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
