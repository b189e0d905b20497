"""How a product was made, in words: --explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from skyextract.outputs.html.remedies import remedy
from skyextract.outputs.made import Made, find_made
from skyextract.record import record
from skyextract.settings.grammar import declarations, format_value
from skyextract.settings.resolve import is_sextractor
from skyextract.stages.agreement import MIN_GROUP, MIN_MEMBERS
from skyextract.stages.astrometry import solve
from skyextract.stages.astrometry.verification import MAX_FALSE_PROBABILITY
from skyextract.stages.detection.support import MIN_SKY_SHARE
from skyextract.stages.photometry import checks
from skyextract.stages.photometry.fluxscale import WEAK_SCALE
from skyextract.stages.photometry.parts import SURE
from skyextract.stages.photometry.zeropoint import MIN_STARS
from skyextract.stages.psf import doubt

_WIDTH = 100

Numbers = Mapping[str, Any]


def explanation(product: Path) -> str:
    """Return how a product was made, in plain words.

    Raises
    ------
    ImageError
        Nothing tells how.
    """
    made = find_made(product)
    lines: list[str] = []
    for item in made.objects:
        is_whole = len(made.objects) == 1 and not item["extension"]
        lines += [*_extension(item, "" if is_whole else f", extension {item['extension']}"), ""]
    with made.where_it_was_made():
        return "\n".join([*lines, *_settings(made), "", *_inputs(made)])


def _extension(item: Numbers, place: str) -> Iterator[str]:
    """Tell of one extension; its place is empty for an image that has no other."""
    version = item["provenance"]["version"]
    yield f"{item['image']}{place}: {item['status'].upper()}, by skyextract {version}"
    if item.get("error"):
        yield _wrapped(f"  {item['error']}")
        if what := remedy(item["error"]):
            yield _wrapped(f"  What to do: {what}")
        return
    for name, numbers in item["steps"].items():
        yield _wrapped(f"  {name:<13} {_step(name, numbers)}", 16)
    tested = [line for line in map(_margin, _CHECKS, [item["steps"]] * len(_CHECKS)) if line]
    if tested:
        yield "  checks and their margins:"
        yield from (f"    {line}" for line in tested)
    for text in item["warnings"]:
        yield _wrapped(f"  warning: {text}", 4)
        if what := remedy(text):
            yield _wrapped(f"    {what}", 4)


def _step(name: str, numbers: Numbers) -> str:
    """Return what a step did."""
    status = numbers["status"]
    if status == "skipped":
        return "was not run: " + _NOT_RUN[name](numbers)
    words = _SAYS[name](numbers) if status in {"complete", "fallback"} else ""
    reason = numbers.get("reason")
    because = f": {reason}" if reason else ""
    what = {"complete": "", "fallback": "FALLBACK", "failed": "FAILED"}[status]
    seconds = "" if numbers["seconds"] is None else f" ({numbers['seconds']:.1f} s)"
    return f"{what}{because if what else ''}{'; ' if what and words else ''}{words}{seconds}"


def _isr(n: Numbers) -> str:
    made_with = ", ".join(n.get("calibrations") or {}) or "no calibration frames"
    overscan = n.get("overscan")
    parts = [f"pixels corrected with {made_with}"]
    if overscan:
        parts.append(f"overscan {overscan}")
    parts += [
        f"{n[key]} pixels {text}"
        for key, text in (("n_saturated", "saturated"), ("n_bad", "bad"))
        if n.get(key)
    ]
    return ", ".join(parts)


def _characterize(n: Numbers) -> str:
    if n["psf_source"] == "DEFAULT":
        return "no PSF could be measured; a Gaussian of DEFAULT_FWHM pixels stands in"
    rounds = f" in {n['iterations']} passes" if n.get("iterations") else ""
    parts = [f"PSF {n['psf_source'].lower()} of {n['n_psf_stars']} stars{rounds}"]
    parts.append(f"FWHM {_number(n['fwhm_pix'], 2)} px, {_number(n['fwhm_arcsec'], 2)} arcsec")
    parts.append(f"ellipticity {_number(n['ellipticity'], 3)}")
    if n.get("n_cosmic_rays") is not None:
        parts.append(f"{n['n_cosmic_rays']} cosmic rays repaired")
    return ", ".join(parts)


def _measure(n: Numbers) -> str:
    rounds = f" in {n['iterations']} passes" if n.get("iterations") else ""
    return f"{n['n_sources']} sources found and measured{rounds}"


def _astrometry(n: Numbers) -> str:
    return (
        f"WCS fitted to {n['n_used']} of {n['n_matched']} matched stars ({n['n_reference']} "
        f"reference stars in the field), rms {_number(n['rms_arcsec'], 3)} arcsec per axis, "
        f"{_number(n['rms_holdout_arcsec'], 3)} on stars held out; the pointing was off by "
        f"{_number(n['shift_arcsec'], 1)} arcsec"
    )


def _photometry(n: Numbers) -> str:
    return (
        f"zero point {_number(n['zero_point'], 3)} +- {_number(n['zero_point_error'], 3)} mag from "
        f"{n['n_stars']} stars ({n['n_rejected']} left out), {n.get('band') or 'band'} of "
        f"{n.get('catalog') or 'the catalogue'}, for {n['flux_key']}; 5 sigma at "
        f"{_number(n['limiting_mag_5sigma'], 2)} mag"
    )


def _zero_point_of(n: Numbers) -> str:
    return {
        "CONFIG": f"magnitudes have the zero point {n['zero_point']} that was given",
        "NONE": "no reference catalogue with the frame's band; magnitudes are instrumental",
    }.get(n["source"], "it was not asked for")


_SAYS: dict[str, Callable[[Numbers], str]] = {
    "isr": _isr, "characterize": _characterize, "measure": _measure, "astrometry": _astrometry,
    "photometry": _photometry,
}  # fmt: skip
_NOT_RUN: dict[str, Callable[[Numbers], str]] = {
    "isr": lambda _: "no calibration frames or camera were named, or the image is corrected",
    "characterize": lambda n: {
        "FILE": "the PSF was given (PSF_NAME)", "MEASURED": "the PSF came with the image",
    }.get(n["psf_source"], "nothing needed a PSF"),
    "measure": lambda _: "it was not asked for (STEPS)",
    "astrometry": lambda n: "no reference catalogue was named; the WCS is "
    + ("the header's" if n["source"] == "HEADER" else "unknown"),
    "photometry": _zero_point_of,
}  # fmt: skip


_Place = tuple[str, ...]
"""Where a number stands in the steps of a summary."""


@record
class _Check:
    """A check that a step makes of its result (docs/checks.md).

    Attributes
    ----------
    words, unit : str
    number : tuple of str
        Its place.
    fallback, failed : float or None
        Limits of the number, its size that is.
    is_upper : bool
        The number must not be above its limits; below them otherwise.
    of : tuple of str
        Place of what the number is a share of.
    at_least : int
        It counts from that many of them on.
    error : tuple of str
        Place of its error: the number counts only where it is surely not 0.
    """

    words: str
    number: _Place
    unit: str
    fallback: float | None = None
    failed: float | None = None
    is_upper: bool = True
    of: _Place = ()
    at_least: int = 0
    error: _Place = ()


def _trend(what: str, key: str) -> _Check:
    return _Check(
        f"photometry: trend with {what}", ("photometry", "checks", key), "mag",
        failed=checks.MAX_TREND, error=("photometry", "checks", f"{key}_error"),
    )  # fmt: skip


_CHECKS: tuple[_Check, ...] = (
    _Check("characterize: bright sources that look like the PSF stars",
           ("characterize", "psf_star_share"), "share", doubt.MIN_SHARE, is_upper=False,
           of=("characterize", "n_bright_sources"), at_least=doubt.MIN_BRIGHT),
    _Check("measure: pixels that are sky", ("measure", "sky_share"), "share", MIN_SKY_SHARE,
           is_upper=False),
    _Check("astrometry: probability that the solution is false",
           ("astrometry", "false_match_probability"), "", failed=MAX_FALSE_PROBABILITY),
    _Check("astrometry: matched stars that the fit rests on", ("astrometry", "n_used"), "share",
           solve.MIN_SHARE, is_upper=False, of=("astrometry", "n_matched"),
           at_least=solve.SHARE_FROM),
    _Check("astrometry: stars that are displaced alike",
           ("astrometry", "checks", "n_second_group"), "share", failed=MIN_GROUP,
           of=("astrometry", "n_matched"), at_least=MIN_MEMBERS),
    _Check("photometry: stars on one zero point", ("photometry", "n_stars"), "",
           failed=MIN_STARS, is_upper=False),
    _Check("photometry: bright stars that it rests on", ("photometry", "n_stars"), "share",
           checks.MIN_SHARE, is_upper=False, of=("photometry", "checks", "n_bright"),
           at_least=checks.SHARE_FROM),
    _Check("photometry: stars that do not fit", ("photometry", "checks", "outlier_fraction"),
           "share", failed=checks.MAX_OUTLIERS),
    _Check("photometry: matches by chance", ("photometry", "checks", "chance_fraction"),
           "share", failed=checks.MAX_CHANCE),
    _Check("photometry: scatter beyond the errors",
           ("photometry", "checks", "intrinsic_scatter"), "mag", checks.WEAK_INTRINSIC,
           checks.MAX_INTRINSIC),
    _Check("photometry: variation over the frame, rms",
           ("photometry", "checks", "error_of_field"), "mag", checks.WEAK_PLACE),
    _trend("magnitude", "trend_mag"),
    _trend("x", "trend_x"),
    _trend("y", "trend_y"),
    _Check("photometry: light beyond the Kron flux",
           ("photometry", "checks", "error_of_flux_scale"), "mag", WEAK_SCALE),
    _Check("photometry: error of the zero point", ("photometry", "zero_point_error"), "mag",
           checks.MAX_ERROR),
)  # fmt: skip


def _at(place: _Place, steps: Numbers) -> float | None:
    """Return a number of the summary; None if it is unknown."""
    value: Any = steps
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else float(value)


def _margin(check: _Check, steps: Numbers) -> str:
    """Return value and limits of a check; empty if it was not made."""
    value = _at(check.number, steps)
    if steps[check.number[0]]["status"] == "skipped" or value is None:
        return ""
    size = abs(value)
    if check.of:
        whole = _at(check.of, steps)
        if whole is None or whole < check.at_least:
            return ""
        if check.number[-1].startswith("n_"):
            size /= whole
    error = _at(check.error, steps) if check.error else None
    counts = error is None or size > SURE * error
    limits, missed = [], []
    for limit, status in ((check.fallback, "FALLBACK"), (check.failed, "FAILED")):
        if limit is not None:
            limits.append(f"{_amount(limit, check.unit)} ({status})")
            if counts and (size > limit if check.is_upper else size < limit):
                missed.append("  NOT PASSED")
    sign = "at most" if check.is_upper else "at least"
    line = f"{check.words}: {_amount(size, check.unit)}, {sign} {', '.join(limits)}"
    return line + "".join(missed[:1])


def _amount(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100.0 * value:.1f} %"
    if unit == "mag":
        return f"{value:.3f} mag"
    return f"{value:.3g}"


def _number(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


def _settings(made: Made) -> Iterator[str]:
    """Say which settings differ from the defaults, and where they come from."""
    recorded = made.provenance["config"]
    sextractor = is_sextractor(item["origin"] for item in recorded.values())
    changed = []
    for name, item in declarations().items():
        if name not in recorded or item.keyword.support == "ignored":
            continue
        value, origin = recorded[name]["value"], recorded[name]["origin"]
        default = format_value(item.base(sextractor))
        if value != default:
            changed.append(
                f"  {name} {value or '(empty)'}: {origin}; default {default or '(empty)'}"
            )
    base = "SExtractor's" if sextractor else "skyextract's"
    if changed:
        yield f"settings that differ from {base} defaults:"
        yield from changed
    else:
        yield f"all settings are {base} defaults"
    if made.provenance["strict"]:
        yield "  --strict: a fallback counts as a failure"


def _inputs(made: Made) -> Sequence[str]:
    """Say what was read, and what has become of it."""
    changes = made.changes()
    paths = [item["path"] for item in made.provenance["inputs"]]
    paths += [path for path in changes if path not in paths]
    lines = ["read:"]
    lines += [f"  {path}: {changes[path]}" if path in changes else f"  {path}" for path in paths]
    if not paths:
        lines.append("  no file")
    elif not changes:
        lines.append("  all as it was: --rerun makes the same again")
    return lines


def _wrapped(text: str, indent: int = 4) -> str:
    return fill(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False)
