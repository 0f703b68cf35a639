"""Starting from another model, from pretrained vectors, with parts that stay as they are."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tasks import spoken, tiny_config, words, write_table
from typer.testing import CliRunner

from antiphon import load
from antiphon.cli.main import app
from antiphon.common.symbols import SPECIALS
from antiphon.data.codecs.text import TextCodec
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint
from antiphon.training.loop import train

CPU = torch.device("cpu")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A trained model of words in a few letters."""
    return train(tiny_config(tmp_path), tmp_path / "base", threads=1)


def other_rows(folder: Path) -> None:
    """New data, with letters and sounds that the base has not seen."""
    pairs = [(f"{word}ñ", f"{spoken(word)} NY") for word in words(60, 7, "shcteoamn")]
    write_table(folder / "train.tsv", pairs)
    write_table(folder / "valid.tsv", pairs[:10])


def started(folder: Path, base: Path, name: str = "m", **settings: Any) -> Path:
    other_rows(folder)
    # with a tiny rate the first weights can be seen in the trained model
    options = {"train__learning_rate": 1e-12, "train__max_steps": 1, **settings}
    config = tiny_config(folder, **options)
    other_rows(folder)
    return train(config, folder / name, threads=1, init_from=base)


def test_old_symbols_keep_ids_and_vectors_and_new_ones_are_added(
    tmp_path: Path, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "antiphon")
    old, new = bundle.load(base, CPU), bundle.load(started(tmp_path, base), CPU)
    for side, fresh in (("source", ["ñ"]), ("target", ["NY"])):
        before, after = (both.codecs.named[side].to_json()["symbols"] for both in (old, new))
        assert after[: len(before)] == before
        assert set(fresh) <= set(after[len(before) :])
    others, own = dict(old.model.named_parameters()), dict(new.model.named_parameters())
    for name, value in others.items():
        torch.testing.assert_close(own[name][: len(value)] if value.dim() else own[name], value, atol=1e-6, rtol=0)
    printed = caplog.text
    assert f"{len(others)} of {len(others)} parameters are taken from the model to start from" in printed
    assert "symbols are those of that model, 1 are new" in printed


def test_transitions_between_known_labels_are_taken(tmp_path: Path) -> None:
    def trained(name: str, letters: str, **settings: Any) -> bundle.Bundle:
        config = tiny_config(tmp_path, target={"kind": "labels", "crf": True}, **settings)
        rows = [(word, " ".join(word.upper())) for word in words(30, 3, letters)]
        write_table(tmp_path / "train.tsv", rows)
        write_table(tmp_path / "valid.tsv", rows[:5])
        base = tmp_path / "base" if name != "base" else None
        return bundle.load(train(config, tmp_path / name, threads=1, init_from=base), CPU)

    old = trained("base", "ab")
    new = trained("m", "abcd", train__learning_rate=1e-12, train__max_steps=1)
    own = dict(new.model.named_parameters())
    assert own["head.transitions"].shape == (4, 4)
    for name, value in old.model.named_parameters():
        torch.testing.assert_close(own[name][tuple(map(slice, value.shape))], value, atol=1e-6, rtol=0)
    assert old.model.get_parameter("head.transitions").any()


def test_what_does_not_fit_is_listed(tmp_path: Path, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "antiphon")
    started(tmp_path, base, model__decoder__hidden=24, model__encoder__layers=2)
    printed = caplog.text
    assert "not taken: decoder.cells.0.state_weight (shape [128, 32] in that model, [96, 24] in this)" in printed
    assert "not taken: encoder.forward_cells.1.input_weight (that model does not have it)" in printed
    assert "not taken: source.embedding.weight" not in printed


def test_text_treated_otherwise_is_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(ConfigError, match=r"^source\.lowercase: is True, but the model to start from has False"):
        started(tmp_path, base, source__lowercase=True)


def test_learned_pieces_stay_those_of_the_base(tmp_path: Path) -> None:
    pieces: dict[str, Any] = {"source__tokens": {"kind": "bpe", "size": 30}}
    first = train(tiny_config(tmp_path, **pieces), tmp_path / "base", threads=1)
    second = started(tmp_path, first, **pieces)
    name = "vocabulary-source.json"
    assert json.loads((first / name).read_text()) == json.loads((second / name).read_text())


def test_going_on_needs_the_base_no_more(tmp_path: Path, base: Path) -> None:
    options = {"train__learning_rate": 0.005, "model__dropout": 0.3}
    whole = started(tmp_path, base, "whole", **options, train__max_steps=8)
    parts = started(tmp_path, base, "parts", **options, train__max_steps=4)
    config = tiny_config(tmp_path, **options, train__max_steps=8)
    other_rows(tmp_path)
    train(config, parts, resume=True, threads=1, init_from=tmp_path / "gone")
    assert (whole / bundle.WEIGHTS).read_bytes() == (parts / bundle.WEIGHTS).read_bytes()


def test_a_table_alone_takes_the_settings_of_the_model_to_start_from(tmp_path: Path, base: Path) -> None:
    other_rows(tmp_path)
    table, out = tmp_path / "train.tsv", tmp_path / "m"
    command = ["train", str(table), "--init-from", str(base), "--out", str(out), "--set", "train.max_steps=1"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert load(out).config.model == load(base).config.model


def test_starting_from_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AntiphonError, match="no such model folder"):
        started(tmp_path, tmp_path / "none")


# --- pretrained vectors -------------------------------------------------------------------------------


def with_vectors(folder: Path, lines: list[str], **settings: Any) -> Path:
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = {"model__embedding": 3, "train__learning_rate": 1e-12, "train__max_steps": 1, **settings}
    return train(tiny_config(folder, model__embeddings="vectors.txt", **options), folder / "m", threads=1)


