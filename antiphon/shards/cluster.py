"""Ray: a cluster or this machine alone, whose workers predict blocks of rows; and what can go wrong with it.

This machine reads the files, block by block, and writes the predictions; workers need no disk that they share with it,
no PyTorch, and nothing of this package but antiphon-runtime. Ray computes a block again whose worker died; which block
is which is said by its numbers, so that no row is lost or doubled whatever Ray does.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from antiphon.errors import AntiphonError
from antiphon.shards.files import Shard
from antiphon.shards.reading import Reading, pieces
from antiphon.shards.writing import Done
from antiphon.use.serving import blocks

LOCAL = "local"
ANSWER_SECONDS = 3.0  # within which an address must answer
RETRIES = 10  # of a block whose worker died; rows that kill every worker must come to an end
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113, 3.4: what a client sends
SETTINGS = b"\x04"  # the kind of frame that a server answers with
IN_FLIGHT = 2  # blocks that wait at a worker
STORE = 512 << 20  # bytes of blocks that are held at once on this machine


def require() -> None:
    """Refuse to begin without Ray."""
    try:
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise AntiphonError(f'--ray needs {error.name}: pip install "antiphon[ray]"') from None


@contextmanager
def connected(address: str, workers: int | None) -> Iterator[int]:
    """Within it there is a cluster: that at `address` (HOST:PORT, or auto: the one of this machine), or with `local`
    one of this machine alone. Gives how many workers there are to be, by default one for each of its CPUs.

    An address that does not answer is an `AntiphonError` within seconds.
    """
    require()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its authors
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an error
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address == LOCAL:
        cores = workers or os.cpu_count() or 1
        options |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": STORE}
    else:
        refuse_silent(address)
    try:
        with _quiet():
            ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        raise AntiphonError(f"--ray {address}: {_reason(address, error)}") from None
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        free = int(ray.cluster_resources().get("CPU", 0))
        if not free:
            raise AntiphonError(f"--ray {address}: the cluster has no CPU")
        if workers is not None and workers > free:
            raise AntiphonError(f"--workers {workers}: the cluster has {free} CPUs, and each worker takes one")
        yield workers or free
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, nothing is written to standard error, not by libraries either: Ray reports its own settings there."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def refuse_silent(address: str) -> None:
    """Refuse an address at which nothing answers; Ray itself would try for minutes."""
    if address == "auto":
        return
    if "://" in address:
        advice = "run this on a machine of the cluster, and give the address that `ray start --head` printed there"
        raise AntiphonError(f"--ray {address}: is not HOST:PORT, auto or local; {advice}")
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise AntiphonError(f"--ray {address}: must be HOST:PORT, auto or local; `ray start --head` prints HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(PREFACE)
            first = b"" if os.environ.get("RAY_USE_TLS") == "1" else connection.recv(9)
    except OSError as error:
        reason = error.strerror or str(error)
        raise AntiphonError(f"--ray {address}: no cluster answers there: {reason}; `ray status` tells of one") from None
    if first[3:4] != SETTINGS and os.environ.get("RAY_USE_TLS") != "1":
        advice = "the port of `ray start --head` is 6379, unless another was chosen"
        raise AntiphonError(f"--ray {address}: what answers there is not a Ray cluster; {advice}")


def _reason(address: str, error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if address == LOCAL:
        return f"Ray does not start: {first}"
    return f"cannot take part in the cluster: {first}; start Ray on this machine first: ray start --address={address}"


def predicted(
    shards: Sequence[Shard], reading: Reading, model: Mapping[str, bytes], form: Any, workers: int, worker: Any = None
) -> Iterator[Done]:
    """The predicted blocks of all shards, by a model that consists of the files `model`, written in the form `form`.

    `worker` is the class that predicts, by default the runtime's. Memory is bounded: a few blocks are held for each
    worker. A cluster that fails is an `AntiphonError`.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = context.target_min_block_size = 1  # each block of rows goes on at once
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of ray_remote_args, which Ray has until 2.64
        rows = (
            ray.data.from_items([{"shard": number} for number in range(len(shards))], override_num_blocks=len(shards))
            .map_batches(
                partial(read_blocks, shards=shards, reading=reading, folder=os.getcwd()), batch_size=1,
                batch_format="pyarrow", num_cpus=0, scheduling_strategy=here,
                compute=ray.data.TaskPoolStrategy(size=1),
            )
            .map_batches(
                worker or blocks().Worker, batch_size=1, batch_format="pyarrow", num_cpus=1,
                fn_constructor_args=(dict(model), form), max_task_retries=RETRIES,
                compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=IN_FLIGHT),
            )
            .iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        )  # fmt: skip
    try:
        for table in rows:
            for row in table.to_pylist():
                yield Done(**row)
    except RayError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        advice = "the files that are written stay; start the same command again to go on"
        raise AntiphonError(f"Ray has given up: {reason}; {advice}") from None


def read_blocks(numbers: Any, shards: Sequence[Shard], reading: Reading, folder: str) -> Iterator[Any]:
    """The pieces of shards, given their numbers; paths are relative to `folder`. It runs in a process of Ray's."""
    import pyarrow as pa

    os.chdir(folder)
    block_class = blocks().Block
    for number in numbers["shard"].to_pylist():
        path = shards[number].path
        for place, piece in enumerate(pieces(reading, path)):
            lines, inputs, cells = zip(*piece.rows, strict=True) if piece.rows else ((), (), ())
            block = pickle.dumps(block_class(path, piece.first, lines, inputs, cells))
            columns = {
                "shard": pa.array([number]),
                "block": pa.array([place]),
                "last": pa.array([piece.last]),
                "unread": pa.array([piece.unread], pa.string()),
                "notes": pa.array([piece.notes], pa.list_(pa.string())),
                "input": pa.array([block], pa.large_binary()),
            }
            yield pa.table(columns)
