"""The settings of `decode` with trained models, from the key to the output, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.config.load import read_config_file
from antiphon.data.rows import Row
from antiphon.decoding.alignment import alignment
from antiphon.decoding.hypothesis import Hypothesis
from antiphon.decoding.mbr import least_risk
from antiphon.errors import AntiphonError, DataError
from antiphon.metrics import sentence_chrf
from antiphon.tools.checkup import check_config as check
from antiphon.training.loop import train
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

Write = Callable[[str, str | bytes], Path]
TEXTS = ["abc", "ed", "", "bbbb", "a"]


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Predictor:
    return load(model_folder, "cpu")


@pytest.fixture(scope="module")
def language(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A language model of the words of the table."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "words.txt").write_text("".join(line.split("\t")[0] + "\n" for line in pairs.read_text().splitlines()))
    (folder / "c.yaml").write_text(
        "data: {train: words.txt, valid: 0.2}\ntarget: next\nmodel: {embedding: 6, encoder: {hidden: 8}}\n"
        "train: {max_steps: 4, validate_every: 2, batch_size: 16}\ndecode: {beam: 3, max_length: 6}\n"
    )
    return load(train(read_config_file(folder / "c.yaml"), folder / "m", device="cpu"), "cpu")


def without_attention(configure: Callable[..., Any], pairs: Path, folder: Path) -> Predictor:
    keys = {"model__attention": "none", "train__max_steps": 2, "model__encoder__hidden": 4, "model__decoder__hidden": 4}
    return load(train(configure(data__train=str(pairs), **keys), folder / "m", device="cpu"), "cpu")


letters = st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=3)


def options() -> st.SearchStrategy[dict[str, Any]]:
    """Keys of `decode` that work together."""
    common: dict[str, st.SearchStrategy[Any]] = {
        "decode.no_repeat_ngram": st.integers(1, 3),
        "decode.eos_penalty": st.sampled_from([-1.0, 0.5, 3.0]),
        "decode.allowed": st.sampled_from([["A", "B", "C", "D"], ["E", "A", "C"]]),
        "decode.min_length": st.integers(0, 2),
    }
    kinds: list[dict[str, st.SearchStrategy[Any]]] = [
        {"decode.beam": st.integers(1, 4), "decode.coverage_penalty": st.sampled_from([0.0, 0.5])},
        {"decode.beam": st.just(4), "decode.diversity": st.just({"groups": 2, "strength": 0.8})},
        {"decode.beam": st.integers(1, 3), "decode.require": st.sampled_from([["A C"], ["C", "A"]])},
        {"decode.sample": st.just({"temperature": 0.7, "seed": 3})},
        {"decode.mbr": st.sampled_from([{"samples": 5}, {"samples": 5, "metric": "token_error_rate"}])},
    ]
    return st.sampled_from(kinds).flatmap(lambda kind: st.fixed_dictionaries(kind, optional=common))


@given(options(), st.lists(st.sampled_from(["", "A", "C A"]), min_size=5, max_size=5), st.booleans())
@hypothesis_settings(max_examples=40)
def test_company_changes_nothing_and_scores_are_the_models_own(
    model: Predictor, chosen: dict[str, Any], prefix: list[str], details: bool
) -> None:
    """Row by row; every rule is kept; `score` is what forced scoring gives, and token scores add up to it."""
    try:
        answers = model.predict(TEXTS, settings=chosen, prefix=prefix, token_scores=details, align=details)
    except DataError:  # rules that exclude each other, or lead a search into a dead end
        assert "decode.no_repeat_ngram" in chosen
        return
    for number, (text, item) in enumerate(zip(TEXTS, answers, strict=True)):
        if not text:
            assert item.text == ""
            continue
        assert item.text.split()[: len(prefix[number].split())] == prefix[number].split()
        assert set(item.tokens) <= set(chosen.get("decode.allowed", "ABCDE"))
        assert all(f" {phrase} " in f" {item.text} " for phrase in chosen.get("decode.require", []))
        size = chosen.get("decode.no_repeat_ngram", 99)
        grams = [tuple(item.tokens[i : i + size]) for i in range(len(item.tokens) - size + 1)]
        assert len(grams) == len(set(grams))
        assert len(item.tokens) >= chosen.get("decode.min_length", 0)
        if item.text:
            assert model.score([Row((text,), item.text, "t", 1)]) == pytest.approx([item.score], abs=1e-4)
        if details:
            best = item.n_best[0]
            assert len(best.token_scores) == len(item.tokens) + 1
            assert sum(best.token_scores) == pytest.approx(item.score, abs=1e-4)
            assert len(best.alignment) == len(item.tokens)
            assert all(0 <= place < len(text) for place in best.alignment)
        if "decode.sample" not in chosen and "decode.mbr" not in chosen:
            (alone,) = model.predict([text], settings=chosen, prefix=prefix[number])
            assert alone.tokens == item.tokens
            assert alone.score == pytest.approx(item.score, abs=1e-4)


@pytest.mark.parametrize("kind", [{"decode.sample": {}}, {"decode.mbr": {"samples": 4}}])
def test_what_is_drawn_does_not_depend_on_windows(model: Predictor, kind: dict[str, Any]) -> None:
    whole = [item.text for item in model.predict(TEXTS, settings=kind)]
    assert [item.text for item in model.stream(TEXTS, settings=kind, window=2)] == whole


def test_a_language_model_keeps_rules_too(language: Predictor) -> None:
    chosen = {"decode.allowed": ["a", "b", "c"], "decode.no_repeat_ngram": 1, "decode.min_length": 2}
    for item in language.predict(["d", "ed"], prefix=["a", ""], settings=chosen, token_scores=True, n_best=2):
        for candidate in item.n_best:
            continuation = candidate.text[len(item.source_tokens) :]
            assert candidate.text.startswith("".join(item.source_tokens))
            assert set(continuation) <= set("abc")
            assert 2 <= len(continuation) == len(set(continuation)) == len(candidate.token_scores) - 1
            assert sum(candidate.token_scores) == pytest.approx(candidate.score, abs=1e-4)
    assert language.predict(["d"], prefix="a", settings=chosen)[0].text.startswith("da")
    (phrase,) = language.predict(["d"], settings={"decode.require": ["cab"]})
    assert "cab" in phrase.text


def test_only_lines_of_the_lexicon_are_said(model: Predictor, write: Write) -> None:
    lines = ["A B C", "E", "E D", "D D D D"]
    path = write("names.txt", "".join(f"{line}\n" for line in lines))
    for beam in (1, 3):
        answers = model.predict(TEXTS, beam, settings={"decode.lexicon": str(path)}, n_best=beam)
        assert all(candidate.text in lines for item in answers for candidate in item.n_best)
    whole = model.predict(["abc"], 8, n_best=4, settings={"decode.lexicon": str(path), "decode.length_penalty": 0.0})
    scores = dict(zip(lines, model.score([Row(("abc",), line, "t", 1) for line in lines]), strict=True))
    assert [item.text for item in whole[0].n_best] == sorted(lines, key=lambda line: -scores[line])


def test_groups_say_different_things(model: Predictor) -> None:
    same = model.predict(["abcde"], 4, n_best=4)[0]
    chosen = {"decode.beam": 4, "decode.diversity": {"groups": 4, "strength": 50.0}}
    diverse = model.predict(["abcde"], n_best=4, settings=chosen)[0]
    firsts = [{tuple(item.tokens[:1]) for item in answer.n_best} for answer in (same, diverse)]
    assert len(firsts[0]) < len(firsts[1]) == 4


def test_evaluate_takes_the_same_settings(model: Predictor, pairs: Path) -> None:
    free, tied = model.evaluate(), model.evaluate(settings={"decode.allowed": ["A"]})
    assert free["loss"] == tied["loss"]
    assert tied["token_error_rate"] != free["token_error_rate"]
    assert model.evaluate(settings={"decode.beam": 1}) == model.evaluate(beam=1)
    with pytest.raises(AntiphonError, match=rf"^{pairs}:1: no output keeps all rules of decode; relax the rules"):
        model.evaluate(settings={"decode.allowed": ["A"], "decode.no_repeat_ngram": 1, "decode.min_length": 2})


def test_what_came_before_an_input_without_an_output_is_answered(model: Predictor) -> None:
    stream = model.stream(
        ["abc", "de"], 1, prefix=["", "A A"], settings={"decode.no_repeat_ngram": 1}, origin="in.txt:"
    )
    assert next(stream).text
    with pytest.raises(AntiphonError, match=r"^in\.txt:2: no output keeps all rules of decode; relax the rules"):
        next(stream)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"decode.no_repeat_ngram": 0}, "decode.no_repeat_ngram.size: must be at least 1 (is 0)"),
    ({"decode.no_repeat_ngram": "x"}, "decode.no_repeat_ngram.size: must be a whole number (is 'x')"),
    ({"decode.no_repeat": 2}, "decode.no_repeat: unknown key; did you mean 'no_repeat_ngram'? known: "),
    ({"model.cell": "gru"}, "model.cell: cannot be changed in a trained model; only keys of decode can be set"),
    ({"decode.allowed": ["A", "Z"]}, "decode.allowed: 'Z' is not in the vocabulary of the model, so it cannot be"),
    ({"decode.require": ["A Q"]}, "decode.require: 'Q' is not in the vocabulary of the model, so it cannot be written"),
    ({"decode.require": ["A", " "]}, "decode.require: must be 1 to 8 phrases of at least one symbol each (are 2)"),
    ({"decode.require": ["A B C D E", "E D C B"]}, "decode.require: has 9 tokens in all, but decode.max_length is 8"),
    ({"decode.require": ["A"], "decode.sample": {}}, "decode.require: needs beam search, which cannot be combined"),
    ({"decode.require": ["A"], "decode.diversity": {"groups": 3}}, "decode.diversity: cannot be combined"),
    ({"decode.diversity": {"groups": 2}}, "decode.diversity.groups: 2 groups cannot share a beam of 3; choose a mul"),
    ({"decode.diversity": {"groups": 1}}, "decode.diversity.groups: must be at least 2"),
    ({"decode.diversity": {}}, "decode.diversity.groups: is missing"),
    ({"decode.mbr": {"samples": 2}, "decode.diversity": {"groups": 3}}, "decode.diversity: needs beam search"),
    ({"decode.mbr": {"samples": 2, "metric": "bleu"}}, "decode.mbr.metric: must be 'chrf' or 'token_error_"),
    ({"decode.lexicon": "/nowhere/names"}, "/nowhere/names: cannot be read: No such file or directory"),
]  # fmt: skip


@pytest.mark.parametrize(("chosen", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_work_is_refused_by_name(model: Predictor, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(AntiphonError) as caught:
        model.predict(["a"], settings=chosen)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A B\nA Q\n", ":2: 'Q' is not in the vocabulary of the model, so it cannot be written"),
        ("\nA A A A A A A A A\n", ":2: has 9 tokens, but decode.max_length is 8"),
        (b"A\n\xff\n", ":2: not UTF-8"),
    ],
)
def test_a_bad_line_of_a_lexicon_is_named(model: Predictor, write: Write, content: str | bytes, message: str) -> None:
    path = write("names.txt", content)
    with pytest.raises(AntiphonError) as caught:
        model.predict(["a"], settings={"decode.lexicon": str(path)})
    assert str(caught.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("A Q", "prefix: 'Q' is not in the vocabulary"),
        ("A " * 9, "prefix: has 9 tokens, but decode.max_length is 8"),
        (["A"], "prefix: is missing for input 2; give one for each input, if only ''"),
    ],
)
def test_a_prefix_that_cannot_be_said_is_refused(model: Predictor, prefix: Any, message: str) -> None:
    with pytest.raises(AntiphonError) as caught:
        model.predict(["a", "b"], prefix=prefix)
    assert str(caught.value).startswith(message)


def test_what_needs_attention_is_refused_without(
    configure: Callable[..., Any], pairs: Path, tmp_path: Path, language: Predictor
) -> None:
    for model in (without_attention(configure, pairs, tmp_path), language):
        for key, value in (("decode.coverage_penalty", 0.2), ("decode.replace_unknown", True)):
            with pytest.raises(AntiphonError, match=rf"^{key}: needs the attention of each step, which this model"):
                model.predict(["a"], settings={key: value})
        with pytest.raises(AntiphonError, match=r"^align: needs the attention of each step"):
            model.predict(["a"], align=True)


def test_a_wrong_rule_is_refused_before_training(configure: Callable[..., Any], pairs: Path, tmp_path: Path) -> None:
    config = configure(data__train=str(pairs), decode__require=["A Q"], decode__beam=2)
    for run in (check, lambda config: train(config, tmp_path / "m", device="cpu")):
        with pytest.raises(AntiphonError, match=r"^decode\.require: 'Q' is not in the vocabulary"):
            run(config)
    assert check(configure(data__train=str(pairs), decode__require=["A B"], decode__beam=2)).lines


def test_rules_may_change_between_a_training_and_its_resumption(
    configure: Callable[..., Any], pairs: Path, tmp_path: Path
) -> None:
    """And they never choose weights: validation is without them."""
    small = {"data__train": str(pairs), "model__encoder__hidden": 4, "model__decoder__hidden": 4}
    ruled = {"decode__no_repeat_ngram": 1, "decode__min_length": 0, "decode__allowed": ["A"], "decode__beam": 2}
    first = load(train(configure(train__max_steps=2, **small, **ruled), tmp_path / "m", device="cpu"), "cpu")
    assert {item.text for item in first.predict(["abc", "de"])} <= {"", "A"}
    other = configure(train__max_steps=4, decode__mbr={"samples": 3}, decode__eos_penalty=1.0, **small)
    again = load(train(other, tmp_path / "m", resume=True, device="cpu"), "cpu")
    assert again.config.decode.rules == {"eos_penalty": 1.0}
    free = load(train(configure(train__max_steps=2, **small), tmp_path / "free", device="cpu"), "cpu")
    for name in ("loss", "token_error_rate", "exact_match"):
        assert first.metrics["valid"][name] == free.metrics["valid"][name]


def test_files_of_rules_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: {train: t.tsv}\ndecode: {lexicon: names.txt, allowed: letters.txt}\n")
    decode = read_config_file(tmp_path / "c.yaml").decode
    assert decode.rules == {"lexicon": str(tmp_path / "names.txt"), "allowed": str(tmp_path / "letters.txt")}


def test_an_unknown_symbol_is_replaced_by_the_one_looked_at(model: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that would predict nothing but unknown symbols copies what it attends to."""
    from antiphon.common.symbols import UNK

    bias = model.model.get_parameter("head.bias")
    before = bias.detach().clone()
    try:
        bias.data[UNK] = 1000.0
        chosen = {"decode.replace_unknown": True}
        for text, item in zip(TEXTS, model.predict(TEXTS, settings=chosen, align=True, attention=True), strict=True):
            if text:
                assert item.tokens == [text[place] for place in item.n_best[0].alignment]
                assert item.n_best[0].alignment == item.attention[:-1, :-1].argmax(1).tolist()
                assert len(item.tokens) == 8
        assert set("".join(item.text for item in model.predict(TEXTS))) <= set("ABCDE ")
        assert model.evaluate(settings=chosen)["token_error_rate"] > 0
    finally:
        bias.data.copy_(before)


