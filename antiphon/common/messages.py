"""Exceptions of Python in words."""

from __future__ import annotations


def reason_of(error: Exception) -> str:
    """What an exception says; of a missing key Python gives only the name."""
    if isinstance(error, KeyError):
        return f"the key {error.args[0]!r} is missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
