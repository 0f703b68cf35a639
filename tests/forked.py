"""The command `antiphon` without its start: a process that has imported everything, and a fork of it for each command.

`forked` gives an executable that sends its command there and ends as it does. A command takes a tenth of a second in
place of two, so that whole pages of shell can be run. Trainings are shortened to a few updates.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SHIM = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    request = json.dumps({{"arguments": sys.argv[1:], "folder": os.getcwd()}}).encode()
    socket.send_fds(server, [len(request).to_bytes(4) + request], [0, 1, 2])
    status = server.recv(1)
sys.exit(status[0] if status else 1)
"""


@contextlib.contextmanager
def forked(folder: Path) -> Iterator[Path]:
    """A folder with the executable `antiphon`, to be put in front of PATH."""
    path, bin_folder = folder / "forked.socket", folder / "bin"
    bin_folder.mkdir()
    shim = bin_folder / "antiphon"
    shim.write_text(SHIM.format(python=sys.executable, path=str(path)))
    shim.chmod(0o755)
    runtime = str(Path(__file__).parents[1] / "runtime")  # which exported models are served with
    paths = os.pathsep.join(filter(None, [runtime, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    server = subprocess.Popen([sys.executable, __file__, str(path)], env=environment)
    try:
        while not path.exists():
            if server.poll() is not None:
                raise RuntimeError("the process that runs commands did not start")
            time.sleep(0.05)
        yield bin_folder
    finally:
        server.terminate()
        server.wait()


def _serve(path: str) -> None:
    """Fork for each command that comes."""
    from antiphon.cli import main as command

    _import_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children need no wait
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{path}.new")
        listening.listen()
        os.rename(f"{path}.new", path)  # it is there once it listens
        while True:
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(client, command.main)
            client.close()


def _import_all() -> None:
    """What the commands import when they are needed."""
    from itertools import islice

    import antiphon.cli.tools
    import antiphon.evaluation.measure
    import antiphon.inspection.files
    import antiphon.tools.demo
    import antiphon.training.loop
    import antiphon.use.loading  # noqa: F401
    from antiphon.tools import demo

    rows = demo.cmudict_rows
    demo.cmudict_rows = lambda: islice(rows(), 0, None, 20)  # which is enough for a few updates


def _answer(client: socket.socket, main: object) -> None:
    """Run a command in the place of this process and send its exit status."""
    data, descriptors, _, _ = socket.recv_fds(client, 1 << 20, 3)
    while len(data) < 4 + int.from_bytes(data[:4]):
        data += client.recv(1 << 20)
    request = json.loads(data[4:])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # new files: those of the parent know whether its streams could seek
    sys.stdin, sys.stdout, sys.stderr = (open(n, mode, closefd=False) for n, mode in enumerate("rww"))  # noqa: SIM115
    os.chdir(request["folder"])
    sys.argv = ["antiphon", *_shortened(request["arguments"])]
    threading.Thread(target=_end_with, args=[client], daemon=True).start()
    try:
        main()  # type: ignore[operator]
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        client.send(bytes([status]))
    os._exit(status)


def _shortened(arguments: list[str]) -> list[str]:
    """The same command with a training of a few updates."""
    if arguments[:1] == ["demo"]:
        return [*arguments, "--steps", "6"]
    if arguments[:1] in (["train"], ["sweep"], ["tune"], ["distill"]) and "--help" not in arguments:
        minutes = [number + 1 for number, argument in enumerate(arguments) if argument == "--minutes"]
        time_limit = "1" if arguments[0] == "tune" else "0.1"  # a search starts a process for each of its trainings
        shorter = [time_limit if number in minutes else argument for number, argument in enumerate(arguments)]
        return [*shorter, "--set", "train.max_steps=6", "--set", "train.validate_every=3"]
    return arguments


def _end_with(client: socket.socket) -> None:
    """End when whoever sent the command is no more."""
    with contextlib.suppress(OSError):
        client.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _serve(sys.argv[1])
