"""A language model's cache of what it has read: against its equations written down, and through every way of use."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import SideSizes
from torch import Tensor

from antiphon.api import train
from antiphon.common.symbols import BOS, EOS, FIRST_OUTPUT, PAD, SPECIALS
from antiphon.config.load import parse_config
from antiphon.config.schema import Model
from antiphon.errors import ConfigError
from antiphon.model.build import synchronous
from antiphon.model.models import LanguageModel
from antiphon.model.parts.heads.recall import CacheHead
from antiphon.model.state import State
from antiphon.training.prepare import check_names
from antiphon.use.loading import load

SYMBOLS = SPECIALS + 4
text = st.lists(st.integers(SPECIALS, SYMBOLS - 1), min_size=1, max_size=9)


def language_model(**cache: Any) -> LanguageModel:
    torch.manual_seed(2)
    keys = {"embedding": 5, "encoder": {"hidden": 6, "layers": 2}, "dropout": 0.0, "cache": cache or None}
    model = synchronous(Model.model_validate(keys), [SideSizes("symbols", SYMBOLS)], SideSizes("next", SYMBOLS))
    assert isinstance(model, LanguageModel)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.6)
    return model.eval()


def log_probs(model: LanguageModel, ids: list[int]) -> Tensor:
    """log p of every next symbol [T, symbols], step by step."""
    state, steps = State(model.begin(1)), []
    with torch.no_grad():
        for symbol in [BOS, *ids[:-1]]:
            answer = model.step(torch.tensor([symbol]), state)
            state = answer.state
            steps.append(answer.log_probs[0])
    return torch.stack(steps)


def by_definition(model: LanguageModel, ids: list[int], size: int, scale: float, share: float) -> Tensor:
    """The same from the equations of Grave et al., with loops."""
    plain = language_model()
    with torch.no_grad():
        states, _ = plain.run(torch.tensor([[BOS, *ids[:-1]]]), plain.begin(1))
        states, vocabulary = states[0], plain.head.log_probs(states[0]).exp()
    rows = []
    for step in range(len(ids)):
        pairs = range(max(0, step - size), step)  # after states[i], ids[i] was read
        weights = [math.exp(scale * float(states[step] @ states[i])) for i in pairs]
        p = vocabulary[step] * (1 - share if weights else 1)
        for i, weight in zip(pairs, weights, strict=True):
            p[ids[i]] += share * weight / sum(weights)
        rows.append(p.log())
    return torch.stack(rows)


@settings(max_examples=30, deadline=None)
@given(text, st.integers(1, 5), st.floats(0, 2), st.floats(0, 0.9))
def test_equations(ids: list[int], size: int, scale: float, share: float) -> None:
    model = language_model(size=size, scale=scale, share=share)
    stepped = log_probs(model, ids)
    torch.testing.assert_close(stepped, by_definition(model, ids, size, scale, share), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stepped.exp().sum(-1), torch.ones(len(ids)))
    with torch.no_grad():  # all at once, and judged
        target = torch.tensor([ids])
        features = model([(target, torch.tensor([len(ids)]))], target)
        losses, hits = model.head.judge(features, target, torch.arange(len(ids)))
    torch.testing.assert_close(-losses, stepped.gather(1, target[0][:, None])[:, 0], atol=1e-5, rtol=1e-5)
    assert hits.tolist() == (stepped.argmax(-1) == target[0]).tolist()


@given(st.lists(text, min_size=2, max_size=4), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_rows_beside_each_other(rows: list[list[int]], padding: int) -> None:
    """A batch with padding changes nothing, for what is scored and for the state behind prompts."""
    model = language_model(size=3, scale=0.5, share=0.5)
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max()) + padding
    batch = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    with torch.no_grad():
        state, first = model.start([(batch, lengths)]), model.first_read([(batch, lengths)])
        assert first is not None
        behind = model.step(first, state).log_probs
        for row, ids in enumerate(rows):
            alone = log_probs(model, [*ids, EOS])
            torch.testing.assert_close(behind[row], alone[-1], atol=1e-5, rtol=1e-5)


def test_pieces_of_a_long_text() -> None:
    model = language_model(size=4, scale=0.5, share=0.5)
    ids = torch.randint(SPECIALS, SYMBOLS, (1, 23), generator=torch.Generator().manual_seed(0))
    (whole, hits), (pieces, others) = judged(model, ids, 23), judged(model, ids, 5)
    torch.testing.assert_close(whole, pieces, atol=1e-5, rtol=1e-5)
    assert torch.equal(hits, others)


def judged(model: LanguageModel, ids: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The losses of a text that is read in pieces of so many steps."""
    layers, losses, hits = model.begin(1), [], []
    with torch.no_grad():
        for read, part in zip(torch.split(model.read(ids), steps, 1), torch.split(ids, steps, 1), strict=True):
            features, layers = model.run(read, layers)
            loss, hit = model.head.judge(features, part, torch.arange(part.numel()))
            losses.append(loss)
            hits.append(hit)
    return torch.cat(losses), torch.cat(hits)


