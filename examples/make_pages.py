"""Make docs/_static/report.png and night.png, pictures of the pages: `python make_pages.py`.

A night of frames of the example field (`make_frames.py`), photographed by the Chromium that is
found on the PATH.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).resolve().parent
STATIC = EXAMPLES.parent / "docs/_static"
N_FRAMES = 16
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def make_pages(folder: Path) -> None:
    """Make the frames, and process them."""
    frames = folder / "incoming"
    subprocess.run([sys.executable, EXAMPLES / "make_frames.py", frames, str(N_FRAMES)], check=True)
    command = [
        sys.executable, "-m", "skyextract", *sorted(frames.glob("*.fits")), "-o", folder / "night",
        "-ASTREFCAT_NAME", EXAMPLES / "field_refcat.fits", "-REPORT_NAME", "{stem}.html",
    ]  # fmt: skip
    subprocess.run(command, check=True)


def photograph(page: Path, picture: Path, height: int) -> None:
    """Take a picture of a page at 1400 pixels, and keep it small."""
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu",
            f"--window-size=1400,{height}", f"--screenshot={shot}", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        image = Image.open(shot).convert("RGB").resize((700, height // 2), Image.LANCZOS)
    image.quantize(96, Image.Quantize.FASTOCTREE).save(picture, optimize=True)
    print(picture, picture.stat().st_size)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        made = Path(place)
        if len(sys.argv) > 1:
            made = Path(sys.argv[1])  # pages that were made before
        else:
            make_pages(made)
        photograph(made / "night/night.html", STATIC / "night.png", 1500)
        photograph(made / "night/n003.html", STATIC / "report.png", 1240)
