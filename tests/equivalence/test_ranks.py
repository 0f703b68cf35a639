"""Several processes are one: the same sums, updates, skipped updates and validations, and all of them end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import free_port, in_ranks
from tasks import tiny_config
from torch import Tensor, nn
from untrained import KINDS, picture_files, rows_of, untrained

from antiphon.config.load import read_config_file
from antiphon.data.encode import encode_rows
from antiphon.data.load import load_rows
from antiphon.decoding import batches
from antiphon.evaluation.measure import validate
from antiphon.evaluation.task import Task
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint, gradients, update
from antiphon.training.distributed import joined
from antiphon.training.gradients import GradientSum
from antiphon.training.loop import train

# Adam's first steps are g / (|g| + eps): with a tiny eps the rounding of a gradient near zero becomes a whole step
WELL_CONDITIONED: dict[str, Any] = {"train__optimizer": {"kind": "adamw", "eps": 1e-3}}
SHAPES = [(3, 2), (7,), (40, 3), (1,), (), (5, 5), (2, 2)]
UNUSED, ELSEWHERE = 3, 5  # parameters that no process uses, and that only the last one does


def sums(reduce: str, passes: int) -> list[dict[str, Any]]:
    """Gradients after their sum, and each process's before, over several updates."""
    gradients.BUCKET = 12
    with joined("cpu") as ranks:
        parameters = [nn.Parameter(torch.ones(shape)) for shape in SHAPES]
        summed = GradientSum(parameters, ranks, reduce)
        assert len(summed.buckets) > 3
        draws = torch.Generator().manual_seed(ranks.rank)
        updates = []
        for number in range(3):
            factors = [torch.randn(shape, generator=draws) for shape in SHAPES]
            used = [n for n in range(len(SHAPES)) if n != UNUSED and (n != ELSEWHERE or ranks.rank == ranks.world - 1)]
            for parameter in parameters:
                parameter.grad = None
            summed.begin()
            for backward in range(passes):
                if backward == passes - 1 and (number, ranks.rank) != (2, 0):  # the first has no rows in its last part
                    summed.last_pass()
                sum((parameters[n] * factors[n]).sum() for n in used).backward()  # type: ignore[union-attr]
            alone = [None if p.grad is None else p.grad.clone() for p in parameters]
            total = summed.finish([float(ranks.rank), torch.tensor(2.0), True])
            updates.append({"alone": alone, "summed": [p.grad for p in parameters], "total": total})
        return updates


@pytest.mark.parametrize(("world", "reduce", "passes"), [(2, "float32", 2), (3, "bfloat16", 1), (3, "float32", 1)])
def test_gradients_are_added_up_in_buckets(world: int, reduce: str, passes: int) -> None:
    ranks = in_ranks(world, sums, reduce, passes)
    for parts in zip(*ranks, strict=True):
        for number in range(len(SHAPES)):
            values = [part["summed"][number] for part in parts]
            alone = [part["alone"][number] for part in parts if part["alone"][number] is not None]
            if number == UNUSED:
                assert values == [None] * world, "an optimizer must leave it as it is, as in a single process"
                continue
            assert all(value.equal(values[0]) for value in values), "every process has the same bits"
            assert len(alone) == (1 if number == ELSEWHERE else world)
            rounding = 2**-7 * sum(value.abs() for value in alone) if reduce == "bfloat16" else 1e-6
            assert ((values[0] - sum(alone)).abs() <= rounding).all()
        assert [part["total"] for part in parts] == [[sum(range(world)), 2.0 * world, world]] * world


def sent_at_first_layer() -> int:
    """How many messages are on their way when the backward pass reaches the first layer."""
    gradients.BUCKET = 1
    with joined("cpu") as ranks:
        layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
        seen: list[int] = []
        summed = GradientSum(list(layers.parameters()), ranks)
        layers[0].register_full_backward_hook(lambda *_: seen.append(len(summed.works)))
        summed.begin()
        summed.last_pass()
        layers(torch.ones(2, 4)).sum().backward()
        summed.finish([0.0])
        return seen[0]


def test_messages_are_sent_while_the_backward_pass_computes() -> None:
    assert min(in_ranks(2, sent_at_first_layer)) >= 4


VARIETY: dict[str, dict[str, Any]] = {
    "accumulated": {"train__accumulate": 3, "train__batch_size": 7, "train__normalize": "rows", "train__unknown": 0.1},
    "R-Drop": {"train__r_drop": 1.0, "train__batch_size": 5, "train__ema": 0.9},
    "hidden alignment": {"model__attention": "hard"},
    "partly frozen": {"train__freeze": ["encoder"], "train__average": 2},
    "more processes than rows": {"train__batch_size": 2},
    "one bucket": {"train__batch_size": 15},
}


def train_all(folder: Path, names: list[str], ports: list[int], suffix: str) -> None:
    if suffix == "ranks":
        gradients.BUCKET = 500
    for name, port in zip(names, ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)  # one after the other in the same processes
        train(read_config_file(folder / f"{name}.yaml"), folder / f"{name}-{suffix}", device="cpu", threads=1)


