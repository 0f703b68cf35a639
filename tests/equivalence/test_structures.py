"""The contracts for every structure: padding, batch and order change nothing; all of a memory is one memory."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from models import SideSizes, assert_slopes
from torch import Tensor

from antiphon.common.symbols import EOS, PAD, SPECIALS
from antiphon.config.schema import Model
from antiphon.data.batches import Examples, Sequences, collate
from antiphon.decoding.beam import beam
from antiphon.decoding.greedy import greedy
from antiphon.decoding.scoring import forced
from antiphon.decoding.step import Limits
from antiphon.evaluation.scores import read_sources
from antiphon.model.build import STRUCTURES
from antiphon.model.models import Model as Built
from antiphon.model.models import Reader, Writer

CPU = torch.device("cpu")
CHANCE = np.random.default_rng(3)
ROWS = 6
LENGTHS = [5, 2, 7, 1, 4, 3]
TEXT = [[*CHANCE.integers(SPECIALS, 9, n).tolist(), EOS] for n in LENGTHS]
LETTERS = [CHANCE.integers(0, 9, (len(row), 4)).tolist() for row in TEXT]
WORDS = [
    np.asarray([[word, *sorted(letters, key=lambda letter: letter == PAD)] for word, letters in zip(*row, strict=True)])
    for row in zip(TEXT, LETTERS, strict=True)
]
FRAMES = [CHANCE.normal(size=(n, 3)).astype(np.float32) for n in LENGTHS]
GRID = [CHANCE.normal(size=(n, 3)).astype(np.float32) for n in LENGTHS]
VECTOR = [CHANCE.normal(size=(1, 3)).astype(np.float32) for _ in LENGTHS]
CATEGORY = [[int(CHANCE.integers(SPECIALS, 9))] for _ in LENGTHS]
IMAGE = [CHANCE.integers(0, 256, (1, 13, 10, 3)).astype(np.uint8) for _ in LENGTHS]
IMAGES = [CHANCE.integers(0, 256, (n, 13, 10, 3)).astype(np.uint8) for n in LENGTHS]
SOURCES: dict[str, tuple[SideSizes, Any]] = {
    "text": (SideSizes("symbols", 9), TEXT),
    "words": (
        SideSizes("spelled_words", 9, part_options={"characters": 9, "character_embedding": 3, "character_hidden": 2}),
        WORDS,
    ),
    "frames": (SideSizes("numbers", 3), FRAMES),
    "grid": (SideSizes("numbers", 3, steps=False), GRID),
    "vector": (SideSizes("numbers", 3, steps=False), VECTOR),
    "category": (SideSizes("symbols", 9, steps=False), CATEGORY),
    "image": (SideSizes("image", 3, steps=False), IMAGE),
    "images": (SideSizes("images", 3), IMAGES),
}
POOLINGS = ["last", "mean", "max", "attention"]
CASES = [
    *(("one_to_one", (s,), t, "last") for s in ("vector", "category", "image") for t in ("labels", "numbers")),
    *(("one_to_many", s, "symbols", "last") for s in (("vector",), ("grid",), ("image",), ("image", "category"))),
    *(
        ("many_to_one", (s,), t, p)
        for s, t, p in itertools.product(("text", "words", "frames"), ("labels", "numbers"), POOLINGS)
    ),
    *(("many_to_one", ("text", "vector"), "labels", p) for p in POOLINGS),
    ("many_to_one", ("images",), "labels", "mean"),
    ("many_to_many", ("images", "text"), "symbols", "last"),
    ("synchronous", ("images",), "labels", "last"),
    *(
        ("many_to_many", s, "symbols", "last")
        for s in (("frames",), ("words",), ("text", "category"), ("text", "text", "image"))
    ),
    *(
        ("synchronous", (s,), t, "last")
        for s in ("text", "words", "frames")
        for t in ("labels", "crf", "numbers", "bits")
    ),
]
CLASSES = ("labels", "crf")


def make(structure: str, names: tuple[str, ...], target: str, pooling: str, cell: str, both: bool) -> Built:
    model = Model.model_validate(
        {
            "cell": {"kind": cell, "layer_norm": not both, "zoneout": 0.0 if both else 0.1},
            "embedding": 5,
            "image": {"channels": [4, 6]},
            "encoder": {"hidden": 4, "layers": 2, "bidirectional": both, "residual": True},
            "pooling": pooling,
            "decoder": {"hidden": 6},
            "attention": "additive",
            "dropout": 0.0,
        }
    )
    torch.manual_seed(1)
    sides = [SOURCES[name][0] for name in names]
    built = STRUCTURES[structure](model, sides, SideSizes(target, 8 if target in (*CLASSES, "symbols") else 2))
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if "norm" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.5)
    return built.eval()


def targets(structure: str, target: str, names: tuple[str, ...]) -> list[Any]:
    if target == "symbols":
        return [[*CHANCE.integers(SPECIALS, 8, n % 4).tolist(), EOS] for n in LENGTHS]
    steps = LENGTHS if structure == "synchronous" else [1] * ROWS
    if target in CLASSES:
        return [CHANCE.integers(SPECIALS, 8, n).tolist() for n in steps]
    return [CHANCE.integers(0, 2, (n, 2)).astype(np.float32) for n in steps]


def losses(model: Built, examples: Examples, rows: list[int], padding: int = 0) -> list[Tensor]:
    """The loss of every target step, a tensor a row."""
    batch = collate(examples, rows)

    def wider(values: Tensor) -> Tensor:
        return torch.cat([values, values.new_zeros(len(values), padding, *values.shape[2:])], 1)

    item = [int(source.lengths.max()) == 1 for source in batch.sources]
    sources = [
        (values if single else wider(values), lengths)
        for (values, lengths), single in zip(batch.sources, item, strict=True)
    ]
    target = batch.target.values
    with torch.inference_mode():
        all_losses, _ = model.head.judge(model(sources, target), target, batch.positions)
    return list(all_losses.split(batch.target.lengths.tolist()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("cell", "both"), [("lstm", True), ("gru", False)])
@pytest.mark.parametrize(("structure", "names", "target", "pooling"), CASES)
def test_contracts(structure: str, names: tuple[str, ...], target: str, pooling: str, cell: str, both: bool) -> None:
    model = make(structure, names, target, pooling, cell, both)
    sources = tuple(Sequences(SOURCES[name][1]) for name in names)
    examples = Examples(sources, Sequences(targets(structure, target, names)))
    together = losses(model, examples, list(range(ROWS)))
    assert torch.cat(together).std() > 1e-3, "rows must differ, or this compares nothing"
    padded = losses(model, examples, list(range(ROWS)), padding=3)
    order = [3, 0, 5, 1, 4, 2]
    mixed = losses(model, examples, order)
    for row in range(ROWS):
        alone = losses(model, examples, [row])[0]
        for computed in (alone, padded[row], mixed[order.index(row)]):
            torch.testing.assert_close(computed, together[row], atol=1e-5, rtol=1e-5)


READERS = [case for case in CASES if case[2] != "symbols"]


@pytest.mark.parametrize(("structure", "names", "target", "pooling"), READERS)
def test_what_is_answered_depends_on_its_row_alone(
    structure: str, names: tuple[str, ...], target: str, pooling: str
) -> None:
    model = make(structure, names, target, pooling, "lstm", True)
    assert isinstance(model, Reader)
    sources = [Sequences(SOURCES[name][1]) for name in names]
    ends = int(names[0] in ("text", "words"))
    together = read_sources(model, sources, ends, CPU)
    for row, answer in enumerate(together):
        (alone,) = read_sources(model, [source.take([row]) for source in sources], ends, CPU)
        assert len(answer.predicted) == (LENGTHS[row] if structure == "synchronous" else 1)
        np.testing.assert_allclose(alone.predicted, answer.predicted, atol=1e-5)
        np.testing.assert_allclose(alone.values, answer.values, atol=1e-5)
        if target in CLASSES:
            assert (answer.predicted >= SPECIALS).all()
            np.testing.assert_allclose(np.exp(answer.values).sum(1), 1, atol=1e-5)


@pytest.mark.parametrize(("structure", "names", "target", "pooling"), [case for case in CASES if case[2] == "symbols"])
def test_what_is_decoded_depends_on_its_row_alone(
    structure: str, names: tuple[str, ...], target: str, pooling: str
) -> None:
    model = make(structure, names, target, pooling, "lstm", True)
    assert isinstance(model, Writer)
    sources = [Sequences(SOURCES[name][1]) for name in names]
    examples = Examples(tuple(sources), Sequences(targets(structure, target, names)))
    limits = Limits(6)
    with torch.inference_mode():
        batch = collate(examples, range(ROWS))
        start = model.start(batch.sources)
        for hypotheses, width in (
            (greedy(model.step, start, ROWS, CPU, limits), 1),
            (beam(model.step, start, ROWS, CPU, limits, width=3), 3),
        ):
            for row in range(ROWS):
                state = model.start(collate(examples, [row]).sources)
                alone = (
                    greedy(model.step, state, 1, CPU, limits)
                    if width == 1
                    else beam(model.step, state, 1, CPU, limits, width=3)
                )
                assert alone[0][0].tokens == hypotheses[row][0].tokens
                assert alone[0][0].score == pytest.approx(hypotheses[row][0].score, abs=1e-4)
        scores = forced(model.step, start, batch.target.values).sum(1)
        for row, loss in enumerate(losses(model, examples, list(range(ROWS)))):
            assert float(scores[row]) == pytest.approx(-float(loss.sum()), abs=1e-4)


@pytest.mark.parametrize("target", ["labels", "numbers", "bits"])
def test_a_one_directional_reader_never_looks_ahead(target: str) -> None:
    """Each step's answer is that of the prefix that ends there: what a live stream will answer."""
    model = make("synchronous", ("frames",), target, "last", "gru", both=False)
    assert isinstance(model, Reader)
    frames = torch.from_numpy(FRAMES[2])[None]
    with torch.inference_mode():
        _, whole = model.head.answer(model.features([(frames, torch.tensor([7]))]), torch.arange(7))
        for end in range(1, 8):
            features = model.features([(frames[:, :end], torch.tensor([end]))])
            torch.testing.assert_close(model.head.answer(features, torch.arange(end))[1][-1], whole[end - 1])


@pytest.mark.parametrize(
    ("source", "target"), [*(("text", target) for target in ("labels", "crf", "numbers", "bits")), ("words", "labels")]
)
def test_gradients_equal_finite_differences(source: str, target: str) -> None:
    structure = "synchronous"
    model = make(structure, (source,), target, "last", "lstm", both=True).double()
    examples = Examples((Sequences(SOURCES[source][1]),), Sequences(targets(structure, target, (source,))))
    batch = collate(examples, range(ROWS))
    expected = batch.target.values
    expected = expected.double() if expected.is_floating_point() else expected

    def loss() -> Tensor:
        return model.head.objective(model(batch.sources, expected), expected, batch.positions, 0.1)[0]

    assert_slopes(model, loss)
