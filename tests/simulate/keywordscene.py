"""A folder with all that the cases of the keywords need."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

SIZE = 400
ROOT = Path(__file__).resolve().parents[2]
NETWORK = ROOT.parent / "shared/data/sextractor_configs/source-extractor/default.nnw"
COLUMNS = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE FLUX_AUTO FLUXERR_AUTO FLUX_APER(1) FLUXERR_APER(1)
FLUX_PETRO FLUX_ISO FLUX_ISOCOR FLUX_RADIUS(1) KRON_RADIUS A_IMAGE BACKGROUND THRESHOLD FLAGS
CLASS_STAR MAG_AUTO MU_THRESHOLD FLAGS_SKY""".split()


def write_scene(folder: Path) -> None:
    """A corner of the bundled field with everything that the keywords name."""
    rng = np.random.default_rng(4)
    with fits.open(ROOT / "examples/field.fits.fz") as units:
        header = units[1].header.copy()
        whole = units[1].data.astype(np.float32)
        image = whole[:SIZE, :SIZE].copy()
    image[rng.integers(0, SIZE, 40), rng.integers(0, SIZE, 40)] += 4000.0  # cosmic rays
    for row, column in rng.integers(20, SIZE - 20, (4, 2)):
        image[row : row + 3, column : column + 9] += 3000.0
    for name in ("BSCALE", "BZERO"):
        header.remove(name, ignore_missing=True)
    header.update({"LOWSAT": 3000.0, "SHUTTIME": 60.0, "MYZERO": 27.0, "RON": 9.0})
    cd = {
        f"CD{i}_{j}": header.get(f"PC{i}_{j}", float(i == j)) * header[f"CDELT{i}"]
        for i in (1, 2)
        for j in (1, 2)
    }
    for name in [*header["PC*"], *header["CDELT*"]]:
        del header[name]
    header.update(cd)
    fits.PrimaryHDU(image, header).writeto(folder / "field.fits")
    mosaic = header.copy()
    mosaic["BAYERPAT"] = "RGGB"
    fits.PrimaryHDU(image, mosaic).writeto(folder / "mosaic.fits")
    fits.PrimaryHDU(whole, header).writeto(folder / "whole.fits")
    fits.PrimaryHDU(image / np.float32(2e4), header).writeto(folder / "photo.fits")
    shared = sum(np.roll(image, (j, i), (0, 1)) for j in (0, 1) for i in (0, 1)) / np.float32(4)
    fits.PrimaryHDU(shared, header).writeto(folder / "smooth.fits")
    write_varying(folder, header)
    padded = image.copy()
    padded[:, :40] = 0.0
    fits.PrimaryHDU(padded, header).writeto(folder / "padded.fits")
    crowd = sum(np.roll(image - 420.0, (9 * k, 14 * k * k), (0, 1)) for k in range(8)) + 420.0
    fits.PrimaryHDU(crowd.astype(np.float32), header).writeto(folder / "crowd.fits")
    signed = np.clip(image * 8.0, 0, 65535).astype(np.uint16).view(np.int16)
    fits.PrimaryHDU(signed, header).writeto(folder / "int.fits")
    write_heads(folder, header, cd)
    for name, columns in (
        ("scene.param", COLUMNS),
        ("flag.param", [*COLUMNS, "IMAFLAGS_ISO(1)"]),
        ("assoc.param", [*COLUMNS, "VECTOR_ASSOC(3)"]),
        ("model.param", [*COLUMNS, "FLUX_MODEL"]),
        ("apercor.param", [*COLUMNS, "FLUX_APERCOR", "FLUX_PSF"]),
    ):
        (folder / name).write_text("\n".join(columns) + "\n")
    if NETWORK.exists():
        shutil.copy(NETWORK, folder)
    y, x = np.mgrid[:SIZE, :SIZE]
    weight = (0.5 + x / SIZE).astype(np.float32)
    weight[:, 200:203] = 0.0
    weight[50:56, 60:160] = 0.0
    fits.PrimaryHDU(weight).writeto(folder / "weight.fits")
    fits.PrimaryHDU((2.0 + y / SIZE).astype(np.float32)).writeto(folder / "rms.fits")
    flags = rng.integers(0, 8, (SIZE, SIZE)).astype(np.int32)
    fits.PrimaryHDU(flags).writeto(folder / "flags.fits")
    fits.PrimaryHDU(flags << 3).writeto(folder / "flags2.fits")
    write_references(folder)
    write_raw(folder, rng)


def write_heads(folder: Path, header: fits.Header, cd: dict[str, float]) -> None:
    """Additional headers, field.head and others: wrong pointings, scales and orientations."""

    def head(name: str, matrix: dict[str, float], shift: float = 0.0) -> None:
        cards = {"CRVAL1": header["CRVAL1"] + shift, **matrix}
        lines = [f"{key:<8}= {value:20.12g}" for key, value in cards.items()]
        (folder / name).write_text("\n".join([*lines, "END", ""]))

    head("field.other", cd, 1.0)
    head("field.far", cd, 20.0 / 3600)
    head("field.scaled", {key: 1.06 * value for key, value in cd.items()})
    cos, sin = np.cos(np.deg2rad(4.0)), np.sin(np.deg2rad(4.0))
    m = np.array([[cd["CD1_1"], cd["CD1_2"]], [cd["CD2_1"], cd["CD2_2"]]])
    t = m @ np.array([[cos, -sin], [sin, cos]])
    head("field.turned", {f"CD{i + 1}_{j + 1}": t[i, j] for i in (0, 1) for j in (0, 1)})
    f = m @ np.array([[-1.0, 0.0], [0.0, 1.0]])
    head("field.flipped", {f"CD{i + 1}_{j + 1}": f[i, j] for i in (0, 1) for j in (0, 1)})


