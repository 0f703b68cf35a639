"""The cache of a language model: size, scale and share chosen on the validation text, measured on the test text.

python studies/recall.py MODEL     a model of one long text (configs/words-ptb.yaml); the validation text chooses
                                   model.cache, the test text is read once; writes docs/results/recall.md

The cache is that of Grave et al. 2017 (arXiv 1612.04426); nothing of it is learned, so every choice is tried on the
same states of the trained model.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from grid import ROOT, hardware, insert
from torch import Tensor

from antiphon.common.symbols import FIRST_OUTPUT
from antiphon.data.encode import encode_rows
from antiphon.model.models import LanguageModel
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

TABLE = ROOT / "docs/results/recall.md"
SIZES, SCALES = (100, 500, 1_000, 2_000, 4_000), (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
PIECE = 4_096
BLOCK = 256  # steps that look back together


@torch.inference_mode()
def states(model: Predictor, data: object) -> tuple[Tensor, Tensor, Tensor]:
    """The readout features before each symbol of a text [T, features], the symbols [T], and log p of each [T]."""
    _, examples = encode_rows(model.config, model.codecs, model.rows(data))
    reader = model.model.eval()
    assert isinstance(reader, LanguageModel)
    assert len(examples) == 1, "one long text"
    ids = torch.from_numpy(np.asarray(examples.target[0])).long()[None]
    layers, read, features, log_probs = reader.begin(1), reader.read(ids), [], []
    for part, target in zip(torch.split(read, PIECE, 1), torch.split(ids, PIECE, 1), strict=True):
        made, layers = reader.run(part, layers)
        readout = made if isinstance(made, Tensor) else made.readout
        features.append(readout[0])
        for few, symbols in zip(torch.split(readout[0], BLOCK), torch.split(target[0], BLOCK), strict=True):
            log_probs.append(reader.head.log_probs(few).gather(1, symbols[:, None])[:, 0])
    return torch.cat(features), ids[0], torch.cat(log_probs)


@torch.inference_mode()
def recalled(readout: Tensor, ids: Tensor, size: int, scales: tuple[float, ...]) -> Tensor:
    """The cache's probability of each symbol, a row for each scale [scales, T]; NaN where nothing has been read."""
    rows = []
    for begin in range(0, len(ids), BLOCK):
        end, first = min(begin + BLOCK, len(ids)), max(0, begin - size)
        steps, places = torch.arange(begin, end)[:, None], torch.arange(first, end)[None]
        seen = (places < steps) & (places >= steps - size) & (ids[first:end] >= FIRST_OUTPUT)
        likeness, hits = readout[begin:end] @ readout[first:end].T, ids[begin:end, None] == ids[first:end]
        weights = [torch.softmax((likeness * scale).masked_fill(~seen, -torch.inf), -1) for scale in scales]
        rows.append(torch.stack([(weight * hits).sum(-1) for weight in weights]))
    return torch.cat(rows, 1)


def mixed(log_probs: Tensor, cache: Tensor, share: float) -> float:
    """The mean of -log p with a share of the cache."""
    p = torch.where(cache.isnan(), log_probs.exp(), (1 - share) * log_probs.exp() + share * cache)
    return float(-p.log().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    model = load(given.model, "cpu")
    tried: dict[tuple[int, float, float], float] = {}
    read = {name: states(model, getattr(model.config.data, name)) for name in ("valid", "test")}
    readout, ids, log_probs = read["valid"]
    for size in SIZES:
        caches = recalled(readout, ids, size, SCALES)
        for (scale, cache), share in itertools.product(zip(SCALES, caches, strict=True), SHARES):
            tried[size, scale, share] = mixed(log_probs, cache, share)
    lines = ["| cache | scale | share | validation perplexity | test perplexity |", "|---|---|---|---|---|"]
    lines.append(
        f"| none |  |  | {float(np.exp(-log_probs.mean())):.2f} | {float(np.exp(-read['test'][2].mean())):.2f} |"
    )
    for size in SIZES:
        chosen = min((key for key in tried if key[0] == size), key=lambda key: tried[key])
        size, scale, share = chosen
        (cache,) = recalled(*read["test"][:2], size, (scale,))
        test = float(np.exp(mixed(read["test"][2], cache, share)))
        lines.append(f"| {size:,} | {scale:g} | {share:g} | {float(np.exp(tried[chosen])):.2f} | {test:.2f} |")
    insert(TABLE, "recall", [*lines, "", f"{hardware(1)}."])


if __name__ == "__main__":
    main()
