"""Every error that Antiphon raises on purpose; each is written for the person who reads it.

AntiphonError            the root: anything that a user can fix (exit status 1)
├── DataError            a row or a file of data is wrong: "FILE:LINE: reason"
│   ├── TooLongError     an input has more steps than the model reads
│   └── SilentError      the rules of decoding allow no output for an input
├── ConfigError          a configuration key or value is wrong: "FILE: key.sub: reason"
├── ModelFolderError     a saved model cannot be read or written
├── TrainingError        a training cannot start or go on
└── UsageError           an option has a value that it cannot have (exit status 2)
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

SHOWN_NAMES = 40
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 100, 100


class AntiphonError(Exception):
    """What all errors of this package are: the message says what is wrong, where, and what to do. The command line
    prints it and exits with status 1, or 2 if it is a `UsageError`."""


class DataError(AntiphonError):
    """A file or row of data is wrong. The message starts with `FILE` or `FILE:LINE`."""


class TooLongError(DataError):
    """An input has more steps than the model reads."""


class SilentError(DataError):
    """The rules of decoding allow no output for an input."""


class ConfigError(AntiphonError):
    """A configuration is wrong. `key` is the dotted key; the message starts with it."""

    def __init__(self, key: str, reason: str, file: str | None = None) -> None:
        self.key, self.reason, self.file = key, reason, file
        super().__init__(": ".join(part for part in (file, key, reason) if part))

    def within(self, file: str) -> ConfigError:
        """The same error, naming the file that the configuration came from."""
        return ConfigError(self.key, self.reason, file)


class ModelFolderError(AntiphonError):
    """A model folder is missing, damaged, of another format, or cannot be written."""


class TrainingError(AntiphonError):
    """A training cannot start or cannot go on."""


class UsageError(AntiphonError):
    """An option has a value that it cannot have, whatever the data and the model are."""


IMPORT = "; if a module of yours adds it, name that module: antiphon --import MODULE"


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The end of a message about an unknown name: the closest known name, and all of them.

    `otherwise` is added unless a known name is so close that the name is a typing error.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    if difflib.get_close_matches(name, names, n=1, cutoff=0.75):
        otherwise = ""
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    return f"{hint}known: {', '.join(names[:SHOWN_NAMES])}{more}{otherwise}"


def count_of(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shown(value: object) -> str:
    """A user's value, of any type, as a message shows it: shortened."""
    return _SHORT.repr(value)
