"""Energies of several devices: as precise as they are together where they agree, and no more where not."""

import numpy as np
import pytest

from measurement import Estimates, combine

POINTS = 40


def _parts(bias: float, seed: int = 3) -> list[Estimates]:
    """Two devices with errors of 0.01 and 0.02 of the same energies, the second `bias` too high."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(-1, 1, POINTS)
    return [
        Estimates(truth + shift + rng.normal(scale=error, size=POINTS), np.full(POINTS, error**2))
        for error, shift in ((0.01, 0.0), (0.02, bias))
    ]


def test_devices_that_agree_are_weighted_by_their_variances() -> None:
    parts = _parts(bias=0.0)
    found = combine(parts)
    assert found.disagreement is None
    np.testing.assert_allclose(found.estimates.means, 0.8 * parts[0].means + 0.2 * parts[1].means)
    together = 1 / (1 / 0.01**2 + 1 / 0.02**2)
    widened = max(1.0, found.chi_square / POINTS)
    np.testing.assert_allclose(found.estimates.variances, widened * together)


def test_devices_that_disagree_are_said_to_and_widen_the_interval() -> None:
    found = combine(_parts(bias=0.2))
    assert found.disagreement is not None
    # the deviation of 0.2 in units of both errors together, plus one of noise
    assert found.disagreement == pytest.approx(1 + 0.2**2 / (0.01**2 + 0.02**2), rel=0.1)
    std_errors = np.sqrt(found.estimates.variances)
    assert np.all(np.abs(found.estimates.means - np.linspace(-1, 1, POINTS)) < 3 * std_errors)


def test_one_device_is_taken_as_it_is() -> None:
    (part, _) = _parts(bias=0.0)
    found = combine([part])
    assert found.estimates is part
    assert found.disagreement is None
