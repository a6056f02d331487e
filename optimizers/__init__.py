"""How parameters move: optimizers as immutable state under pure `init`, `ask` and `tell`.

Importing this package switches JAX to 64 bits: energies are compared at 1e-7 and less,
which float32 cannot hold.
"""

import jax

jax.config.update("jax_enable_x64", True)

from optimizers.adaptive_descent import AdaptiveDescent  # noqa: E402
from optimizers.bayes_newton import BayesNewton  # noqa: E402
from optimizers.build import (  # noqa: E402
    Sampling,
    build_optimizer,
    build_termination,
    needs_sampling,
    needs_spectrum,
    optimizer_names,
)
from optimizers.gradient_descent import GradientDescent  # noqa: E402
from optimizers.lbfgs import Lbfgs  # noqa: E402
from optimizers.line_fit import Frequencies, LineFit  # noqa: E402
from optimizers.natural_gradient import NaturalGradient  # noqa: E402
from optimizers.protocol import Evaluation, Need, Optimizer, Progress, State  # noqa: E402
from optimizers.spsa import Spsa  # noqa: E402
from optimizers.termination import REASONS, Reason, Termination, TerminationState  # noqa: E402

__all__ = [
    "REASONS",
    "AdaptiveDescent",
    "BayesNewton",
    "Evaluation",
    "Frequencies",
    "GradientDescent",
    "Lbfgs",
    "LineFit",
    "NaturalGradient",
    "Need",
    "Optimizer",
    "Progress",
    "Reason",
    "Sampling",
    "Spsa",
    "State",
    "Termination",
    "TerminationState",
    "build_optimizer",
    "build_termination",
    "needs_sampling",
    "needs_spectrum",
    "optimizer_names",
]
