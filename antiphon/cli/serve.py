"""The command that serves models over HTTP."""

from __future__ import annotations

from typing import Annotated

from antiphon.errors import AntiphonError
from antiphon.saved.ready import model_path
from antiphon.server.options import Wanted, command, option


@command
def serve(
    wanted: Wanted,
    device: Annotated[
        str | None, option("device", help="cpu, cuda, cuda:1, mps; by default a GPU if there is one")
    ] = None,
    threads: Annotated[
        int | None, option("threads", min=1, max=1024, help="CPU threads; by default all cores, for exported models 1")
    ] = None,
) -> None:
    """Answer over HTTP: predictions, scores, traces and streams of one model or of several (extra: serve).

    Each option can also be given by the environment variable in its help; the command line wins.
    """
    from antiphon.use.serving import loader

    if threads:
        import torch

        torch.set_num_threads(threads)
    try:
        from antiphon.server.run import serve as run
    except ModuleNotFoundError as error:
        raise AntiphonError(f"serve needs {error.name}: pip install 'antiphon[serve]'") from None
    folders = [model_path(folder) for folder in wanted.folders]
    run(folders, loader(device, threads or 1), wanted.host, wanted.port, wanted.settings, wanted.allow_open)
