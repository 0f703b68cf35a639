"""An attentive LSTM encoder-decoder as tutorials write it, with nothing done twice that need not be.

python benchmarks/teaching.py DATA OUT EMBEDDING ENCODER DECODER train UPDATES
python benchmarks/teaching.py DATA OUT EMBEDDING ENCODER DECODER decode INPUTS LENGTH
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

PAD, BEGIN, END = range(3)
BATCH = 64


def read(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()]


def vocabulary(lines: list[list[str]]) -> dict[str, int]:
    return {word: number for number, word in enumerate(sorted({w for line in lines for w in line}), 3)}


class Encoder(nn.Module):
    def __init__(self, words: int, embedding: int, hidden: int, decoder: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding, padding_idx=PAD)
        self.dropout = nn.Dropout(0.2)
        self.lstm = nn.LSTM(embedding, hidden, bidirectional=True, batch_first=True)
        self.bridge = nn.Linear(2 * hidden, decoder)

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(
            self.dropout(self.embedding(source)), lengths, batch_first=True, enforce_sorted=False
        )
        states, (last, _) = self.lstm(packed)
        states, _ = pad_packed_sequence(states, batch_first=True)
        return states, torch.tanh(self.bridge(torch.cat([last[0], last[1]], 1)))


class Decoder(nn.Module):
    """One step: Luong et al. 2015 (arXiv 1508.04025), general attention."""

    def __init__(self, words: int, embedding: int, memory: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding, padding_idx=PAD)
        self.dropout = nn.Dropout(0.2)
        self.cell = nn.LSTMCell(embedding, hidden)
        self.key = nn.Linear(memory, hidden, bias=False)
        self.readout = nn.Linear(memory + hidden, hidden)
        self.output = nn.Linear(hidden, words)

    def forward(
        self, word: Tensor, state: tuple[Tensor, Tensor], states: Tensor, keys: Tensor, mask: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        state = self.cell(self.dropout(self.embedding(word)), state)
        scores = (keys @ state[0][:, :, None])[:, :, 0].masked_fill(~mask, -torch.inf)
        context = (torch.softmax(scores, 1)[:, None] @ states)[:, 0]
        return self.output(self.dropout(torch.tanh(self.readout(torch.cat([context, state[0]], 1))))), state


class Seq2Seq(nn.Module):
    def __init__(self, sources: int, targets: int, embedding: int, encoder: int, decoder: int) -> None:
        super().__init__()
        self.encoder = Encoder(sources, embedding, encoder, decoder)
        self.decoder = Decoder(targets, embedding, 2 * encoder, decoder)

    def start(self, source: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]:
        mask = source != PAD
        states, first = self.encoder(source, mask.sum(1))
        return (first, torch.zeros_like(first)), states, self.decoder.key(states), mask

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits [B, T, words] with teacher forcing."""
        state, *memory = self.start(source)
        logits = []
        for word in target[:, :-1].T:
            step, state = self.decoder(word, state, *memory)
            logits.append(step)
        return torch.stack(logits, 1)

    @torch.no_grad()
    def greedy(self, source: Tensor, length: int) -> Tensor:
        """Words [B, length]; the end symbol is left out, so that every output is as long."""
        state, *memory = self.start(source)
        word = torch.full((len(source),), BEGIN)
        words = []
        for _ in range(length):
            logits, state = self.decoder(word, state, *memory)
            logits[:, : END + 1] = -torch.inf
            word = logits.argmax(1)
            words.append(word)
        return torch.stack(words, 1)


def batches(sources: list[Tensor], targets: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of like lengths together, as good teaching code does, in another order each epoch."""
    while True:
        order = sorted(range(len(sources)), key=lambda i: (len(targets[i]), len(sources[i]), random.random()))
        chunks = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        random.shuffle(chunks)
        for chunk in chunks:
            sides = ([side[i] for i in chunk] for side in (sources, targets))
            yield tuple(pad_sequence(side, batch_first=True) for side in sides)  # type: ignore[misc]


def main() -> None:
    data, out, task = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[6]
    widths = [int(width) for width in sys.argv[3:6]]
    sources, targets = read(data / "train.source"), read(data / "train.target")
    in_words, out_words = vocabulary(sources), vocabulary(targets)
    model = Seq2Seq(len(in_words) + 3, len(out_words) + 3, *widths)
    if task == "train":
        print(sum(p.numel() for p in model.parameters()), "parameters")
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        rows = batches(
            [torch.tensor([in_words[w] for w in line]) for line in sources],
            [torch.tensor([BEGIN, *(out_words[w] for w in line), END]) for line in targets],
        )
        for _ in range(int(sys.argv[7])):
            source, target = next(rows)
            loss = nn.functional.cross_entropy(
                model(source, target).flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        torch.save(model.state_dict(), out / "model.pt")
    else:
        model.load_state_dict(torch.load(out / "model.pt", weights_only=True))
        model.eval()
        words = list(out_words)
        inputs = [torch.tensor([in_words.get(w, 3) for w in line]) for line in read(Path(sys.argv[7]))]
        with open(out / "outputs", "w", encoding="utf-8") as file:
            for first in range(0, len(inputs), BATCH):
                predicted = model.greedy(
                    pad_sequence(inputs[first : first + BATCH], batch_first=True), int(sys.argv[8])
                )
                file.writelines(" ".join(words[w - 3] for w in line) + "\n" for line in predicted.tolist())


main()
