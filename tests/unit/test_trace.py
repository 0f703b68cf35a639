"""The schema of a trace is the one that is documented."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from trace_page import PAGE, page, parts

from antiphon.inspection import trace
from antiphon.inspection.trace import Part, Run, Trace


def test_the_page_is_that_of_the_schema() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_field_of_every_part_is_explained() -> None:
    defined = {value for value in vars(trace).values() if isinstance(value, type) and issubclass(value, Part)}
    assert {*parts(), Part} == defined
    for part in parts():
        assert all(field.description for field in part.model_fields.values()), part


def test_another_format_and_unknown_fields_are_refused() -> None:
    run = Run(text="a", tokens=["a"], score=None, steps=[])
    made = Trace(structure="one_to_one", sources=[], output=run).to_json()
    assert Trace.model_validate(made).to_json() == made
    for wrong in ({"format": 2}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            Trace.model_validate(made | wrong)