@pytest.mark.parametrize("first", [[], ["2 3"]])
def test_vectors_of_known_symbols_are_taken(tmp_path: Path, first: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "antiphon")
    model = bundle.load(with_vectors(tmp_path, [*first, "s 1 2 3", "ж 4 5 6", "h -1 0.5 1e-2"]), CPU)
    weight, codec = model.model.get_parameter("source.embedding.weight"), model.codecs.sources[0]
    assert isinstance(codec, TextCodec)
    vocabulary = codec.vocabulary
    for symbol, values in (("s", [1, 2, 3]), ("h", [-1, 0.5, 0.01])):
        torch.testing.assert_close(weight[vocabulary.id(symbol)], torch.tensor(values, dtype=torch.float32))
    known = len(vocabulary) - SPECIALS
    assert f"pretrained vectors for 2 of {known} symbols ({2 / known:.1%})" in caplog.text


def test_vectors_for_both_sides(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("SH 7 8 9\n")
    files = {"source": "vectors.txt", "target": "t.txt"}
    (tmp_path / "vectors.txt").write_text("s 1 2 3\n")
    options = {"model__embedding": 3, "train__learning_rate": 1e-12, "train__max_steps": 1}
    folder = train(tiny_config(tmp_path, model__embeddings=files, **options), tmp_path / "m", threads=1)
    loaded = bundle.load(folder, CPU)
    assert isinstance(loaded.codecs.target, TextCodec)
    row = loaded.codecs.target.vocabulary.id("SH")
    torch.testing.assert_close(loaded.model.get_parameter("embedding.weight")[row], torch.tensor([7.0, 8, 9]))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("s 1 2", "holds 2 numbers, but model.embedding is 3"),
        ("s 1 2 x", "could not convert string to float: 'x'"),
        ("s 1 2 nan", "contains NaN or infinity"),
    ],
)
def test_a_bad_vector_is_named_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        with_vectors(tmp_path, ["h 1 2 3", line])
    assert str(caught.value) == f"{tmp_path / 'vectors.txt'}:2: {reason}"


# --- freezing -----------------------------------------------------------------------------------------


def test_frozen_parts_stay_and_others_learn(tmp_path: Path, base: Path) -> None:
    folder = started(tmp_path, base, train__freeze=["encoder", "source.embedding"], train__learning_rate=0.01)
    old, new = (dict(bundle.load(which, CPU).model.named_parameters()) for which in (base, folder))
    for name, value in old.items():
        frozen = name.startswith(("encoder.", "source.embedding."))
        assert new[name][: len(value)].equal(value) is frozen, name
    state, _ = checkpoint.load(folder)
    assert "encoder" not in state["progress"]["history"][-1]["gradients"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("encodre", "no part is called 'encodre'; did you mean 'encoder'?"), ("enc", "no part is called 'enc'")],
)
def test_an_unknown_part_is_refused_with_the_nearest(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train(tiny_config(tmp_path, train__freeze=[name]), tmp_path / "m")
    assert str(caught.value).startswith(f"train.freeze: {message}")


def test_freezing_everything_is_refused(tmp_path: Path) -> None:
    everything = ["source", "encoder", "bridge", "embedding", "decoder", "head"]
    with pytest.raises(ConfigError, match=r"^train\.freeze: nothing is left to learn"):
        train(tiny_config(tmp_path, train__freeze=everything), tmp_path / "m")


def test_a_frozen_head_is_frozen_where_it_is_tied(tmp_path: Path) -> None:
    options = {"model__tie": True, "model__decoder__hidden": 32, "train__max_steps": 4}
    first = train(tiny_config(tmp_path, **options, train__freeze=["head"]), tmp_path / "m", threads=1)
    state = checkpoint.load(first)[0]["learner"]["weights"]
    torch.manual_seed(1)
    begun = checkpoint.load(
        train(tiny_config(tmp_path, **options, train__freeze=["head"], train__learning_rate=1e-12), tmp_path / "n")
    )[0]["learner"]["weights"]
    torch.testing.assert_close(state["embedding.weight"], begun["embedding.weight"], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["s 1 2 3 4"], "vectors.txt:1: the vectors are 4 wide, but model.embedding is 3"),
        (["7 4", "s 1 2 3 4"], "vectors.txt:1: the vectors are 4 wide, but model.embedding is 3"),
        (["ж 4 5 6"], "vectors.txt: has no vector for any of the"),
        (["s 1 2 1e39"], "vectors.txt:1: contains NaN or infinity"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        with_vectors(tmp_path, lines)
    assert message in str(caught.value)


def test_vectors_may_be_separated_by_tabs_and_several_spaces(tmp_path: Path) -> None:
    model = bundle.load(with_vectors(tmp_path, ["s\t1\t2\t3", "", "h  4 5  6 "]), CPU)
    weight, codec = model.model.get_parameter("source.embedding.weight"), model.codecs.sources[0]
    assert isinstance(codec, TextCodec)
    vocabulary = codec.vocabulary
    torch.testing.assert_close(weight[vocabulary.id("h")], torch.tensor([4.0, 5.0, 6.0]))
    torch.testing.assert_close(weight[vocabulary.id("s")], torch.tensor([1.0, 2.0, 3.0]))


def test_another_separator_is_refused(tmp_path: Path) -> None:
    base = train(tiny_config(tmp_path, target__tokens={"split": " "}), tmp_path / "base", threads=1)
    with pytest.raises(ConfigError, match=r"^target\.tokens: split at 'H', but the model to start from at ' '"):
        started(tmp_path, base, target__tokens={"split": "H"})
