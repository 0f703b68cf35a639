"""The page's files, and what is answered where no path takes a request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from .problems import Problem

STATIC = Path(__file__).with_name("static")


class Files(StaticFiles):
    """The files of the page. It is asked last, so that it also refuses a wrong method on another path, and names the
    right ones."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        super().__init__(directory=STATIC, html=True)
        self.routes: dict[str, list[APIRoute | Route]] = {}
        for route in routes:
            if isinstance(route, APIRoute | Route):
                self.routes.setdefault(route.path, []).append(route)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The answer to what no path before has taken."""
        routes = self.routes.get(scope["path"], [])
        if routes:
            scope["route"] = routes[0]  # for the log
            raise _refused({method for route in routes for method in route.methods or ()})
        if scope["method"] in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        if self.lookup_path("index.html" if path == "." else path)[1] is None:
            raise Problem("not_found")
        raise _refused({"GET", "HEAD"})


def _refused(methods: set[str]) -> Problem:
    allowed = ", ".join(sorted(methods))
    return Problem("method_not_allowed", f"allowed: {allowed}", {"allow": allowed})
