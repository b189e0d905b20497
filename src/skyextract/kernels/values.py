"""Numbers that kernels and stages share: bits of FLAGS and of masks, marks of pixels, a factor."""

from __future__ import annotations

import math

import numpy as np

NEIGHBOURS = 1
BLENDED = 2
SATURATED = 4
TRUNCATED = 8
APERTURE_INCOMPLETE = 16
ISOPHOTE_INCOMPLETE = 32
DEBLEND_OVERFLOW = 64
EXTRACT_OVERFLOW = 128

BAD = 1
SAT = 2
INTRP = 4
CR = 8
EDGE = 16
NO_DATA = 32
DETECTED = 64
SUSPECT = 128
CROSSTALK = 256
"""From BAD on: the mask planes."""

TOUCHES_BAD = 4096
"""Beside the bits of FLAGS, never written: a masked pixel was left out of a sum."""

NO_INFORMATION = np.float32(1e30)
"""Variance of a pixel that must have no weight (SExtractor's BIG)."""

MAX_VARIANCE = 1e29
"""A pixel whose variance is above this carries no information."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian over its standard deviation."""
