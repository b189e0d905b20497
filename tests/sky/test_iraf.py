"""IRAF's TNX and ZPX against a plain evaluation of their definition."""

import numpy as np
import pytest
from numpy.polynomial import chebyshev, legendre

from skyextract.datamodel.wcs import SkyWcs
from skyextract.errors import ImageError
from skyextract.sky.iraf import attributes, surface

CD = np.array([[-7e-5, 2e-6], [3e-6, 7.1e-5]])
BASES = {1: chebyshev.chebval, 2: legendre.legval, 3: np.polynomial.polynomial.polyval}
RANGE = (-0.05, 0.04, -0.045, 0.055)


def terms(n_xi, n_eta, cross):
    """Orders (i, j) of the coefficients, in gsurfit's order."""
    if cross == 0:
        return [(i, 0) for i in range(n_xi)] + [(0, j) for j in range(1, n_eta)]
    top = max(n_xi, n_eta)
    return [
        (i, j) for j in range(n_eta) for i in range(n_xi) if cross == 1 or i + j < top
    ]  # fmt: skip


def make(kind, n_xi, n_eta, cross, seed, scale=5e-4):
    rng = np.random.default_rng(seed)
    orders = terms(n_xi, n_eta, cross)
    size = [0.045 ** (i + j) if kind == 3 else 1.0 for i, j in orders]
    values = rng.normal(0, scale, len(orders)) / np.array(size)
    text = " ".join(map(repr, [kind, n_xi, n_eta, cross, *RANGE, *values.tolist()]))

    def evaluate(xi, eta):
        if kind != 3:
            xi = (2 * xi - RANGE[0] - RANGE[1]) / (RANGE[1] - RANGE[0])
            eta = (2 * eta - RANGE[2] - RANGE[3]) / (RANGE[3] - RANGE[2])
        total = 0.0
        for (i, j), value in zip(orders, values, strict=True):
            total = total + value * BASES[kind](xi, np.eye(i + 1)[i]) * BASES[kind](
                eta, np.eye(j + 1)[j]
            )
        return total

    return text, evaluate


def wat(axis, text):
    """Cut a text into cards of 68 characters; readers take blanks off their ends."""
    return {
        f"WAT{axis}_{k // 68 + 1:03d}": text[k : k + 68].rstrip() for k in range(0, len(text), 68)
    }


def header(kind, lng, lat):
    return {
        "NAXIS1": 1000, "NAXIS2": 900, "CTYPE1": f"RA---{kind}", "CTYPE2": f"DEC--{kind}",
        "CRVAL1": 359.99, "CRVAL2": 62.0, "CRPIX1": 500.0, "CRPIX2": 450.0, "CD1_1": CD[0, 0],
        "CD1_2": CD[0, 1], "CD2_1": CD[1, 0], "CD2_2": CD[1, 1], "RADESYS": "ICRS",
        "WAT0_001": "system=image", **wat(1, lng), **wat(2, lat),
    }  # fmt: skip


def deproject(xi, eta, radius_to_theta):
    """Native spherical coordinates to the sky (Calabretta & Greisen 2002)."""
    phi, theta = np.arctan2(xi, -eta), radius_to_theta(np.hypot(xi, eta))
    ra0, dec0 = np.radians(359.99), np.radians(62.0)
    dec = np.arcsin(np.sin(theta) * np.sin(dec0) - np.cos(theta) * np.cos(dec0) * np.cos(phi))
    ra = ra0 + np.arctan2(
        np.cos(theta) * np.sin(phi),
        np.sin(theta) * np.cos(dec0) + np.cos(theta) * np.sin(dec0) * np.cos(phi),
    )
    return np.degrees(ra) % 360, np.degrees(dec)


def pixels():
    y, x = np.mgrid[0:899:30.0, 0:999:30.0]
    return x.ravel(), y.ravel()


