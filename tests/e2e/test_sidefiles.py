"""Lists of images, and what is wrong with files that go with an image."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from tests.faults.harness import write_frame


def test_images_of_a_list(skyextract, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.fits", "b.fits"):
        write_frame(folder / name, 1)
    (folder / "list.txt").write_text("# tonight\na.fits\n\nb.fits[0]  # once more\nmissing.fits\n")
    done = skyextract("@data/list.txt", "--steps", "measure", "-j", 1)
    assert done.status == 1
    assert "missing.fits: no such file" in done.stderr
    assert (tmp_path / "a.cat").is_file()
    assert (tmp_path / "b.cat").is_file()
    assert skyextract("@data/list.txt", "-REGIONS_NAME", "data/list.txt").status == 2
    (folder / "list.txt").write_text("@list.txt")
    assert "names itself" in skyextract("@data/list.txt").stderr


def test_texts_of_windows(skyextract, tmp_path):
    write_frame(tmp_path / "a.fits", 1)
    (tmp_path / "a.param").write_bytes(b"\xef\xbb\xbfNUMBER\r\nX_IMAGE\r\n")
    (tmp_path / "a.conf").write_bytes(b"\xef\xbb\xbfPARAMETERS_NAME a.param\r\n")
    assert skyextract("a.fits", "-c", "a.conf", "--steps", "measure").status == 0


@pytest.mark.parametrize("keyword", ["PSF_NAME", "ASTREFCAT_NAME", "ISR_DEFECTS"])
def test_a_truncated_file_names_itself(skyextract, tmp_path, keyword):
    write_frame(tmp_path / "a.fits", 1)
    if keyword == "ISR_DEFECTS":
        write_frame(tmp_path / "side.fits", 1)
    else:
        mask = np.zeros((2000, 100), np.float32)
        columns = [
            fits.Column("PSF_MASK", "100E", dim="(10,10)", array=mask.reshape(-1, 10, 10)),
            fits.Column("RA", "D", array=mask[:, 0]),
        ]
        table = fits.BinTableHDU.from_columns(columns, name="PSF_DATA")
        table.header["PSFAXIS1"] = 10
        table.header["PSFAXIS2"] = 10
        table.writeto(tmp_path / "side.fits")
    content = (tmp_path / "side.fits").read_bytes()
    (tmp_path / "side.fits").write_bytes(content[: len(content) // 2])
    done = skyextract("a.fits", f"-{keyword}", "side.fits")
    assert "side.fits: truncated" in done.stderr


def test_vignettes_that_no_memory_holds(skyextract, tmp_path):
    write_frame(tmp_path / "a.fits", 1)
    (tmp_path / "v.param").write_text("NUMBER\nVIGNET(900001,900001)\n")
    done = skyextract("a.fits", "-PARAMETERS_NAME", "v.param", "--steps", "measure")
    assert done.status in {1, 2}
    assert done.stderr.count("\n") <= 3


def test_json_lines_are_of_images(skyextract):
    done = skyextract("--json", "--night", ".")
    assert done.status == 2
    assert "--json: --night processes no images" in done.stderr
