"""What stands in a file that a spec names is checked as if it stood in the spec."""

from pathlib import Path

import pytest

from shotwise.errors import SpecError
from shotwise.spec import load_spec


def refusal(folder: Path, kind: str, content: str) -> str:
    (folder / "data").write_text(content)
    (folder / "spec.yaml").write_text(f"problem: {{kind: {kind}, file: data}}")
    with pytest.raises(SpecError) as caught:
        load_spec(folder / "spec.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + 400 * "0"])
def test_a_coefficient_that_is_not_finite_is_named(tmp_path: Path, number: str) -> None:
    message = refusal(tmp_path, "pauli", f'{{"XI": 1, "ZZ": {number}}}')
    assert message.startswith("problem.file 'data' 'ZZ': not a finite number")


@pytest.mark.parametrize("kind", ["maxcut", "qubo", "ising"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_a_value_that_is_not_finite_is_named_with_its_line(tmp_path: Path, kind: str, number: str) -> None:
    message = refusal(tmp_path, kind, f"2\n# a comment\n0 1 {number}\n")
    assert message.startswith(f"problem.file 'data' line 3: not a finite number (got '{number}')")


def test_a_pauli_string_that_stands_twice_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, "pauli", '{"ZZ": 1, "XI": 0.5, "ZZ": 2}')
    assert message.startswith("problem.file: 'ZZ' appears twice (got 'data')")


@pytest.mark.parametrize("value", ["true", "null", "[1]", '{"XX": 1}'])
def test_a_coefficient_that_is_no_number_is_refused(tmp_path: Path, value: str) -> None:
    assert "not a JSON object of Pauli strings to numbers" in refusal(tmp_path, "pauli", f'{{"ZZ": {value}}}')


def test_a_file_has_the_limits_of_the_field_that_it_fills(tmp_path: Path) -> None:
    atoms = "\n".join(f"H 0 0 {at}.{at:0100}" for at in range(1000))
    assert "at most 100000 characters" in refusal(tmp_path, "molecule", f"1000\n\n{atoms}\n")
