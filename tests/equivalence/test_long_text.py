"""One long text, read in many places at once and in pieces with the state carried on, is still one text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import antiphon
from antiphon.common.symbols import BOS, SPECIALS, UNK
from antiphon.config.load import parse_config, set_value
from antiphon.config.schema import Config
from antiphon.data.batches import Batch, Examples, Sequences, collate, cut_long, in_lanes
from antiphon.data.codecs.text import LongTextCodec
from antiphon.errors import AntiphonError, ConfigError
from antiphon.evaluation import scores as evaluation
from antiphon.model.models import LanguageModel
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint, update
from antiphon.training.distributed import Ranks
from antiphon.training.loop import train
from antiphon.training.prepare import prepare
from antiphon.training.update import apply

TEXT = "the cat sat\nthe dog sat too\n\nnobody saw the cat\n" * 12
# Adam's first steps are g / (|g| + eps): with a tiny eps the rounding of a gradient near zero becomes a whole step
WELL_CONDITIONED: dict[str, Any] = {"train__optimizer": {"kind": "adamw", "eps": 1e-3}}


def long_config(folder: Path, text: str = TEXT, **settings: Any) -> Config:
    (folder / "text.txt").write_text(text, encoding="utf-8")
    tree: dict[str, Any] = {
        "data": {"train": "text.txt", "valid": 0.2},
        "source": {"kind": "long_text", "tokens": "chars"},
        "target": "next",
        "model": {"embedding": 8, "encoder": {"hidden": 12, "layers": 2}, "dropout": 0.0},
        "train": {"batch_size": 4, "bptt": 7, "max_steps": 10, "validate_every": 5, "unknown": 0.0, "epochs": 1000},
    }
    tree["train"] |= {"schedule": "constant", "learning_rate": 0.005}
    for key, value in settings.items():
        set_value(tree, key.replace("__", "."), value)
    return parse_config(tree, folder)


def weights_after(folder: Path, name: str, resume: bool = False, **settings: Any) -> dict[str, Tensor]:
    train(long_config(folder, **settings), folder / name, resume=resume, threads=1)
    weights: dict[str, Tensor] = checkpoint.load(folder / name)[0]["learner"]["weights"]
    return weights


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=1e-5, rtol=1e-5)


@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 9))
def test_the_pieces_of_every_place_make_the_text_and_read_the_symbol_before(count: int, lanes: int, steps: int) -> None:
    ids = np.arange(10, 10 + count, dtype=np.int32)
    whole = Sequences([ids[: count // 2], ids[count // 2 :]])
    cut = in_lanes(Examples((whole,), whole), BOS, lanes, steps)
    length = count // lanes
    for lane in range(lanes):
        targets = [symbol for row in range(lane, len(cut), lanes) for symbol in cut.target[row]]
        read = [symbol for row in range(lane, len(cut), lanes) for symbol in cut.sources[0][row]]
        assert targets == ids[lane * length : (lane + 1) * length].tolist()
        assert read == ([BOS, *ids.tolist()][lane * length : (lane + 1) * length])
    assert cut.target.lengths.max(initial=0) <= steps


@given(st.lists(st.integers(1, 60), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 9))
def test_a_text_cut_for_validation_is_the_whole_text(counts: list[int], least: int, most: int) -> None:
    whole = Sequences([np.arange(count) for count in counts])
    cut = cut_long(Examples((whole,), whole), least, most)
    assert cut.target.values.tolist() == whole.values.tolist()
    assert len(cut) <= most * len(counts)
    assert all(length >= min(least, min(counts)) for length in cut.target.lengths)


@pytest.mark.parametrize("tokens", ["chars", "words", {"kind": "bpe", "size": 40}])
def test_line_ends_are_symbols_and_come_back(tokens: Any) -> None:
    codec = LongTextCodec("source", tokens)
    codec.learn([TEXT])
    symbols = codec.split(TEXT)
    assert symbols.count("\n") == TEXT.count("\n")
    assert codec.join(symbols) == TEXT
    assert codec.decode(codec.encode(TEXT)) == TEXT
    assert UNK not in codec.encode(TEXT)
    assert codec.begin == codec.vocabulary.id("\n") >= SPECIALS
    again = LongTextCodec.from_json(codec.to_json(), "source")
    assert again.encode(TEXT) == codec.encode(TEXT)


def test_a_literal_unk_is_an_ordinary_word() -> None:
    codec = LongTextCodec("source", "words")
    codec.learn(["the <unk> sat\n"])
    assert UNK not in codec.encode("<unk> sat\n")


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm", {"kind": "mingru", "kernel": 3}, "selective"], ids=str)
def test_scoring_in_pieces_is_scoring_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: Any) -> None:
    prepared = prepare(long_config(tmp_path, model__cell=cell))
    ids = [prepared.train.target.values, prepared.train.target.values[:50]]
    rows = Sequences(ids)
    examples = Examples((rows,), rows)
    whole = evaluation.score_rows(prepared.model, examples, torch.device("cpu"))
    monkeypatch.setattr(evaluation, "READ", 1)  # a piece is one step
    pieces = evaluation.score_rows(prepared.model, examples, torch.device("cpu"))
    for left, right in zip(whole.losses, pieces.losses, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    batch = collate(examples, [0])
    model = prepared.model
    assert isinstance(model, LanguageModel)
    model.eval()
    features = model(batch.sources, batch.target.values)
    loss, _ = model.head.judge(features, batch.target.values, batch.positions)
    np.testing.assert_allclose(whole.losses[0], loss.detach().double().numpy(), atol=1e-5)


def test_the_state_is_carried_over_pieces_and_begins_anew_with_an_epoch(tmp_path: Path) -> None:
    """With a learning rate of next to nothing, an epoch's losses are those of every place read in one go."""
    config = long_config(tmp_path, train__learning_rate=1e-12)
    prepared = prepare(config)
    learner = update.Learner.begin(prepared, Ranks(0, 1, torch.device("cpu")), 100)
    read, target = (whole_lanes(side) for side in (prepared.train.sources[0], prepared.train.target))
    model = learner.model
    assert isinstance(model, LanguageModel)
    features, _ = model.run(read, model.begin(4))
    losses, _ = model.head.judge(features, target, torch.arange(target.numel()))
    expected = [float(piece.sum()) for piece in losses.detach().view_as(target).split(7, 1)]  # type: ignore[no-untyped-call]
    computed = []
    for item in update_plan(config, prepared, 2 * len(expected)):
        nll = apply(learner, item, 1.0, 1).nll
        assert nll is not None
        computed.append(float(nll))
    assert computed == pytest.approx(expected * 2, abs=1e-3)


