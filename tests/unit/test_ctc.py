"""CTC against brute force over every path and every labelling, and its models from a row to an answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import SideSizes, assert_slopes
from torch import Tensor

from antiphon.common.symbols import EOS, FIRST_OUTPUT, PAD, SPECIALS, UNK
from antiphon.config.load import read_config_file
from antiphon.config.schema import Config, Model
from antiphon.data.batches import Examples, Sequences, collate
from antiphon.data.encode import frames_needed
from antiphon.data.rows import Row
from antiphon.decoding.ctc import search_labels
from antiphon.errors import ConfigError, DataError, ModelFolderError
from antiphon.evaluation.scores import score_rows
from antiphon.model.build import structure_of, synchronous
from antiphon.model.models import Aligner
from antiphon.model.parts import ctc
from antiphon.model.parts.heads.ctc import BLANK, Aligned, CTCHead
from antiphon.training.loop import train
from antiphon.training.prepare import check_names
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

CPU = torch.device("cpu")
Labels = tuple[int, ...]


class Frames(NamedTuple):
    """log p [B, T, K] of rows of these lengths, what is padding a sure blank; the blank is class 0."""

    log_probs: Tensor
    lengths: list[int]

    def labellings(self, row: int) -> dict[Labels, float]:
        """log p of every labelling: the paths are gone through one by one, in float64."""
        own = self.log_probs[row, : self.lengths[row]].double().numpy()
        path_scores: dict[Labels, list[float]] = {}
        for path in itertools.product(range(own.shape[1]), repeat=len(own)):
            labels = tuple(label for label, _ in itertools.groupby(path) if label != 0)
            path_scores.setdefault(labels, []).append(sum(float(own[t, k]) for t, k in enumerate(path)))
        return {labels: float(np.logaddexp.reduce(scores)) for labels, scores in path_scores.items()}


@st.composite
def frames(draw: st.DrawFn) -> Frames:
    """Up to 3 rows of up to 5 frames and 4 classes, padded further than the longest."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    classes, padding = draw(st.integers(2, 4)), draw(st.integers(0, 2))
    chance = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    scale = draw(st.sampled_from([0.1, 1.0, 8.0]))
    logits = torch.from_numpy(chance.normal(size=(len(lengths), max(lengths) + padding, classes)) * scale).float()
    inside = torch.arange(logits.shape[1]) < torch.tensor(lengths)[:, None]
    blank = torch.full((classes,), -torch.inf)
    blank[0] = 0.0
    return Frames(torch.where(inside[..., None], torch.log_softmax(logits, -1), blank), lengths)


@given(frames(), st.randoms(use_true_random=False))
def test_the_likelihood_of_labels_is_the_sum_over_all_their_paths(given: Frames, chance: Any) -> None:
    expected, labels = [], []
    for row in range(len(given.lengths)):
        scores = given.labellings(row)
        assert np.logaddexp.reduce(list(scores.values())) == pytest.approx(0, abs=1e-4)
        labels.append(chance.choice(sorted(scores)))
        expected.append(scores[labels[-1]])
        assert frames_needed(labels[-1]) <= given.lengths[row]
    padded = torch.tensor([[*own, *[0] * (6 - len(own))] for own in labels])
    sizes = torch.tensor([len(own) for own in labels])
    for length in (torch.tensor(given.lengths), torch.full_like(sizes, given.log_probs.shape[1])):
        likelihoods = ctc.log_likelihood(given.log_probs, length, padded, sizes, 0)
        assert likelihoods.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(frames())
def test_a_wide_search_finds_all_labellings_in_their_order(given: Frames) -> None:
    every = [given.labellings(row) for row in range(len(given.lengths))]
    labellings = ctc.prefix_search(given.log_probs, 0, max(map(len, every)) + 3)
    for scores, own in zip(every, labellings, strict=True):
        assert set(own) <= set(scores)
        assert len(set(own)) == len(own), "no labelling is found twice"
        assert {labels for labels, score in scores.items() if score > -80} <= set(own)
        values = [scores[labels] for labels in own]
        assert all(left > right - 1e-3 for left, right in itertools.pairwise(values))


