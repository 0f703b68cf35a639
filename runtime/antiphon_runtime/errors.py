"""Every error that is raised on purpose; each is written for the person who reads it."""

from __future__ import annotations


class RuntimeModelError(Exception):
    """The root: anything a user can mend."""


class FolderError(RuntimeModelError):
    """A folder is missing, damaged, or of another format."""


class InputError(RuntimeModelError):
    """An input cannot be read. The message names it by its number."""


class TooLongError(InputError):
    """An input has more steps than the model reads."""


class OptionError(RuntimeModelError):
    """A way of decoding that there is not, or a number that it cannot have."""
