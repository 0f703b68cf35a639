"""Several processes as torchrun starts them, forked from one that has torch loaded: without its seconds of start."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["antiphon.training.loop", "tasks"])
KILLED = "killed"
SECONDS = 120  # a process that is silent for so long hangs


def free_port() -> int:
    """A port that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def in_ranks(world: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returns in each of `world` processes; an error in one of them is raised here.

    `KILLED` stands for what a process that was killed would have returned.
    """
    port = free_port()
    running = []
    for rank in range(world):
        ours, theirs = FORKSERVER.Pipe()
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {name: str(value) for name, value in place.items()}
        process = FORKSERVER.Process(target=_run, args=(theirs, environment, work, arguments), daemon=True)
        process.start()
        theirs.close()
        running.append((process, ours))
    results = []
    try:
        for rank, (_, connection) in enumerate(running):
            assert connection.poll(SECONDS), f"process {rank} hangs"
            try:
                error, result = pickle.loads(connection.recv_bytes())
            except EOFError:
                error, result = "", KILLED
            assert not error, error
            results.append(result)
    finally:
        for process, _ in running:
            process.join(5)
            process.kill()
    return results


def _run(connection: Connection, environment: dict[str, str], work: Callable[..., Any], arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(environment)
    try:
        result = "", work(*arguments)
    except BaseException:
        result = traceback.format_exc(), None
    connection.send_bytes(pickle.dumps(result))  # tensors by value: this process ends
