"""Fixed QAOA angles: the optimum on the infinite regular tree, computed, not quoted.

An edge whose neighbourhood of p steps is a tree sees the same expectation in every regular graph, and the
angles that are best there do well on all of them (Wurtz and Lykov, arXiv:2107.00677). The expectation is the
iteration of Basso, Farhi, Marwaha, Villalonga, Zhou (arXiv:2110.14206, section 3): over strings a of 2p + 1
signs, with D = degree - 1 and H(a) = 1 at first,

    H(a) <- [sum_b f(b) H(b) cos(Gamma . ab / 2)]^D   p times,
    <Z Z> = sum_{a, b} a_0 b_0 f(a) f(b) H(a) H(b) exp(-i Gamma . ab / 2),

whose sums depend on the product ab alone, so that each is a convolution by Walsh-Hadamard transforms:
2^(2p + 1) (2p + 1) operations, not 4^(2p + 1). Angles as in `problems.qaoa`, C being the cut value.

    python -m problems.tree_angles           compute the table anew and write problems/tree_angles.json
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

TABLE = Path(__file__).with_suffix(".json")
_LAYERS = {3: 8, 4: 6, 5: 6}
"""The deepest angles of every degree that the table holds."""


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, dict]]:
    return json.loads(TABLE.read_text())["degrees"]


def tree_angles(degree: int, layers: int) -> np.ndarray | None:
    """gamma_1..gamma_p, beta_1..beta_p of the table, shape (2p,); None where it has none."""
    row = _table().get(str(degree), {}).get(str(layers))
    return None if row is None else np.array([*row["gammas"], *row["betas"]])


def interpolate(angles: np.ndarray, layers: int) -> np.ndarray:
    """Angles for more layers: INTERP of Zhou et al. (arXiv:1812.01041, section V.B), a layer at a time.

    Args:
        angles: gammas, then betas, shape (2p,).
        layers: at least p.
    """
    for p in range(len(angles) // 2, layers):
        halves = angles.reshape(2, p)
        at = np.arange(p + 1) / p
        before, after = np.pad(halves, ((0, 0), (1, 0))), np.pad(halves, ((0, 0), (0, 1)))
        angles = (at * before + (1 - at) * after).ravel()
    return angles


def cut_fraction(angles: np.ndarray, degree: int) -> float:
    """Expected share of edges cut on the infinite tree of this degree, at angles of shape (2p,)."""
    import jax.numpy as jnp

    return float(_cut_fraction(jnp.asarray(angles), degree))


def _cut_fraction(angles, degree: int):
    import jax.numpy as jnp

    p = len(angles) // 2
    gammas, betas = angles[:p], angles[p:]
    bits = 2 * p + 1
    # position t = 0..2p holds a_1..a_p, a_0, a_-p..a_-1; bit t of the index is set where that sign is -1
    signs = 1 - 2 * (np.arange(1 << bits)[:, None] >> np.arange(bits) & 1)
    phases = jnp.concatenate([gammas, jnp.zeros(1), -gammas[::-1]])
    turns = jnp.concatenate([betas, -betas[::-1]])
    steps = jnp.where(signs[:, :-1] == signs[:, 1:], jnp.cos(turns), 1j * jnp.sin(turns))
    f = 0.5 * jnp.prod(steps, axis=1)
    dot = signs @ phases / 2
    cosine, root = _hadamard(jnp.cos(dot) + 0j, bits), signs[:, p]
    branch = jnp.ones(1 << bits, dtype=f.dtype)
    for _ in range(p):
        branch = (_hadamard(_hadamard(f * branch, bits) * cosine, bits) / (1 << bits)) ** (degree - 1)
    side = root * f * branch
    around = _hadamard(_hadamard(side, bits) * _hadamard(jnp.exp(-1j * dot), bits), bits) / (1 << bits)
    return 0.5 - 0.5 * jnp.real(side @ around)


def _hadamard(values, bits: int):
    """Walsh-Hadamard transform over the bits of the index; its own inverse times 2^-bits."""
    import jax.numpy as jnp

    for bit in range(bits):
        pairs = values.reshape(-1, 2, 1 << bit)
        values = jnp.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
    return values


def optimise(degree: int, start: np.ndarray | None = None) -> np.ndarray:
    """The angles of most cut edges near `start`, shape (2 layers,); by default one layer's closed form."""
    import jax
    from scipy.optimize import minimize

    if start is None:
        start = np.array([np.arctan(1 / np.sqrt(degree - 1)), np.pi / 8])
    loss = jax.jit(jax.value_and_grad(lambda angles: -_cut_fraction(angles, degree)))
    found = minimize(
        lambda x: tuple(map(np.asarray, loss(x))), start, jac=True, method="BFGS", options={"gtol": 1e-7}
    )
    return found.x


def make_table() -> dict:
    """The table: every depth starts from the interpolation of the one before."""
    degrees: dict[str, dict[str, dict]] = {}
    for degree, deepest in _LAYERS.items():
        rows, angles = {}, None
        for layers in range(1, deepest + 1):
            angles = optimise(degree, None if angles is None else interpolate(angles, layers))
            gammas, betas = np.round(angles, 9).reshape(2, layers).tolist()
            fraction = round(cut_fraction(angles, degree), 6)
            rows[str(layers)] = {"gammas": gammas, "betas": betas, "cut_fraction": fraction}
            print(f"degree {degree}, {layers} layers: {fraction}", flush=True)
        degrees[str(degree)] = rows
    return {"source": "computed by `python -m problems.tree_angles`", "degrees": degrees}


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    TABLE.write_text(json.dumps(make_table(), indent=1) + "\n")
