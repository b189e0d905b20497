"""What cards say of the detector: gain, read noise, saturation, exposure time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from skyextract.datamodel.exposure import Detector
from skyextract.datamodel.header import IMAGE_TYPE_KEYS, Header, header_number
from skyextract.io.images.dialects import (
    MAX_TIME,
    MIN_TIME,
    exposure_seconds,
    is_camera_setting,
    is_inverse,
    pedestal,
)
from skyextract.run import Run
from skyextract.settings.keywords import Detector as DetectorConfig


def read_detector(header: Header, config: DetectorConfig, run: Run, name: str) -> Detector:
    """Return gain, read noise, saturation and exposure time: header cards before values.

    A card counts if it holds a number (strings like '2.1 e-/ADU' included); gain, read noise
    and saturation must be positive, and a gain no setting of the camera; a read noise of 0 is none.
    """
    noise = _from_cards(header, config.rdnoise_key, run, name, may_be_zero=True)
    level = _from_cards(header, config.satur_key, run, name)
    if level is None:
        level = config.satur_level if config.satur_level > 0.0 else math.inf
    gain = _gain(header, config.gain_key, run, name)
    return Detector(
        gain=config.gain if gain is None else gain,
        read_noise=config.rdnoise if noise is None else noise,
        saturation=level,
        exposure_time=_exposure_time(header, config.expotime_key, run, name),
        pedestal=pedestal(header),
    )


def _card_number(header: Header, keyword: str) -> float | None:
    return header_number(header.get(keyword))


def _numbers(
    header: Header,
    keywords: Sequence[str],
    run: Run,
    name: str,
    read: Callable[[Header, str], float | None],
) -> Iterator[tuple[str, float]]:
    """Give those of the cards that hold a number, as `read` says; NONE ends the search."""
    for keyword in keywords:
        if keyword.upper() == "NONE":
            return
        number = read(header, keyword)
        if number is not None:
            yield keyword, number
        elif (value := header.get(keyword)) is not None:
            run.warn(f"{name}: header card {keyword} = {value!r} is no number")


def _from_cards(
    header: Header, keywords: Sequence[str], run: Run, name: str, *, may_be_zero: bool = False
) -> float | None:
    """Return the first positive number of the cards; of others, the user is told.

    Counters of photons have no read noise, other cameras 0 for an unknown one: both are right.
    """
    for keyword, number in _numbers(header, keywords, run, name, _card_number):
        if number > 0.0:
            return number
        if number == 0.0 and may_be_zero:
            continue
        run.warn(f"{name}: header card {keyword} = {number:g} is not positive: ignored")
    return None


def _gain(header: Header, keywords: Sequence[str], run: Run, name: str) -> float | None:
    """Return the first gain that can be one; of those that cannot, the user is told."""
    for keyword, number in _numbers(header, keywords, run, name, _card_number):
        if not number > 0.0:
            run.warn(f"{name}: header card {keyword} = {number:g} is not positive: ignored")
        elif is_camera_setting(header, keyword, number):
            other = header_number(header.get("EGAIN"))
            known = other is not None and other > 0.0
            run.warn(
                f"{name}: header card {keyword} = {number:g} is a setting of the camera and no "
                f"gain in e-/ADU: {f'EGAIN = {other:g} is used' if known else 'it is not used'}"
            )
            if known:
                return other
        elif is_inverse(header, keyword):
            run.tell(f"{name}: {keyword} = {number:g} is in ADU per electron (its comment)")
            return 1.0 / number
        else:
            return number
    return None


def _is_bias(header: Header) -> bool:
    """Tell whether a frame says that it is a bias, which has no exposure."""
    kinds = (header.get(card) for card in IMAGE_TYPE_KEYS)
    return any(word in str(kind).lower() for kind in kinds for word in ("bias", "zero"))


def _exposure_time(header: Header, keywords: Sequence[str], run: Run, name: str) -> float:
    """Return the exposure time in seconds, from the unit that its card has; NaN if unknown."""
    for _, seconds in _numbers(header, keywords, run, name, exposure_seconds):
        no_exposure = seconds == 0.0 and _is_bias(header)
        plausible = MIN_TIME <= seconds <= MAX_TIME
        if not plausible and not no_exposure:
            ignored = ": ignored" if seconds else ""
            run.warn(f"{name}: an exposure time of {seconds:g} s is not plausible{ignored}")
        if plausible or seconds == 0.0:
            return seconds
    return math.nan
