"""Points that are links, as SVG text: small enough for a page that is drawn after each batch.

matplotlib would take a second to load and draw what these lines write in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from skyextract.outputs.html.plots import GREY
from skyextract.record import record

_WIDTH, _HEIGHT = 374.4, 244.8
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 366.0, 16.0, 208.0
_MARGINS = 0.06, 0.12
"""Of the range of x and y that points stay off the frame."""
_N_TICKS = 6
_ADVANCE = 6.0
"""Width of a letter, at most; of the legend."""

_SHAPES = (
    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
    "M-2.7-2.7h5.4v5.4h-5.4z",
    "M0-3.6L3.6 0L0 3.6L-3.6 0z",
    "M-3.3-3h6.6L0 3.3z",
    "M-3.3 3h6.6L0-3.3z",
    "M-1-3.4h2v2.4h2.4v2h-2.4v2.4h-2v-2.4h-2.4v-2h2.4z",
)


@record
class Points:
    """Points of one kind.

    Attributes
    ----------
    name, ink : str
        What they are, and their colour.
    x, y : sequence of float
    links : sequence of str
        Addresses, one per point.
    """

    name: str
    ink: str
    x: Sequence[float]
    y: Sequence[float]
    links: Sequence[str]


def scatter_svg(
    kinds: Sequence[Points], labels: tuple[str, str], least: float, *, is_down: bool
) -> str:
    """Return a diagram of points.

    Parameters
    ----------
    kinds : sequence of Points
        At least one point; a legend names them if there are several kinds.
    labels : (str, str)
        Of the axes.
    least : float
        Half of the range of y that is shown at least: no magnified noise of the last digit.
    is_down : bool
        y grows downwards.
    """
    x_range = _widened([v for kind in kinds for v in kind.x], _MARGINS[0], 0.0)
    y_range = _widened([v for kind in kinds for v in kind.y], _MARGINS[1], least)
    ends = (_TOP, _BOTTOM) if is_down else (_BOTTOM, _TOP)

    def at(value: float, span: tuple[float, float], first: float, last: float) -> str:
        return f"{first + (value - span[0]) / (span[1] - span[0]) * (last - first):.1f}"

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(labels[1])}" '
        'font-family="sans-serif" font-size="9.5" fill="currentColor">'
    ]
    lines, numbers = [], []
    for value, text in _ticks(x_range):
        here = at(value, x_range, _LEFT, _RIGHT)
        lines.append(f"M{here} {_TOP}V{_BOTTOM}")
        numbers.append(f'<text x="{here}" y="{_BOTTOM + 13}" text-anchor="middle">{text}</text>')
    for value, text in _ticks(y_range):
        here = at(value, y_range, *ends)
        lines.append(f"M{_LEFT} {here}H{_RIGHT}")
        numbers.append(
            f'<text x="{_LEFT - 5}" y="{here}" dy=".35em" text-anchor="end">{text}</text>'
        )
    parts += [
        f'<path d="{"".join(lines)}" stroke="{GREY}" stroke-opacity=".25" stroke-width=".6"/>',
        *numbers,
        f'<path d="M{_LEFT} {_TOP}H{_RIGHT}V{_BOTTOM}H{_LEFT}z" fill="none" '
        'stroke="currentColor" stroke-width=".8"/>',
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 29}" text-anchor="middle">'
        f"{escape(labels[0])}</text>",
        f'<text transform="translate(13 {(_TOP + _BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(labels[1])}</text>',
    ]
    for number, kind in enumerate(kinds):
        shape = _SHAPES[number % len(_SHAPES)]
        parts.append(f'<g style="fill:{kind.ink}">')
        for x, y, link in zip(kind.x, kind.y, kind.links, strict=True):
            place = f"{at(x, x_range, _LEFT, _RIGHT)} {at(y, y_range, *ends)}"
            parts.append(
                f'<a xlink:href="{escape(link)}"><path transform="translate({place})" '
                f'd="{shape}"/></a>'
            )
        parts.append("</g>")
    if len(kinds) > 1:
        parts += _legend(kinds)
    return "\n".join([*parts, "</svg>"])


def _legend(kinds: Sequence[Points]) -> Iterator[str]:
    """Name the kinds in a line above the frame, as many as it has room for."""
    x = _LEFT + 4.0
    for number, kind in enumerate(kinds):
        end = x + 10.0 + _ADVANCE * len(kind.name)
        if end > _RIGHT and number:
            yield f'<text x="{x}" y="11">…</text>'
            return
        yield (
            f'<path style="fill:{kind.ink}" transform="translate({x:.1f} 8)" '
            f'd="{_SHAPES[number % len(_SHAPES)]}"/>'
            f'<text x="{x + 7:.1f}" y="11">{escape(kind.name)}</text>'
        )
        x = end + 10.0


def _widened(values: Sequence[float], margin: float, least: float) -> tuple[float, float]:
    """Return the range that is shown of values."""
    low, high = min(values), max(values)
    width, middle = high - low, 0.5 * (low + high)
    if (1.0 + 2.0 * margin) * width >= least and width > 0.0:
        return low - margin * width, high + margin * width
    half = least or 0.05 * abs(middle) or 1.0
    if low >= 0.0 and middle < half:
        return 0.0, 2.0 * half  # of what is never negative
    return middle - half, middle + half


def _ticks(span: tuple[float, float]) -> Iterator[tuple[float, str]]:
    """Yield round numbers in a range, with their text."""
    rough = (span[1] - span[0]) / _N_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    for number in range(math.ceil(span[0] / step), math.floor(span[1] / step) + 1):
        yield number * step, f"{number * step:.{digits}f}".replace("-", "−")
