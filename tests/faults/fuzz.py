"""Absurd input: header cards, settings and side files; every case ends in a known status."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from hypothesis import strategies as st

from skyextract.cli import main
from skyextract.settings.grammar import declarations
from tests.faults.harness import write_frame

SLOW = 60.0
"""Seconds after which a case counts as a hang."""

numbers = st.sampled_from(
    ["0", "-1", "1", "nan", "inf", "-inf", "1e30", "-1e30", "1e308", "4.9E-324", "1e-30", "2.5",
     "99999999999", "-99999999999", "", "abc", "1e400", "0x10", "1,2", "T"]
)  # fmt: skip
words = st.one_of(
    numbers,
    st.floats().map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x24F), max_size=12),
    st.sampled_from(
        ["x" * 300, "@list", "/", ".", "..", "/dev/null", "[1:2,3:4]", "$HOME", "\x1b[2J"]
    ),
)
CARDS = (
    "BITPIX NAXIS NAXIS1 NAXIS2 BSCALE BZERO BLANK GAIN EXPTIME SATURATE CTYPE1 CTYPE2 CRVAL1 "
    "CRVAL2 CRPIX1 CRPIX2 CDELT1 CDELT2 CD1_1 CD1_2 CD2_1 CD2_2 PC1_1 CROTA2 EQUINOX RADESYS PV1_1 "
    "A_ORDER A_0_2 LONPOLE CUNIT1 DATE-OBS MJD-OBS FILTER INSTRUME AIRMASS TELESCOP EXTEND BUNIT "
    "RDNOISE NCOMBINE BIASSEC TRIMSEC DETSEC SKYISR SKYCHAR BAYERPAT OBJECT"
).split()
WORLD = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 30.0,
    "CRPIX2": 30.0, "CDELT1": -2e-4, "CDELT2": 2e-4,
}  # fmt: skip
KEYWORDS = [
    name for name, item in declarations().items()
    if item.keyword.support == "yes" and name != "NTHREADS"
    and not name.endswith("_NAME")
]  # fmt: skip


class Desk:
    """A folder with a small frame and its side files, in which cases are tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frame = write_frame(folder / "f.fits", 1, 64)
        with fits.open(self.frame, mode="update") as hdus:
            hdus[0].header.update(WORLD)
        self.clean = self.frame.read_bytes()
        self.stars = "".join(
            f"{10 + 1e-3 * k:.6f},{20 + 1e-3 * (k % 7):.6f},{15 + 0.1 * k:.3f}\n" for k in range(40)
        )
        (folder / "list.param").write_text("NUMBER\nX_IMAGE\nY_IMAGE\nMAG_AUTO\nCLASS_STAR\n")
        os.chdir(folder)
        main(["f.fits", "-PSFMODEL_NAME", "f.psf", "-q"])
        self.psf = Path("f.psf").read_bytes() if Path("f.psf").exists() else b""

    def run(self, *arguments: str) -> tuple[int, float]:
        """Run the program; returns status and seconds."""
        start = time.monotonic()
        status = main(["f.fits", "-NTHREADS", "1", *arguments])
        return status, time.monotonic() - start

    def case(self, draw: Callable[..., Any]) -> list[str]:
        """Draw a case, write its files, and return the arguments."""
        for path in self.folder.glob("f.*"):
            path.unlink()
        self.frame.write_bytes(self.clean)
        kinds = (self.header, self.settings, self.param, self.conv, self.nnw, self.model,
                 self.catalog, self.weight, self.defects)  # fmt: skip
        return draw(st.sampled_from(kinds))(draw)

    def header(self, draw: Callable[..., Any]) -> list[str]:
        """Cards of the image."""
        content = self.clean
        for _ in range(draw(st.integers(1, 3))):
            name, word = draw(st.sampled_from(CARDS)), draw(words)
            quoted = draw(st.booleans())
            text = f"{name:<8}= " + (f"'{word}'" if quoted else f"{word:>20}")
            card = text.encode("latin-1", "replace")[:80].ljust(80)
            start = content.find(f"{name:<8}=".encode(), 0, 2880)
            if start < 0:
                start = content.find(b"END".ljust(80), 0, 2880)
                content = content[:start] + card + content[start : 2880 - 80] + content[2880:]
            else:
                content = content[:start] + card + content[start + 80 :]
        self.frame.write_bytes(content)
        return draw(st.sampled_from([[], ["--steps", "measure"], ["-BASE_DEFAULTS", "SEXTRACTOR"]]))

    def settings(self, draw: Callable[..., Any]) -> list[str]:
        """Keywords on the command line or in a file."""
        pairs = [
            (draw(st.sampled_from(KEYWORDS)), draw(words)) for _ in range(draw(st.integers(1, 3)))
        ]
        if draw(st.booleans()):
            lines = "".join(f"{name} {word}\n" for name, word in pairs)
            Path("c.conf").write_text(lines, errors="replace")
            return ["-c", "c.conf"]
        return [item for name, word in pairs for item in (f"-{name}", word)]

    def param(self, draw: Callable[..., Any]) -> list[str]:
        """A list of columns."""
        names = st.sampled_from(
            ["NUMBER", "MAG_APER", "VIGNET", "FLUX_RADIUS", "MAG_PSF", "XPEAK_IMAGE"]
        )
        sizes = ["", "(3)", "(0)", "(-1)", "(99999)", "(3,3)", "(x)", "(35,35", " # c"]
        size = st.one_of(st.sampled_from(sizes), words)
        lines = [draw(names) + draw(size) for _ in range(draw(st.integers(1, 4)))]
        Path("p.param").write_text("\n".join(lines), errors="replace")
        return ["-PARAMETERS_NAME", "p.param"]

    def conv(self, draw: Callable[..., Any]) -> list[str]:
        """A filter."""
        n = draw(st.integers(0, 5))
        rows = [" ".join(draw(words) for _ in range(n)) for _ in range(draw(st.integers(0, 5)))]
        head = draw(st.sampled_from(["CONV NORM", "CONV NONORM", "CONV", "", "BPANN"]))
        Path("x.conv").write_text("\n".join([head, *rows]), errors="replace")
        name = draw(st.sampled_from(["x.conv", "gauss_0.01_3x3", "tophat_0.1_3x3", "mexhat_1.0_1x1",
                                     "block_255x255", "gauss_9999_3x3"]))  # fmt: skip
        return ["-FILTER_NAME", name, "--steps", "measure"]

    def nnw(self, draw: Callable[..., Any]) -> list[str]:
        """A network."""
        lines = [
            "NNW",
            *(" ".join(draw(words) for _ in range(4)) for _ in range(draw(st.integers(0, 8)))),
        ]
        Path("x.nnw").write_text("\n".join(lines), errors="replace")
        return ["-STARNNW_NAME", "x.nnw", "-PARAMETERS_NAME", "list.param", "--steps", "measure"]

    def model(self, draw: Callable[..., Any]) -> list[str]:
        """A PSF model."""
        content = bytearray(self.psf)
        names = (
            "PSF_SAMP POLDEG1 PSF_FWHM PSFAXIS1 PSFAXIS3 POLNAXIS POLSCAL1 POLZERO1 PSF_ELLI "
            "TFIELDS NAXIS1 NAXIS2 TFORM1 TDIM1 CHI2 ACCEPTED"
        ).split()
        for _ in range(draw(st.integers(1, 2))):
            name = draw(st.sampled_from(names))
            start = content.find(f"{name:<8}=".encode())
            if start >= 0:
                card = f"{name:<8}= {draw(words):>20}".encode("latin-1", "replace")[:80].ljust(80)
                content[start : start + 80] = card
        if draw(st.booleans()):
            for _ in range(draw(st.integers(0, 5))):
                content[draw(st.integers(0, max(0, len(content) - 1)))] = draw(st.integers(0, 255))
        Path("x.psf").write_bytes(bytes(content))
        return ["-PSF_NAME", "x.psf"]

    def catalog(self, draw: Callable[..., Any]) -> list[str]:
        """A reference catalogue."""
        text = "ra,dec,mag\n" + self.stars
        for _ in range(draw(st.integers(1, 4))):
            place = draw(st.integers(0, len(text) - 1))
            text = text[:place] + draw(words) + text[place + draw(st.integers(0, 5)) :]
        Path("x.csv").write_text(text, errors="replace")
        return [
            "-ASTREFCAT_NAME",
            "x.csv",
            *draw(st.sampled_from([[], ["-PHOTREFCAT_NAME", "x.csv"]])),
        ]

    def weight(self, draw: Callable[..., Any]) -> list[str]:
        """A weight map of extreme values."""
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        values = rng.choice([0.0, 1.0, np.nan, np.inf, -1.0, 1e30, 1e-30, 3e38], (64, 64))
        shape = draw(st.sampled_from([(64, 64), (64, 63), (1, 1)]))
        plane = values[: shape[0], : shape[1]].astype(np.float32)
        fits.PrimaryHDU(plane).writeto("x.weight.fits", overwrite=True)
        kind = draw(st.sampled_from(["MAP_WEIGHT", "MAP_RMS", "MAP_VAR", "BACKGROUND", "NONE"]))
        return [
            "-WEIGHT_IMAGE",
            "x.weight.fits",
            "-WEIGHT_TYPE",
            kind,
            "-WEIGHT_THRESH",
            draw(words),
        ]

    def defects(self, draw: Callable[..., Any]) -> list[str]:
        """A list of defects."""
        line = st.one_of(
            words,
            st.tuples(st.sampled_from(["box", "point"]), st.lists(words, max_size=5)).map(
                lambda item: f"{item[0]}({','.join(item[1])})"
            ),
            st.lists(words, min_size=4, max_size=4).map(" ".join),
        )
        head = draw(st.sampled_from(["", "x1,x2,y1,y2", "image;", "x,y,width,height"]))
        text = "\n".join([head, *(draw(line) for _ in range(draw(st.integers(1, 4))))])
        Path("x.reg").write_text(text, errors="replace")
        return ["-ISR_DEFECTS", "x.reg"]


def fault(status: int, seconds: float, messages: str) -> str:
    """Return what is wrong with the end of a case; nothing if all is well."""
    if "internal error" in messages or "Traceback" in messages:
        return "internal error"
    if status not in (0, 1, 2, 3):
        return f"status {status}"
    if status in (1, 2) and "error" not in messages:
        return "no message"
    if any(ord(c) < 32 and c != "\n" for c in messages):
        return "control character"
    return f"{seconds:.0f} s" if seconds > SLOW else ""