def test_training_knows_nothing_of_it() -> None:
    model, plain = language_model(size=3, share=0.5).train(), language_model().train()
    assert isinstance(model.head, CacheHead)
    target = torch.tensor([[SPECIALS, SPECIALS + 1, EOS]])
    sources = [(target, torch.tensor([3]))]
    sums = [
        each.head.objective(each(sources, target), target, torch.arange(3), 0.1)[0].item() for each in (model, plain)
    ]
    assert sums[0] == sums[1]


def test_names_that_return(tmp_path: Path) -> None:
    """Texts that repeat symbols of their own: the cache makes them more probable, and everything in use agrees."""
    noise = torch.Generator().manual_seed(0)
    lines = []
    for _ in range(120):
        pair = torch.randint(0, 20, (2,), generator=noise).tolist()
        lines.append(" ".join(f"w{pair[int(place)]}" for place in torch.randint(0, 2, (12,), generator=noise)))
    table = tmp_path / "texts.tsv"
    table.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    settings = {
        "source": {"column": 0, "tokens": "words"}, "target": "next", "train.max_steps": 25, "model.embedding": 16,
        "model.encoder.hidden": 16, "train.validate_every": 25, "data.valid": 0.2,
    }  # fmt: skip
    plain = train(table, tmp_path / "plain", settings, quiet=True)
    recalling = train(
        table, tmp_path / "recalling", {**settings, "model.cache": {"size": 12, "share": 0.5, "scale": 0.0}}, quiet=True
    )
    assert recalling.evaluate(table)["loss"] < plain.evaluate(table)["loss"] - 0.3
    resumed = train(
        table, tmp_path / "plain", {**settings, "model.cache": {"size": 12, "share": 0.5, "scale": 0.0}}, resume=True,
        quiet=True,
    )  # fmt: skip
    assert resumed.evaluate(table)["loss"] == recalling.evaluate(table)["loss"]
    again = load(tmp_path / "recalling", "cpu")
    for prompt in ("w1", "w3 w4"):
        (answer,) = again.predict([prompt], token_scores=True)
        assert answer.n_best[0].token_scores is not None
        assert sum(answer.n_best[0].token_scores) == pytest.approx(answer.score, abs=1e-4)
        assert answer.text.split()[len(prompt.split()) :]
    trace = again.explain("w1 w2 w1 w2")
    assert trace.attribution


def test_refused_without_a_language_model() -> None:
    tree = {"data": {"train": "pairs.tsv"}, "target": {"column": 1}, "model": {"cache": {"size": 3}}}
    with pytest.raises(ConfigError, match=r"model\.cache"):
        check_names(parse_config(tree, Path.cwd()))


def test_empty_begin() -> None:
    """The begin symbol is never recalled."""
    model = language_model(size=2, share=0.5)
    state = model.step(torch.tensor([BOS]), State(model.begin(1))).state
    assert state.layers[-1][2].tolist() == [[PAD, PAD]]
    assert BOS < FIRST_OUTPUT
