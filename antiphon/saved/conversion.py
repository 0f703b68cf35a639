"""Converts models of other programs to model folders: their weights in our layout. Nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon import __version__
from antiphon.common.symbols import BOS, EOS, SPECIALS, UNK
from antiphon.common.vocabulary import Vocabulary
from antiphon.config.load import parse_config
from antiphon.config.schema import Config
from antiphon.data.codecs.text import TextCodec
from antiphon.data.formats import array_in
from antiphon.data.load import Codecs, untrained
from antiphon.errors import DataError, ModelFolderError
from antiphon.files import write_text
from antiphon.model.build import build
from antiphon.saved import folder as bundle

Floats = NDArray[np.float32]
SMALL = 2.0**-20  # tanh of a state times this is equal to it in all digits of a float32, and dividing by it is exact


@dataclass(frozen=True)
class Converted:
    """A model in our layout; `about` describes its origin, and what differs from the original."""

    config: Config
    codecs: Codecs
    weights: Mapping[str, Tensor]
    about: str


def convert(source: Path, out: Path) -> None:
    """Write the model of another program, in the file `source`, into the new model folder `out`.

    A file of an unknown program, or a damaged file, is a `DataError`.
    """
    if out.exists():
        raise ModelFolderError(f"{out}: exists; name a new folder")
    converted = g2p_en(source)
    with torch.device("meta"):
        bundle.check_weights(build(converted.config, converted.codecs), converted.weights, str(source))
    bundle.save_description(out, converted.config, converted.codecs)
    bundle.save_weights(out, converted.weights)
    write_text(out / bundle.CARD, _card(out, converted))


def _card(out: Path, converted: Converted) -> str:
    size = sum(value.numel() for value in converted.weights.values())
    return f"""# {out.resolve().name}

{converted.about}

{size:,} parameters, converted with Antiphon {__version__}.

    antiphon predict {out.name}        # one input per line, one output per line

## Configuration

```yaml
{converted.config.to_yaml().rstrip()}
```
"""


# --- g2p_en -------------------------------------------------------------------------------------------

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOWELS = ["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"]
CONSONANTS = [
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG",
    "P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH",
]  # fmt: skip
PHONEMES = sorted([*CONSONANTS, "UW", *(f"{vowel}{stress}" for vowel in VOWELS for stress in "012")])
G2P_LETTERS = {UNK: 1, EOS: 2}  # the rows of our special symbols in its letters, before a to z; 0 is padding
G2P_PHONEMES = {UNK: 1, BOS: 2, EOS: 3}  # and in its phonemes
G2P_LONGEST = 20  # phonemes of an output
G2P_ABOUT = """An English word -> phonemes model, the network of [g2p_en](https://pypi.org/project/g2p-en/) 2.1.0 \
(Kyubyong Park and Jongseok Kim, Apache-2.0), which it uses for words that its dictionary does not have.

It says the same phonemes, greedily and at most 20 of them. What differs:

- its scores are log p among the phonemes and the end; the network also had classes for padding and the beginning
- capitals are read as small letters, as g2p_en makes them before the network sees them; accents are not taken off
- our decoder's readout is a tanh, which the network has not: it is given states so small that it changes no digit of \
them. For a training to go on from here (`--init-from`) such weights are a poor start"""


def g2p_en(source: Path) -> Converted:
    """The GRU encoder and decoder in `checkpoint20.npz` of the Python package g2p_en 2.1.0.

    Its gates and both biases have our order. Its first decoder state is the encoder's last: context `last`. It has no
    readout, p = softmax(V h + b), while ours is f = tanh(W h): W = `SMALL` I and V / `SMALL` give the same result.
    """
    try:
        arrays = {name: array_in(str(source), name) for name in g2p_shapes(0, 0)}
    except DataError as error:
        raise DataError(f"{source}: is not the checkpoint20.npz of g2p_en, which can be converted: {error}") from None
    embedding, hidden = (np.atleast_1d(arrays[name]).shape[-1] for name in ("enc_emb", "enc_w_hh"))
    for name, shape in g2p_shapes(embedding, hidden).items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise DataError(
                f"{source}: {name} is {array.dtype} {list(array.shape)}; numbers {list(shape)} are expected"
            )
    weights: dict[str, NDArray[Any]] = {
        "source.embedding.weight": _rows(arrays["enc_emb"], G2P_LETTERS),
        "embedding.weight": _rows(arrays["dec_emb"], G2P_PHONEMES),
        "decoder.readout.weight": SMALL * np.eye(hidden),
        "decoder.readout.bias": np.zeros(hidden),
        "head.weight": _rows(arrays["fc_w"], G2P_PHONEMES) / SMALL,
        "head.bias": _rows(arrays["fc_b"], G2P_PHONEMES),
    }
    for cell, side in (("encoder.forward_cells.0", "enc"), ("decoder.cells.0", "dec")):
        for part, short in (("weight", "w"), ("bias", "b")):
            weights[f"{cell}.input_{part}"] = arrays[f"{side}_{short}_ih"]
            weights[f"{cell}.state_{part}"] = arrays[f"{side}_{short}_hh"]
    tree = {
        "data": {"train": str(source.resolve())},
        "source": {"tokens": "chars", "normalize": "none", "lowercase": True},
        "target": {"tokens": "words", "normalize": "none"},
        "model": {
            "cell": "gru",
            "embedding": embedding,
            "encoder": {"hidden": hidden, "bidirectional": False},
            "context": "last",
            "attention": "none",
            "decoder": {"hidden": hidden},
        },
        "decode": {"beam": 1, "max_length": G2P_LONGEST},
    }
    config = parse_config(tree, source.parent)
    codecs = untrained(config)
    for codec, symbols in ((codecs.sources[0], LETTERS), (codecs.target, PHONEMES)):
        assert isinstance(codec, TextCodec)
        codec.vocabulary = Vocabulary(symbols)
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in weights.items()}
    return Converted(config, codecs, tensors, G2P_ABOUT)


def g2p_shapes(embedding: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The names of all arrays, and their shapes with these widths."""
    letters, phonemes = 1 + len(G2P_LETTERS) + len(LETTERS), 1 + len(G2P_PHONEMES) + len(PHONEMES)
    shapes: dict[str, tuple[int, ...]] = {"enc_emb": (letters, embedding), "dec_emb": (phonemes, embedding)}
    for side in ("enc", "dec"):
        shapes |= {f"{side}_w_ih": (3 * hidden, embedding), f"{side}_w_hh": (3 * hidden, hidden)}
        shapes |= {f"{side}_b_ih": (3 * hidden,), f"{side}_b_hh": (3 * hidden,)}
    return shapes | {"fc_w": (phonemes, hidden), "fc_b": (phonemes,)}


def _rows(matrix: Floats, special: Mapping[int, int]) -> Floats:
    """A matrix with a row for each symbol in our order: special symbols (zeros if it has none), then the others."""
    others = matrix[1 + len(special) :]
    ordered = np.zeros((SPECIALS + len(others), *matrix.shape[1:]), np.float32)
    ordered[list(special)] = matrix[list(special.values())]
    ordered[SPECIALS:] = others
    return ordered
