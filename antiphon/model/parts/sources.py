"""Sources: what turns a batch's input into vectors, one per step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.common.symbols import PAD
from antiphon.model.parts.encoders import RecurrentEncoder
from antiphon.model.parts.recurrent import LstmCell
from antiphon.registry import Table


class Embedding(nn.Module):
    """Ids [...] -> vectors [..., size]; the padding symbol's is zero.

    Entries start uniform with unit variance divided by `size`'s root, so that a tied output matrix starts
    at a sensible scale too.
    """

    def __init__(self, symbols: int, size: int) -> None:
        super().__init__()
        bound = (3.0 / size) ** 0.5
        self.weight = nn.Parameter(torch.empty(symbols, size).uniform_(-bound, bound))
        with torch.no_grad():
            self.weight[PAD].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight, padding_idx=PAD)


class Source(nn.Module):
    """Values [B, steps, ...] and lengths [B] -> vectors [B, S, size] and lengths [B]; S may differ from the steps."""

    size: int
    segment: int = 1  # steps of the values that make one step of the vectors

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class TextSource(Source):
    """Symbols [B, S] -> vectors [B, S, size]."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.embedding = Embedding(inputs, size)
        self.size = size

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.embedding(values), lengths


class SpelledWordSource(Source):
    """Words and their characters [B, S, 1 + width] -> vectors [B, S, size]: a word's embedding, then its spelling.

    The spelling is the last states of a bidirectional LSTM over the characters (Ling et al. 2015, arXiv 1508.02096;
    Lample et al. 2016, 1603.01360), which reads each distinct one of a batch once.
    """

    def __init__(
        self, inputs: int, size: int, characters: int, character_embedding: int, character_hidden: int
    ) -> None:
        super().__init__()
        self.embedding = Embedding(inputs, size)
        self.characters = Embedding(characters, character_embedding)
        self.encoder = RecurrentEncoder(character_embedding, LstmCell, character_hidden)
        self.size = size + self.encoder.size

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        words, spelled = values[..., 0], values[..., 1:]
        distinct, place = torch.unique(spelled.flatten(0, 1), dim=0, return_inverse=True)
        sizes = (distinct != PAD).sum(1).clamp(min=1)  # a step that is padding has no characters
        spelling = self.encoder(self.characters(distinct[:, : int(sizes.max())]), sizes).last[place]
        return torch.cat([self.embedding(words), spelling.view(*words.shape, -1)], -1), lengths


class NumbersSource(Source):
    """Numbers [B, S, inputs] -> W x + b [B, S, size].

    With a `segment` x are the numbers of so many steps, and for each of these steps 1, or 0 if the last segment of a
    row does not have it.
    """

    def __init__(self, inputs: int, size: int, segment: int = 1) -> None:
        super().__init__()
        self.project = nn.Linear(inputs if segment == 1 else segment * (inputs + 1), size)
        self.size, self.segment = size, segment

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if self.segment == 1:
            return self.project(values), lengths
        rows, steps, numbers = values.shape
        inside = (torch.arange(steps, device=values.device) < lengths[:, None]).to(values.dtype)[..., None]
        count = (steps + self.segment - 1) // self.segment
        marked = functional.pad(torch.cat([values * inside, inside], 2), (0, 0, 0, self.segment - 1))
        segments = marked[:, : count * self.segment].reshape(rows, count, self.segment * (numbers + 1))
        return self.project(segments), (lengths + self.segment - 1) // self.segment


class TagsSource(NumbersSource):
    """Sets of tags [B, 1, inputs] -> the sum of their embeddings and a bias [B, 1, size].

    The first of the inputs counts tags that are unknown, and is not read.
    """

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__(inputs - 1, size)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(values[..., 1:], lengths)


