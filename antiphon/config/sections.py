"""What sections of the configuration are made of: tables of known keys, and named choices with options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

WIDEST, DEEPEST = 1 << 16, 256  # the width of a layer, the number of layers: more is a typing error


def keys_of(section: object) -> dict[str, FieldInfo]:
    """The keys of a section as users write them; empty for anything else."""
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return {}
    return {field.alias or name: field for name, field in section.model_fields.items()}


class WithOptions(BaseModel):
    """A named choice; further keys are options of the part with this name, checked where it is built."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the named part."""
        return dict(self.model_extra or {})

    @classmethod
    def own_keys(cls) -> list[str]:
        """The keys that every choice of this kind takes."""
        return list(keys_of(cls))


class Choice(WithOptions):
    """A named choice with options: `general`, or `{kind: bpe, size: 8000}`."""

    kind: str = Field(description="the name; the options of what has this name stand beside it")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: object) -> object:
        if isinstance(value, str):
            return {"kind": value}
        if isinstance(value, Mapping) and "kind" not in value:
            raise ValueError("needs the key 'kind', or just the name")
        return value