def test_three_processes_train_as_one(tmp_path: Path) -> None:
    names = []
    for name, settings in VARIETY.items():
        names.append(name.replace(" ", "-"))
        text = tiny_config(tmp_path, **{"train__max_steps": 4, **settings, **WELL_CONDITIONED}).to_yaml()
        (tmp_path / f"{names[-1]}.yaml").write_text(text)
    ports = [free_port() for _ in names]
    train_all(tmp_path, names, ports, "alone")
    in_ranks(3, train_all, tmp_path, names, ports, "ranks")
    for name in names:
        alone, ranks = (checkpoint.load(tmp_path / f"{name}-{how}")[0] for how in ("alone", "ranks"))
        close(alone["learner"]["weights"], ranks["learner"]["weights"], name)
        losses = [[entry["loss"] for entry in state["progress"]["history"]] for state in (alone, ranks)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def close(left: dict[str, Tensor], right: dict[str, Tensor], what: str) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=1e-5, rtol=1e-5, msg=lambda text: f"{what}: {text}")


def train_with_faults(config: Path, out: Path, fault: str) -> dict[str, Tensor]:
    """A training in which one process has a fault in its third update; the weights of this process after it."""
    honest, calls = update.batch_loss, 0

    def loss(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3 and os.environ.get("RANK", "0") == "0":
            if fault == "memory":
                raise MemoryError
            objective, nll = honest(*arguments)
            return objective * torch.nan, nll
        return honest(*arguments)

    learners = []
    begin = update.Learner.begin

    def begun(*arguments: Any) -> Any:
        learners.append(begin(*arguments))
        return learners[-1]

    changed: Any = update
    changed.batch_loss, changed.Learner.begin = loss, begun
    train(read_config_file(config), out, device="cpu", threads=1)
    return {name: value.detach().clone() for name, value in learners[0].model.named_parameters()}


@pytest.mark.parametrize("fault", ["memory", "NaN"])
def test_a_fault_in_one_process_is_one_of_all(tmp_path: Path, fault: str) -> None:
    """Memory runs out, or a gradient is NaN: the update is computed in parts, or skipped, everywhere."""
    config = tiny_config(tmp_path, **WELL_CONDITIONED)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    [alone] = in_ranks(1, train_with_faults, tmp_path / "c.yaml", tmp_path / "alone", fault)
    first, second = in_ranks(2, train_with_faults, tmp_path / "c.yaml", tmp_path / "ranks", fault)
    assert all(first[name].equal(second[name]) for name in first), "weights stay the same bits in all processes"
    close(alone, first, fault)
    progress = checkpoint.load(tmp_path / "ranks")[0]["progress"]
    assert progress["skipped"] == (fault == "NaN")
    assert progress["parts"] == (2 if fault == "memory" else 1)


def test_gradients_in_bfloat16_learn_as_in_float32(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train__max_steps": 60, "train__validate_every": 30}
    losses = {}
    for reduce in ("float32", "bfloat16"):
        config = tiny_config(tmp_path, **options, train__reduce=reduce)
        (tmp_path / f"{reduce}.yaml").write_text(config.to_yaml())
        in_ranks(2, train_all, tmp_path, [reduce], [free_port()], "ranks")
        losses[reduce] = [e["loss"] for e in checkpoint.load(tmp_path / f"{reduce}-ranks")[0]["progress"]["history"]]
    assert losses["bfloat16"] != losses["float32"], "nothing was rounded"
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["float32"][1] < losses["float32"][0] - 0.1, "it must learn, or equality means nothing"


def validations(folders: list[Path]) -> list[Any]:
    """What validations give in this process; and how many batches it computed itself."""
    batches.ROWS = 2
    results = []
    with joined("cpu") as ranks:
        computed = 0

        def gather(own: list[Any]) -> list[list[Any]]:
            nonlocal computed
            computed += len(own)
            return ranks.all_of(own)

        sharing = ranks.sharing._replace(gather=gather)
        for folder in folders:
            model = bundle.load(folder, ranks.device)
            rows, examples = encode_rows(
                model.config, model.codecs, load_rows(model.config, model.config.data.train, codecs=model.codecs)
            )
            task = Task(model.model, model.config, model.codecs, rows, examples, ranks.device, sharing)
            scores, influence, measured = validate(task, model.codecs.target.metric)
            losses = [loss.tolist() for loss in measured.rows.losses]
            results.append((scores, influence.tolist(), measured.outputs, losses))
    return [computed, *results]


def test_a_validation_that_is_divided_gives_the_same_bits(tmp_path: Path) -> None:
    folders = []
    for number, (name, (tree, columns)) in enumerate(KINDS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        if "image" in name:
            files = picture_files(folder)
            columns = {**columns, "x": files if tree["source"]["kind"] == "image" else [[file] for file in files]}
        untrained(folder, tree, rows_of(**columns))
        folders.append(folder / "model")
    [[batches_alone, *alone]] = in_ranks(1, validations, folders)
    ranks = in_ranks(2, validations, folders)
    for name, expected, *results in zip(KINDS, alone, *(part[1:] for part in ranks), strict=True):
        assert results == [expected, expected], name
    shares = [part[0] for part in ranks]
    assert sum(shares) == batches_alone, "no batch is computed twice"
    assert min(shares) > 0.3 * batches_alone
