"""Windows side by side have what the frame has there."""

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.detections import PER_SOURCE, Detections
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.kernels.values import NO_INFORMATION
from skyextract.run import Run
from skyextract.stages.background.planes import Plane
from skyextract.stages.crowded.sheet import Sheet, sheet_of

SHAPE = 90, 130
WINDOWS = np.array([[-6, 21, 5, 50], [40, 60, 33, 61], [70, 104, 101, 143], [10, 30, 40, 80]])


def varying():
    """A PSF that becomes wider to the right and rounder to the top."""
    y, x = np.mgrid[-8:9, -8:9]
    base = np.exp(-0.5 * (x**2 + y**2) / 2.0**2)
    base /= base.sum()
    basis = np.array([base, 0.1 * base * (x**2 - 4), 0.1 * base * (y**2 - 4)], np.float32)
    return Psf(
        basis=basis, sampling=1.0, degree=1, x_zero=60.0, x_scale=60.0, y_zero=45.0, y_scale=45.0,
        fwhm=4.7, ellipticity=0.0, source=PsfSource.FILE,
    )  # fmt: skip


def frame(with_variance):
    rng = np.random.default_rng(4)
    nodes = rng.uniform(2, 4, (6, 9)).astype(np.float32)
    background = BackgroundMap(
        level=nodes, rms=nodes, mesh_width=16, mesh_height=16, shape=SHAPE, sigma=3.0, mean=3.0,
    )  # fmt: skip
    image = rng.normal(size=SHAPE).astype(np.float32)
    bad = rng.random(SHAPE) < 0.02
    plane = Plane(
        background, image, rng.uniform(1, 2, SHAPE).astype(np.float32) if with_variance else None,
        bad, int(bad.sum()), np.packbits(rng.random(SHAPE) < 0.1, axis=1), False, False, 1.0,
    )  # fmt: skip
    exposure = Exposure(
        image=image, mask=rng.integers(0, 99, SHAPE).astype(np.uint16), detector=Detector(),
        psf=varying(),
    )  # fmt: skip
    return exposure, plane


def detections(x, y):
    """Squares of 5 x 5 pixels."""
    low = np.column_stack([np.rint(y), np.rint(x)]).astype(np.int64) - 2
    row, column = (low.T[:, :, None] + np.divmod(np.arange(25), 5)[k] for k in (0, 1))
    row, column = row[0], column[1]
    fields = {name: np.zeros(len(x)) for name in PER_SOURCE} | {"x": x, "y": y}
    fields["n_own"] = np.full(len(x), 25)
    filtered = np.arange(25 * len(x), dtype=np.float32)
    return Detections(
        labels=None, shape=SHAPE, first=np.arange(len(x) + 1) * 25,
        pixel=(row * SHAPE[1] + column).ravel(), filtered=filtered,
        threshold=1.0, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("with_variance", [True, False])
def test_windows_have_the_pixels_and_the_psf_of_the_frame(with_variance):
    exposure, plane = frame(with_variance)
    x, y = np.array([12.2, 45.0, 47.4, 110.0]), np.array([4.0, 50.3, 18.9, 80.0])
    found = detections(x, y)
    sheet = Sheet.of(WINDOWS)
    cut, pixels, part, rows, window = sheet_of(exposure, plane, found, sheet)
    # The third is in the first and in the last window.
    assert rows.tolist() == [0, 2, 1, 3, 2]
    assert window.tolist() == [0, 0, 1, 2, 3]
    assert (sheet.windows[:, ::2] <= WINDOWS[:, ::2]).all()
    assert (sheet.windows[:, 1::2] >= WINDOWS[:, 1::2]).all()
    drawn = np.zeros(cut.shape, np.int64)
    noise = plane.variance_plane(Run())
    for (a, b, c, d), (row, column) in zip(sheet.windows, sheet.corners, strict=True):
        drawn[row : row + b - a, column : column + d - c] += 1
        j, i = (v.ravel() for v in np.mgrid[max(a, 0) : min(b, 90), max(c, 0) : min(d, 130)])
        v, u = j + row - a, i + column - c
        for ours, theirs in (
            (cut.mask, exposure.mask), (pixels.subtracted, plane.subtracted),
            (pixels.variance, noise), (pixels.bad, plane.bad),
            (np.unpackbits(pixels.saturated, axis=1), np.unpackbits(plane.saturated, axis=1)),
        ):  # fmt: skip
            assert np.array_equal(ours[v, u], theirs[j, i])
        zero = np.zeros(1)
        for at in (0, -1):
            here = cut.psf.stamps(u[at : at + 1 or None], v[at : at + 1 or None], zero, zero)
            there = exposure.psf.stamps(i[at : at + 1 or None], j[at : at + 1 or None], zero, zero)
            assert np.array_equal(here, there)
    assert drawn.max() == 1
    beyond = np.ones(cut.shape, np.bool_)
    inside, corners = sheet.inside(SHAPE)
    for (a, b, c, d), (row, column) in zip(inside, corners, strict=True):
        beyond[row : row + b - a, column : column + d - c] = False
    assert beyond.any()
    assert (cut.mask[beyond] == int(Mask.NO_DATA)).all()
    assert pixels.bad[beyond].all()
    assert (pixels.variance[beyond] == np.float32(NO_INFORMATION)).all()
    below, aside = sheet.shift[window].T
    np.testing.assert_allclose(part.x + aside, x[rows], atol=1e-12)
    np.testing.assert_allclose(part.y + below, y[rows], atol=1e-12)
    for k, row in enumerate(rows):
        own = np.flatnonzero(part.segmentation == k + 1)
        assert np.array_equal(np.sort(part.pixel[part.first[k] : part.first[k + 1]]), own)
        j, i = np.divmod(own, cut.shape[1])
        of_frame = found.pixel[found.first[row] : found.first[row + 1]]
        assert np.isin((j + below[k]) * SHAPE[1] + i + aside[k], of_frame).all()
    assert np.diff(part.first).tolist() == [25, 25, 25, 25, 25]
