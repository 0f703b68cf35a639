"""Named choices. A row is a name and a constructor; its options are the constructor's parameters.

A new cell, attention, tokenizer, optimizer, ... costs one definition and one row here and nothing
else: the configuration keys it takes, their types and the messages about wrong ones are read from
the constructor's signature.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from antiphon.errors import ConfigError, nearest, shown

T = TypeVar("T")
FINITE = ConfigDict(allow_inf_nan=False)


class Table(Generic[T]):
    """A mapping from the names users type to constructors of one kind of part."""

    def __init__(self, what: str, rows: Mapping[str, Callable[..., T]]) -> None:
        self.what = what
        self._rows = dict(rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def add(self, name: str, row: Callable[..., T]) -> None:
        """Add a row, as a module given to `--import` does. A taken name is refused."""
        if name in self._rows:
            raise ConfigError(name, f"there already is a {self.what} of this name")
        self._rows[name] = row

    def row(self, name: str, key: str) -> Callable[..., T]:
        """The constructor called `name`; an unknown name is an error at `key`."""
        try:
            return self._rows[name]
        except KeyError:
            raise ConfigError(key, f"unknown {self.what} {name!r}; {nearest(name, self)}") from None

    def build(
        self, name: str, options: Mapping[str, object], key: str, also: Collection[str] = (), **given: object
    ) -> T:
        """Construct the row `name` from a user's `options` and what the builder itself gives.

        Options are checked against the constructor's signature and annotations; an unknown one is
        an error that names the nearest, of the row's own or of those that stand beside the name (`also`).
        `key` is where the choice stands in the configuration.
        """
        row = self.row(name, key)
        parameters = inspect.signature(row).parameters
        hints = typing.get_type_hints(row.__init__ if inspect.isclass(row) else row)
        allowed = [p for p in parameters if p not in given]
        checked: dict[str, Any] = {}
        for option, value in options.items():
            if option not in allowed:
                known = nearest(option, [*allowed, *also]) if allowed or also else "it takes no options"
                raise ConfigError(f"{key}.{option}", f"{self.what} {name!r} has no such option; {known}")
            try:
                checked[option] = TypeAdapter(hints[option], config=FINITE).validate_python(value, strict=True)
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise ConfigError(f"{key}.{option}", f"{reason} (is {shown(value)})") from None
        for option in allowed:
            if option not in checked and parameters[option].default is inspect.Parameter.empty:
                raise ConfigError(f"{key}.{option}", f"{self.what} {name!r} needs this option")
        try:
            return row(**checked, **given)
        except ValueError as error:  # a library's own check of a value
            raise ConfigError(key, f"{self.what} {name!r}: {error}") from None
        except ConfigError as error:  # a value checked where it is used: the part names its own parameter
            raise ConfigError(f"{key}.{error.key}" if error.key else key, error.reason) from None
