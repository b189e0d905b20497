"""What the image to detect on gets before it is searched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.calibrate import config_of_image, ready_to_detect
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.inputs.request import Request
from skyextract.run import Run
from skyextract.settings.resolve import command_line_settings, resolve
from skyextract.settings.steps import Plan, Step

PLAN = Plan(frozenset({Step.CHARACTERIZE, Step.MEASURE}))


def exposure(seed: int) -> Exposure:
    noise = np.random.default_rng(seed)
    return Exposure(
        noise.normal(100.0, 3.0, (200, 200)).astype(np.float32), np.zeros((200, 200), np.uint16)
    )


def request(*, needs: bool) -> Request:
    return Request(PLAN, [], frozenset(), True, needs, False)


def test_another_weight_map_makes_no_other_image() -> None:
    """Repaired cosmic rays and the PSF hold for what is searched; its weights and mask stay."""
    measured = exposure(1)
    weight = np.full((200, 200), 9.0, np.float32)
    search = replace(measured, weight=weight, mask=measured.mask.copy())
    search.mask[0] = np.uint16(Mask.BAD)
    mask = measured.mask.copy()
    mask[5, 7], mask[9, 9] = np.uint16(Mask.CR | Mask.INTRP), np.uint16(Mask.BAD)
    psf = Psf.gaussian(3.0, PsfSource.MEASURED)
    characterized = replace(measured, image=measured.image + 1.0, mask=mask, psf=psf)
    same, reason = ready_to_detect(
        False, search, characterized, request(needs=True), resolve(None, []), Run()
    )
    assert same is not None
    assert reason == ""
    assert same.image is characterized.image
    assert same.psf is psf
    assert same.weight is weight
    assert same.mask[5, 7] == int(Mask.CR | Mask.INTRP)
    assert same.mask[9, 9] == 0
    assert (same.mask[0] == int(Mask.BAD)).all()


def test_an_image_whose_psf_is_known_or_not_needed_stays_as_it_is() -> None:
    measured, other = exposure(1), exposure(2)
    known = replace(other, psf=Psf.gaussian(3.0, PsfSource.FILE))
    for image, needs in ((known, True), (other, False)):
        same, reason = ready_to_detect(
            True, image, measured, request(needs=needs), resolve(None, []), Run()
        )
        assert same is image
        assert reason == ""


def test_lists_are_of_one_image_each() -> None:
    pairs = [("BACK_TYPE", "MANUAL,AUTO"), ("BACK_VALUE", "7"), ("WEIGHT_TYPE", "NONE,BACKGROUND")]
    settings = resolve(None, command_line_settings(pairs))
    one, two = (config_of_image(settings.config, index) for index in (0, 1))
    assert one.background.back_type == ("MANUAL",)
    assert two.background.back_type == ("AUTO",)
    assert one.background.back_value == two.background.back_value == (7.0,)
    assert (one.weights.weight_type, two.weights.weight_type) == (("NONE",), ("BACKGROUND",))
