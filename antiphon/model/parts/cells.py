"""The table of cells."""

from __future__ import annotations

from antiphon.model.parts.linear import MinGruCell, MinLstmCell
from antiphon.model.parts.recurrent import Cell, GruCell, LstmCell, ReluCell, TanhCell
from antiphon.model.parts.selective import SelectiveCell
from antiphon.registry import Table

CELLS: Table[Cell] = Table(
    "cell",
    {
        "rnn_tanh": TanhCell,
        "rnn_relu": ReluCell,
        "gru": GruCell,
        "lstm": LstmCell,
        "mingru": MinGruCell,
        "minlstm": MinLstmCell,
        "selective": SelectiveCell,
    },
    Cell.configure,
)
