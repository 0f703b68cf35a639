"""Makes the small trained model that every later version must load and decode identically.

python tests/golden/make.py FOLDER      run once a release; the folder is committed and never changed
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tasks import spoken, tiny_config, words

import antiphon
from antiphon.files import write_text


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        settings = {"train__max_steps": 300, "train__validate_every": 100, "train__schedule": "cosine"}
        model = antiphon.train(tiny_config(Path(name), **settings), out=folder, threads=1)
    shutil.rmtree(folder / "training")
    (folder / "curves.png").unlink()
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(config.replace(f"{Path(name).resolve()}/", ""), encoding="utf-8")
    texts = [*words(30, 9, "shcteoamn"), "", "shy", "q"]
    expected = [
        {"input": text, "text": item.text, "score": item.score, "n_best": [vars(c) for c in item.n_best]}
        for text, item in zip(texts, model.predict(texts, n_best=2), strict=True)
    ]
    truth: list[dict[str, object]] = [{"input": text, "target": spoken(text), "score": None} for text in texts[:30]]
    scores = model.score(_table(folder, truth))
    (folder / "pairs.tsv").unlink()
    for entry, score in zip(truth, scores, strict=True):
        entry["score"] = score
    write_text(folder / "expected.json", json.dumps({"predictions": expected, "scores": truth}, indent=1) + "\n")


def _table(folder: Path, truth: list[dict[str, object]]) -> Path:
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{entry['input']}\t{entry['target']}\n" for entry in truth), encoding="utf-8")
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1]))
