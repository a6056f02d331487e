"""What is minimised: molecules, graphs, quadratic forms and Pauli sums; ansaetze; exact references.

PySCF, SciPy and networkx are imported when a problem first needs them, not here.
"""

from problems.ansatz import Ansatz, build_ansatz, grow
from problems.build import build_problem
from problems.circuit import FIXED, Circuit, Rotation, generator_sign
from problems.electronic import ElectronicHamiltonian
from problems.geometry import Geometry, parse_geometry
from problems.graphs import maxcut_problem
from problems.jordan_wigner import jordan_wigner
from problems.molecule import molecular_problem
from problems.pauli import PauliSum, parity
from problems.pauli_file import pauli_problem
from problems.problem import GroundSpace, Observable, Problem, Reference
from problems.quadratic import ising_problem, qubo_problem
from problems.references import ground_state
from problems.sector import Sector
from problems.spectrum import spectrum

__all__ = [
    "FIXED",
    "Ansatz",
    "Circuit",
    "ElectronicHamiltonian",
    "Geometry",
    "GroundSpace",
    "Observable",
    "PauliSum",
    "Problem",
    "Reference",
    "Rotation",
    "Sector",
    "build_ansatz",
    "build_problem",
    "generator_sign",
    "ground_state",
    "grow",
    "ising_problem",
    "jordan_wigner",
    "maxcut_problem",
    "molecular_problem",
    "parity",
    "parse_geometry",
    "pauli_problem",
    "qubo_problem",
    "spectrum",
]
