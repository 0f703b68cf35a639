"""The reference pages: all keys, parts, commands and names are there, in both languages, and nothing is left over."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs/site"
sys.path.insert(0, str(SITE))

import commands  # noqa: E402
import keys  # noqa: E402
import python_api  # noqa: E402
import reference  # noqa: E402
import trace_page  # noqa: E402
import wording  # noqa: E402

from antiphon.config.schema import Config  # noqa: E402
from antiphon.data.codecs.kinds import SOURCES, TARGETS  # noqa: E402
from antiphon.data.tokenizers import TOKENIZERS  # noqa: E402
from antiphon.decoding.rules import RULES  # noqa: E402
from antiphon.model.parts.attention.table import ATTENTIONS  # noqa: E402
from antiphon.model.parts.bridges import BRIDGES  # noqa: E402
from antiphon.model.parts.cells import CELLS  # noqa: E402
from antiphon.training.feeding import FEEDINGS  # noqa: E402
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES  # noqa: E402

HAN = r"[\u4e00-\u9fff]"


def described() -> dict[str, set[str]]:
    """What the Chinese texts describe, by their groups."""
    parts = trace_page.parts()
    return {
        "sections": set(keys.every_section()),
        "keys": set(keys.every_key()),
        "parts": set(keys.every_part()),
        "commands": {name for name in commands.every_command() if name},
        "options": commands.every_help(),
        "python": {name for name, _ in python_api.entries()},
        "extend": set(python_api.extensions()),
        "trace": {part.__name__ for part in parts} | {f"{p.__name__}.{name}" for p in parts for name in p.model_fields},
    }


@pytest.mark.parametrize("group", described())
def test_everything_has_its_chinese_and_no_chinese_is_left_over(group: str) -> None:
    texts = wording.chinese()[group]
    assert set(texts) == described()[group]
    for name, text in texts.items():
        assert re.search(HAN, text) or "=" in text, name
        assert not re.search(rf"{HAN}\s?[,;:?!](?!\S)|[,;?!]\s?{HAN}", re.sub(r"`[^`]*`", "`", text)), name


def test_every_key_and_section_has_a_description() -> None:
    for path, field in keys.every_key().items():
        assert field.description, path
    assert all(keys.every_section().values())


@pytest.mark.parametrize("code", ["en", "zh"])
def test_the_reference_lists_every_choice(code: str) -> None:
    """Each row of each table and each key of the configuration, as users write them."""
    page, choices = keys.key_page(code), keys.part_page(code)
    for table in (SOURCES, TARGETS, CELLS, ATTENTIONS, BRIDGES, TOKENIZERS, OPTIMIZERS, SCHEDULES, FEEDINGS, RULES):
        for row in table:
            assert f"\n`{row}`\n: " in choices, row
    for section, field in Config.model_fields.items():
        for name, inner in getattr(field.annotation, "model_fields", {}).items():
            key = f"`{section}.{inner.alias or name}`"
            assert f"\n{key} " in page or f"# {key}\n" in page, key  # of a table its heading


def test_the_commands_have_their_options_and_examples() -> None:
    page = commands.page("en")
    for name, command in commands.every_command().items():
        section = page[page.index(f"## {name}\n" if name else "## Before") :].split("\n## ")[0]
        for parameter in command.params:
            assert all(option in section for option in parameter.opts if option.startswith("-")), (name, parameter.name)
        assert not name or f"$ antiphon {name}" in section or "| antiphon" in section


def test_every_method_of_a_public_class_is_in_the_reference() -> None:
    names = {name for name, _ in python_api.entries()}
    assert {"train", "Predictor.predict", "Predictor.export", "TextPrediction", "Callback.end"} <= names
    for name, value in python_api.public().items():
        if not isinstance(value, type):
            continue
        methods = {method for method, member in vars(value).items() if method[0] != "_" and callable(member)}
        assert {f"{name}.{method}" for method in methods if vars(value)[method].__doc__} <= names


def test_links_into_the_repository_lead_to_files() -> None:
    pages = [path for code in ("en", "zh") for path in (SITE / code).rglob("*.md")]
    texts = [path.read_text(encoding="utf-8") for path in pages] + list(reference.result_tables().values())
    links = {link for text in texts for link in re.findall(r"antiphon-ml/antiphon/((?:blob|tree)/main/[^)#\s]+)", text)}
    assert len(links) > 5
    for link in links:
        kind, _, path = link.partition("/main/")
        assert (ROOT / path).is_dir() if kind == "tree" else (ROOT / path).is_file(), link
