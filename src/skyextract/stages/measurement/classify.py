"""CLASS_STAR: SExtractor's neural network (Bertin & Arnouts 1996, A&AS 117, 393, section 8)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, I4
from skyextract.errors import ConfigError
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

N_INPUTS = 10
"""Eight isophotal areas, the peak, the seeing."""


@record
class NeuralNetwork:
    """Weights of a feed-forward network with sigmoid neurons.

    Attributes
    ----------
    in_bias, in_scale : (n_in,) float64
        The first layer is ``inputs * in_scale + in_bias``.
    layers : tuple of (n_out, n_in + 1) float64
        Weights of each layer; the last column is the bias.
    out_bias, out_scale : (n_out,) float64
        The output is ``(last layer - out_bias) / out_scale``.
    """

    in_bias: F8
    in_scale: F8
    layers: tuple[F8, ...]
    out_bias: F8
    out_scale: F8

    def evaluate(self, inputs: F8) -> F8:
        """Evaluate the network for inputs (n, n_in); returns (n, n_out)."""
        signal = inputs * self.in_scale + self.in_bias
        for weights in self.layers:
            total = signal @ weights[:, :-1].T + weights[:, -1]
            signal = 1.0 / (1.0 + np.exp(np.clip(-total, -700.0, 700.0)))
        result: F8 = (signal - self.out_bias) / self.out_scale
        return result


def parse_network(text: str, name: str = "STARNNW_NAME") -> NeuralNetwork:
    """Parse the text of a .nnw file.

    Raises
    ------
    ConfigError
        The text is not a neural-network table, or not one of 10 inputs and 1 output.
    """
    lines = text.splitlines()
    if not lines or not lines[0].startswith("NNW"):
        raise ConfigError(f"{name}: not a neural-network table (it must begin with NNW)")
    words = " ".join(line for line in lines[1:] if not line.lstrip().startswith("#")).split()
    try:
        n_layers = int(words[0])
        sizes = [int(word) for word in words[1 : 1 + n_layers]]
        numbers = np.array(words[1 + n_layers :], dtype=np.float64)
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{name}: not a neural-network table ({error})") from error
    shapes = [(n_out, n_in + 1) for n_in, n_out in itertools.pairwise(sizes)]
    expected = 2 * sum(sizes[:1]) + sum(a * b for a, b in shapes) + 2 * sum(sizes[-1:])
    if len(sizes) < 2 or sizes[0] != N_INPUTS or sizes[-1] != 1 or numbers.size != expected:
        raise ConfigError(
            f"{name}: layers {sizes} with {numbers.size} numbers, expected {N_INPUTS} inputs, "
            f"1 output and {expected} numbers"
        )
    position = 0

    def take(*shape: int) -> F8:
        nonlocal position
        size = int(np.prod(shape))
        position += size
        return numbers[position - size : position].reshape(shape)

    return NeuralNetwork(
        in_bias=take(sizes[0]),
        in_scale=take(sizes[0]),
        layers=tuple([take(*shape) for shape in shapes]),
        out_bias=take(1),
        out_scale=take(1),
    )


def class_star(
    network: NeuralNetwork,
    areas: I4,
    peak: F8,
    threshold: float,
    seeing: float,
    pixel_scale: float,
) -> F8:
    """Return the stellarity, (n,), between 0 (galaxy) and 1 (star).

    Parameters
    ----------
    areas : (n, 8) int32
        Isophotal areas, pixels.
    peak : (n,) float64
        Highest value above the background.
    threshold : float
        Analysis threshold of the image, in the same units.
    seeing : float
        FWHM of stars, arcsec.
    pixel_scale : float
        Arcsec.
    """
    disc = (seeing / pixel_scale) ** 2
    sizes = np.log10(np.where(areas > 0, areas / disc, 0.01))
    contrast = np.full(peak.size, -1.0)
    if threshold > 0.0:
        contrast = np.log10(np.where(peak > 0.0, peak / threshold, 0.1))
    inputs = np.column_stack(
        [sizes[:, 0], contrast, sizes[:, 1:], np.full(peak.size, np.log10(seeing))]
    )
    return network.evaluate(inputs)[:, 0]