def slow_prefix_search(log_probs: Tensor, width: int) -> list[Labels]:
    """The same search over one row, prefix by prefix, with dictionaries and in float64."""
    beam: dict[Labels, tuple[float, float]] = {(): (0.0, -np.inf)}
    for frame in log_probs.double().numpy():
        after: dict[Labels, tuple[float, float]] = {}

        def add(prefix: Labels, blank: float, label: float, after: dict[Labels, tuple[float, float]] = after) -> None:
            old = after.get(prefix, (-np.inf, -np.inf))
            after[prefix] = float(np.logaddexp(old[0], blank)), float(np.logaddexp(old[1], label))

        for prefix, (blank, label) in beam.items():
            whole = float(np.logaddexp(blank, label))
            add(prefix, whole + frame[0], label + frame[prefix[-1]] if prefix else -np.inf)
            for symbol in range(1, len(frame)):
                before = blank if prefix and prefix[-1] == symbol else whole
                add((*prefix, symbol), -np.inf, before + frame[symbol])
        best = sorted(after.items(), key=lambda item: -np.logaddexp(*item[1]))[:width]
        beam = {prefix: ends for prefix, ends in best if np.logaddexp(*ends) > -np.inf}
    return list(beam)


@given(frames(), st.integers(1, 4))
def test_a_narrow_search_is_the_one_written_down_plainly(given: Frames, width: int) -> None:
    labellings = ctc.prefix_search(given.log_probs, 0, width)
    for row, length in enumerate(given.lengths):
        assert labellings[row] == slow_prefix_search(given.log_probs[row, :length], width)


@given(frames())
def test_the_best_path_is_that_of_each_frames_best_class(given: Frames) -> None:
    labellings = ctc.best_path(given.log_probs, 0)
    for row, length in enumerate(given.lengths):
        path = given.log_probs[row, :length].argmax(-1).tolist()
        assert labellings[row] == [label for label, _ in itertools.groupby(path) if label]


@given(st.lists(st.integers(1, 2), max_size=5), st.integers(1, 6))
def test_labels_need_a_frame_each_and_a_blank_between_equal_ones(labels: list[int], length: int) -> None:
    uniform = torch.log_softmax(torch.zeros(1, length, 3), -1)
    sizes = torch.tensor([len(labels)])
    likelihood = ctc.log_likelihood(uniform, torch.tensor([length]), torch.tensor([[*labels, 0]]), sizes, 0)
    assert bool(likelihood.isfinite()) == (frames_needed(labels) <= length)


# --- the head and its model ---------------------------------------------------------------------------

WIDTH, SYMBOLS, LENGTHS = 4, SPECIALS + 3, [5, 8, 1, 6]
TARGETS = [[5, 5, EOS], [4, 6, 6, 4, EOS], [6, EOS], [4, 5, UNK, EOS]]
FRAMES = [np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32) for n in LENGTHS]


def model(cell: str = "lstm") -> Aligner:
    settings = {"cell": cell, "encoder": {"hidden": 3, "layers": 2}, "dropout": 0.0}
    torch.manual_seed(1)
    made = synchronous(Model.model_validate(settings), [SideSizes("numbers", 3)], SideSizes("ctc", SYMBOLS))
    assert isinstance(made, Aligner)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    return made.eval()


def examples() -> Examples:
    return Examples((Sequences(FRAMES),), Sequences(TARGETS))


