"""All kinds of frames with something wrong, by their names."""

from collections.abc import Callable

from tests.simulate import badframes, badsky
from tests.simulate.badframes import BadFrame

KINDS: dict[str, Callable[[int], BadFrame]] = {
    "good": badframes.good_frame,
    "clouds": badframes.clouds,
    "thin clouds": badframes.thin_clouds,
    "uneven clouds": badframes.uneven_clouds,
    "veiled corner": badframes.veiled_corner,
    "vignetted": badframes.vignetted,
    "two amplifiers": badframes.two_amplifiers,
    "not linear": badframes.not_linear,
    "clipped": badframes.clipped,
    "trailed": badframes.trailed,
    "short trails": badframes.short_trails,
    "jumped": badframes.jumped,
    "tilted focus": badframes.tilted_focus,
    "two seeings": badframes.two_seeings,
    "strange light": badframes.strange_light,
    "wrong band": badframes.wrong_band,
    "color term": badframes.color_term,
    "two systems": badframes.two_systems,
    "variables": badframes.variables,
    "faint end": badframes.faint_end,
    "handful": badframes.handful,
    "wrong scale": badsky.wrong_scale,
    "wrong field": badsky.wrong_field,
    "turned": badsky.turned,
    "mirrored": badsky.mirrored,
    "shifted": badsky.shifted,
    "distorted": badsky.distorted,
    "distorted handful": badsky.distorted_handful,
    "broken mosaic": badsky.broken_mosaic,
    "moved stars": badsky.moved_stars,
    "fast stars": badsky.fast_stars,
    "ring": badframes.ring,
    "shutter": badframes.shutter,
    "field curvature": badframes.field_curvature,
    "crowded": badframes.crowded,
    "wrong magnitudes": badframes.wrong_magnitudes,
}
