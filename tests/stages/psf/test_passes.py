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
        return SimpleNamespace(psf=SimpleNamespace(degree=0))

    monkeypatch.setattr(passes, "build_psf", build)
    monkeypatch.setattr(passes, "is_constant", lambda _: False)
    none = np.zeros((0, 0), np.float32)
    maker = passes._Maker(none, none, 1.0, Characterize(), Run(1))
    sample = SimpleNamespace(x=np.zeros(n_stars), neighbours=object())
    maker.with_best_variation(sample, np.zeros(n_stars), preliminary=False)
    assert built == degrees
