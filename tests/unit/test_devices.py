"""Work beside other work: in order, each piece with its share of threads, errors as they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antiphon.decoding.batches import FEW, ROWS, batches_by_length
from antiphon.devices import side_by_side


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("workers", [1, 2, 4, 9])
def test_pieces_stay_in_order_and_share_the_threads(workers: int) -> None:
    meet = threading.Barrier(min(workers, 4))  # no piece is done before others have begun

    def work(piece: int) -> tuple[int, int]:
        meet.wait(20)
        return piece, torch.get_num_threads()

    results = side_by_side(work, range(4), workers)
    assert results == [(piece, 4 // min(workers, 4)) for piece in range(4)]
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_an_error_of_a_piece_is_raised_and_threads_are_as_before() -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda piece: 1 // piece, [1, 0, 1], 2)
    assert torch.get_num_threads() == 4


def test_nothing_to_do_is_no_piece() -> None:
    assert side_by_side(str, [], 4) == []


@given(st.lists(st.integers(1, 50), max_size=400), st.integers(1, 8), st.integers(1, 8))
def test_batches_hold_every_row_once_and_are_enough_for_all_workers(lengths: list[int], width: int, parts: int) -> None:
    batches = list(batches_by_length(np.array(lengths, np.int64), width, parts=parts))
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    assert all(len(batch) * width <= max(ROWS, width) for batch in batches)
    if len(lengths) * width >= parts * (FEW + width):
        assert len(batches) >= parts
