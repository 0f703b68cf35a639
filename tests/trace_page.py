"""The content of docs/trace.md, made from the schema itself: `python tests/trace_page.py` writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from antiphon.inspection import trace
from antiphon.inspection.trace import Part, Trace

PAGE = Path(__file__).parents[1] / "docs" / "trace.md"
HEAD = """\
# A trace: what a model did with one input

`antiphon inspect DIR INPUT --out trace.json` writes one, `--out trace.html` (or `.png`, `.svg`) draws it, and in Python
`model.explain(input, reference)` returns it as a value whose fields are those below (`.to_json()` gives the JSON). It
is the same for every structure: a part that has no meaning for the model, or was not asked for, is absent from the
JSON, and null within it. `python tests/trace_page.py` writes this page from the schema in
`antiphon/inspection/trace.py`.

- `token` and `tokens` hold symbols or labels as texts; null stands for the special symbols, which have no spelling: the
  end symbol, and what a model reads before the first symbol.
- Steps, tokens and nodes are counted from 0. The command line and the pictures count from 1.
- `log_prob` and `score` are in nats; `score` is what `antiphon score` gives. Floats are rounded to 6 decimals.
- States and gates are computed by the cells' equations, one step at a time; a test holds that the fused calls which
  predict and train make the same ones.
- `format` is 1. It changes when a field changes its meaning or goes; new fields may come at any time.
- `antiphon.inspection.trace.Trace.model_json_schema()` is the same as JSON Schema.

| structure | what its trace has beside `sources`, `output` and `attribution` |
|---|---|
| `one_to_one` | `reference` |
| `one_to_many`, `many_to_many` | `encoder` (of a sequence), `context`, `beam`, `ablation`; asked for: `reference`, \
`forced`; attention in each run |
| `many_to_one` | `encoder`, `beliefs`, `pooling` (if it is learned); asked for: `reference` |
| `synchronous` | `encoder`; asked for: `reference` |
| `synchronous`, a language model | `encoder`, `prompt`, `beam`; asked for: `reference`, `forced` |
"""


def _type(annotation: object) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"antiphon\.inspection\.trace\.|typing\.|~", "", text)
    text = re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace("'", "`").replace(", ", " or "), text)
    text = text.replace("NoneType", "null").replace("None", "null").replace("str", "text").replace("int", "integer")
    return text.replace(" | ", " or ").replace("list[list[float]]", "grid")


def section(part: type[Part], translated: Mapping[str, str] | None = None) -> str:
    """A part's fields as a table; with the descriptions of `translated`, by part and part.field, in Chinese."""
    about = " ".join((part.__doc__ or "").split()) if translated is None else translated.get(part.__name__, "")
    head = "| field | type | what it is |" if translated is None else "| 字段 | 类型 | 说明 |"
    lines = [f"## {part.__name__}", "", about, "", head, "|---|---|---|"]
    for name, field in part.model_fields.items():
        described = field.description if translated is None else translated.get(f"{part.__name__}.{name}", "")
        lines.append(f"| `{name}` | {_type(field.annotation)} | {described} |")
    return "\n".join(lines)


def parts() -> list[type[Part]]:
    """The trace, then what it is made of, in the order in which it is met."""
    all_parts: list[type[Part]] = [Trace]
    for part in all_parts:
        for field in part.model_fields.values():
            for name in re.findall(r"antiphon\.inspection\.trace\.(\w+)", str(field.annotation)):
                if getattr(trace, name) not in all_parts:
                    all_parts.append(getattr(trace, name))
            if isinstance(field.annotation, type) and issubclass(field.annotation, Part):
                all_parts += [] if field.annotation in all_parts else [field.annotation]
    return all_parts


def page() -> str:
    """The whole page."""
    return "\n\n".join([HEAD.rstrip("\n"), *map(section, parts())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
