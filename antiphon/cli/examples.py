"""The examples in the help of each command; a test reads each with the command's parser."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "train": (
        "antiphon train pairs.tsv --out model",
        "antiphon train config.yaml --out model --set train.epochs=20",
        "antiphon train pairs.tsv --out model --resume",
        "antiphon train pairs.tsv --out model --minutes 10",
    ),
    "distill": (
        "antiphon distill large-1 large-2 --rows pairs.tsv --out small",
        "antiphon distill large --inputs words.txt --out small",
    ),
    "evaluate": ("antiphon evaluate model test.tsv", "antiphon evaluate model test.tsv --json --beam 4"),
    "compare": ("antiphon compare model other test.tsv",),
    "sweep": ("antiphon sweep pairs.tsv --grid model.cell=lstm,gru --out sweep",),
    "table": (
        "antiphon table sweep",
        "antiphon table sweep --metric exact_match --format latex",
    ),
    "tune": ("antiphon tune pairs.tsv --minutes 60 --out tuned",),
    "report": ("antiphon report model test.tsv --out report.html",),
    "predict": (
        "echo knight | antiphon predict model",
        "antiphon predict model words.txt --json --n-best 3 --beam 4",
        "echo | antiphon predict names --sample --seed 1",
        "antiphon predict model shards --ray local --out predictions",
    ),
    "chat": ("antiphon chat model",),
    "score": ("antiphon score model pairs.tsv",),
    "calibrate": ("antiphon calibrate model", "antiphon calibrate model valid.tsv"),
    "exceptions": ("antiphon exceptions model known.tsv", "antiphon exceptions model"),
    "inspect": (
        "antiphon inspect model knight --out knight.html",
        "antiphon inspect model knight --view attention --out knight.png",
        "antiphon inspect model --out frames.html < frames.txt",
    ),
    "lexicon": (
        "antiphon lexicon model words.txt --to sherpa --inventory tokens.txt --out lexicon.txt",
        "antiphon lexicon model words.txt --to mfa --n-best 3 --known known.dict --doubtful doubtful.tsv",
    ),
    "doubt": (
        "antiphon doubt model pairs.tsv --top 100",
        "antiphon doubt model pairs.tsv --folds 3 --set train.minutes=5 --out doubt.tsv",
        "antiphon doubt model pairs.tsv --no-cross",
    ),
    "next": ("antiphon next model words.txt --count 500 --out to-label.tsv",),
    "export": (
        "antiphon export model shipped",
        "antiphon export model small --int8 --data test.tsv",
        "antiphon export model dist --to wheel --name my-g2p --version 1.0.0 --licence MIT",
        "antiphon export model page --to web",
        "antiphon export --list",
        "antiphon export --list model",
    ),
    "convert": ("antiphon convert checkpoint20.npz --out g2p",),
    "pull": ("antiphon pull anna/french-g2p --out french",),
    "push": ("antiphon push model anna/french-g2p --license cc-by-4.0 --language fr",),
    "serve": ("antiphon serve model", "antiphon serve model other --port 8080 --token-file token.txt"),
    "check": ("antiphon check pairs.tsv", "antiphon check pairs.tsv --yaml"),
    "prepare": (
        "antiphon prepare 'shards/*.tsv' --out encoded",
        "antiphon prepare config.yaml --out encoded --set data.sample=all",
    ),
    "init": ("antiphon init table.csv --out config.yaml",),
    "demo": ("antiphon demo", "antiphon demo many_to_one --out tagger"),
    "bench": ("antiphon bench", "antiphon bench --json --threads 2", "antiphon bench --scale"),
    "help": ("antiphon help train",),
}
