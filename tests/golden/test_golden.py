"""Models of earlier releases load and decode as they did on the day they were made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import antiphon

FOLDERS = sorted(path for path in Path(__file__).parent.iterdir() if (path / "expected.json").is_file())


def test_there_is_a_model_to_compare_with() -> None:
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_released_model_decodes_identically(folder: Path, tmp_path: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    model = antiphon.load(folder, device="cpu")
    inputs = [entry["input"] for entry in expected["predictions"]]
    for entry, answer in zip(expected["predictions"], model.predict(inputs, n_best=2), strict=True):
        assert answer.text == entry["text"]
        if entry["input"]:
            assert answer.score == pytest.approx(entry["score"], abs=1e-4)
        else:
            assert answer.score is None, "nothing was said of an empty input; its score was 0 in 0.1.0"
        assert [c.text for c in answer.n_best] == [c["text"] for c in entry["n_best"]]
    table = tmp_path / "pairs.tsv"
    table.write_text("".join(f"{e['input']}\t{e['target']}\n" for e in expected["scores"]), encoding="utf-8")
    assert model.score(table) == pytest.approx([entry["score"] for entry in expected["scores"]], abs=1e-4)
