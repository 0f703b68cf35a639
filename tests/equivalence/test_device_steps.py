"""An update asks the device for no value, so that it could be captured and replayed: of every structure and part, the
loss, its gradients and their clipping read nothing back. (Adam counts its steps on the processor unless it is told that
it is captured, which it can only be on a device.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from models import Choice, covering, make, name, sources
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from untrained import KINDS, picture_files, rows_of, untrained

from antiphon.data.batches import Examples, Sequences, collate
from antiphon.data.encode import encode_rows
from antiphon.training.update import batch_loss

ASKS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "unique_dim", "bincount"}


SPELLED = {"spelled words to labels of a CRF": {"unique_dim", "_local_scalar_dense"}}  # each spelling is read once


class Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation whose result's shape or a value of it must be read by the program."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.removeprefix("aten::")
        masks = name in ("index", "index_put_", "index_put") and any(
            item is not None and item.dtype is torch.bool for item in args[1]
        )
        if name in ASKS or masks:
            self.asked.add(name)
        return function(*args, **(kwargs or {}))


def asked(model: nn.Module, update: Any) -> set[str]:
    """What an update asks the device: the loss, its gradients, and their clipping."""
    model.train()
    watching = Watching()
    with watching:
        update().backward()
        parameters = [item for item in model.parameters() if item.grad is not None]
        nn.utils.clip_grad_norm_(parameters, 1.0)
    return watching.asked


@pytest.mark.parametrize("case", KINDS)
def test_no_structure_asks_the_device(case: str, tmp_path: Path) -> None:
    tree, columns = KINDS[case]
    if "pictures" in str(columns):
        files = picture_files(tmp_path)
        nested = isinstance(columns["x"][0], list)
        columns = {**columns, "x": [files[: n + 1] if nested else file for n, file in enumerate(files)]}
    predictor = untrained(tmp_path, {**tree, "train": {"precision": "float32"}}, rows_of(**columns))
    _, examples = encode_rows(predictor.config, predictor.codecs, predictor.rows(predictor.config.data.train))
    batch = collate(examples, list(range(len(examples))))
    model: Any = predictor.model
    assert asked(model, lambda: batch_loss(model, batch, 1.0, 0.1, "float32")[0]) == SPELLED.get(case, set())


@pytest.mark.parametrize("choice", covering(), ids=name)
def test_no_part_asks_the_device(choice: Choice) -> None:
    model = make(choice)
    batch = collate(Examples((Sequences(sources(5)),), Sequences(sources(5, 2, 8))), list(range(5)))
    assert asked(model, lambda: batch_loss(model, batch, 1.0, 0.1, "float32")[0]) == set()


def test_what_asks_is_noticed() -> None:
    model = nn.Linear(2, 2)
    values = torch.ones(3, 2)

    def asks() -> torch.Tensor:
        out: torch.Tensor = model(values)
        return out[out > 0].sum() + float(out.detach().sum())

    assert {"index", "_local_scalar_dense"} <= asked(model, asks)
