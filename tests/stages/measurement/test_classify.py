"""The star/galaxy network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skyextract.errors import ConfigError
from skyextract.stages.measurement.classify import NeuralNetwork, parse_network


def test_network_file(shared_data: Path) -> None:
    text = (shared_data / "sextractor_configs/source-extractor/default.nnw").read_text()
    network = parse_network(text)
    assert [w.shape for w in network.layers] == [(10, 11), (1, 11)]
    assert network.in_bias[0] == -1.56604
    assert network.in_scale[0] == 3.03477
    assert network.layers[0][0, -1] == -5.30052
    assert network.layers[1][0, -1] == -2.32028
    assert network.out_scale == 1.0


def test_evaluation_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(4, 11)), rng.normal(size=(1, 5))
    bias, scale = rng.normal(size=10), rng.normal(size=10)
    network = NeuralNetwork(bias, scale, (first, second), np.array([0.1]), np.array([2.0]))
    inputs = rng.normal(size=(3, 10))
    result = network.evaluate(inputs)
    for row, value in zip(inputs, result[:, 0], strict=True):
        signal = row * scale + bias
        for weights in (first, second):
            signal = 1.0 / (1.0 + np.exp(-(weights[:, :-1] @ signal + weights[:, -1])))
        assert value == pytest.approx((signal[0] - 0.1) / 2.0)


@pytest.mark.parametrize("text", ["", "hello", "NNW\n", "NNW\n3 10 10 1\n1 2 3", "NNW\n2 x y"])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"default\.nnw"):
        parse_network(text, "default.nnw")
