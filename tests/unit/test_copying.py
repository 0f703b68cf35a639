"""Copying: the head against its definition, ids that go beyond a vocabulary, and trained models in use."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import assert_slopes
from tasks import write_table
from torch import Tensor

from antiphon.common.symbols import EOS, FIRST_OUTPUT, PAD, SPECIALS, UNK
from antiphon.config.load import parse_config, read_config_file
from antiphon.config.schema import Config
from antiphon.data.batches import Batch, Padded, replace_unknown
from antiphon.data.codecs.text import SourceTextCodec, TargetTextCodec
from antiphon.data.copying import Copying
from antiphon.data.rows import Row
from antiphon.errors import ConfigError
from antiphon.model.build import build
from antiphon.model.parts.heads.pointer import Pointed, PointerHead
from antiphon.model.parts.heads.softmax import SoftmaxHead
from antiphon.saved.folder import CONFIG
from antiphon.training.loop import train
from antiphon.training.prepare import check_names
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

SYMBOLS, WIDTH, STEPS = SPECIALS + 3, 4, 3

# --- the head -----------------------------------------------------------------------------------------


def head(seed: int = 0, scale: float = 1.0) -> PointerHead:
    torch.manual_seed(seed)
    made = PointerHead(WIDTH, SYMBOLS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * scale)
    return made


def drawn(seed: int, rows: int = 2, steps: int = 3) -> tuple[Pointed, Tensor, Tensor]:
    """Features of rows and steps, targets that can be predicted, and all positions but the last."""
    chance = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance)

    copy_ids = torch.randint(EOS, SYMBOLS, (rows, 1, STEPS), generator=chance)
    copy_ids[:, :, -1] = SYMBOLS + 2
    attention = torch.softmax(normal(rows, steps, STEPS) * 2, -1)
    features = Pointed(normal(rows, steps, WIDTH), normal(rows, steps), attention, copy_ids.expand(-1, steps, -1))
    targets = torch.randint(EOS, SYMBOLS, (rows, steps), generator=chance)
    targets[:, 0] = SYMBOLS + 2
    return features, targets, torch.arange(rows * steps - 1)


def by_definition(made: PointerHead, features: Pointed, row: int, step: int) -> list[float]:
    """p of every symbol, added up term by term in float64."""
    weight, bias, readout = made.weight.tolist(), made.bias.tolist(), features.readout[row, step].tolist()
    scores = [
        sum(w * f for w, f in zip(weight[symbol], readout, strict=True)) + bias[symbol]
        for symbol in range(FIRST_OUTPUT, SYMBOLS)
    ]
    total = sum(map(math.exp, scores))
    written = 1 / (1 + math.exp(-float(features.gate[row, step])))
    probabilities = [0.0] * FIRST_OUTPUT + [written * math.exp(score) / total for score in scores] + [0.0] * STEPS
    for place in range(STEPS):
        probabilities[int(features.copy_ids[row, step, place])] += (1 - written) * float(
            features.attention[row, step, place]
        )
    return probabilities


@given(st.integers(0, 1 << 20))
def test_the_head_is_the_mixture_by_its_definition(seed: int) -> None:
    made, (features, targets, positions) = head(seed), drawn(seed)
    log_probs = made.log_probs(features).detach()
    losses, hits = made.judge(features, targets, positions)
    smoothing, smooth = 0.2, 0.0
    assert log_probs.shape == (2, 3, SYMBOLS + STEPS)
    for number, place in enumerate(positions.tolist()):
        row, step = divmod(place, 3)
        expected = by_definition(made, features, row, step)
        assert sum(expected) == pytest.approx(1)
        assert log_probs[row, step].exp().tolist() == pytest.approx(expected, abs=1e-6)
        target = int(targets[row, step])
        assert float(losses[number].detach()) == pytest.approx(-math.log(expected[target]), abs=1e-4)
        assert bool(hits[number]) == (target == max(range(len(expected)), key=expected.__getitem__))
        even = sum(math.log(p) for p in expected[FIRST_OUTPUT:SYMBOLS]) / (SYMBOLS - FIRST_OUTPUT)
        smooth -= (1 - smoothing) * math.log(expected[target]) + smoothing * even
    objective, nll = made.objective(features, targets, positions, smoothing)
    assert float(objective.detach()) == pytest.approx(smooth, rel=1e-5)
    torch.testing.assert_close(nll, losses.sum())
    torch.testing.assert_close(made.objective(features, targets, positions, 0.0)[0], losses.sum())


def test_many_steps_are_judged_piece_by_piece_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    for piece in (1 << 21, 2 * (SYMBOLS + STEPS)):
        monkeypatch.setattr("antiphon.model.parts.heads.cross_entropy.CrossEntropy.PRODUCT", piece)
        made, (features, targets, positions) = head(), drawn(1)
        objective, nll = made.objective(features, targets, positions, 0.1)
        slopes = torch.autograd.grad(objective, tuple(made.parameters()))
        computed.append([objective, nll, *slopes, *made.judge(features, targets, positions)])
    torch.testing.assert_close(*computed)


def test_a_gate_that_is_shut_leaves_the_softmax() -> None:
    made, plain, (features, targets, positions) = head(), SoftmaxHead(WIDTH, SYMBOLS), drawn(1)
    plain.load_state_dict(made.state_dict())
    shut = features._replace(gate=torch.full_like(features.gate, 200.0))
    torch.testing.assert_close(made.log_probs(shut)[..., :SYMBOLS], plain.log_probs(features.readout))
    assert made.log_probs(shut)[..., SYMBOLS:].max() < -150
    targets = targets.clamp(max=SYMBOLS - 1)
    for smoothing in (0.0, 0.1):
        torch.testing.assert_close(
            made.objective(shut, targets, positions, smoothing),
            plain.objective(features.readout, targets, positions, smoothing),
        )


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_losses_and_slopes_are_finite_where_probabilities_vanish(scale: float) -> None:
    """A symbol that the vocabulary all but excludes and that no step has, and a step without attention."""
    made, (features, targets, positions) = head(scale=scale), drawn(2)
    features.attention[0, 1] = torch.tensor([0.0, 0.0, 1.0])
    features.gate[1] = 150.0
    objective, _ = made.objective(features, targets, positions, 0.1)
    slopes = torch.autograd.grad(objective, tuple(made.parameters()))
    assert objective.isfinite()
    assert all(slope.isfinite().all() for slope in slopes)


def test_gradients_equal_finite_differences() -> None:
    made, (features, targets, positions) = head().double(), drawn(3)
    readout, gate, attention, copy_ids = features
    wide = Pointed(readout.double(), gate.double(), attention.double(), copy_ids)
    assert_slopes(made, lambda: made.objective(wide, targets, positions, 0.1)[0])


# --- ids ----------------------------------------------------------------------------------------------

WORDS = st.lists(st.sampled_from(["to", "of", "Ada", "Béla", "7", "12"]), min_size=1, max_size=6).map(" ".join)


def sides(source: Any = "words", target: Any = "words", known: str = "to of", **options: Any) -> Copying:
    """Sides of which the target's vocabulary has but few words."""
    read, write = SourceTextCodec("source", source, **options), TargetTextCodec("target", target)
    read.learn(["to of Ada"])
    write.learn([known])
    return Copying.between([read], write)