def write_references(folder: Path) -> None:
    """Reference catalogues with more columns than the bundled one, and lists to associate."""
    table = Table.read(ROOT / "examples/field_refcat.fits")
    rng = np.random.default_rng(5)
    n = len(table)
    table["RA2"] = table["RA"] + 0.2 / 3600
    table["DEC2"] = table["DEC"]
    table["e_RA"] = rng.uniform(0.01, 1.0, n)
    table["e_DEC"] = rng.uniform(0.01, 1.0, n)
    table["east"] = np.full(n, 30.0)
    table["north"] = np.full(n, -20.0)
    table["i"] = table["r"] - 0.3 + rng.normal(0, 0.2, n)
    table["big_err"] = rng.uniform(0.01, 0.5, n)
    table.write(folder / "ref.fits")
    bent = table.copy()
    x = (table["RA"] - 150.1) / 0.06
    bent["DEC"] += 2.0 / 3600 * x**2
    bent.write(folder / "bent.fits")
    table["epoch"] = np.full(n, 2016.0)
    table.write(folder / "moving.fits")
    table[: n // 2].write(folder / "ref2.fits")
    x, y = rng.uniform(5, SIZE - 5, (2, 900))
    rows = np.column_stack([np.arange(900), x, y, rng.uniform(15, 20, 900)])
    np.savetxt(folder / "list.txt", rows, fmt="%.3f")
    np.savetxt(folder / "list2.txt", rows[::2], fmt="%.3f")
    sky = np.column_stack([np.arange(n), table["RA"], table["DEC"], table["r"]])
    np.savetxt(folder / "world.txt", sky, fmt="%.7f")


def write_raw(folder: Path, rng: np.random.Generator) -> None:
    """A raw frame of 90 x 80 pixels with ten columns of overscan, and its calibration frames."""

    def frame(name: str, kind: str, light: np.ndarray | float, seconds: float) -> None:
        data = 1000.0 + rng.normal(0, 5, (80, 100)) + np.arange(80)[:, None] * 0.5
        data[:, :90] += light
        data[3, 40] += 300.0 * ("bias2" in name)
        header = fits.Header({"IMAGETYP": kind, "EXPTIME": seconds, "GAIN": 2.0, "RON": 9.0,
                              "FILTER": "r"})  # fmt: skip
        fits.PrimaryHDU(np.rint(data).astype(np.uint16), header).writeto(folder / name)

    def master(name: str, kind: str, pixels: np.ndarray, seconds: float = 10.0) -> None:
        header = fits.Header(
            {"IMAGETYP": kind, "EXPTIME": seconds, "FILTER": "r", "ZEROCOR": "done"}
        )
        fits.PrimaryHDU(pixels.astype(np.float32), header).writeto(folder / name)

    y, x = np.mgrid[:80, :90]
    fringes = 30.0 * np.sin(x / 4.0)
    frame("raw.fits", "OBJECT", 400.0 + fringes + rng.normal(0, 20, (80, 90)), 30.0)
    for number in (1, 2, 3):
        frame(f"bias{number}.fits", "BIAS", 2.0 * np.sin(y / 9.0), 0.0)
    master("master.fits", "MASTER BIAS", 2.0 * np.sin(y / 9.0), 0.0)
    master("dark.fits", "MASTER DARK", np.full((80, 90), 3.0))
    master("flat.fits", "MASTER FLAT", 1.0 + 0.1 * x / 90)
    with fits.open(folder / "flat.fits") as units:
        units[0].header["FILTER"] = "g"
        units.writeto(folder / "flat_g.fits")
    master("fringe.fits", "MASTER FRINGE", fringes)
    (folder / "camera.conf").write_text("GAIN 5\nISR_GAIN 5\n")
    (folder / "defects.csv").write_text("x,y,width,height\n20,20,3,60\n")
    (folder / "crosstalk.txt").write_text("0 1e-3\n2e-3 0\n")


def write_varying(folder: Path, header: fits.Header) -> None:
    """Write stars that are half as wide again on one side as on the other."""
    rng = np.random.default_rng(8)
    place = np.arange(25.0, SIZE - 20, 35.0)
    x, y = (v.ravel() + rng.uniform(-5, 5, place.size**2) for v in np.meshgrid(place, place))
    sigma = 1.4 * (1.0 + 0.5 * x / SIZE)
    grid = np.arange(SIZE)
    across, along = (np.exp(-0.5 * ((grid - c[:, None]) / sigma[:, None]) ** 2) for c in (x, y))
    image = rng.normal(400.0, 5.0, (SIZE, SIZE)) + (along.T * 3000.0) @ across
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(folder / "varying.fits")
