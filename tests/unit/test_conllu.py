"""CoNLL-U is written back as it was read, but for the column that a model has filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import antiphon
from antiphon.cli.main import main
from antiphon.config.load import parse_config
from antiphon.data.conllu import FIELDS, Sentence, sentences
from antiphon.errors import AntiphonError

TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5)
WORD = st.tuples(*[TEXT] * (len(FIELDS) - 1))
SPECIAL = st.sampled_from(["# a comment", "1-2\tab" + "\t_" * 8, "1.1\tgone" + "\t_" * 8])


@st.composite
def documents(draw: st.DrawFn) -> list[list[str]]:
    """Lines of sentences, each with a word and some that are none."""
    all_documents = []
    for words in draw(st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=4)):
        lines = ["\t".join([str(number), *fields]) for number, fields in enumerate(words, 1)]
        for line in draw(st.lists(SPECIAL, max_size=3)):
            lines.insert(draw(st.integers(0, len(lines))), line)
        all_documents.append(lines)
    return all_documents


def parsed(lines: list[str]) -> list[Sentence]:
    return list(sentences((number, line, "") for number, line in enumerate(lines, 1)))


@given(documents())
def test_what_is_read_is_written_back(document: list[list[str]]) -> None:
    lines = [line for sentence in document for line in [*sentence, ""]]
    sentences = parsed(lines)
    assert not any(sentence.wrong for sentence in sentences)
    for name in FIELDS[1:]:
        text = "".join(sentence.replaced(name, sentence.field(name).split(" ")) for sentence in sentences)
        assert text == "".join(f"{line}\n" for line in lines)


@given(documents(), st.sampled_from(FIELDS[1:]))
def test_one_field_of_the_words_changes_and_nothing_else(document: list[list[str]], name: str) -> None:
    for sentence in parsed([line for lines in document for line in [*lines, ""]]):
        other = parsed(sentence.replaced(name, ["X"] * len(sentence.words)).split("\n"))[0]
        assert other.field(name).split() == ["X"] * len(sentence.words)
        for field in FIELDS:
            assert field == name or other.field(field) == sentence.field(field)
        rest = [place for place in range(len(sentence.lines)) if place not in sentence.words]
        assert [other.lines[place] for place in rest] == [sentence.lines[place] for place in rest]


def test_white_space_within_a_field_makes_no_words() -> None:
    (sentence,) = parsed(["1\t10\u00a0000 or so" + "\t_" * 8, ""])
    assert sentence.field("form") == "10_000_or_so"


def test_comments_that_stand_alone_stay() -> None:
    lines = ["# newdoc", "", "# text", "1" + "\ta" * 9, ""]
    (sentence,) = parsed(lines)
    assert sentence.line == 4
    assert sentence.replaced("upos", ["a"]) == "".join(f"{line}\n" for line in lines)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagger")
    words = {"a": "DET", "cat": "NOUN", "sat": "VERB"}
    text = "".join(
        "".join(f"{n}\t{word}\t_\t{words[word]}\t_\t_\t_\t_\t_\t_\n" for n, word in enumerate(row, 1)) + "\n"
        for row in [["a", "cat"], ["a", "cat", "sat"], ["cat", "sat"], ["sat", "a"]] * 5
    )
    (folder / "train.conllu").write_text(text)
    tree = {
        "data": {"train": "train.conllu"},
        "source": {"column": "form", "tokens": "words"},
        "target": {"kind": "labels", "column": "upos"},
        "model": {"embedding": 8, "encoder": {"hidden": 8}, "dropout": 0.0},
        "train": {"max_steps": 60, "epochs": 100, "learning_rate": 0.03},
    }
    antiphon.train(parse_config(tree, folder), out=folder / "m", threads=1)
    return folder / "m"


def test_predict_labels_the_words_of_a_file(
    tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (
        "# one\n1\tthe\tthe\t_\tX\t_\t0\t_\t_\t_\n1.1\tcat\t_\t_\t_\t_\t_\t_\t_\t_\n2\tcat\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    )
    content += "1\tsat\t_\tWRONG\t_\t_\t_\t_\t_\t_\n\n"
    path = tmp_path / "in.conllu"
    path.write_text(content)
    monkeypatch.setattr("sys.argv", ["antiphon", "predict", str(tagger), str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    first, second = (answer.labels for answer in antiphon.load(tagger).predict(["the cat", "sat"]))
    expected = content.replace("the\t_", f"the\t{first[0]}").replace("2\tcat\t_\t_", f"2\tcat\t_\t{first[1]}")
    assert capsys.readouterr().out == expected.replace("WRONG", second[0])
    assert (first[1], second[0]) == ("NOUN", "VERB")


def test_what_cannot_be_labelled_is_refused(tagger: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.conllu"
    path.write_text("# one\n1\tthe\n\n")
    model = antiphon.load(tagger)
    with pytest.raises(AntiphonError, match=r"in\.conllu:2: line 2 is not the 10 columns"):
        list(model.tag(str(path)))
    path.write_text("1\ta" + "\t_" * 8 + "\n\n")
    codec = model.codecs.sources[0]
    codec.split = lambda text: ["a", "a"]  # type: ignore[attr-defined]
    with pytest.raises(AntiphonError, match=r"in\.conllu:1: the model reads 2 tokens in a sentence of 1 words"):
        list(model.tag(str(path)))
    model.config = model.config.model_copy(update={"target": model.config.target.model_copy(update={"column": 1})})
    with pytest.raises(AntiphonError, match="does not label the words of CoNLL-U"):
        list(model.tag(str(path)))