def test_the_loss_is_minus_log_p_shared_evenly_and_smoothing_is_of_every_frame() -> None:
    torch.manual_seed(0)
    head, features = CTCHead(WIDTH, SYMBOLS), Aligned(torch.randn(4, 9, WIDTH), torch.tensor(LENGTHS))
    batch = collate(examples(), range(4))
    target, positions = batch.target.values, batch.positions
    log_probs = head.log_probs(features)
    assert log_probs[..., :FIRST_OUTPUT].eq(-torch.inf).all()
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(4, 9))
    losses, hits = head.judge(features, target, positions)
    even = 0.0
    for row, (own, right) in enumerate(zip(losses.split([3, 5, 2, 4]), hits.split([3, 5, 2, 4]), strict=True)):  # type: ignore[no-untyped-call]
        inside = log_probs[row, : LENGTHS[row], FIRST_OUTPUT:].detach()
        classes = Frames(inside[None], [LENGTHS[row]])
        labels = tuple(label - FIRST_OUTPUT for label in TARGETS[row][:-1])  # the blank's class is the first
        assert -float(own.detach().sum()) == pytest.approx(classes.labellings(row=0)[labels], abs=1e-4)
        assert own.eq(own[0]).all()
        assert bool(right.all()) == (ctc.best_path(inside[None], 0)[0] == list(labels)) == bool(right.any())
        even -= float(inside.mean(-1).sum())
    objective, nll = head.objective(features, target, positions, 0.0)
    torch.testing.assert_close(objective, losses.sum())
    torch.testing.assert_close(nll, losses.sum().detach())
    smooth, _ = head.objective(features, target, positions, 0.2)
    assert float(smooth.detach()) == pytest.approx(0.8 * float(nll) + 0.2 * even, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_equal_finite_differences(smoothing: float) -> None:
    made, batch = model().double(), collate(examples(), range(4))
    sources = [(values.double(), lengths) for values, lengths in batch.sources]
    target = batch.target.values
    assert_slopes(made, lambda: made.head.objective(made(sources, target), target, batch.positions, smoothing)[0])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_batch_and_order_change_nothing(cell: str) -> None:
    made, data = model(cell), examples()
    together = score_rows(made, data, CPU)
    assert np.std(together.totals) > 0.1
    batch = collate(data, range(4))
    ((values, lengths),) = batch.sources
    wider = torch.cat([values, values.new_zeros(4, 5, 3)], 1)
    with torch.inference_mode():
        padded, _ = made.head.judge(made([(wider, lengths)]), batch.target.values, batch.positions)
    np.testing.assert_allclose(padded.numpy(), np.concatenate(together.losses), atol=1e-5)
    for width in (1, 4):
        hypotheses = search_labels(made, data.sources, width, CPU)
        mixed = search_labels(made, [data.sources[0].take([2, 0, 3, 1])], width, CPU)
        for row in range(4):
            alone = Examples((data.sources[0].take([row]),), data.target.take([row]))
            assert score_rows(made, alone, CPU).totals[0] == pytest.approx(together.totals[row], abs=1e-5)
            (entry,) = search_labels(made, alone.sources, width, CPU)
            for other in (entry, mixed[[2, 0, 3, 1].index(row)]):
                assert [h.tokens for h in other] == [h.tokens for h in hypotheses[row]]
                assert [h.score for h in other] == pytest.approx([h.score for h in hypotheses[row]], abs=1e-5)


def test_what_is_found_has_the_score_that_forced_scoring_gives_and_the_first_the_highest() -> None:
    """With a beam wide enough, the first is the most probable of all labellings without unknown symbols."""
    made, data = model(), examples()
    for row, hypotheses in enumerate(search_labels(made, data.sources, 60, CPU)):
        scores = [entry.score for entry in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert not {symbol for entry in hypotheses for symbol in entry.tokens} & {PAD, BLANK, UNK}
        again = Examples(
            (data.sources[0].take([row] * len(scores)),), Sequences([[*entry.tokens, EOS] for entry in hypotheses])
        )
        assert score_rows(made, again, CPU).totals == pytest.approx(scores, abs=1e-4)
        with torch.inference_mode():
            features = made([(torch.from_numpy(FRAMES[row])[None], torch.tensor([LENGTHS[row]]))])
            log_probs = made.head.log_probs(features)[..., FIRST_OUTPUT:]
        if LENGTHS[row] <= 6:
            every = Frames(log_probs, [LENGTHS[row]]).labellings(0)
            known = {labels: score for labels, score in every.items() if UNK - FIRST_OUTPUT not in labels}
            best = max(known, key=known.__getitem__)
            assert tuple(symbol - FIRST_OUTPUT for symbol in hypotheses[0].tokens) == best


# --- from a table to an answer ------------------------------------------------------------------------

SOUNDS = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [-1.0, -1.0]}


def spoken(word: str, chance: np.random.Generator) -> list[list[float]]:
    """Two to three noisy frames a letter, silence between."""
    steps = [vector for letter in word for vector in [[0.0, 0.0], *[SOUNDS[letter]] * int(chance.integers(2, 4))]]
    frames: list[list[float]] = (np.asarray(steps) + chance.normal(size=(len(steps), 2)) * 0.1).round(3).tolist()
    return frames


def rows(count: int) -> list[tuple[list[list[float]], str]]:
    chance = np.random.default_rng(2)
    words = ["".join(chance.choice(list("abc"), int(chance.integers(1, 5)))) for _ in range(count)]
    return [(spoken(word, chance), word) for word in words]


CONFIG = """\
data: {train: rows.tsv, valid: rows.tsv, test: rows.tsv}
source: {kind: frames}
target: {tokens: chars, ctc: true}
model: {encoder: {hidden: 12}, dropout: 0.0}
train: {max_steps: 120, epochs: 100, validate_every: 60, batch_size: 16, learning_rate: 0.02}
decode: {beam: 4}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("ctc")
    (folder / "rows.tsv").write_text("".join(f"{json.dumps(frames)}\t{word}\n" for frames, word in rows(120)))
    (folder / "c.yaml").write_text(CONFIG)
    return load(train(read_config_file(folder / "c.yaml"), folder / "m", device="cpu", threads=1), "cpu")


def test_a_model_is_trained_measured_saved_and_asked(trained: Predictor, tmp_path: Path) -> None:
    assert structure_of(trained.config) == "synchronous"
    scores = trained.evaluate()
    assert scores["exact_match"] >= 0.95
    assert {"loss", "token_error_rate", "chrf"} <= scores.keys()
    assert not {"token_error_rate_teacher", "exposure_gap"} & trained.metrics["valid"].keys()
    arguments = [frames for frames, _ in rows(20)]
    answers = trained.predict([*arguments, ""], n_best=4, token_scores=True)
    assert answers[-1].text == ""
    trained.save(tmp_path / "copy")
    again = load(tmp_path / "copy", "cpu")
    for frames, answer in zip(arguments, answers, strict=False):
        (alone,) = again.predict([json.dumps(frames)], n_best=4)
        assert [entry.text for entry in alone.n_best] == [entry.text for entry in answer.n_best]
        given = [Row((np.asarray(frames, np.float32),), entry.text, "", 1) for entry in answer.n_best if entry.text]
        assert again.score(given) == pytest.approx([entry.score for entry in answer.n_best if entry.text], abs=1e-4)
        assert all(entry.token_scores is None for entry in answer.n_best), "a symbol has no score of its own"
    greedy = [entry.text for entry in trained.predict(arguments, beam=1)]
    assert np.mean([entry == answer.text for entry, answer in zip(greedy, answers, strict=False)]) > 0.8


@pytest.mark.parametrize("tokens", ["chars", {"split": " "}])
def test_a_text_is_read_as_well(configure: Callable[..., Config], tmp_path: Path, tokens: Any) -> None:
    """Its end is a step too, so that `aa` is long enough for A A: a blank stands between, and its end is the last."""
    path = tmp_path / "pairs.tsv"
    words = ["".join(word) for word in itertools.product("abc", repeat=3)] + ["aa"]
    between = " " if tokens != "chars" else ""
    path.write_text("".join(f"{between.join(word)}\t{' '.join(word[:2].upper())}\n" for word in words))
    config = configure(
        data__train=str(path), data__valid=str(path), source__tokens=tokens, target__ctc=True, structure="synchronous",
        model__encoder__hidden=16, model__dropout=0.0, train__max_steps=400, train__batch_size=9,
        train__learning_rate=0.02, train__unknown=0.0, train__epochs=100,
    )  # fmt: skip
    model = load(train(config, tmp_path / "m", device="cpu", threads=1), "cpu")
    assert model.evaluate(str(path))["exact_match"] >= 0.9
    answers = model.predict([between.join(word) for word in words], n_best=3)
    for word, answer in zip(words, answers, strict=True):
        given = [Row((between.join(word),), entry.text, "", 1) for entry in answer.n_best if entry.text]
        assert model.score(given) == pytest.approx([entry.score for entry in answer.n_best if entry.text], abs=1e-4)


def test_a_target_longer_than_its_frames_is_an_error_that_names_the_line(trained: Predictor, tmp_path: Path) -> None:
    three = json.dumps([[0, 1]] * 3)
    table = tmp_path / "long.tsv"
    table.write_text(f"{three}\tabc\n{three}\taa\n{three}\taab\n{three}\tabab\n")
    with pytest.raises(DataError) as caught:
        trained.score(str(table))
    reason = "the target needs 4 steps of the source, which has 3: CTC needs one step per token"
    assert str(caught.value).replace(f"{tmp_path}/", "").splitlines()[:-1] == [
        f"long.tsv:3: {reason}, and a blank between equal tokens",
        f"long.tsv:4: {reason}",
    ]


REFUSED = [
    ({"source__kind": "vector"}, r"target.kind: vector -> text: a prediction for each step needs a source with steps"),
    ({"structure": "many_to_many"}, "structure: is many_to_many, but frames -> text makes synchronous"),
    ({"source": [{"kind": "frames"}, {"kind": "frames"}]}, "source: a prediction for each step needs the steps of one"),
    ({"train__feeding": "free"}, "train.feeding: is for decoders"),
    ({"train__metric": "token_error_rate_teacher"}, "train.metric: unknown metric 'token_error_rate_teacher'"),
    ({"target__ctc": "yes"}, r"target.ctc: must be true or false"),
    ({"model__copy": True}, "model.copy: is for a decoder that writes text; a target of text with ctc is not written"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED, ids=[message[:25] for _, message in REFUSED])
def test_what_cannot_work_is_refused(configure: Callable[..., Config], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_names(configure(**{"source__kind": "frames", "target__ctc": True} | keys))


@pytest.mark.parametrize(
    "settings",
    [{"decode.sample": {}}, {"decode.mbr": {"samples": 3}}, {"decode.max_length": 3}, {"decode.allowed": ["a"]}],
    ids=lambda settings: next(iter(settings)),
)
def test_a_search_of_another_kind_is_refused(trained: Predictor, settings: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=f"{next(iter(settings))}: cannot be used with ctc, only with models that write step"
    ):
        trained.predict([[[0, 0]]], settings=settings)


def test_what_a_model_that_aligns_has_not_is_refused(trained: Predictor, tmp_path: Path) -> None:

    with pytest.raises(ConfigError, match="prefix: is for a model that writes"):
        trained.predict([[[0, 0]]], prefix="a")
    with pytest.raises(ConfigError, match="align: needs the attention"):
        trained.predict([[[0, 0]]], align=True)
    with pytest.raises(ModelFolderError, match="cannot answer a stream step by step"):
        list(trained.live([[0, 0]]))


def test_a_model_of_alignments_is_not_looked_into_and_says_so(trained: Predictor) -> None:
    with pytest.raises(ConfigError) as error:
        trained.explain(rows(1)[0][0])
    assert error.value.key == "target.ctc"