def ids_of(copying: Copying, value: Any) -> list[int]:
    """The copy ids of the only source."""
    (ids,) = copying.copy_ids([value])
    assert ids is not None
    return ids


def read_by(copying: Copying, value: Any) -> Any:
    """The only source as the model reads it."""
    (source,) = copying.sources
    assert source is not None
    (read,) = copying.read([value], [source.encode(value)])
    return read


@given(WORDS, WORDS)
def test_what_the_source_has_comes_back_and_the_rest_is_unknown(source: str, target: str) -> None:
    copying = sides()
    ids = copying.written(target, [source])
    assert ids[-1] == EOS
    expected = [word if word in f"to of {source}".split() else None for word in target.split()]
    assert copying.symbols(ids[:-1], [source]) == expected
    copy_ids = ids_of(copying, source)
    assert copy_ids[-1] == EOS
    assert all(symbol in copy_ids for symbol in ids if symbol >= copying.target.size)
    read = read_by(copying, source)
    assert copying.sources[0] is not None
    assert read[:, 0].tolist() == copying.sources[0].encode(source)
    assert read[:, 1].tolist() == copy_ids


def test_the_turns_of_a_dialogue_and_spelled_words_say_their_symbols() -> None:
    copying = sides(turns=2, characters={"width": 4})
    value = ("Béla to", "Béla of Eva")
    size = copying.target.size
    assert ids_of(copying, value) == [size, SPECIALS + 1, EOS, size, SPECIALS, size + 5, EOS]
    read = read_by(copying, value)
    assert read.shape == (7, 1 + 4 + 1)
    assert copying.symbols([size, size + 5, SPECIALS], [value]) == ["Béla", "Eva", "of"]