@pytest.mark.parametrize(
    ("kind", "n_xi", "n_eta", "cross"),
    [(1, 4, 4, 2), (2, 3, 4, 2), (3, 4, 4, 1), (3, 5, 2, 2), (1, 3, 4, 1), (2, 4, 3, 0)],
)
@pytest.mark.parametrize("projection", ["TNX", "ZPX"])
def test_all_surfaces(projection, kind, n_xi, n_eta, cross):
    first, lng = make(kind, n_xi, n_eta, cross, 1)
    second, lat = make(kind, n_eta, n_xi, cross, 2)
    projp = "projp1=1. projp3=15.5 " if projection == "ZPX" else ""
    cards = header(
        projection, f'wtype=x axtype=ra {projp}lngcor = "{first}"',
        f'wtype=x axtype=dec {projp}latcor = "{second}"',
    )  # fmt: skip
    x, y = pixels()
    u, v = x + 1 - 500.0, y + 1 - 450.0
    xi, eta = CD[0, 0] * u + CD[0, 1] * v, CD[1, 0] * u + CD[1, 1] * v
    xi, eta = xi + lng(xi, eta), eta + lat(xi, eta)
    if projection == "TNX":
        ra, dec = deproject(xi, eta, lambda r: np.arctan2(1.0, np.radians(r)))
    else:
        distance = np.linspace(0, np.radians(1.0), 200001)

        def theta(r):
            return np.pi / 2 - np.interp(np.radians(r), distance + 15.5 * distance**3, distance)

        ra, dec = deproject(xi, eta, theta)
    wcs = SkyWcs.from_header(cards)
    lon, b = wcs.to_sky(x, y)
    np.testing.assert_allclose((lon - ra + 180) % 360 - 180, 0, atol=2e-8)
    np.testing.assert_allclose(b, dec, atol=1e-8)
    back = wcs.to_pixel(lon, b)
    np.testing.assert_allclose(back[0], x, atol=1e-4)
    np.testing.assert_allclose(back[1], y, atol=1e-4)
    again = SkyWcs.from_header({"NAXIS1": 1000, "NAXIS2": 900, **wcs.to_header()})
    np.testing.assert_array_equal(again.to_sky(x, y)[0], lon)


def test_no_corrections_at_all():
    plain = SkyWcs.from_header(header("TNX", "wtype=tnx axtype=ra", "wtype=tnx axtype=dec"))
    tan = SkyWcs.from_header({**header("TAN", "", "")})
    np.testing.assert_allclose(plain.to_sky(*pixels()), tan.to_sky(*pixels()), atol=1e-10)


def test_a_blank_at_the_end_of_a_card_is_no_loss():
    text = 'wtype=tnx axtype=ra lngcor = "' + "3. 2. 2. 1. " + "-0.5 0.5 -0.5 0.5 " + "1 " * 30
    assert attributes(wat(1, text + '"'), 1)["lngcor"].split()[-1] == "1"
    assert len(attributes(wat(1, text + '"'), 1)["lngcor"].split()) == 38


@pytest.mark.parametrize(
    "text", ["3. 2. 2. 1. 0 1 0 1 5", "9 2 2 1 0 1 0 1 1 1 1 1", "1 2 2 1 1 1 0 1 1 1 1 1", "x"]
)
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match=r"surface|float"):
        surface(text)
    cards = header("TNX", f'lngcor="{text}"', "")
    with pytest.raises(ImageError, match="IRAF's TNX"):
        SkyWcs.from_header(cards)


def test_shared_truth(shared_data):
    from astropy.io import fits
    from astropy.table import Table

    for name in ("tnx/tnx", "wcs/tan_pv2", "wcs/epoch", "wcs/stale_pc", "wcs/lower"):
        wcs = SkyWcs.from_header(fits.getheader(shared_data / f"world/{name}.fits.gz"))
        truth = Table.read(shared_data / "world" / name.split("/")[0] / "truth.csv")
        ra, dec = wcs.to_j2000(truth["x"] - 1.0, truth["y"] - 1.0)
        np.testing.assert_allclose(ra, truth["ra"], atol=1e-8, err_msg=name)
        np.testing.assert_allclose(dec, truth["dec"], atol=1e-8, err_msg=name)
