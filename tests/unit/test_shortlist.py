"""A vocabulary shortlist: what is learned from the rows, and what is predicted among few symbols."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks import tiny_config, words
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.common.calibration import outcomes
from antiphon.common.symbols import BOS, EOS, PAD, SPECIALS, UNK
from antiphon.data import shortlist
from antiphon.data.batches import Sequences, pad
from antiphon.data.shortlist import Shortlist, learn
from antiphon.decoding.hypothesis import Hypothesis
from antiphon.decoding.plan import Search, plan
from antiphon.decoding.run import decode_sources
from antiphon.decoding.shortlist import Narrowed
from antiphon.errors import AntiphonError, ConfigError, ModelFolderError
from antiphon.evaluation.calibrate import judged
from antiphon.export.folder import export
from antiphon.model.models import Writer
from antiphon.tools.checkup import check_config as check
from antiphon.training.loop import train
from antiphon.use.loading import load
from antiphon.use.measuring import task_of
from antiphon.use.predictor import Predictor

FEW = {"decode__shortlist": {"likely": 2, "common": 2}}
TEXTS = ["sho", "ten", "each", "moo", "so", "eat"]
ALL = {"decode.shortlist": {"likely": 100, "common": 100}}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned little and has a shortlist; its files lie beside it."""
    place = tmp_path_factory.mktemp("listed")
    return train(tiny_config(place, train__max_steps=60, **FEW), place / "m", device="cpu")


@pytest.fixture(scope="module")
def model(folder: Path) -> Predictor:
    return load(folder, "cpu")


def ids(model: Predictor, texts: list[str]) -> Sequences:
    return Sequences([model.codecs.sources[0].encode(text) for text in texts])


def search_of(model: Predictor, **keys: Any) -> Search:
    assert isinstance(model.model, Writer)
    return plan(model.config.decode.model_copy(update=keys), model.model, model.codecs)


def hypotheses_of(model: Predictor, search: Search, texts: list[str]) -> list[list[Hypothesis]]:
    assert isinstance(model.model, Writer)
    return decode_sources(model.model, [ids(model, texts)], search, CPU)


def same(item: list[list[Hypothesis]], other: list[list[Hypothesis]]) -> None:
    assert [[o.tokens for o in row] for row in item] == [[o.tokens for o in row] for row in other]
    scores = [[value for row in rows for o in row for value in (o.score, o.rank_score)] for rows in (item, other)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


# --- what is learned ---------------------------------------------------------------------------------------


def cipher(rows: int, symbols: int, seed: int) -> tuple[Sequences, Sequences]:
    """Rows whose targets are their sources' symbols, each another, in another order."""
    draw = np.random.default_rng(seed)
    sources = [draw.integers(SPECIALS, SPECIALS + symbols, draw.integers(3, 8)) for _ in range(rows)]
    targets = [draw.permutation(SPECIALS + (row - SPECIALS + 1) % symbols) for row in sources]
    ended = [Sequences([[*row.tolist(), EOS] for row in side]) for side in (sources, targets)]
    return ended[0], ended[1]


def test_translations_are_learned_from_rows() -> None:
    listed = learn(*cipher(400, 20, 1), SPECIALS + 20, SPECIALS + 20, likely=3, common=2)
    first = listed.likely[SPECIALS:, 0] - SPECIALS
    assert first.tolist() == [(number + 1) % 20 for number in range(20)]
    assert (listed.likely[:SPECIALS] == PAD).all()


def plain_model_1(rows: list[tuple[list[int], list[int]]]) -> dict[int, dict[int, float]]:
    """t(y | x) of the pairs expected at least once, as the equations have it: five rounds from equal probabilities."""
    t: dict[int, dict[int, float]] = defaultdict(dict)
    for source, target in rows:
        for x, y in itertools.product(source, target):
            t[x][y] = 1.0
    for _ in range(5):
        counts: dict[int, dict[int, float]] = {x: dict.fromkeys(ys, 0.0) for x, ys in t.items()}
        for source, target in rows:
            for y in target:
                whole = sum(t[x][y] for x in source)
                for x in source:
                    counts[x][y] += t[x][y] / whole
        t = {x: {y: count / sum(ys.values()) for y, count in ys.items()} for x, ys in counts.items()}
    return {x: {y: p for y, p in ys.items() if counts[x][y] > 0.9} for x, ys in t.items()}


some = st.lists(st.integers(SPECIALS, SPECIALS + 5), min_size=1, max_size=4)


@given(st.lists(st.tuples(some, some), min_size=1, max_size=8))
def test_lists_are_of_the_largest_probabilities_of_model_1(rows: list[tuple[list[int], list[int]]]) -> None:
    sources, targets = (Sequences([[*side, EOS] for side in sides]) for sides in zip(*rows, strict=True))
    listed = learn(sources, targets, SPECIALS + 6, SPECIALS + 6, likely=3, common=1)
    for x, expected in plain_model_1(rows).items():
        probabilities = [expected[int(y)] for y in listed.likely[x] if y != PAD]
        assert probabilities == pytest.approx(sorted(expected.values(), reverse=True)[:3])


def test_common_symbols_are_the_most_frequent_and_no_special_ones() -> None:
    targets = Sequences([[9, 9, 9, 7, EOS], [7, 8, EOS], [UNK, UNK, UNK, UNK, EOS]])
    listed = learn(Sequences([[5, EOS]] * 3), targets, 10, 12, likely=2, common=2)
    assert listed.common.tolist() == [9, 7]
    assert UNK not in listed.likely


def test_of_a_large_table_a_sample_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = cipher(2_000, 10, 2)
    monkeypatch.setattr(shortlist, "LINKS", 10_000)
    listed = learn(*rows, SPECIALS + 10, SPECIALS + 10, likely=1, common=1)
    assert (listed.likely[SPECIALS:, 0] - SPECIALS).tolist() == [(number + 1) % 10 for number in range(10)]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 3))
