"""Every error that is raised on purpose; each is written for the person who reads it."""

from __future__ import annotations


class RuntimeModelError(Exception):
    """The root: anything that a user can fix."""


class FolderError(RuntimeModelError):
    """A folder is missing, damaged, or of another format."""


class InputError(RuntimeModelError):
    """An input cannot be read. The message names it by its number."""


class TooLongError(InputError):
    """An input has more steps than the model reads."""


class OptionError(RuntimeModelError):
    """An unknown option of decoding, or a value that it cannot have."""
