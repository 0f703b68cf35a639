"""Several models as one: their probabilities combined, in every way of decoding and in scoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import covering, make, name, pad_sources, sources, targets
from typer.testing import CliRunner

import antiphon
from antiphon.cli.main import app
from antiphon.common.symbols import EOS, FIRST_OUTPUT
from antiphon.config.load import read_config_file
from antiphon.data.rows import Row
from antiphon.decoding.beam import beam
from antiphon.decoding.greedy import greedy
from antiphon.decoding.scoring import forced
from antiphon.decoding.step import Limits
from antiphon.errors import AntiphonError
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import Writer
from antiphon.model.parts.heads.combined import COMBINATIONS
from antiphon.training.loop import train
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

CPU = torch.device("cpu")
WAYS = sorted(COMBINATIONS)


def by_hand(way: str, parts: list[torch.Tensor]) -> torch.Tensor:
    """The combined log-probabilities of distributions, written down."""
    p = [part.double().exp() for part in parts]
    if way == "mean":
        return torch.log(torch.as_tensor(sum(p)) / len(p))
    product = torch.stack(p).prod(0) ** (1 / len(p))
    return torch.log(product / product.sum(-1, keepdim=True))


def several(first: int, count: int = 2) -> list[Writer]:
    """Models of different shapes for the same symbols."""
    choices = covering()
    return [make(choices[(first + 7 * number) % len(choices)], seed=number) for number in range(count)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", [0, 5, 11])
def test_a_step_is_the_combination_of_the_members_steps(first: int, way: str) -> None:
    members = several(first, 3)
    model = Ensemble(members, COMBINATIONS[way]).eval()
    with torch.inference_mode():
        given_ = [pad_sources(sources(5))]
        tokens = torch.tensor([4, 5, 6, 7, 4])
        step = model.step(tokens, model.start(given_))
        parts = [member.step(tokens, member.start(given_)).log_probs for member in members]
        assert torch.allclose(step.log_probs.double(), by_hand(way, parts), atol=1e-5)
        assert step.log_probs[:, FIRST_OUTPUT:].exp().sum(1).tolist() == pytest.approx([1.0] * 5, abs=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_all_steps_at_once_are_step_by_step(way: str) -> None:
    model = Ensemble(several(3), COMBINATIONS[way]).eval()
    given_, (_, out) = [pad_sources(sources(6))], targets(6)
    positions = (out.flatten() != 0).nonzero().flatten()
    with torch.inference_mode():
        losses, hits = model.head.judge(model(given_, out), out, positions)
        log_probs = forced(model.step, model.start(given_), out)
        assert torch.allclose(-losses, log_probs.flatten()[positions], atol=1e-5)
        best = model.head.log_probs(model(given_, out)).argmax(-1)
        assert hits.equal((best == out).flatten()[positions])


@pytest.mark.parametrize("way", WAYS)
def test_equal_members_are_one_of_them(way: str) -> None:
    (member,) = several(2, 1)
    model = Ensemble([member, member], COMBINATIONS[way]).eval()
    with torch.inference_mode():
        given_ = [pad_sources(sources(6))]
        alone = beam(member.step, member.start(given_), 6, CPU, Limits(6), 3)
        results = beam(model.step, model.start(given_), 6, CPU, Limits(6), 3)
    for item, other in zip(alone, results, strict=True):
        assert [h.tokens for h in item] == [h.tokens for h in other]
        assert [h.score for h in item] == pytest.approx([h.score for h in other], abs=1e-4)


@pytest.mark.parametrize("choice", covering()[::9], ids=name)
def test_company_changes_nothing(choice: Any) -> None:
    model = Ensemble([make(choice), make(covering()[0], seed=4)], COMBINATIONS["log_linear"]).eval()
    rows = sources(5, seed=2)
    with torch.inference_mode():
        together = beam(model.step, model.start([pad_sources(rows)]), 5, CPU, Limits(6), 3)
        sure = greedy(model.step, model.start([pad_sources(rows)]), 5, CPU, Limits(6))
        for number, row in enumerate(rows):
            alone = beam(model.step, model.start([pad_sources([row])]), 1, CPU, Limits(6), 3)[0]
            assert [h.tokens for h in alone] == [h.tokens for h in together[number]]
            assert greedy(model.step, model.start([pad_sources([row])]), 1, CPU, Limits(6))[0][0].tokens == (
                sure[number][0].tokens
            )


@pytest.fixture(scope="module")
def folders(model_folder: Path, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of the same rows, the second of another shape."""
    other = read_config_file(tiny_config, {"model.cell": "lstm", "model.embedding": 7})
    return [model_folder, train(other, tmp_path_factory.mktemp("second") / "model", device="cpu")]


@pytest.fixture(scope="module", params=WAYS)
def model(request: pytest.FixtureRequest, folders: list[Path]) -> Predictor:
    return antiphon.load(folders, "cpu", request.param)


settings = st.sampled_from(
    [
        {},
        {"decode.beam": 1},
        {"decode.require": ["B A"], "decode.no_repeat_ngram": 2},
        {"decode.beam": 4, "decode.diversity": {"groups": 2}, "decode.coverage_penalty": 0.3},
        {"decode.sample": {"seed": 4}},
        {"decode.mbr": {"samples": 4}},
        {"decode.replace_unknown": True, "decode.eos_penalty": 1.0},
    ]
)