@settings(max_examples=50)
def test_a_source_has_its_own_list_whoever_is_beside_it(rows: list[list[int]], padding: int) -> None:
    table = np.random.default_rng(0).integers(0, 14, (10, 3)).astype(np.int32)
    table[PAD] = PAD
    listed = Shortlist(table, np.array([5, 6], np.int32), 14)
    width = max(map(len, rows)) + padding
    together = listed.allowed(torch.tensor([row + [PAD] * (width - len(row)) for row in rows]))
    for row, own in zip(rows, together, strict=True):
        expected = {EOS, UNK, 5, 6, *table[row].flatten().tolist()} - {PAD, BOS}
        assert set(own.nonzero().flatten().tolist()) == expected


# --- what is predicted -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        {"beam": 1},
        {"beam": 4},
        {"beam": 3, "min_length": 3, "coverage_penalty": 0.3},
        {"beam": 4, "no_repeat_ngram": 1, "eos_penalty": 0.5},
        {"beam": 1, "allowed": ["SH", "OW", "T", "N", "K"]},
    ],
)
def test_with_all_symbols_listed_nothing_changes(model: Predictor, keys: dict[str, Any]) -> None:
    plain = search_of(model, shortlist=None, **keys)
    size = model.codecs.target.size
    everything = np.tile(np.arange(size, dtype=np.int32), (model.codecs.sources[0].size, 1))
    whole = replace(plain, shortlist=Shortlist(everything, np.arange(1, dtype=np.int32), size))
    same(hypotheses_of(model, plain, TEXTS), hypotheses_of(model, whole, TEXTS))


@pytest.mark.parametrize("width", [1, 3])
def test_company_and_padding_change_nothing(model: Predictor, width: int) -> None:
    search = search_of(model, beam=width)
    together = hypotheses_of(model, search, [*TEXTS, *words(20, 3, "shcteoamn")])
    for text, own in zip(TEXTS, together, strict=False):
        same(hypotheses_of(model, search, [text]), [own])


@pytest.mark.parametrize("width", [1, 3])
def test_only_symbols_of_the_own_list_are_said_and_scored_among_them(model: Predictor, width: int) -> None:
    """Scores of the search: all symbols' logits, but -inf where they are not listed, normalised, added up."""
    search = search_of(model, beam=width)
    assert search.shortlist is not None
    writer = model.model
    assert isinstance(writer, Writer)
    narrowed = 0
    for text, hypotheses in zip(TEXTS, hypotheses_of(model, search, TEXTS), strict=True):
        given = pad(ids(model, [text]), np.zeros(1, np.int64))
        (own,) = search.shortlist.allowed(given.values)
        narrowed += int((~own).sum())
        for item in hypotheses:
            output = torch.tensor([[*item.tokens, EOS]])
            assert own[output].all()
            with torch.inference_mode():
                log_probs = writer.head.log_probs(writer([given], output))[0].masked_fill(~own, -torch.inf)
            listed = torch.log_softmax(log_probs, -1)
            assert item.score == pytest.approx(float(listed.gather(1, output.T).sum()), abs=1e-4)
    assert narrowed > 3 * len(TEXTS)  # the lists leave something out


