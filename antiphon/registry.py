"""Named choices. A row is a name and a constructor; its options are the constructor's parameters.

A new cell, attention, tokenizer, optimizer, ... needs one definition and one row, and nothing else: the
configuration keys that it takes, their types and the messages about wrong ones are read from the
constructor's signature.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from antiphon.common.messages import expected
from antiphon.errors import IMPORT, ConfigError, nearest, shown

T = TypeVar("T")
FINITE = ConfigDict(allow_inf_nan=False)


class Table(Generic[T]):
    """A mapping from the names users type to constructors of one kind of part.

    `common` is a method of these parts whose parameters are options of every row; it is called once with the user's.
    """

    def __init__(
        self, what: str, rows: Mapping[str, Callable[..., T]], common: Callable[..., None] | None = None
    ) -> None:
        self.what = what
        self.common = common
        self._rows = dict(rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def add(self, name: str, row: Callable[..., T]) -> None:
        """Add a row, as a module of `--import` does. A name that exists already is an error."""
        if name in self._rows:
            raise ConfigError(name, f"there already is a {self.what} of this name")
        self._rows[name] = row

    def row(self, name: str, key: str) -> Callable[..., T]:
        """The constructor called `name`; an unknown name is an error at `key`."""
        try:
            return self._rows[name]
        except KeyError:
            raise ConfigError(key, f"unknown {self.what} {name!r}; {nearest(name, self, IMPORT)}") from None

    def build(
        self, name: str, options: Mapping[str, object], key: str, also: Collection[str] = (), **arguments: object
    ) -> T:
        """Construct the row `name` from a user's `options` and the builder's `arguments` (see `construct`)."""
        row, what = self.row(name, key), f"{self.what} {name!r}"
        if self.common is None:
            return construct(row, options, key, what, also, **arguments)
        _, *names = inspect.signature(self.common).parameters
        shared = set(names) - set(inspect.signature(row).parameters)
        row_options = {option: value for option, value in options.items() if option not in shared}
        common = {option: value for option, value in options.items() if option in shared}
        made = construct(row, row_options, key, what, [*also, *shared], **arguments)
        construct(self.common, common, key, what, self=made)
        return made


def construct(
    make: Callable[..., T],
    options: Mapping[str, object],
    key: str,
    what: str,
    also: Collection[str] = (),
    **arguments: object,
) -> T:
    """Call `make` with a user's `options` and the caller's `arguments`.

    Options are checked against the signature and annotations of `make`; an unknown one is an error that names
    the nearest, among its options and those that are used elsewhere (`also`). `key` is the place of the options in the
    configuration, `what` the name of the part in messages.
    """
    parameters = inspect.signature(make).parameters
    hints = typing.get_type_hints(make.__init__ if inspect.isclass(make) else make)
    allowed = [p for p in parameters if p not in arguments]
    checked: dict[str, Any] = {}
    for option, value in options.items():
        if option not in allowed:
            known = nearest(option, [*allowed, *also]) if allowed or also else "it takes no options"
            raise ConfigError(f"{key}.{option}", f"{what} has no such option; {known}")
        if option not in hints:
            raise ConfigError(f"{key}.{option}", f"{what} has no type for this option; annotate its parameter")
        try:
            checked[option] = TypeAdapter(hints[option], config=FINITE).validate_python(value, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            reason = expected(problem["type"], problem.get("ctx", {})) or problem["msg"]
            raise ConfigError(f"{key}.{option}", f"{reason} (is {shown(value)})") from None
    for option in allowed:
        if option not in checked and parameters[option].default is inspect.Parameter.empty:
            raise ConfigError(f"{key}.{option}", f"{what} needs this option")
    try:
        return make(**checked, **arguments)
    except ValueError as error:  # a value that a library refuses
        raise ConfigError(key, f"{what}: {error}") from None
    except ConfigError as error:  # a value checked where it is used: the part names its own parameter
        raise ConfigError(f"{key}.{error.key}" if error.key else key, error.reason) from None