@given(settings)
def test_everything_works_with_several_models(model: Predictor, chosen: dict[str, Any]) -> None:
    texts = ["abc", "", "ed"]
    for text, item in zip(texts, model.predict(texts, settings=chosen, token_scores=True, align=True), strict=True):
        if text:
            best = item.n_best[0]
            assert sum(best.token_scores) == pytest.approx(best.score, abs=1e-4)
            assert len(best.alignment) == len(item.tokens)
            if item.text and set(item.tokens) <= set("ABCDE"):
                assert model.score([Row((text,), item.text, "t", 1)]) == pytest.approx([item.score], abs=1e-4)


def test_it_is_measured_as_one_model(model: Predictor, folders: list[Path], pairs: Path) -> None:
    measured = model.evaluate(pairs)
    assert measured.keys() == load(folders[0], "cpu").evaluate(pairs).keys()
    scores = model.score(pairs)
    assert sum(scores) / sum(len(row.target.split()) + 1 for row in model.rows(pairs)) == pytest.approx(
        -measured["loss"]
    )
    weights = model.predict(["abcd"], attention=True)[0].attention
    assert weights.sum(1) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(AntiphonError, match="an ensemble is several folders; copy each of them"):
        model.save(pairs.parent / "copy")


def test_language_models_go_on_together(pairs: Path, tmp_path: Path) -> None:
    words = [line.split("\t")[0] for line in pairs.read_text().splitlines()]
    (tmp_path / "words.txt").write_text("".join(f"{word}\n" for word in words))
    folders = []
    for seed in (1, 2):
        (tmp_path / f"{seed}.yaml").write_text(
            "data: {train: words.txt, valid: words.txt, test: words.txt}\ntarget: next\n"
            f"model: {{embedding: {4 + seed}, encoder: {{hidden: {6 + seed}}}}}\n"
            f"train: {{max_steps: 4, validate_every: 2, batch_size: 16, seed: {seed}}}\ndecode: {{max_length: 6}}\n"
        )
        folders.append(train(read_config_file(tmp_path / f"{seed}.yaml"), tmp_path / f"m{seed}", device="cpu"))
    model = load(folders, "cpu")
    for item in model.predict(["a", "de"], token_scores=True):
        assert item.text.startswith("".join(item.source_tokens))
        assert sum(item.n_best[0].token_scores) == pytest.approx(item.score, abs=1e-4)
    assert model.evaluate()["loss"] == pytest.approx(-sum(model.score()) / sum(len(word) + 1 for word in words))


def test_strangers_are_refused(
    folders: list[Path], configure: Callable[..., Any], write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    small = {"train__max_steps": 2, "model__encoder__hidden": 4, "model__decoder__hidden": 4}
    rows = write("rows.tsv", "".join(f"{'abcde'[i % 5]}b\tA Z\n{'abcde'[i % 5]}\tB\n" for i in range(12)))
    other = train(configure(data__train=str(rows), **small), tmp_path / "other", device="cpu")
    label = train(configure(data__train=str(rows), target="label", **small), tmp_path / "label", device="cpu")
    with pytest.raises(AntiphonError) as caught:
        load([folders[0], other], "cpu")
    assert str(caught.value).startswith(f"{other}: vocabulary-source.json is not that of {folders[0]}; train ")
    with pytest.raises(AntiphonError, match=r"label: does not write a sequence; only models that do can be combined"):
        load([label, label], "cpu")
    with pytest.raises(AntiphonError, match="combine: unknown method 'mane'; did you mean 'mean'"):
        load(folders, "cpu", "mane")
    with pytest.raises(AntiphonError, match="an ensemble needs at least one model folder"):
        load([], "cpu")


def test_pictures_must_be_looked_at_in_the_same_places(configure: Callable[..., Any], tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "rows.npz", picture=pictures, word=np.asarray(["A B", "B", "A"] * 4))
    files = {"source": str(tmp_path / "rows.npz#picture"), "target": str(tmp_path / "rows.npz#word")}
    keys = {"source": "image", "train__max_steps": 2, "model__encoder__hidden": 4, "model__decoder__hidden": 4}
    folders = [
        train(
            configure(data__train=files, data__valid=files, model__image__channels=[4] * depth, **keys),
            tmp_path / f"m{number}",
            device="cpu",
        )
        for number, depth in enumerate((1, 1, 2))
    ]
    (answer,) = load(folders[:2], "cpu").predict([pictures[0]], attention=True)
    assert answer.attention.shape == (len(answer.tokens) + 1, 16)
    with pytest.raises(AntiphonError, match=r"m2: divides pictures into other places than .*m0; give both equally"):
        load(folders[::2], "cpu")


def test_the_command_line_takes_several(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("abc\nde\n")
    (tmp_path / "rows.tsv").write_text("abc\tA B\n")
    done = CliRunner().invoke(app, ["predict", str(folders[0]), str(tmp_path / "in.txt"), "--combine", "mean"])
    assert (done.exit_code, "needs --ensemble" in done.output) == (2, True)
    several_ = ["--ensemble", str(folders[1]), "--combine", "mean", "--device", "cpu"]
    for command, file in (("predict", "in.txt"), ("score", "rows.tsv"), ("evaluate", "rows.tsv")):
        done = CliRunner().invoke(app, [command, str(folders[0]), str(tmp_path / file), *several_])
        assert done.exit_code == 0, done.stderr
        if command == "predict":
            texts = [item.text for item in load(folders, "cpu", "mean").predict(["abc", "de"])]
            assert done.stdout.split("\n")[:-1] == texts
    assert EOS not in load(folders, "cpu").codecs.target.encode("A")[:-1]
