"""All views of a trace, in their order.

A view is a row of `VIEWS`: a function from a trace to a `View`, or to None where the trace has nothing to show.
"""

from __future__ import annotations

from collections.abc import Callable

from antiphon.inspection.trace import Trace
from antiphon.inspection.views.answers import answers, beliefs
from antiphon.inspection.views.attention import attention, attribution, pooling
from antiphon.inspection.views.beam import beam
from antiphon.inspection.views.drawing import View
from antiphon.inspection.views.series import series
from antiphon.inspection.views.states import states
from antiphon.inspection.views.steps import prompt, steps
from antiphon.inspection.views.texts import ablation, forced, summary

VIEWS: dict[str, Callable[[Trace], View | None]] = {
    "summary": summary,
    "attention": attention,
    "answers": answers,
    "series": series,
    "beliefs": beliefs,
    "prompt": prompt,
    "steps": steps,
    "attribution": attribution,
    "pooling": pooling,
    "ablation": ablation,
    "forced": forced,
    "beam": beam,
    "states": states,
}
