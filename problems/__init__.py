"""What is minimised: molecules, graphs, quadratic forms and Pauli sums; ansaetze; exact references.

PySCF, SciPy and networkx are imported when a problem first needs them, not here.
"""

from problems.ansatz import Ansatz, build_ansatz, grow
from problems.bond import with_bond_length
from problems.build import build_problem
from problems.circuit import FIXED, Circuit, Rotation, generator_sign
from problems.electronic import ElectronicHamiltonian
from problems.elimination import Elimination, Step
from problems.geometry import Geometry, parse_geometry
from problems.graphs import maxcut_problem
from problems.ising_model import IsingModel, bitstring
from problems.jordan_wigner import jordan_wigner
from problems.molecule import molecular_problem
from problems.one_layer import OneLayer
from problems.pauli import PauliSum, parity
from problems.pauli_file import pauli_problem
from problems.problem import GroundSpace, Observable, Problem, Reference
from problems.quadratic import ising_problem, qubo_problem
from problems.references import ground_state
from problems.relaxation import Relaxation, descend, goemans_williamson
from problems.sector import Sector
from problems.spectrum import spectrum
from problems.spins import build_model
from problems.tree_angles import interpolate

__all__ = [
    "FIXED",
    "Ansatz",
    "Circuit",
    "ElectronicHamiltonian",
    "Elimination",
    "Geometry",
    "GroundSpace",
    "IsingModel",
    "Observable",
    "OneLayer",
    "PauliSum",
    "Problem",
    "Reference",
    "Relaxation",
    "Rotation",
    "Sector",
    "Step",
    "bitstring",
    "build_ansatz",
    "build_model",
    "build_problem",
    "descend",
    "generator_sign",
    "goemans_williamson",
    "ground_state",
    "grow",
    "interpolate",
    "ising_problem",
    "jordan_wigner",
    "maxcut_problem",
    "molecular_problem",
    "parity",
    "parse_geometry",
    "pauli_problem",
    "qubo_problem",
    "spectrum",
    "with_bond_length",
]
