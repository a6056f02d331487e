"""A curve of runs, each of which starts where its neighbour ended."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Strict, Tag, model_validator

from shotwise.spec.model import Section

Atom = Annotated[int, Field(ge=0, le=10_000)]


class BondScan(Section):
    """A distance between two atoms, swept in equal steps; `from` and `to` in the problem's unit of length.

    The second atom alone moves, along the line from the first: what is bound to it stays where it is.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    bond: Annotated[tuple[Atom, Atom], Strict(False)]
    first: float = Field(alias="from", gt=0, le=1000)
    last: float = Field(alias="to", gt=0, le=1000)
    points: int = Field(ge=2, le=1000)

    @model_validator(mode="after")
    def _two_atoms(self) -> BondScan:
        if self.bond[0] == self.bond[1]:
            raise ValueError("a bond joins two different atoms")
        if self.first == self.last:
            raise ValueError("from and to are the same length")
        return self

    @property
    def values(self) -> tuple[float, ...]:
        """The lengths of the points, in order."""
        step = (self.last - self.first) / (self.points - 1)
        return (*(round(self.first + step * at, 10) for at in range(self.points - 1)), self.last)


class LayersScan(Section):
    """QAOA at growing depths, each interpolated from the one before (INTERP, arXiv:1812.01041)."""

    layers: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Strict(False)] = Field(
        min_length=2, max_length=1000
    )

    @model_validator(mode="after")
    def _growing(self) -> LayersScan:
        if any(low >= high for low, high in zip(self.layers, self.layers[1:], strict=False)):
            raise ValueError("the layers must grow from point to point")
        return self

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(float(layers) for layers in self.layers)


def _kind(scan: Any) -> str:
    named = scan if isinstance(scan, dict) else vars(scan) if isinstance(scan, Section) else {}
    return "layers" if "layers" in named else "bond"


ScanSpec = Annotated[
    Annotated[BondScan, Tag("bond")] | Annotated[LayersScan, Tag("layers")], Discriminator(_kind)
]
