"""Cells of an image in each of which a matched filter has one PSF."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.stages.detection.matched import matched_filter


def varying(fwhm: float) -> Psf:
    psf = Psf.gaussian(fwhm)
    basis = np.concatenate([psf.basis, np.zeros((2, *psf.basis.shape[1:]), np.float32)])
    return replace(psf, basis=basis, degree=1, x_scale=600.0, y_scale=1000.0)


@pytest.mark.parametrize(("fwhm", "cells"), [(3.5, (8, 8)), (20.0, (5, 3)), (40.0, (3, 3))])
def test_cells_are_no_smaller_than_wide_psfs(fwhm, cells):
    """Most of the transforms of smaller ones would be of pixels about them."""
    assert matched_filter(varying(fwhm), (1000, 600)).column.shape[:2] == cells
    assert matched_filter(Psf.gaussian(fwhm), (1000, 600)).column.shape[:2] == (1, 1)