def whole_lanes(side: Sequences) -> Tensor:
    """What stands in each of four places, [4, steps]."""
    lanes = [np.concatenate([side[row] for row in range(lane, len(side), 4)]) for lane in range(4)]
    return torch.tensor(np.stack(lanes), dtype=torch.long)


def update_plan(config: Config, prepared: Any, count: int) -> list[Any]:
    from itertools import islice

    from antiphon.training.plan import updates

    settings = config.train.model_copy(update={"max_steps": None})
    return list(islice(updates(settings, prepared.train, 0), count))


@pytest.mark.parametrize(
    "extra",
    [
        {"model__cell": "gru", "train__accumulate": 2},
        {"model__cell": {"kind": "lstm", "weight_drop": 0.3}, "model__locked_dropout": True},
        {"model__cell": {"kind": "minlstm", "kernel": 2}, "model__encoder__norm": True, "model__encoder__layers": 2},
        {"model__cell": {"kind": "selective", "zoneout": 0.1}, "model__encoder__feed_forward": 2},
    ],
)
def test_resumed_in_the_middle_of_the_text_equals_uninterrupted(tmp_path: Path, extra: dict[str, Any]) -> None:
    options = {"model__dropout": 0.3, **extra}
    whole = weights_after(tmp_path, "whole", train__max_steps=12, **options)
    weights_after(tmp_path, "parts", train__max_steps=5, **options)
    parts = weights_after(tmp_path, "parts", train__max_steps=12, resume=True, **options)
    assert all(whole[name].equal(parts[name]) for name in whole)


def test_two_processes_equal_one_and_go_on_as_one(tmp_path: Path) -> None:
    item = weights_after(tmp_path, "one", train__max_steps=8, **WELL_CONDITIONED)
    for steps, resume in ((4, []), (8, ["--resume"])):
        config = long_config(tmp_path, train__max_steps=steps, **WELL_CONDITIONED)
        (tmp_path / "c.yaml").write_text(config.to_yaml())
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["-m", "antiphon", "train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "two"), *resume]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
    assert_close(item, checkpoint.load(tmp_path / "two")[0]["learner"]["weights"])


def test_batches_in_parts_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory runs out, the places are read in parts, each from its own state."""
    whole = weights_after(tmp_path, "whole", **WELL_CONDITIONED)
    honest = update.piece_loss

    def loss(model: Any, batch: Batch, *rest: Any) -> Any:
        if len(batch.target.values) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return honest(model, batch, *rest)

    monkeypatch.setattr(update, "piece_loss", loss)
    assert_close(whole, weights_after(tmp_path, "parts", **WELL_CONDITIONED))


def test_what_is_carried_on_is_learned(tmp_path: Path) -> None:
    """Every fourth letter is another one, and pieces are two letters long: only the state before tells them apart."""
    config = long_config(tmp_path, "aaab" * 400, train__bptt=2, train__max_steps=600, train__validate_every=300)
    model = antiphon.train(config, out=tmp_path / "m", threads=1)
    assert model.metrics["valid"]["loss"] < 0.05
    assert model.predict(["aaaba"], beam=1)[0].text.startswith("aaabaaabaaab")


def test_every_command_takes_a_long_text(tmp_path: Path) -> None:
    from antiphon.tools.checkup import check_config as check

    config = long_config(tmp_path, source__tokens="words", data__max_length=5)
    report = check(config)
    assert not report.bad_rows
    model = antiphon.train(config, out=tmp_path / "m", threads=1)
    text = tmp_path / "text.txt"
    (score,) = model.score(text)
    assert model.evaluate(text)["loss"] == pytest.approx(-score / len(LongTextCodec("s", "words").split(TEXT)))
    loaded = antiphon.load(tmp_path / "m")
    assert loaded.score(text) == [score]
    (answer,) = loaded.predict(["the cat"], sample={"seed": 3})
    assert answer.text.startswith("the cat")
    assert bundle.load_config(tmp_path / "m").train.bptt == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "label"}, "target.kind: long_text -> label: of one long text only the next symbol"),
        ({"train__batch_size": 500}, "train.batch_size: the training text has 460 symbols, too few for 500 places"),
        ({"train__batch_tokens": 100}, "train.batch_tokens: is for rows"),
        ({"train__bptt": 0}, "train.bptt"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train(long_config(tmp_path, **settings), tmp_path / "m")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a line\n\xff\xfe\n", "text.txt:2: not UTF-8 text"),
        (b"\n\n", "text.txt:1: the source is empty"),
        (b"a\0b\n", "text.txt:1: the source contains a NUL character"),
    ],
)
def test_a_bad_text_is_told_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    config = long_config(tmp_path)
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(AntiphonError) as caught:
        train(config, tmp_path / "m")
    assert message in str(caught.value)
