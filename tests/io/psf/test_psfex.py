"""PSF models in PSFEx format."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.errors import ImageError
from skyextract.io.fits.file import FitsFile
from skyextract.io.psf.psfex import psf_for_extension, psf_from_unit, psf_unit, read_psfs, write_psf
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.characterize import characterize

SDSS = "sdss_stripe82/reference_outputs/psfex_004192-r4-0300.psf"
DECAM = "decam_tpv/calib/psfex/decam/CP/V4.8.2a/CP20171112/c4d_171113_060340_ooi_r_ls9-psfex.fits"


def varying():
    basis = np.random.default_rng(1).normal(0, 1e-4, (6, 21, 23)).astype(np.float32)
    gy, gx = np.mgrid[-10:11, -11:12]
    basis[0] += np.exp(-0.5 * (gx**2 + gy**2) / 2.2**2).astype(np.float32)
    return Psf(
        basis=basis, sampling=0.7, degree=2, x_zero=1023.5, x_scale=2048.0, y_zero=744.0,
        y_scale=1489.0, fwhm=3.612345, ellipticity=0.0123, source=PsfSource.MEASURED,
        n_stars=77, chi2=1.0625,
    )  # fmt: skip


def same(one, two):
    np.testing.assert_array_equal(one.basis, two.basis)
    for name in (
        "sampling", "degree", "x_zero", "x_scale", "y_zero", "y_scale", "fwhm", "ellipticity",
        "n_stars", "chi2",
    ):  # fmt: skip
        assert getattr(one, name) == getattr(two, name), name


def test_round_trip_of_several_extensions_is_exact(tmp_path):
    path = str(tmp_path / "a.psf")
    psfs = [varying(), replace(varying(), sampling=1.0)]
    write_psf(path, psfs, fits.Header({"SKYVERS": "x"}))
    back = read_psfs(path, Run())
    assert [psf.source for psf in back] == [PsfSource.FILE] * 2
    for one, two in zip(psfs, back, strict=True):
        same(one, two)


def test_a_constant_psf_has_no_position_cards(tmp_path):
    path = str(tmp_path / "a.psf")
    psf = Psf.gaussian(3.0, PsfSource.MEASURED)
    write_psf(path, [psf])
    (back,) = read_psfs(path, Run())
    np.testing.assert_array_equal(back.basis, psf.basis)
    assert back.degree == 0
    with FitsFile(path) as file:
        assert file.units[1].header["POLNAXIS"] == 0


def test_a_unit_of_an_exposure_file_keeps_the_source(tmp_path):
    path = tmp_path / "a.fits"
    write_psf(str(path), [varying()])
    with path.open("ab") as stream:
        psf_unit(varying(), version=3).write(stream)
    with FitsFile(str(path)) as file:
        assert file.units[2].header["EXTVER"] == 3
        (psf,) = psf_from_unit(file, file.units[2])
    assert psf.source is PsfSource.MEASURED


def test_astropy_reads_it(tmp_path):
    path = tmp_path / "a.psf"
    write_psf(str(path), [varying()])
    with fits.open(path) as file:
        table = file["PSF_DATA"]
        np.testing.assert_array_equal(table.data["PSF_MASK"][0], varying().basis)
        assert table.header["POLZERO1"] == 1024.5
        assert table.header["POLNAME2"] == "Y_IMAGE"


def test_psfex_models_are_read(shared_data):
    (psf,) = read_psfs(str(shared_data / SDSS), Run())
    assert psf.basis.shape == (3, 25, 25)
    assert psf.degree == 1
    assert psf.x_zero == pytest.approx(1022.6855)
    assert psf.source is PsfSource.FILE
    assert psf.basis[0].sum() * psf.sampling**2 == pytest.approx(1.0, abs=1e-5)
    assert 2.2 < psf.fwhm < 2.6  # of the model; the card says 3.08, that of the sources


def test_merged_models_with_cards_as_columns_are_read(shared_data):
    (psf,) = read_psfs(str(shared_data / DECAM), Run())
    assert psf.basis.shape == (6, 63, 63)
    assert psf.degree == 2
    assert psf.sampling == 1.0
    assert psf.x_scale == pytest.approx(2042.1458)


def test_a_model_without_positions_is_read(shared_data):
    (psf,) = read_psfs(str(shared_data / "ntt_emmi/upstream_tests/default.psf"), Run())
    assert (psf.degree, psf.sampling) == (0, 0.5)


def test_one_model_serves_all_extensions_several_must_suffice():
    one, two = varying(), Psf.gaussian(2.0)
    assert psf_for_extension([one], 7) is one
    assert psf_for_extension([one, two], 1) is two
    with pytest.raises(ImageError, match="none for image extension 3"):
        psf_for_extension([one, two], 2, "a.psf")


@pytest.mark.parametrize(
    ("card", "value", "message"),
    [
        ("PSF_SAMP", "x", "PSF_SAMP"),
        ("PSF_SAMP", 0.0, "PSF_SAMP = 0"),
        ("POLDEG1", 3, "degree 3"),
        ("POLNAME1", "MAG_AUTO", "MAG_AUTO"),
        ("POLNGRP", 2, "one group"),
    ],
)
def test_damaged_models_are_one_line_errors(tmp_path, card, value, message):
    path = tmp_path / "a.psf"
    write_psf(str(path), [varying()])
    with fits.open(path, mode="update") as file:
        file[1].header[card] = value
    with pytest.raises(ImageError, match=message):
        read_psfs(str(path), Run())


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_psfs(str(tmp_path / "none.psf"), Run())
    text = tmp_path / "text.psf"
    text.write_text("not a PSF")
    with pytest.raises(ImageError, match="not a FITS file"):
        read_psfs(str(text), Run())
    cut = tmp_path / "cut.psf"
    write_psf(str(cut), [varying()])
    cut.write_bytes(cut.read_bytes()[:9000])
    with pytest.raises(ImageError):
        read_psfs(str(cut), Run())


def test_sextractor_measures_the_same_with_our_model_as_with_psfex(
    shared_data, real_frame_folder, source_extractor
):
    folder = real_frame_folder()
    image = np.ascontiguousarray(fits.getdata(folder / "image.fits"), dtype=np.float32)
    exposure = Exposure(image, np.zeros(image.shape, np.uint16), detector=Detector(gain=4.7))
    psf = characterize(exposure, Config(), Run()).exposure.psf
    write_psf(str(folder / "ours.psf"), [psf])
    (folder / "p.param").write_text("MAG_PSF\nSNR_WIN\nFLAGS\n")
    catalogs = []
    for model in (folder / "ours.psf", shared_data / SDSS):
        subprocess.run(
            [source_extractor, "image.fits", "-c", "default.sex", "-PARAMETERS_NAME", "p.param",
             "-PSF_NAME", str(model), "-CATALOG_NAME", "out.cat", "-DETECT_THRESH", "20",
             "-CATALOG_TYPE", "ASCII", "-VERBOSE_TYPE", "QUIET", "-GAIN", "4.7"],
            check=True, cwd=folder,
        )  # fmt: skip
        catalogs.append(np.loadtxt(folder / "out.cat"))
    ours, theirs = catalogs
    good = (ours[:, 0] < 90) & (theirs[:, 0] < 90) & (ours[:, 1] > 30) & (ours[:, 2] == 0)
    assert good.sum() > 50
    difference = (ours - theirs)[good, 0]
    scatter = 1.4826 * np.median(np.abs(difference - np.median(difference)))
    assert scatter < 0.01
