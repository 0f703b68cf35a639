"""A loaded model in use: order, windows, empty inputs, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.data.rows import Row
from antiphon.errors import ConfigError, DataError
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

Write = Callable[[str, str | bytes], Path]
inputs = st.lists(st.text("abcdez", max_size=6), max_size=7)


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Predictor:
    return load(model_folder, "cpu")


@given(inputs, st.integers(1, 4), st.integers(1, 3))
def test_windows_and_company_change_nothing(model: Predictor, texts: list[str], window: int, beam: int) -> None:
    answers: list[Any] = list(model.stream(texts, beam, window=window))
    alone = [model.predict([text], beam)[0] for text in texts]
    assert [item.text for item in answers] == [item.text for item in alone]
    assert [item.score for item in answers] == pytest.approx([item.score for item in alone], abs=1e-4)


@given(inputs)
def test_an_empty_input_gives_an_empty_output_in_its_place(model: Predictor, texts: list[str]) -> None:
    answers = model.predict(texts)
    assert len(answers) == len(texts)
    for text, item in zip(texts, answers, strict=True):
        assert item.source_tokens == list(text)
        if not text:
            assert (item.text, item.tokens, item.score, item.n_best) == ("", [], None, [])


@given(st.text("abcde", min_size=1, max_size=6))
def test_the_score_of_an_output_is_what_score_gives(model: Predictor, text: str) -> None:
    for candidate in model.predict([text], n_best=3)[0].n_best:
        if candidate.text:
            assert model.score([Row((text,), candidate.text, "t", 1)]) == pytest.approx([candidate.score], abs=1e-4)


@given(st.text("abcde", min_size=1, max_size=6))
def test_the_best_does_not_depend_on_how_many_are_asked_for(model: Predictor, text: str) -> None:
    item, three = model.predict([text])[0], model.predict([text], n_best=3)[0]
    assert three.n_best[0] == item.n_best[0]
    assert (item.text, item.tokens, item.score) == vars_of(item.n_best[0])[:3]
    assert len({tuple(candidate.tokens) for candidate in three.n_best}) == len(three.n_best) <= 3


def vars_of(candidate: object) -> tuple[object, ...]:
    return tuple(vars(candidate).values())


def test_attention_has_a_row_a_step_and_a_column_a_symbol(model: Predictor) -> None:
    for item in model.predict(["abc", "", "de"], attention=True):
        if item.source_tokens:
            assert item.attention is not None
            assert item.attention.shape == (len(item.tokens) + 1, len(item.source_tokens) + 1)
            assert item.attention.sum(1) == pytest.approx(1.0, abs=1e-5)


def test_streaming_takes_no_more_inputs_than_a_window(model: Predictor) -> None:
    taken: list[int] = []

    def numbers() -> object:
        for i in range(100):
            taken.append(i)
            yield "ab"

    stream = model.stream(numbers(), window=3)  # type: ignore[arg-type]
    next(stream)
    assert len(taken) == 3


@pytest.mark.parametrize("beam", [0, -1])
def test_a_beam_of_nothing_is_refused(model: Predictor, beam: int) -> None:
    with pytest.raises(ConfigError, match=rf"^beam: must be at least 1 \(is {beam}\)$"):
        model.predict(["a"], beam)


@pytest.mark.parametrize("n_best", [0, 4])
def test_more_outputs_than_the_beam_is_wide_are_refused(model: Predictor, n_best: int) -> None:
    with pytest.raises(ConfigError, match=rf"^n_best: must lie between 1 and the beam's width, 3 \(is {n_best}\)$"):
        model.predict(["a"], n_best=n_best)


@pytest.mark.parametrize("window", [1, 2, 100])
def test_a_too_long_input_is_named_by_its_place_among_all(model: Predictor, window: int) -> None:
    texts = ["a", "b", "c", "d" * 501, "e"]
    with pytest.raises(DataError, match=r"^input 4: has 501 tokens; data\.max_length of this model is 500$"):
        list(model.stream(texts, window=window))


def test_without_data_the_configured_test_set_is_taken(model: Predictor, pairs: Path) -> None:
    assert model.evaluate() == model.evaluate(pairs) == model.evaluate(str(pairs))
    assert model.score() == model.score(pairs)
    assert len(model.score()) == 60


def test_without_a_test_set_data_must_be_named(model_folder: Path) -> None:
    bare = load(model_folder, "cpu")
    bare.config = bare.config.model_copy(update={"data": bare.config.data.model_copy(update={"test": None})})
    with pytest.raises(DataError, match=r"its configuration has no data\.test; name the data$"):
        bare.evaluate()


def test_scores_are_in_the_rows_order(model: Predictor, write: Write) -> None:
    lines = ["a\tA\n", "abcde\tE D C B A\n", "ab\tB A\n"]
    whole = model.score(write("t.tsv", "".join(lines)))
    alone = [model.score(write(f"{i}.tsv", line))[0] for i, line in enumerate(lines)]
    assert whole == pytest.approx(alone, abs=1e-4)
    assert all(value < 0 for value in whole)
