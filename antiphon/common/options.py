"""Options of decoding that are tables: keys of a model's configuration, and of requests to a server.

This module needs pydantic, which the runtime installs only for its server.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt


class Section(BaseModel):
    """A table of the configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Sample(Section):
    """How symbols are drawn; `{}` draws each by its probability."""

    temperature: StrictFloat = Field(1.0, gt=0, le=100, description="below 1: surer, above 1: more surprising")
    top_k: StrictInt = Field(0, ge=0, description="draw only from this many most probable symbols; 0: from all")
    top_p: StrictFloat = Field(1.0, gt=0, le=1, description="only among the fewest symbols that hold this probability")
    seed: StrictInt = Field(1, ge=0, lt=1 << 31, description="of the random numbers")


class Diversity(Section):
    """A beam in groups that write different things (Vijayakumar et al. 2016)."""

    groups: StrictInt = Field(ge=2, description="groups of a beam, which choose one after the other")
    strength: StrictFloat = Field(0.5, gt=0, le=100, description="what a choice of an earlier group costs, in nats")


class Mbr(Section):
    """Minimum Bayes risk: many outputs are drawn, and the one most like the others is written."""

    samples: StrictInt = Field(ge=2, le=10_000, description="outputs drawn, as `sample` says")
    metric: Literal["chrf", "token_error_rate"] = Field("chrf", description="by which the others judge each of them")