def test_scores_that_are_told_are_the_models_own(model: Predictor) -> None:
    answers = model.predict(TEXTS, beam=3, n_best=3, token_scores=True)
    for text, answer in zip(TEXTS, answers, strict=True):
        for item in filter(lambda item: item.text, answer.n_best):
            (score,) = model.scores([(text, item.text)])
            assert item.score == pytest.approx(score, abs=1e-4)
            assert sum(item.token_scores) == pytest.approx(score, abs=1e-4)
    plain = model.predict(TEXTS, beam=3)
    assert [item.text for item in plain] == [item.text for item in answers]
    assert [item.score for item in plain] == pytest.approx([item.score for item in answers])


def test_confidence_is_fitted_to_the_models_own_scores(model: Predictor) -> None:
    rows = model.rows(None)
    measured = judged(task_of(model._loaded, rows))
    scores = [item.score for item in model.predict([row.sources[0] for row in rows])]
    np.testing.assert_allclose(measured.log_probs, outcomes(scores), atol=1e-4)


def test_a_prefix_need_not_be_listed(model: Predictor) -> None:
    search = search_of(model)
    assert search.shortlist is not None
    (own,) = search.shortlist.allowed(pad(ids(model, ["so"]), np.zeros(1, np.int64)).values)
    foreign = next(int(symbol) for symbol in (~own).nonzero().flatten() if symbol >= SPECIALS)
    name = model.codecs.target.vocabulary.symbol(foreign)  # type: ignore[attr-defined]
    answers = model.predict(["so", "ten"], prefix=[name, ""])
    assert answers[0].tokens[0] == name
    assert answers[1].text == model.predict(["ten"])[0].text


def test_symbol_by_symbol_as_all_at_once(model: Predictor) -> None:
    for text in TEXTS:
        last: Any = list(model.write(text))[-1]
        whole = model.predict([text], beam=1)[0]
        assert last.text == whole.text
        assert last.score == pytest.approx(whole.score, abs=1e-4)


def allowed_after(model: Predictor, text: str) -> set[str | None]:
    """The symbols that a text may be answered with."""
    search = search_of(model)
    assert search.shortlist is not None
    (own,) = search.shortlist.allowed(pad(ids(model, [text]), np.zeros(1, np.int64)).values)
    symbol = model.codecs.target.vocabulary.symbol  # type: ignore[attr-defined]
    return {symbol(int(number)) for number in own.nonzero().flatten() if number >= SPECIALS}


def test_a_watched_beam_knows_symbols_by_their_own_numbers(model: Predictor) -> None:
    trace = model.explain("sho", beam=3)
    assert trace.output.text == model.predict(["sho"], beam=3)[0].text
    assert trace.beam is not None
    node, tokens = next(node for node in trace.beam.nodes if node.rank == 0), []
    while node.parent is not None:
        tokens.append(node.token)
        node = trace.beam.nodes[node.parent]
    assert tokens[::-1] == [*trace.output.tokens[: len(tokens) - 1], None]
    listed = {item.token for item in trace.beam.nodes}
    assert listed <= allowed_after(model, "sho") | {None}


def test_special_symbols_keep_their_numbers(model: Predictor) -> None:
    assert isinstance(model.model, Writer)
    own = torch.zeros(2, 9, dtype=torch.bool)
    own[:, 7] = own[:, EOS] = True
    assert Narrowed(model.model, own).symbols.tolist() == [PAD, BOS, EOS, UNK, 7]


# --- from the configuration to the file ---------------------------------------------------------------------


def test_a_model_keeps_its_list(model: Predictor, folder: Path, tmp_path: Path) -> None:
    model.save(tmp_path / "copy")
    again = load(tmp_path / "copy", "cpu")
    own, others = model.codecs.shortlist, again.codecs.shortlist
    assert own is not None
    assert others is not None
    assert (own.likely == others.likely).all()
    assert (own.common == others.common).all()
    assert [item.score for item in again.predict(TEXTS)] == [item.score for item in model.predict(TEXTS)]


