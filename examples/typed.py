"""Every public function of Antiphon in a program that `mypy --strict` accepts: python typed.py FOLDER

It writes small tables into the folder, trains a model that spells words out, one that tags letters and one that
continues a table of hours, and uses them.
"""

from __future__ import annotations

import copy
import itertools
import logging
import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import antiphon
from antiphon import (
    AntiphonError,
    Callback,
    Candidate,
    Chosen,
    Doubt,
    LabelPrediction,
    LabelsPrediction,
    Lexicon,
    LiveEnd,
    Predictor,
    Run,
    SeriesPrediction,
    TextPrediction,
    Trace,
)

WORDS = ["".join(letters) for letters in itertools.product("abc", "def", "abe", "cdf")]
QUICK = {"train.max_steps": 4, "train.validate_every": 2}


class Losses(Callback):
    """Collects the training loss, and stops when it is low."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def update(self, run: Run) -> bool:
        if run.loss is not None:
            self.losses.append(run.loss)
        return bool(self.losses) and self.losses[-1] < 0.01

    def end(self, run: Run) -> None:
        logging.getLogger("typed").info("%d updates in %s", run.updates, run.folder)


def spell(folder: Path) -> Predictor[TextPrediction]:
    """A model that writes text, trained with a callback."""
    table = folder / "words.tsv"
    table.write_text("".join(f"{word}\t{' '.join(word.upper())}\n" for word in WORDS), encoding="utf-8")
    losses = Losses()
    model = antiphon.train(
        table, out=folder / "spelling", settings=QUICK, callbacks=[losses], quiet=True, predicts=TextPrediction
    )
    print(len(losses.losses), "losses")
    return model


def use(model: Predictor[TextPrediction], folder: Path) -> None:
    """What a model that writes text can do."""
    best: TextPrediction = model.predict(["abed"], beam=3, n_best=2)[0]
    others: list[Candidate] = best.n_best
    print(best.text, best.tokens, best.score, [other.score for other in others])
    for prediction in model.stream(["abed", "cede"], sample={"seed": 1}):
        print(prediction.text)
    for prediction in model.write("abed"):
        print(prediction.tokens)
    for result in model.answers(["abed", "x" * 10_000]):
        print(result if isinstance(result, AntiphonError) else result.text)

    table = folder / "words.tsv"
    scores: list[float] = model.score(table)
    metrics: dict[str, float] = model.evaluate(table)
    print(len(scores), metrics["token_error_rate"], model.scores([("abed", "A B E D")]), len(model.scored(table)))
    print(model.calibrate(table).summary(), model.predict(["abed"])[0].confidence)
    doubtful: list[Doubt] = model.doubt(table)
    chosen: list[Chosen] = model.next_rows(["abed", "cede", "cedd"], 2)
    print(doubtful[0].doubt, doubtful[0].prediction, [(item.value, item.uncertainty) for item in chosen])
    lexicon: Lexicon = antiphon.lexicon(model, ["abed", "cede"], n_best=2)
    print(*lexicon.lines("mfa"), [word.word for word in lexicon.doubtful()], sep="\n")
    trace: Trace = model.explain("abed", reference="A B E D")
    print(len(trace.to_json()))

    print(antiphon.doubt(folder / "spelling", table, folds=2, quiet=True)[0].to_json())
    print(len(antiphon.next_rows(folder / "spelling", ["abed", "cede"], 1)))

    rows = [(word, " ".join(word.upper())) for word in WORDS[:20]]
    report = antiphon.check(rows, valid=0.2)
    other = antiphon.train(rows, settings=QUICK, valid=0.2, quiet=True, predicts=TextPrediction)
    for difference in antiphon.compare([model, other], rows, samples=20):
        print(difference.line())
    print(report)

    known = folder / "known.tsv"
    known.write_text("abed\tA\n", encoding="utf-8")
    print(model.use_exceptions(known), model.predict(["abed"])[0].text)
    print(repr(model), model.summary(), sep="\n")
    model.save(folder / "copy")
    copies: list[Predictor[TextPrediction]] = [
        copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.to("cpu"),
        antiphon.load(folder / "copy", predicts=TextPrediction),
    ]  # fmt: skip
    print([each.predict(["cede"])[0].text for each in copies])
    if find_spec("onnxruntime"):
        print(model.export(folder / "shipped").difference)


def tag(folder: Path) -> Predictor[LabelsPrediction]:
    """A model that labels each letter as it comes, and what only such a model can do."""
    table = folder / "letters.tsv"
    rows = [
        (" ".join(word), " ".join("vowel" if letter in "aeo" else "consonant" for letter in word)) for word in WORDS
    ]
    table.write_text("".join(f"{letters}\t{labels}\n" for letters, labels in rows), encoding="utf-8")
    settings = {**QUICK, "target.kind": "labels", "source.tokens": "words", "model.encoder.bidirectional": False}
    model = antiphon.train(str(table), settings=settings, quiet=True, predicts=LabelsPrediction)
    print(model.predict(["a b c"])[0].labels, model.confusion(table))
    for step in model.live(["a", "b", ""]):
        if isinstance(step, LabelPrediction):
            print(step.label, step.probabilities[step.label])
        elif isinstance(step, LiveEnd):
            print("the end of the sequence")
    return model


def forecast(folder: Path) -> Predictor[SeriesPrediction]:
    """A model that continues a long table, with intervals."""
    table = folder / "hours.csv"
    hours = "".join(f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00,{hour % 24}\n" for hour in range(24 * 20))
    table.write_text(f"time,load\n{hours}", encoding="utf-8")
    settings = {
        **QUICK,
        "data.time": "time",
        "data.window": {"past": 24, "horizon": 6},
        "source.columns": ["load"],
        "target.columns": ["load"],
    }
    model = antiphon.train(table, settings=settings, quiet=True, predicts=SeriesPrediction)
    print(model.calibrate_intervals().summary())
    for made in model.forecast(table):
        print(made.times, made.prediction.values.tolist(), made.prediction.quantiles)
    return model


def main(folder: Path) -> None:
    """Train the models in a folder, and use them."""
    print("Antiphon", antiphon.__version__)
    use(spell(folder), folder)
    tag(folder)
    forecast(folder)
    try:
        antiphon.load(folder / "spelling", predicts=LabelPrediction)
    except AntiphonError as error:
        print(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
