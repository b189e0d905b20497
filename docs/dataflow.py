"""Draw the diagrams of docs/_static: the five steps, and the processes of a run."""

from itertools import pairwise

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


def box(x: float, y: float, title: str, note: str = "", *, filled: bool = True) -> list[str]:
    """Return a box with a title, and a smaller line below it."""
    fill, color = (BLUE, "white") if filled else ("white", BLUE)
    middle = x + WIDTH / 2
    parts = [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7" '
        f'fill="{fill}" stroke="{BLUE}" stroke-width="1.5"/>',
        text(middle, y + (24 if note else 32), title, 16, color, "bold"),
    ]
    return [*parts, text(middle, y + 42, note, 11, color)] if note else parts


def picture(width: float, height: float, parts: list[str]) -> str:
    """Return the SVG of a drawing on white."""
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{GREY}"/></marker>'
        "</defs>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def draw_steps() -> str:
    """Return the drawing of the steps, what goes in and what comes out."""
    parts = [text(36, TOP + 22, "FITS", 15, INK, "bold"), text(36, TOP + 40, "image", 13, GREY)]
    for number, (name, note, inputs, outputs) in enumerate(STEPS):
        x = 80 + number * (WIDTH + GAP)
        middle = x + WIDTH / 2
        parts += box(x, TOP, name, note, filled=name != "derive")
        parts.append(arrow(x - GAP + 2, TOP + HEIGHT / 2, x - 2, TOP + HEIGHT / 2))
        for row, line in enumerate(inputs):
            parts.append(text(middle, 30 + 17 * row, line, 13, INK))
        if inputs:
            parts.append(arrow(middle, 54, middle, TOP - 3))
        parts.append(arrow(middle, TOP + HEIGHT, middle, TOP + HEIGHT + 32))
        for row, line in enumerate(outputs):
            parts.append(text(middle, TOP + HEIGHT + 51 + 17 * row, line, 13, INK))
    return picture(len(STEPS) * (WIDTH + GAP) + 80, 250, parts)


def draw_processes() -> str:
    """Return the drawing of the processes of a batch, and of how products appear."""
    left = (20, 300, 580, 860)  # of the four columns
    rows = (40, 120, 200)
    middle = rows[1] + HEIGHT / 2
    parts = box(left[0], rows[1], "batch", "jobs, names, fates")
    for y, name in zip(rows, ("worker 1", "worker 2", "worker N"), strict=True):
        parts += box(left[1], y, name, "image: pipeline, threads")
        parts += box(left[2], y, "hidden folder", "products of an image", filled=False)
        parts.append(arrow(left[0] + WIDTH + 4, middle, left[1] - 4, y + HEIGHT / 2))
        parts.append(arrow(left[1] + WIDTH + 4, y + HEIGHT / 2, left[2] - 4, y + HEIGHT / 2))
        parts.append(arrow(left[2] + WIDTH + 4, y + HEIGHT / 2, left[3] - 4, middle))
    parts += box(left[3], rows[1], "in place", "all of an image, or none", filled=False)
    between = [(a + WIDTH + b) / 2 for a, b in pairwise(left)]
    parts += [
        text(between[0], 22, "tasks over pipes", 13, INK),
        text(between[0], 300, "messages and outcomes come back", 13, GREY),
        text(between[1], 22, "written", 13, INK),
        text(between[2], 22, "journal, then renamed", 13, INK),
        text(between[2], 300, "killed meanwhile: the guard finishes", 13, GREY),
    ]
    return picture(1030, 320, parts)
