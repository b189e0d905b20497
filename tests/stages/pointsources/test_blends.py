"""Errors of sources with several neighbours, against the normal equations of all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.kernels.psf.fit import FROZEN
from skyextract.run import Run
from skyextract.stages.pointsources.blends import group_covariances
from skyextract.stages.pointsources.fit import _quality, psf_photometry
from skyextract.stages.pointsources.sweeps import FINE, FittedSources, add_models, point_fit

PSF, NOISE, SIZE = Psf.gaussian(3.5), 5.0, 61


def fitted(flux, x, y, status=0):
    """The fit of stars where they are, without noise in the image."""
    n = len(x)
    sources = FittedSources(
        parameters=np.column_stack([flux, x, y]).astype(float), reach=np.full(n, PSF.radius),
        radius=np.full(n, 1.3 * 3.5), stale=np.zeros(n, np.uint8),
        status=np.full(n, status, np.int32), iterations=np.zeros(n, np.int32),
    )  # fmt: skip
    image = np.zeros((SIZE, SIZE), np.float32)
    add_models(image, PSF, sources, 1.0)
    mask = np.zeros(image.shape, np.uint16)
    variance = np.full_like(image, NOISE**2)
    return point_fit(image, variance, 2.0, mask, PSF, sources, image.copy()), sources


def covariance_of_all(flux, x, y):
    """Inverse of the normal matrix of all stars, on the pixels within a fit radius of any."""
    rows, columns = np.indices((SIZE, SIZE))

    def model(k, dx, dy):
        shift_x, shift_y = x[k] + dx - SIZE // 2, y[k] + dy - SIZE // 2
        return PSF.stamps(
            x[k : k + 1], y[k : k + 1], np.array([shift_x]), np.array([shift_y]), SIZE
        )[0].astype(float)

    light = sum(flux[k] * model(k, 0, 0) for k in range(len(x)))
    used = np.zeros(light.shape, bool)
    design = []
    for k in range(len(x)):
        used |= (columns - x[k]) ** 2 + (rows - y[k]) ** 2 <= (1.3 * 3.5) ** 2
        design.append(model(k, 0, 0))
        for a, b in ((1, 0), (0, 1)):
            step = model(k, 0.02 * a, 0.02 * b) - model(k, -0.02 * a, -0.02 * b)
            design.append(flux[k] * step / 0.04)
    design = np.array(design)[:, used]
    normal = (design / (NOISE**2 + light[used] / 2.0)) @ design.T
    return np.linalg.inv(normal)


def test_a_group_has_the_errors_of_all_normal_equations():
    x = np.array([30.2, 33.9, 28.1, 31.4, 26.0])
    y = np.array([30.4, 31.0, 33.1, 26.9, 29.2])
    flux = np.array([5e3, 2e4, 1e4, 3e3, 8e3])
    fit, sources = fitted(flux, x, y)
    got = group_covariances(fit, sources, np.arange(5), Run(1))
    want = covariance_of_all(flux, x, y)
    for k in range(5):
        block = want[3 * k : 3 * k + 3, 3 * k : 3 * k + 3]
        unit = np.sqrt(np.diag(block))
        np.testing.assert_allclose(
            got[k] / np.outer(unit, unit), block / np.outer(unit, unit), atol=0.002
        )


def test_stars_whose_neighbours_have_neighbours_have_errors():
    """Neighbours taken out one by one leave no normal matrix; those of all together do."""
    angle = np.arange(6) * np.pi / 3
    x, y = 30.0 + np.append(0.0, 3.2 * np.cos(angle)), 30.0 + np.append(0.0, 3.2 * np.sin(angle))
    flux = np.full(7, 1e4)
    fit, sources = fitted(flux, x, y)
    one_by_one = _quality(fit, sources, False, FINE.felt, Run(1)).covariance
    assert not (one_by_one[0, 0, 0] > 0.0)
    got = group_covariances(fit, sources, np.arange(7), Run(1))
    want = np.diag(covariance_of_all(flux, x, y)).reshape(7, 3)
    np.testing.assert_allclose(np.diagonal(got, axis1=1, axis2=2), want, rtol=0.002)
    measured = psf_photometry(
        fit.planes.image, fit.planes.variance, 2.0, fit.planes.mask, PSF, x, y, Run(1),
        spread=False, start=(sources, fit.planes.image.copy()),
    )  # fmt: skip
    np.testing.assert_allclose(measured.flux_error, np.sqrt(got[:, 0, 0]), rtol=0.05)
    assert measured.converged.all()


def test_places_that_were_given_have_no_error():
    fit, sources = fitted(
        np.array([1e4, 1e4]), np.array([30.0, 33.0]), np.array([30.0, 30.0]), FROZEN
    )
    got = group_covariances(fit, sources, np.array([0]), Run(1))[0]
    assert got[0, 0] > 0.0
    assert np.isnan(got[1:, 1:]).all()


def test_stars_on_one_place_cannot_be_told_apart():
    at = np.array([30.0, 30.0])
    fit, sources = fitted(np.array([1e4, 1e4]), at, at)
    assert np.isnan(group_covariances(fit, sources, np.array([0, 1]), Run(1))).all()


@pytest.mark.parametrize("x", [-40.0, 200.0])
def test_sources_far_off_the_frame_have_no_error(x):
    fit, sources = fitted(np.array([1e4, 1e4]), np.array([30.0, x]), np.array([30.0, 30.0]))
    got = group_covariances(fit, sources, np.array([0, 1]), Run(1))
    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1]).all()


def cpu_of_other_threads():
    """Print the CPU time that other threads take for the errors of groups, and this one."""
    rng = np.random.default_rng(1)
    fit, sources = fitted(np.full(30, 1e4), *rng.uniform(15, 45, (2, 30)))
    sources = replace(sources, radius=np.full(30, 8.0))
    group_covariances(fit, sources, np.arange(30), Run(1))
    time.sleep(0.5)  # threads of BLAS wait for more for a while
    before, own = time.process_time(), time.thread_time()
    for _ in range(10):
        group_covariances(fit, sources, np.arange(30), Run(1))
    own = time.thread_time() - own
    print(time.process_time() - before - own, own)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor: no threads of BLAS")
def test_errors_of_groups_start_no_threads_of_blas():
    """Where nobody has limited them, as in a notebook, they took most of the CPU time."""
    code = "from tests.stages.pointsources.test_blends import *; cpu_of_other_threads()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "4"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    others, own = map(float, done.stdout.split())
    assert others < 0.1 * own