@pytest.mark.parametrize(
    ("source", "target"), [("words", {"split": "_"}), ({"split": " "}, "words"), ("chars", "chars")]
)
def test_tokenizers_whose_symbols_are_alike_go_together(source: Any, target: Any) -> None:
    copying = sides(source, target, known="a_b")
    assert copying.symbols(copying.written("x", ["x"]), ["x"]) == ["x", None]


def test_what_is_hidden_is_hidden_wherever_its_row_has_it() -> None:
    size = 10
    copy_ids = [[7, 8, 7, EOS], [8, size + 1, 8, EOS]]
    read = [[5, 6, 5, EOS], [6, 9, 6, EOS]]
    source = torch.stack([torch.tensor(read), torch.tensor(copy_ids)], -1)
    target = torch.tensor([[7, 8, EOS, PAD], [9, size + 1, 8, EOS]])
    batch = Batch((Padded(source, torch.tensor([4, 4])),), Padded(target, torch.tensor([3, 4])), torch.arange(7))
    seen = set()
    for seed in range(40):
        hidden = replace_unknown(batch, 0.3, torch.Generator().manual_seed(seed), size)
        (values, _), expected = hidden.sources[0], hidden.target.values
        for row in range(2):
            for place in range(4):
                own, symbol = values[row, place].tolist()
                if own == UNK:
                    first = copy_ids[row].index(copy_ids[row][place])
                    assert symbol == size + first
                    assert (copy_ids[row][place] != 7 or row) or values[row, [0, 2], 0].eq(UNK).all()
                else:
                    assert [own, symbol] == [read[row][place], copy_ids[row][place]]
            renamed = dict(zip(copy_ids[row], values[row, :, 1].tolist(), strict=True))
            assert expected[row].tolist() == [renamed.get(item, item) for item in target[row].tolist()]
        seen.add(tuple(expected.flatten().tolist()))
    assert len(seen) > 4
    assert target.tolist() == [[7, 8, EOS, PAD], [9, size + 1, 8, EOS]], "the batch itself stays as it was"


# --- what is refused ----------------------------------------------------------------------------------

