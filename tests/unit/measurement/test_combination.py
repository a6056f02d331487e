"""Energies of several devices: as precise as they are together where they agree, and no more where not."""

import numpy as np
import pytest

from measurement import Estimates, combine

POINTS = 40
SHOTS = np.outer([4000.0, 1000.0], np.ones(POINTS))
"""Of two devices, the second of which has twice the error."""


def _parts(bias: float, seed: int = 3) -> list[Estimates]:
    """Two devices with errors of 0.01 and 0.02 of the same energies, the second `bias` too high."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(-1, 1, POINTS)
    return [
        Estimates(truth + shift + rng.normal(scale=error, size=POINTS), np.full(POINTS, error**2))
        for error, shift in ((0.01, 0.0), (0.02, bias))
    ]


def test_devices_that_agree_are_weighted_by_their_shots() -> None:
    parts = _parts(bias=0.0)
    found = combine(parts, SHOTS)
    assert found.disagreement is None
    np.testing.assert_allclose(found.estimates.means, 0.8 * parts[0].means + 0.2 * parts[1].means)
    together = (0.8 * 0.01) ** 2 + (0.2 * 0.02) ** 2
    widened = max(1.0, found.chi_square / POINTS)
    np.testing.assert_allclose(found.estimates.variances, widened * together)


def test_devices_that_disagree_are_said_to_and_widen_the_interval() -> None:
    found = combine(_parts(bias=0.2), SHOTS)
    assert found.disagreement is not None
    # the deviation of 0.2 in units of both errors together, plus one of noise
    assert found.disagreement == pytest.approx(1 + 0.2**2 / (0.01**2 + 0.02**2), rel=0.1)
    std_errors = np.sqrt(found.estimates.variances)
    assert np.all(np.abs(found.estimates.means - np.linspace(-1, 1, POINTS)) < 3 * std_errors)


def test_devices_that_scatter_differently_and_agree_are_not_said_to_disagree() -> None:
    rng, shots = np.random.default_rng(6), np.outer([900.0, 100.0], np.ones(POINTS))
    variances = np.array([1.0, 10.0])[:, None] / shots
    told = [
        combine(
            [Estimates(m, v) for m, v in zip(rng.normal(scale=np.sqrt(variances)), variances, strict=True)],
            shots,
        )
        for _ in range(200)
    ]
    assert 0.9 < np.mean([each.chi_square for each in told]) / POINTS < 1.1
    assert all(each.disagreement is None for each in told)


def test_one_device_is_taken_as_it_is() -> None:
    (part, _) = _parts(bias=0.0)
    found = combine([part], SHOTS[:1])
    assert found.estimates is part
    assert found.disagreement is None


def test_what_few_devices_never_saw_neither_moves_the_mean_nor_shrinks_its_error() -> None:
    # +-1 readings of which 2 % are -1: where none was seen, a device would seem exact
    rng, shots, trials = np.random.default_rng(5), 200, 4000
    wrong = rng.binomial(shots, 0.02, size=(3, trials))
    means = 1 - 2 * wrong / shots
    variances = ((1 - means**2) * shots / (shots - 1) + 1 / shots) / shots
    found = [
        combine(
            [Estimates(means[d, t : t + 1], variances[d, t : t + 1]) for d in range(3)],
            np.full((3, 1), shots),
        ).estimates
        for t in range(trials)
    ]
    energies = np.array([each.means[0] for each in found])
    errors = np.sqrt([each.variances[0] for each in found])
    assert abs(energies.mean() - 0.96) < 4 * energies.std() / np.sqrt(trials)
    assert np.mean(np.abs(energies - 0.96) < 1.96 * errors) > 0.93
