"""A command that ends by itself and one that an error ends say the same by the same code."""

from flows.exit_codes import EXIT_CANNOT_RUN, EXIT_FAILED
from shotwise.errors import CannotRunError, ShotwiseError


def test_they_are_those_of_errors() -> None:
    assert CannotRunError.exit_code == EXIT_CANNOT_RUN
    assert ShotwiseError.exit_code == EXIT_FAILED
