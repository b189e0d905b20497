"""Models of one pass."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.keywords import Characterize
from skyextract.stages.psf import passes


@pytest.mark.parametrize(("n_stars", "degrees"), [(16, [0]), (40, [0, 2])])
def test_stars_too_few_for_a_gradient_make_one_constant_model(n_stars, degrees, monkeypatch):
    built = []

    def build(*_, degree, **__):
        built.append(degree)
        return SimpleNamespace(psf=SimpleNamespace(degree=0), used=np.ones(n_stars, np.bool_))

    monkeypatch.setattr(passes, "build_psf", build)
    monkeypatch.setattr(passes, "is_constant", lambda _: False)
    monkeypatch.setattr(passes, "with_best_degree", lambda fit, *_: fit)
    none = np.zeros((0, 0), np.float32)
    maker = passes._Maker(none, none, 1.0, Characterize(), Run(1))
    sample = SimpleNamespace(x=np.zeros(n_stars), neighbours=object())
    maker.with_best_variation(sample, np.zeros(n_stars), preliminary=False)
    assert built == degrees


@pytest.mark.parametrize(
    ("kept", "degree"),
    [
        ({0: 0.8}, 0),
        ({0: 0.4, 2: 0.85}, 2),  # the stars that it keeps fit, as they always do
        ({0: 0.4, 2: 0.45}, 0),  # neighbours, which no model has
    ],
)
def test_a_constant_psf_of_a_crowd_is_that_of_most_stars(kept, degree, monkeypatch):
    def build(*_, degree, **__):
        used = np.arange(60) < kept[degree] * 60
        return SimpleNamespace(psf=SimpleNamespace(degree=degree), used=used)

    monkeypatch.setattr(passes, "build_psf", build)
    monkeypatch.setattr(passes, "is_constant", lambda _: True)
    none = np.zeros((0, 0), np.float32)
    maker = passes._Maker(none, none, 1.0, Characterize(), Run(1))
    sample = SimpleNamespace(x=np.zeros(60), neighbours=object())
    fit = maker.with_best_variation(sample, np.zeros(60), preliminary=False, is_last=False)
    assert fit.psf.degree == degree
