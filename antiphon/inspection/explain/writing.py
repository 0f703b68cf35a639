"""What the explainers of models that write share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from antiphon.common.symbols import EOS, UNK
from antiphon.data.batches import EncodedInput
from antiphon.data.codecs.text import TextCodec
from antiphon.data.copying import Copying
from antiphon.data.load import copying_of
from antiphon.decoding.alignment import written
from antiphon.decoding.hypothesis import Hypothesis, best_of
from antiphon.decoding.plan import Search, written_side
from antiphon.decoding.run import Watch, decode_sources
from antiphon.errors import ConfigError
from antiphon.inspection.explain.beam_tree import Tree
from antiphon.inspection.explain.explainer import Explainer, choices, log_probs_of
from antiphon.inspection.explain.request import ME, TraceRequest
from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.trace import Beam, Forced, Run, Token
from antiphon.inspection.trace import Layer as LayerTrace
from antiphon.inspection.trace import Step as StepTrace
from antiphon.model.models import LanguageModel, Writer

S = TypeVar("S", bound=Writer | LanguageModel)


@dataclass(frozen=True)
class WritingExplainer(Explainer[S]):
    """Traces a model that writes, with its search."""

    search: Search

    @property
    def codec(self) -> TextCodec:
        return written_side(self.model, self.codecs)

    @property
    def _copying(self) -> Copying | None:
        return copying_of(self.config, self.codecs)

    def _naming(self, example: EncodedInput) -> Callable[[int], Token]:
        """The name of an id in an output for this input; None for a special symbol."""
        copying = self._copying
        if copying is None:
            return self.codec.vocabulary.symbol
        return lambda number: copying.symbols([number], example.values)[0]

    def _best(
        self,
        example: EncodedInput,
        model: Any = None,
        prefix: Sequence[int] | None = None,
        watch: Watch | None = None,
        where: str = ME,
    ) -> list[Hypothesis]:
        """The outputs, the best first."""
        prefixes = None if prefix is None else [prefix]
        sources = example.sources
        (outputs,) = decode_sources(model or self.model, sources, self.search, self.device, None, prefixes, watch)
        best_of(outputs, where)
        return outputs

    def _search_beam(self, example: EncodedInput, request: TraceRequest) -> tuple[list[Hypothesis], Beam | None]:
        prefix = self._prefix(example, request)
        if self.search.sample is not None:
            return self._best(example, prefix=prefix), None
        tree = Tree()
        outputs = self._best(example, prefix=prefix, watch=tree)
        return outputs, tree.trace(self.search, self._naming(example), outputs)

    def _symbols(self, example: EncodedInput, output: Sequence[int]) -> list[str]:
        codecs, search = self.codecs, self.search
        return written(self.model, codecs, search, example.sources, [example.values], [tuple(output)], self.device)[0]

    @torch.inference_mode()
    def _follow(self, model: Any, state: Any, first: int, ids: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """log p [steps, symbols] while the ids are fed in turn, and attention [steps, states]."""
        log_probs, looked = [], []
        last = torch.tensor([first], device=self.device)
        for number in ids:
            answer = model.step(last, state)
            log_probs.append(answer.log_probs)
            looked += [] if answer.attention is None else [answer.attention]
            last, state = torch.full_like(last, number), answer.state
        return torch.cat(log_probs), torch.cat(looked) if looked else None

    def _run(
        self,
        example: EncodedInput,
        log_probs: Tensor,
        ids: Sequence[int],
        tokens: Sequence[Token],
        text: str,
        top: int,
        attention: Tensor | None = None,
        layers: list[LayerTrace] | None = None,
    ) -> Run:
        values = log_probs_of(log_probs, ids).tolist()
        name = self._naming(example)
        steps = [
            StepTrace(token=token, log_prob=rounded(value), top=choices(row, top, name))
            for token, value, row in zip(tokens, values, log_probs, strict=True)
        ]
        looked = None if attention is None else rounded(attention)
        return Run(
            text=text, tokens=list(tokens), score=rounded(sum(values)), steps=steps, attention=looked, layers=layers
        )

    def _prefix(self, example: EncodedInput, request: TraceRequest) -> list[int] | None:
        """The prefix of every output, as ids."""
        ids = [self._forced_id(example, token, "begin") for token in request.begin]
        most = self.search.limits.max_length
        if EOS in ids[:-1]:
            raise ConfigError("begin", "has symbols after the end symbol, which must be the last")
        if len(ids) - (ids[-1:] == [EOS]) > most:
            raise ConfigError("begin", f"has {len(ids)} tokens, but decode.max_length is {most}")
        return ids or None

    def _forced_id(self, example: EncodedInput, token: Token, key: str) -> int:
        number, copying = EOS, self._copying
        if token is not None:
            symbol = self.codec.normalize(token)
            number = copying.id_of(symbol, example.values) if copying else self.codec.vocabulary.id(symbol)
        if number == UNK:
            raise ConfigError(key, f"{token!r} is not in the vocabulary of the model, so it cannot be written")
        return number

    def _forced(self, example: EncodedInput, output: Sequence[int], request: TraceRequest) -> list[Forced] | None:
        runs: list[Forced] = []
        most = self.search.limits.max_length
        for place, token in request.force:
            if not 0 <= place <= len(output):
                reason = f"there is no step {place + 1}: the output has {len(output)} tokens, and the end symbol"
                raise ConfigError("force", reason)
            prefix = [*output[:place], self._forced_id(example, token, "force")]
            if len(prefix) > most and prefix[-1] != EOS:
                raise ConfigError("force", f"makes {len(prefix)} tokens, but decode.max_length is {most}")
            best = self._best(example, prefix=prefix, where=f"{ME}, forced to write {token or 'the end symbol'}")[0]
            runs.append(Forced(step=place, token=token, run=self._run_of(example, best.tokens, request.top)))
        return runs or None

    def _run_of(self, example: EncodedInput, output: Sequence[int], top: int) -> Run:
        """The run of an output."""
        raise NotImplementedError
