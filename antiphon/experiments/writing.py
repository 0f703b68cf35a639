"""A table as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from antiphon.experiments.table import Figure, Table
from antiphon.experiments.tune import Outcome

SURE = 0.05


def markdown(table: Table) -> str:
    """For a README or a terminal, with lines on what the numbers are."""
    heads = ["setting", "seeds", *(name for metric in table.metrics for name in (metric, "p")), "minutes", "parameters"]
    rows = [f"| {' | '.join(row)} |" for row in [heads, *_cells(table, " ± ", "-")]]
    rows.insert(1, "|---|" + "---:|" * (len(heads) - 1))
    return "\n".join([*rows, "", *_about(table)]) + "\n"


def as_csv(table: Table) -> str:
    """For another program: every number in a column, empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [name for metric in table.metrics for name in (metric, f"{metric}_half_interval", f"{metric}_p")]
    writer.writerow(["setting", "seeds", *names, "minutes", "parameters"])
    for line in table.lines:
        figures = [value for metric in table.metrics for value in vars(line.figures[metric]).values()]
        writer.writerow([line.name, line.seeds, *figures, line.minutes, line.parameters])
    return out.getvalue()


def latex(table: Table) -> str:
    """For a paper: a tabular, with lines on what the numbers are as comments."""
    heads = [
        "setting",
        "seeds",
        *(name for metric in table.metrics for name in (metric, "$p$")),
        "minutes",
        "parameters",
    ]
    rows = [[_escaped(cell) for cell in row] for row in _cells(table, "@", "--")]
    lines = [" & ".join(row).replace("@", " $\\pm$ ") + r" \\" for row in rows]
    head = " & ".join(name if "$" in name else _escaped(name) for name in heads) + r" \\"
    columns = "l" + "r" * (len(heads) - 1)
    begin = [f"% {line}" for line in _about(table)]
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", head, r"\hline", *lines, r"\hline", r"\end{tabular}"]
    return "\n".join([*begin, *body]) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {"markdown": markdown, "csv": as_csv, "latex": latex}


def outcome(chosen: Outcome, out: Path) -> str:
    """What `tune` has chosen, and how much better it is."""
    keys = [f"  {key}: {json.dumps(value)}" for key, value in chosen.settings.items()]
    over = f"mean of {chosen.seeds} seeds" if chosen.seeds > 1 else "of one seed, so partly luck: give more minutes"
    defaults = f"none of {chosen.tried} others is better" if chosen.tried else "no time for others, give more minutes"
    lines = [
        "chosen:" if keys else f"chosen: the defaults; {defaults}",
        *keys,
        f"validation {chosen.metric}: defaults {chosen.defaults:.4f}, chosen {chosen.chosen:.4f} ({over})",
        f"{out / 'best.yaml'} is its configuration, {out / 'model'} its model",
    ]
    return "\n".join(lines) + "\n" + (f"\n{markdown(chosen.table)}" if chosen.table else "")


def _escaped(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(named.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)


def _cells(table: Table, between: str, none: str) -> list[list[str]]:
    rows = []
    for line in table.lines:
        figures = [cell for metric in table.metrics for cell in _shown(line.figures[metric], between, none)]
        rows.append([line.name, str(line.seeds), *figures, f"{line.minutes:.1f}", f"{line.parameters:,}"])
    return rows


def _shown(figure: Figure, between: str, none: str) -> tuple[str, str]:
    """A value with its interval; its p, with a star where the difference is significant."""
    half = "" if figure.half is None else f"{between}{figure.half:.4f}"
    p = none if figure.p is None else f"{figure.p:.3f}{'*' if figure.p < SURE else ''}"
    return f"{figure.mean:.4f}{half}", p


def _about(table: Table) -> list[str]:
    others = len(table.lines) - 1
    lines = [f"Measured on {table.data}. Mean over seeds ± half of the 95% interval of Student's t."]
    if others:
        lines.append(
            f"p: difference from {table.baseline} by Welch's t over seeds and paired rows, "
            f"corrected for {others} comparison{'s' if others > 1 else ''} (Holm); * below {SURE}."
        )
    return [*lines, *table.notes]