def test_a_trained_model_gets_a_list_by_going_on(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    out = train(config, tmp_path / "m", device="cpu")
    weights = (out / "weights.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="this model has no shortlist; give this key to antiphon train"):
        load(out, "cpu").predict(["so"], settings={"decode.shortlist.likely": 2})
    train(tiny_config(tmp_path, **FEW), out, resume=True, device="cpu")
    assert (out / "weights.safetensors").read_bytes() == weights
    assert (out / shortlist.FILE).exists()
    assert load(out, "cpu").predict(["so"])[0].text


def test_fewer_can_be_asked_for_and_not_more(model: Predictor) -> None:
    model.predict(["so"], settings={"decode.shortlist": {"likely": 1, "common": 1}})
    with pytest.raises(ConfigError, match=r"decode\.shortlist\.likely: the model's shortlist has 2 \(is 3\); for more"):
        model.predict(["so"], settings={"decode.shortlist.likely": 3})
    with pytest.raises(ConfigError, match=r"decode\.shortlist\.common: the model's shortlist has 2"):
        model.predict(["so"], settings=ALL | {"decode.shortlist.likely": 2})
    off = model.predict(TEXTS, beam=3, n_best=3, settings={"decode.shortlist": None})
    whole = hypotheses_of(model, search_of(model, shortlist=None, beam=3), TEXTS)
    for answer, hypotheses in zip(off, whole, strict=True):
        assert [item.score for item in answer.n_best] == pytest.approx([item.score for item in hypotheses])


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"decode__sample": {}}, "decode.sample: needs all symbols"),
        ({"decode__mbr": {"samples": 4}}, "decode.mbr: needs all symbols"),
        ({"decode__require": ["SH"]}, "decode.require: needs all symbols"),
        ({"model__copy": True, "source__tokens": "chars", "target__tokens": "chars"}, "decode.shortlist: is for one"),
        ({"source": {"tokens": "words", "characters": True}}, "decode.shortlist: is for one"),
        ({"source": [{"column": 0}, {"column": 0}], "target__column": 1}, "decode.shortlist: is for one"),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(
    tmp_path: Path, keys: dict[str, Any], reason: str
) -> None:
    config = tiny_config(tmp_path, **FEW, **keys)
    with pytest.raises(AntiphonError, match=reason):
        train(config, tmp_path / "m", device="cpu")
    with pytest.raises(AntiphonError, match=reason):
        check(config)


def test_a_wish_for_a_list_is_checked_without_one(tmp_path: Path) -> None:
    check(tiny_config(tmp_path, **FEW))


def test_a_damaged_list_is_told(folder: Path, model: Predictor, tmp_path: Path) -> None:
    broken = shutil.copytree(folder, tmp_path / "m")
    file = broken / shortlist.FILE
    content = file.read_bytes()
    file.write_bytes(content[:-3])
    with pytest.raises(ModelFolderError, match=r"shortlist\.safetensors: is damaged"):
        load(broken, "cpu")
    own = model.codecs.shortlist
    assert own is not None
    padded = own.likely.copy()
    padded[PAD] = SPECIALS  # or padding would change what is predicted
    shortlist.write(broken, replace(own, likely=padded))
    with pytest.raises(ModelFolderError, match="is not of this model's vocabularies"):
        load(broken, "cpu")
    shortlist.write(broken, Shortlist(np.full((3, 2), 5, np.int32), np.array([5], np.int32), 20))
    with pytest.raises(ModelFolderError, match="is not of this model's vocabularies"):
        load(broken, "cpu")


def test_an_ensemble_and_an_export_say_what_they_cannot(folder: Path, model: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"decode\.shortlist: is for one model"):
        load([folder, folder], "cpu").predict(["so"])
    with pytest.raises(AntiphonError, match=r"decode\.shortlist: is .* which the runtime does not support"):
        export(folder, tmp_path / "out")


def test_the_command_line(folder: Path, tmp_path: Path, model: Predictor) -> None:
    file = tmp_path / "in.txt"
    file.write_text("".join(f"{text}\n" for text in TEXTS))
    run = CliRunner().invoke(app, ["predict", str(folder), str(file), "--device", "cpu"])
    assert run.exit_code == 0, run.output
    answers = model.predict(TEXTS)
    assert run.stdout.splitlines() == [item.text for item in answers]
    done = CliRunner().invoke(app, ["predict", str(folder), str(file), "--device", "cpu", "--json"])
    scores = [json.loads(line)["score"] for line in done.stdout.splitlines()]
    assert scores == pytest.approx([item.score for item in answers], abs=1e-5)
    plain = {"decode.shortlist": None}  # the likelihood of the references is of all symbols
    assert model.evaluate()["loss"] == pytest.approx(model.evaluate(settings=plain)["loss"])
