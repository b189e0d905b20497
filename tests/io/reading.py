"""Images read, and images to read."""

from dataclasses import replace

import numpy as np

from skyextract.datamodel.exposure import Exposure
from skyextract.io.images.images import read_exposures
from skyextract.io.names import parse_image_spec
from skyextract.run import Run
from skyextract.settings.keywords import Config

CONFIG = Config()


def read(path, config=CONFIG, run=None):
    return list(read_exposures(parse_image_spec(str(path)), config, run or Run(n_threads=2)))


def read_one(path, config=CONFIG, run=None):
    (exposure,) = read(path, config, run)
    assert isinstance(exposure, Exposure), exposure
    assert exposure.image.dtype == np.float32
    assert exposure.image.dtype.isnative
    assert exposure.image.flags.c_contiguous
    assert exposure.mask.dtype == np.uint16
    return exposure


def with_detector(**values):
    return replace(CONFIG, detector=replace(CONFIG.detector, **values))


def pattern(dtype, shape=(70, 33)):
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        return rng.normal(1000.0, 300.0, shape).astype(dtype)
    info = np.iinfo(dtype)
    image = rng.integers(max(info.min, -30000), min(info.max, 30000), shape, endpoint=True)
    image.flat[:2] = info.min, info.max
    return image.astype(dtype)
