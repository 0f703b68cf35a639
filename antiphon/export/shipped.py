"""What the formats of an export are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.saved.folder import Bundle


@dataclass(frozen=True)
class Shipped:
    """An exported model: the trained one and its folder, the folder of graphs and vocabularies, and their manifest."""

    loaded: Bundle
    trained: Path
    folder: Path
    manifest: dict[str, Any]

    @property
    def files(self) -> dict[str, Path]:
        """The files of the folder by their names, in order."""
        return {path.name: path for path in sorted(self.folder.iterdir())}
