"""The keys of `decode` and `evaluate`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from antiphon.common.options import Diversity, Mbr, Sample, Section
from antiphon.config.sections import WithOptions


class Shortlist(Section):
    """The symbols that a source can need: the most probable translations of each of its symbols, and common ones."""

    likely: StrictInt = Field(20, ge=1, le=1_000, description="symbols for each symbol of the source")
    common: StrictInt = Field(500, ge=1, le=100_000, description="most frequent symbols, for every source")


class Decode(WithOptions):
    """How outputs are decoded; the other keys are rules of decoding, such as `no_repeat_ngram`."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, allow_inf_nan=False)

    sample: Sample | None = Field(None, description="draw symbols by their probability in place of a beam")
    mbr: Mbr | None = Field(
        None, description="minimum Bayes risk: of many samples the one most like the others (Eikema & Aziz 2020)"
    )
    beam: StrictInt = Field(5, ge=1, le=10_000, description="the width of the beam; 1 is greedy")
    length_penalty: StrictFloat = Field(1.0, ge=0, le=10, description="hypotheses are ranked by score / length^penalty")
    min_length: StrictInt = Field(0, ge=0, description="shortest output in tokens, without the end symbol")
    max_length: StrictInt | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="longest output in tokens; by default half as long again as any training target",
    )
    coverage_penalty: StrictFloat = Field(
        0.0, ge=0, le=100, description="beams that leave out part of their source lose (Wu et al. 2016, eq. 14)"
    )
    diversity: Diversity | None = Field(None, description="a beam in groups that differ (Vijayakumar et al. 2016)")
    require: list[StrictStr] = Field(
        [], description="phrases that every output of the beam contains (Hokamp & Liu 2017)"
    )
    allowed: StrictStr | list[StrictStr] | None = Field(
        None, description="the only symbols that may be written: a list, or a file with one on each line"
    )
    lexicon: StrictStr | None = Field(None, description="a file of the only possible outputs, one on each line")
    replace_unknown: StrictBool = Field(
        False, description="UNK may be written, and the source symbol most looked at stands in for it"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the products of decoding: bfloat16 is faster where the processor has it, its scores less exact",
    )
    shortlist: Shortlist | None = Field(
        None,
        description="search only the symbols that the source is likely to need, faster with a large vocabulary; "
        "learned in training, for a trained model with `--resume`",
    )

    quantiles: list[Annotated[StrictFloat, Field(gt=0, lt=1)]] = Field(
        [],
        description="of a series: probabilities; for each of them every step also has the number below which it lies "
        "with this probability",
    )
    paths: StrictInt = Field(
        200,
        ge=1,
        le=10_000,
        description="of a series that is fed its own output: random series from which `quantiles` are computed",
    )

    @property
    def rules(self) -> dict[str, Any]:
        """The configured rules of decoding, by their names."""
        rules = {"allowed": self.allowed, "lexicon": self.lexicon} | self.options
        return {name: value for name, value in rules.items() if value is not None}


class Evaluate(Section):
    """How outputs are measured."""

    bleu_tokenize: Literal["none", "13a", "char", "zh", "intl"] = Field(
        "13a", description="the tokenizer of BLEU, as sacreBLEU names them"
    )