def test_alignment_leaves_out_ends() -> None:
    weights = np.asarray([[0.1, 0.2, 0.7, 0.0, 0.0], [0.1, 0.1, 0.1, 0.2, 0.5], [1, 0, 0, 0, 0]], np.float32)
    assert alignment(weights, ["a", "b", "", "c"]) == [1, 3]


@given(st.lists(st.lists(st.integers(4, 6), max_size=3).map(tuple), min_size=1, max_size=8))
def test_least_risk_is_the_largest_mean_utility(drawn: list[tuple[int, ...]]) -> None:
    def worth(output: tuple[int, ...], other: tuple[int, ...]) -> float:
        return sentence_chrf(" ".join(map(str, output)), " ".join(map(str, other)))

    hypotheses = least_risk([Hypothesis(tokens, -1.0 - len(tokens), 0.0) for tokens in drawn], worth)
    assert sorted(item.tokens for item in hypotheses) == sorted(set(drawn))
    for item in hypotheses:
        assert item.rank_score == pytest.approx(sum(worth(item.tokens, other) for other in drawn) / len(drawn))
    assert [item.rank_score for item in hypotheses] == sorted((item.rank_score for item in hypotheses), reverse=True)


def test_the_command_line_has_them(model_folder: Path, write: Write) -> None:
    path = str(write("in.txt", "abc\nde\n"))

    def predicted(*arguments: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(app, ["predict", str(model_folder), path, "--json", *arguments])
        assert done.exit_code == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert all(item["tokens"][0] == "A" for item in predicted("--prefix", "A"))
    assert all(set(item["tokens"]) <= {"C"} for item in predicted("--set", "decode.allowed=[C]"))
    assert len(predicted("--mbr", "6", "--n-best", "3")[0]["n_best"]) <= 3
    assert all(len(item["alignment"]) == len(item["tokens"]) for item in predicted("--align", "--beam", "2"))
    for item in predicted("--n-best", "2"):
        for candidate in item["n_best"]:
            assert sum(candidate["token_scores"]) == pytest.approx(candidate["score"], abs=1e-4)
    wrong = CliRunner().invoke(app, ["predict", str(model_folder), path, "--align"])
    assert wrong.exit_code == 2


@pytest.mark.parametrize("beam", [1, 3])
def test_a_lower_precision_changes_scores_by_its_rounding_alone(
    model: Predictor, language: Predictor, beam: int
) -> None:
    for item in (model, language):
        lower = item.predict(TEXTS, beam=beam, settings={"decode.precision": "bfloat16"})
        scores = item.predict(TEXTS, beam=beam)
        for rounded, exact in zip(lower, scores, strict=True):
            assert rounded.score != exact.score or not rounded.tokens  # it is not ignored
            assert rounded.score == (exact.score and pytest.approx(exact.score, rel=0.03))
