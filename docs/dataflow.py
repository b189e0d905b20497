"""Draw docs/_static/dataflow.svg: the five steps, what goes in and what comes out."""

from pathlib import Path

BLUE, GREY, INK = "#2f6690", "#6b7280", "#1f2933"
STEPS = (
    ("isr", "optional", ("calibration", "frames"), ("image", "variance, mask")),
    ("characterize", "CHAR_NITER passes", (), ("background", "cosmic rays, PSF")),
    ("measure", "DETECT_NITER passes", (), ("sources: base", "columns in pixels")),
    ("astrometry", "verified by hold-out", ("reference", "catalogue"), ("WCS",)),
    ("photometry", "verified", ("reference", "catalogue"), ("zero point",)),
    ("derive", "", (), ("catalogue", "summary, products")),
)
WIDTH, HEIGHT, GAP, TOP = 150, 54, 24, 92


def text(x: float, y: float, content: str, size: int, color: str, weight: str = "normal") -> str:
    """Return one line of text, centred at x."""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}" font-weight="{weight}" '
        f'text-anchor="middle">{content}</text>'
    )


def arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    """Return a line with a head."""
    return (
        f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="{GREY}" stroke-width="1.5" '
        'marker-end="url(#head)"/>'
    )


def draw() -> str:
    """Return the drawing."""
    total = len(STEPS) * (WIDTH + GAP) + 80
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} 250" '
        'font-family="Helvetica, Arial, sans-serif">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{GREY}"/></marker>'
        "</defs>",
        f'<rect width="{total}" height="250" fill="white"/>',
        text(36, TOP + 22, "FITS", 15, INK, "bold"),
        text(36, TOP + 40, "image", 13, GREY),
    ]
    for number, (name, note, inputs, outputs) in enumerate(STEPS):
        x = 80 + number * (WIDTH + GAP)
        middle = x + WIDTH / 2
        parts.append(
            f'<rect x="{x}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" rx="7" '
            f'fill="{"white" if name == "derive" else BLUE}" stroke="{BLUE}" stroke-width="1.5"/>'
        )
        color = BLUE if name == "derive" else "white"
        parts.append(text(middle, TOP + (24 if note else 32), name, 16, color, "bold"))
        if note:
            parts.append(text(middle, TOP + 42, note, 11, color))
        parts.append(arrow(x - GAP + 2, TOP + HEIGHT / 2, x - 2, TOP + HEIGHT / 2))
        for row, line in enumerate(inputs):
            parts.append(text(middle, 30 + 17 * row, line, 13, INK))
        if inputs:
            parts.append(arrow(middle, 54, middle, TOP - 3))
        parts.append(arrow(middle, TOP + HEIGHT, middle, TOP + HEIGHT + 32))
        for row, line in enumerate(outputs):
            parts.append(text(middle, TOP + HEIGHT + 51 + 17 * row, line, 13, INK))
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "_static/dataflow.svg").write_text(draw())
