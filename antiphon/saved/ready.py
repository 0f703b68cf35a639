"""Ready models: the folders of `antiphon/ready`, which are used by their names.

`antiphon predict english-g2p < words` works as with the path of any model folder. Scripts in `models/` of the
repository write these folders, which are installed with the package and not kept in git.
"""

from __future__ import annotations

from pathlib import Path

from antiphon.files import user_path

READY = Path(__file__).parents[1] / "ready"


def model_path(path: str | Path) -> Path:
    """The folder of the model that a user names: that path or, where nothing has it, the ready model of this name."""
    path = user_path(path)
    ready = READY / path
    return ready if len(path.parts) == 1 and not path.exists() and ready.is_dir() else path
