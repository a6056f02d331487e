"""The spec: one YAML or JSON file that says what a run is."""

from shotwise.spec.load import load_spec, parse, validate
from shotwise.spec.problem import (
    ErdosRenyi,
    IsingSpec,
    MaxCutSpec,
    MoleculeSpec,
    PauliSpec,
    ProblemSpec,
    QuboSpec,
    RandomRegular,
)
from shotwise.spec.run import (
    AdaptAnsatz,
    AnsatzSpec,
    BudgetSpec,
    ExactExecution,
    ExecutionSpec,
    HardwareEfficientAnsatz,
    OptimizerSpec,
    QaoaAnsatz,
    RunSpec,
    ScheduleSpec,
    ShotsExecution,
    UccsdAnsatz,
)

__all__ = [
    "AdaptAnsatz",
    "AnsatzSpec",
    "BudgetSpec",
    "ErdosRenyi",
    "ExactExecution",
    "ExecutionSpec",
    "HardwareEfficientAnsatz",
    "IsingSpec",
    "MaxCutSpec",
    "MoleculeSpec",
    "OptimizerSpec",
    "PauliSpec",
    "ProblemSpec",
    "QaoaAnsatz",
    "QuboSpec",
    "RandomRegular",
    "RunSpec",
    "ScheduleSpec",
    "ShotsExecution",
    "UccsdAnsatz",
    "load_spec",
    "parse",
    "validate",
]
