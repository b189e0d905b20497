"""isr of real frames, beside ccdproc."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.flags import Mask
from skyextract.errors import ImageError
from skyextract.run import Run
from tests.stages.isr.correcting import corrected


def test_sinistro(shared_data, tmp_path):
    """Four amplifiers, binned, two mirrored: stars run on across the borders."""
    path = shared_data / "raw_overscan/lco_sinistro_raw_mef_4amp.fits"
    signature = corrected(path, tmp_path, CAMERA="sinistro")
    exposure = signature.exposure
    assert exposure.shape == (1024, 1024)
    assert [a["gain"] for a in signature.metrics["amplifiers"]] == [6.42, 6.23, 6.27, 6.26]
    assert exposure.header["CRPIX1"] == 512
    assert len(signature.metrics["sky_steps"]) == 4
    for step in signature.metrics["sky_steps"]:
        assert abs(step["before"]) < 0.03
        assert abs(step["after"]) < 0.03
    image = exposure.image.astype(np.float64)
    for quarter in itertools.product((slice(0, 512), slice(512, 1024)), repeat=2):
        image[quarter] -= np.median(image[quarter])
    for lines in (image, image.T):
        here = roughness(lines[509:515])
        assert here < 0.2
        assert here < 0.8 * roughness(lines[[509, 510, 511, 513, 514, 515]])  # a line is missing
    bright = np.log(np.maximum(image[(image[:, 510:514] > 300.0).any(axis=1), 511:513], 50.0))
    assert np.corrcoef(bright.T)[0, 1] > 0.75


def roughness(profiles: np.ndarray) -> float:
    """Return how far the logarithms of bright star profiles across a border are from parabolas."""
    x = np.arange(len(profiles))
    rms = []
    for profile in profiles[:, (profiles[1:5] > 1000.0).any(axis=0)].T:
        values = np.maximum(profile, 60.0)
        fit = np.polyval(np.polyfit(x, np.log(values), 2, w=np.sqrt(values)), x)
        rms.append(np.sqrt(np.average((np.log(values) - fit) ** 2, weights=values)))
    return float(np.median(rms))


def test_saao(shared_data, tmp_path):
    path = shared_data / "raw_overscan/saao_1m_ste3_raw_a8280271.fits"
    signature = corrected(path, tmp_path)
    (facts,) = signature.metrics["amplifiers"]
    assert signature.exposure.shape == (520, 512)
    assert facts["gain"] == 1.9
    assert facts["read_noise"] == 5.0
    assert facts["overscan_level"] == pytest.approx(214.0, abs=2.0)


KELT = {"ISR_TRIMSEC": "NONE", "ISR_BIASSEC": "NONE"}


def kelt(shared_data: Path) -> tuple[Path, dict[str, str]]:
    folder = shared_data / "isr_kelt16b"
    names = {
        "ISR_BIAS": folder / "combined_bias.fit.gz",
        "ISR_DARK": folder / "combined_dark_90.000.fit.gz",
        "ISR_FLAT": folder / "combined_flat_filter_r.fit.gz",
    }
    return folder / "kelt-16-b-S001-R001-C084-r.fit.gz", {k: str(v) for k, v in names.items()}


def test_kelt_equals_ccdproc(shared_data, tmp_path):
    ccdproc = pytest.importorskip("ccdproc")
    path, frames = kelt(shared_data)
    exposure = corrected(path, tmp_path, **KELT, **frames, ISR_GAIN="1.4", ISR_UNIT="ADU").exposure

    def read(name: str) -> object:
        return ccdproc.CCDData(fits.getdata(name).astype(np.float64), unit="adu")

    from astropy import units as u

    other = ccdproc.subtract_bias(read(str(path)), read(frames["ISR_BIAS"]))
    other = ccdproc.subtract_dark(
        other, read(frames["ISR_DARK"]), dark_exposure=90 * u.s, data_exposure=90 * u.s, scale=True
    )
    flat = read(frames["ISR_FLAT"])
    level = np.median(flat.data[flat.data > 0])
    other = ccdproc.flat_correct(other, flat, norm_value=level)
    good = (exposure.mask & Mask.INTRP) == 0
    difference = np.abs(exposure.image - other.data)[good]
    # The flat is kept in float32, relative to its median.
    assert (difference <= 2.0 * np.spacing(np.abs(other.data[good]).astype(np.float32))).all()
    assert exposure.wcs is not None


def test_saao_overscan_equals_ccdproc(shared_data, tmp_path):
    ccdproc = pytest.importorskip("ccdproc")
    path = shared_data / "raw_overscan/saao_1m_ste3_raw_a8280271.fits"
    exposure = corrected(path, tmp_path, ISR_UNIT="ADU").exposure
    frame = ccdproc.CCDData(fits.getdata(path).astype(np.float64), unit="adu")
    frame = ccdproc.subtract_overscan(frame, fits_section="[4:13, 1:520]", median=True)
    frame = ccdproc.trim_image(frame, fits_section="[17:528, 1:520]")
    np.testing.assert_array_equal(exposure.image, frame.data.astype(np.float32))


def test_kelt_sections_describe_the_uncropped_frame(shared_data, tmp_path):
    path, frames = kelt(shared_data)
    with pytest.raises(ImageError, match=r"TRIMSEC \[1:4096,1:200\].*frame \[1:200,1:200\]"):
        corrected(path, tmp_path, **frames)


def test_unknown_gain_stays_in_adu(shared_data, tmp_path):
    path, frames = kelt(shared_data)
    run = Run(1)
    exposure = corrected(path, tmp_path, run, **KELT, **frames).exposure
    assert exposure.header["BUNIT"] == "adu"
    assert exposure.variance is None
    assert exposure.detector.gain == 0.0
    assert any("gain is unknown" in warning for warning in run.warnings)
