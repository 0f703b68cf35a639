"""What is wrong, in words: exceptions of Python, and the errors of pydantic."""

from __future__ import annotations

from collections.abc import Mapping


def reason_of(error: Exception) -> str:
    """What an exception says; of a missing key Python gives only the name."""
    if isinstance(error, KeyError):
        return f"the key {error.args[0]!r} is missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


EXPECTED = {
    "missing": "is missing",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "literal_error": "must be {expected}",
    "model_type": "must be a table of keys",
    "dict_type": "must be a table of keys",
}
"""What is expected, by pydantic's name for what is wrong; {names} are those of its limits."""


def expected(kind: str, limits: Mapping[str, object]) -> str:
    """What a value must be, from the type and the context of one of pydantic's errors; empty for other types."""
    whole = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in limits.items()
    }
    return EXPECTED.get(kind, "").format(**whole)
