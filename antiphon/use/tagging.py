"""CoNLL-U in, CoNLL-U out: the labels of a model stand in the column that it has learned."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from antiphon.common.answers import LabelsPrediction
from antiphon.data.codecs.labels import LabelsCodec
from antiphon.data.conllu import FIELDS, Sentence, sentences
from antiphon.data.formats import read_lines
from antiphon.errors import DataError, ModelFolderError
from antiphon.use.loaded import Loaded
from antiphon.use.options import Options
from antiphon.use.predicting import stream


def tag(loaded: Loaded, path: str) -> Iterator[str]:
    """The sentences of a CoNLL-U file as text; see `Predictor.tag`."""
    learned, read = loaded.config.target.column, loaded.config.sources[0].column
    if not isinstance(loaded.codecs.target, LabelsCodec) or read not in FIELDS or learned not in FIELDS:
        reason = "does not label the words of CoNLL-U; that takes source.column: form and, say, target.column: upos"
        raise ModelFolderError(f"{loaded.folder}: {reason}")
    waiting: deque[Sentence] = deque()

    def inputs() -> Iterator[str]:
        for sentence in sentences(read_lines(path)):
            if sentence.wrong:
                raise DataError(f"{path}:{sentence.line}: {sentence.wrong}")
            waiting.append(sentence)
            yield sentence.field(str(read))

    for answer in stream(loaded, inputs(), Options(), origin=f"{path}: sentence "):
        assert isinstance(answer, LabelsPrediction)
        sentence = waiting.popleft()
        if len(answer.labels) != len(sentence.words):
            reason = f"the model reads {len(answer.labels)} tokens in a sentence of {len(sentence.words)} words"
            raise DataError(f"{path}:{sentence.line}: {reason}")
        yield sentence.replaced(str(learned), answer.labels)
