"""Tables of named choices: options are checked against the constructor's own signature."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import ConfigError, nearest
from antiphon.registry import Table


class Engine:
    """A part with given and chosen parameters."""

    def __init__(self, size: int, power: float = 1.5, fuel: Literal["coal", "oil"] = "coal") -> None:
        if power <= 0:
            raise ConfigError("power", f"must be positive (is {power})")
        self.size, self.power, self.fuel = size, power, fuel


def sail(area: int) -> Engine:
    """A row may be a function too."""
    return Engine(size=area, fuel="oil")


def bare() -> Engine:
    return Engine(1)


@pytest.fixture
def table() -> Table[Engine]:
    return Table("drive", {"engine": Engine, "sail": sail, "bare": bare})


def test_options_and_given_values_reach_the_constructor(table: Table[Engine]) -> None:
    made = table.build("engine", {"power": 3, "fuel": "oil"}, "ship.drive", size=7)
    assert (made.size, made.power, made.fuel) == (7, 3.0, "oil")
    assert table.build("sail", {"area": 4}, "ship.drive").size == 4


def test_defaults_are_the_constructors_own(table: Table[Engine]) -> None:
    assert table.build("engine", {}, "k", size=1).power == 1.5


def test_unknown_name_names_the_nearest_and_all(table: Table[Engine]) -> None:
    with pytest.raises(ConfigError) as caught:
        table.build("enginee", {}, "ship.drive", size=1)
    assert str(caught.value) == (
        "ship.drive: unknown drive 'enginee'; did you mean 'engine'? known: bare, engine, sail"
    )


def test_unknown_option_names_the_nearest(table: Table[Engine]) -> None:
    with pytest.raises(ConfigError) as caught:
        table.build("engine", {"pwer": 1}, "ship.drive", size=1)
    assert str(caught.value) == (
        "ship.drive.pwer: drive 'engine' has no such option; did you mean 'power'? known: fuel, power"
    )


def test_given_parameters_are_no_options(table: Table[Engine]) -> None:
    with pytest.raises(ConfigError, match=r"^ship\.drive\.size: drive 'engine' has no such option"):
        table.build("engine", {"size": 9}, "ship.drive", size=1)


def test_a_row_without_options_says_so(table: Table[Engine]) -> None:
    with pytest.raises(ConfigError, match=r"^ship\.drive\.x: drive 'bare' has no such option; it takes no options$"):
        table.build("bare", {"x": 9}, "ship.drive")


@pytest.mark.parametrize("value", ["strong", [1], {"a": 1}, None])
def test_wrong_type_names_option_and_value(table: Table[Engine], value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        table.build("engine", {"power": value}, "ship.drive", size=1)
    assert caught.value.key == "ship.drive.power"
    assert str(caught.value).endswith(f"(is {value!r})")


def test_a_value_outside_a_literal_lists_the_choices(table: Table[Engine]) -> None:
    with pytest.raises(ConfigError, match=r"^ship\.drive\.fuel: .*'coal' or 'oil' \(is 'gas'\)$"):
        table.build("engine", {"fuel": "gas"}, "ship.drive", size=1)


def test_a_missing_option_is_named(table: Table[Engine]) -> None:
    with pytest.raises(ConfigError, match=r"^ship\.drive\.area: drive 'sail' needs this option$"):
        table.build("sail", {}, "ship.drive")


def test_a_parts_own_complaint_gets_the_whole_key(table: Table[Engine]) -> None:
    with pytest.raises(ConfigError, match=r"^ship\.drive\.power: must be positive \(is -1\.0\)$"):
        table.build("engine", {"power": -1}, "ship.drive", size=1)


def test_a_row_can_be_added_once(table: Table[Engine]) -> None:
    table.add("oars", sail)
    assert "oars" in list(table)
    assert table.build("oars", {"area": 2}, "k").size == 2
    with pytest.raises(ConfigError, match=r"^oars: there already is a drive of this name$"):
        table.add("oars", bare)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=6, unique=True), st.data())
def test_a_known_name_is_nearest_to_itself(names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    assert nearest(name, names).startswith(f"did you mean {name!r}? ")


def test_a_name_far_from_all_gets_the_list_only() -> None:
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
