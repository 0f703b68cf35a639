"""What a label a frame is worth without time: logistic regression on single frames, against which recipes are held.

python studies/frames.py TRAIN.jsonl TEST.jsonl ...     # pairs of tables with frames and labels, JSON Lines
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from antiphon.metrics import macro_f1


def frames(path: str) -> tuple[np.ndarray, list[str]]:
    """All frames of a table [frames, numbers] and their labels."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return np.concatenate([row["frames"] for row in rows]), [label for row in rows for label in row["labels"]]


def main() -> None:
    """Macro-F1 on every second table of a classifier that learned from the table before it, and their mean."""
    scores = []
    for train, test in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(*frames(train))
        found, wanted = frames(test)
        scores.append(macro_f1(model.predict(found).tolist(), wanted))
        print(f"{scores[-1]:.4f}  {test}")
    print(f"{np.mean(scores):.4f}  mean")


if __name__ == "__main__":
    main()