class ImageSource(Source):
    """Pictures [B, 1, height, width, inputs] of bytes -> a grid of vectors [B, rows * columns, size], row by row.

    A small convolutional network: for each of `channels` a 3 x 3 convolution, a normalisation, a rectifier and a
    2 x 2 maximum, as long as the picture is larger than 4 pixels; then one linear map a cell. `norm` is `group`, over
    groups of channels (Wu & He 2018, arXiv 1803.08494; unlike one over the batch it never mixes rows), or `none`,
    with which a picture's brightness and colours are kept. In training, pictures
    are first changed at random by up to `jitter` (see `jittered`), and half of them mirrored if `mirror`.
    """

    CELLS: ClassVar[int] = 1  # how many cells of the grid one linear map takes together

    def __init__(
        self,
        inputs: int,
        size: int,
        channels: Sequence[int] = (32, 64, 128),
        jitter: float = 0.0,
        mirror: bool = False,
        norm: Literal["group", "none"] = "group",
    ) -> None:
        super().__init__()
        self.jitter, self.mirror = jitter, mirror
        widths = [inputs, *channels]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in zip(widths, channels, strict=False)
        )
        self.norms = nn.ModuleList(
            nn.GroupNorm(_groups(width), width) if norm == "group" else nn.Identity() for width in channels
        )
        self.project = nn.Linear(channels[-1] * self.CELLS, size)
        self.size = size

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self.project(self.grid(values).flatten(2).transpose(1, 2))
        return vectors, torch.full_like(lengths, vectors.shape[1])

    def grid(self, values: Tensor) -> Tensor:
        """Pictures [B, S, height, width, inputs] -> [B * S, channels, rows, columns]."""
        grid = values.flatten(0, 1).permute(0, 3, 1, 2).to(self.project.weight.dtype) / 127.5 - 1.0
        if self.training and (self.jitter > 0 or self.mirror):
            grid = jittered(grid, self.jitter, self.mirror, values.shape[1])
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            grid = functional.relu(norm(convolution(grid)))
            if min(grid.shape[2:]) > 4:
                grid = functional.max_pool2d(grid, 2)
        return grid


class ImagesSource(ImageSource):
    """Sequences of pictures [B, S, height, width, inputs] -> a vector each [B, S, size].

    The convolutions of `ImageSource`, their grid averaged to `ASIDE` cells per side, and one linear map of all cells.
    """

    ASIDE = 4
    CELLS = ASIDE**2

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        cells = functional.adaptive_avg_pool2d(self.grid(values), self.ASIDE)
        return self.project(cells.flatten(1)).unflatten(0, values.shape[:2]), lengths


def jittered(pictures: Tensor, by: float, mirror: bool = False, steps: int = 1) -> Tensor:
    """Pictures [B * steps, channels, height, width], each row's `steps` changed alike: moved by up to `by` of half
    their side, stretched, turned and slanted as much, contrast and brightness of every channel changed by up to `by`,
    and half of the rows mirrored if `mirror`. What lies beyond an edge is like the edge."""

    def drawn(*shape: int) -> Tensor:
        numbers = (torch.rand(len(pictures) // steps, *shape, device=pictures.device) * 2 - 1) * by
        return numbers.repeat_interleave(steps, 0).to(pictures.dtype)

    affine = torch.eye(2, 3, device=pictures.device, dtype=pictures.dtype) + drawn(2, 3)
    if mirror:
        across = torch.where(torch.rand(len(pictures) // steps, device=pictures.device) < 0.5, -1.0, 1.0)
        affine[:, 0] *= across.repeat_interleave(steps)[:, None]
    places = functional.affine_grid(affine, list(pictures.shape), align_corners=False)
    moved = functional.grid_sample(pictures, places, padding_mode="border", align_corners=False)
    return moved * (1 + drawn(pictures.shape[1], 1, 1)) + drawn(pictures.shape[1], 1, 1)


def _groups(channels: int) -> int:
    """The most groups, up to 8, that divide the channels."""
    return max(count for count in range(1, 9) if channels % count == 0)


SOURCES: Table[Source] = Table(
    "part that reads a source",
    {
        "symbols": TextSource,
        "spelled_words": SpelledWordSource,
        "numbers": NumbersSource,
        "tags": TagsSource,
        "image": ImageSource,
        "images": ImagesSource,
    },
)
