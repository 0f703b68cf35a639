"""What keeps a server from starting."""

from __future__ import annotations


class StartError(ValueError):
    """The server cannot start as it was asked to; each distribution makes its error for users of this."""