REFUSED = [
    ({"model__attention": "none"}, "needs an attention; choose model.attention: general, additive or dot"),
    ({"model__attention": "monotonic"}, "monotonic attention looks at a single source step, so others could not be"),
    ({"source": {"kind": "vector"}}, "needs a source of text whose symbols can be copied, not vector"),
    ({"source": [{"kind": "vector"}, {"kind": "category"}]}, "needs a source of text whose symbols can be copied, not"),
    (
        {"source": [{"tokens": "bpe"}, {"tokens": "words"}], "source__tokens": None, "model__attention": "hard"},
        "hard attention aligns with the first source, whose symbols cannot be copied",
    ),
    ({"target": {"kind": "label"}}, "is for a decoder that writes text; a target of label is not written"),
    ({"target": "next"}, "is for a decoder that writes text; a target of next is not written"),
    ({"source__tokens": "bpe"}, "copies whole symbols, and source.tokens: bpe cuts unknown words into pieces; choose"),
    ({"target__tokens": "unigram"}, "copies whole symbols, and target.tokens: unigram cuts unknown words into pieces"),
    ({"source__tokens": "chars"}, "a source of chars has no symbols for a target of words; give both sides the same"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_copied_is_refused(configure: Callable[..., Config], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"model.copy: {message}"):
        check_names(configure(**{"source__tokens": "words", "model__copy": True} | keys))


# --- models in use ------------------------------------------------------------------------------------

NAMES = ["Ada", "Béla", "Cem", "Dov", "Eva", "Fei", "Gus", "Hal"]
STRANGE = ["Zoë and Xi call Ada", "Ada calls Ada", "Quinn !", "", "Xi Xi Xi"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model that copies words, after a few updates."""
    folder = tmp_path_factory.mktemp("copying")
    pairs = [(f"{a} calls {b}", f"{b} : {a}") for a in NAMES for b in NAMES if a != b]
    write_table(folder / "pairs.tsv", pairs)
    (folder / "c.yaml").write_text(
        "data: {train: pairs.tsv, valid: pairs.tsv, test: pairs.tsv}\n"
        "source: {tokens: words}\ntarget: {tokens: words}\n"
        "model: {copy: true, embedding: 8, encoder: {hidden: 6}, decoder: {hidden: 12}, dropout: 0.0}\n"
        "train: {max_steps: 40, validate_every: 20, batch_size: 16, learning_rate: 0.02, unknown: 0.3}\n"
        "decode: {beam: 3, max_length: 6}\n",
        encoding="utf-8",
    )
    return load(train(read_config_file(folder / "c.yaml"), folder / "m", device="cpu"), "cpu")


SEARCHES: list[dict[str, Any]] = [
    {},
    {"decode.beam": 1},
    {"decode.sample": {"seed": 4}},
    {"decode.mbr": {"samples": 6, "metric": "token_error_rate"}},
    {"decode.require": ["Ada :"]},
    {"decode.diversity": {"groups": 3}},
    {"decode.no_repeat_ngram": 1, "decode.eos_penalty": 2.0},
    {"decode.coverage_penalty": 0.3, "decode.replace_unknown": True},
]


@pytest.mark.parametrize("settings", SEARCHES, ids=[" ".join(s) or "beam" for s in SEARCHES])
def test_company_changes_nothing_and_scores_are_the_models_own(model: Predictor, settings: dict[str, Any]) -> None:
    options: dict[str, Any] = {"settings": settings, "token_scores": True, "align": True}
    most = model.most_outputs(settings=settings)
    n_best = 1 if "decode.sample" in settings else most
    answers = model.predict(STRANGE, n_best=n_best, **options)
    known = {symbol for name in ("source", "target") for symbol in model.codecs.named[name].vocabulary.symbols}  # type: ignore[attr-defined]
    for text, answer in zip(STRANGE, answers, strict=True):
        if "decode.sample" not in settings and "decode.mbr" not in settings:  # what is drawn depends on the place
            (alone,) = model.predict([text], n_best=n_best, **options)
            assert alone.text == answer.text
            assert alone.score == pytest.approx(answer.score, abs=1e-4)
        for item in answer.n_best:
            assert {*item.tokens} <= known | {*text.split()}, "only known symbols are said, and those of the source"
            assert sum(item.token_scores) == pytest.approx(item.score, abs=1e-4)
            assert len(item.alignment) == len(item.tokens)
            if item.text and "decode.replace_unknown" not in settings:
                (score,) = model.score([Row((text,), item.text, "", 1)])
                assert score == pytest.approx(item.score, abs=1e-4)
        if "decode.require" in settings and text:
            assert all("Ada :" in item.text for item in answer.n_best)


@pytest.mark.parametrize(
    "settings", [{"decode.sample": {"seed": 4}}, {"decode.mbr": {"samples": 4, "metric": "token_error_rate"}}]
)
def test_what_is_drawn_depends_on_seed_and_place_alone(model: Predictor, settings: dict[str, Any]) -> None:
    """Not on how long the sources beside it are, though these widen the row's distribution."""
    together = model.predict(STRANGE, settings=settings)
    for place, (text, answer) in enumerate(zip(STRANGE, together, strict=True)):
        for other in ("Ada", " ".join(["Ada calls Uma"] * 9)):
            beside = [text if number == place else other for number in range(len(STRANGE))]
            assert model.predict(beside, settings=settings)[place].tokens == answer.tokens


def test_what_is_in_no_vocabulary_is_said(model: Predictor) -> None:
    outputs = [item.text for item in model.predict(["Zoë calls Xi", "Xi calls Zoë"], n_best=3)[0].n_best]
    assert any("Xi" in text or "Zoë" in text for text in outputs)
    allowed = model.predict(["Zoë calls Xi"], settings={"decode.allowed": ["Ada", ":"]}, n_best=3)[0]
    assert {symbol for item in allowed.n_best for symbol in item.tokens} <= {"Ada", ":"}
    (begun,) = model.predict(["Zoë calls Xi"], prefix="Ada :")
    assert begun.text.startswith("Ada :")


def test_an_ensemble_copies_and_a_folder_keeps_what_was_learned(model: Predictor, tmp_path: Path) -> None:
    model.save(tmp_path / "copy")
    again = load(tmp_path / "copy", "cpu")
    twice = load([tmp_path / "copy", tmp_path / "copy"], "cpu")
    rows = [Row((text,), f"{text.split()[0]} :", "", 1) for text in STRANGE if text]
    assert again.score(rows) == model.score(rows)
    assert twice.score(rows) == pytest.approx(model.score(rows), abs=1e-4)
    for item, other in zip(twice.predict(STRANGE), model.predict(STRANGE), strict=True):
        assert item.text == other.text
        assert item.score == pytest.approx(other.score, abs=1e-4)
    assert twice.evaluate()["exact_match"] == model.evaluate()["exact_match"]


def test_the_utility_of_texts_is_refused(model: Predictor) -> None:
    with pytest.raises(ConfigError, match=r"decode.mbr.metric: chrf is of texts.* choose token_error_rate"):
        model.predict(STRANGE, settings={"decode.mbr": {"samples": 4}})


def test_a_saved_configuration_says_copy(model: Predictor) -> None:
    config = read_config_file(model.folder / CONFIG)
    assert config.model.copy_
    built = build(config, model.codecs)
    assert {name for name, _ in built.named_parameters()} >= {"head.weight", "head.bias", "decoder.gate.weight"}


def test_a_training_goes_on_where_it_was(model: Predictor, tmp_path: Path) -> None:
    """Resumed = uninterrupted, bit for bit: what is hidden is drawn from the seed and the update."""
    tree = read_config_file(model.folder / CONFIG).model_dump(by_alias=True)
    states = []
    for name, stops in (("once", [6]), ("twice", [3, 6])):
        for stop in stops:
            tree["train"] |= {"max_steps": stop, "epochs": 50, "validate_every": 3, "schedule": "constant"}
            config = parse_config(tree, tmp_path)
            train(config, tmp_path / name, resume=stop == 6 and len(stops) > 1, device="cpu", threads=1)
        states.append(load(tmp_path / name, "cpu").model.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
