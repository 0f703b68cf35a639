"""p(y|x) is a distribution over all outputs: checked by writing down every one of them."""

from __future__ import annotations

import itertools

import pytest
import torch
from models import NAMES, Choice, make, pad_sources

from antiphon.common.symbols import EOS, SPECIALS, UNK
from antiphon.decoding.beam import beam
from antiphon.decoding.scoring import forced
from antiphon.decoding.step import Limits

CPU = torch.device("cpu")
BASE: dict[str, object] = {
    "cell": "lstm", "varied": False, "encoder_layers": 1, "decoder_layers": 1, "bidirectional": True, "residual": False,
    "context": "projected_last", "pool": "mean", "to": "initial_state", "attention": "none", "query": "current",
    "input_feeding": False, "layer": "last", "tie": False,
}  # fmt: skip


def choose(**other: object) -> Choice:
    return tuple((BASE | other)[axis] for axis in NAMES)


@pytest.mark.parametrize(
    "choice",
    [
        choose(),
        choose(cell="gru", attention="additive", query="previous", to="every_step"),
        choose(attention="general", input_feeding=True, decoder_layers=2, layer="first"),
    ],
)
def test_all_outputs_and_the_remaining_mass_sum_to_one(choice: Choice) -> None:
    """Every output of at most 3 symbols, UNK being one, plus the mass of going on after 3."""
    model = make(choice, target_symbols=SPECIALS + 2)
    ids, lengths = pad_sources([[4, 6, EOS]])
    symbols = [UNK, SPECIALS, SPECIALS + 1]
    ended = going_on = 0.0
    with torch.inference_mode():
        for length in range(4):
            rows = [list(row) for row in itertools.product(symbols, repeat=length)]
            many, sizes = ids.expand(len(rows), -1), lengths.expand(len(rows))
            whole, _ = pad_sources([[*row, EOS] for row in rows])
            log_probs = forced(model.step, model.start([(many, sizes)]), whole).double()
            ended += float(log_probs.sum(1).exp().sum())
            if length == 3:
                prefix = log_probs[:, :3].sum(1).exp()
                going_on = float((prefix * (1 - log_probs[:, 3].exp())).sum())
    assert 0.01 < ended < 0.999, "a trivial distribution would prove nothing"
    assert ended + going_on == pytest.approx(1.0, abs=1e-6)


def test_wide_beam_finds_the_best_of_all_outputs() -> None:
    """With a beam as wide as there are prefixes, the search is exhaustive, in the order of rank scores."""
    model = make(choose(attention="general"), target_symbols=SPECIALS + 2)
    ids, lengths = pad_sources([[4, 6, EOS], [5, EOS]])
    symbols, longest, penalty = [SPECIALS, SPECIALS + 1], 3, 0.8
    outputs = [row for length in range(longest + 1) for row in itertools.product(symbols, repeat=length)]
    whole, sizes = pad_sources([[*row, EOS] for row in outputs])
    with torch.inference_mode():
        state = model.start([(ids, lengths)])
        results = beam(model.step, state, 2, CPU, Limits(longest), width=len(outputs), length_penalty=penalty)
        for source, hypotheses in enumerate(results):
            many = ids[source : source + 1].expand(len(outputs), -1)
            scores = forced(model.step, model.start([(many, lengths[source].expand(len(outputs)))]), whole).sum(1)
            ranks = scores / sizes**penalty
            best = [outputs[i] for i in ranks.argsort(descending=True).tolist()]
            assert [hypothesis.tokens for hypothesis in hypotheses] == best
            torch.testing.assert_close(
                torch.tensor([h.rank_score for h in hypotheses]),
                ranks.sort(descending=True).values,
                atol=1e-5,
                rtol=0.0,
            )
