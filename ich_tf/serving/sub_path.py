"""A server under a sub-path of another one, such as https://pacs.example/ich/."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class SubPath:
    """ASGI middleware that removes a sub-path from requests, whether a proxy did so or not."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        """Wraps an application.

        Args:
          app: Application.
          root_path: The sub-path, such as `/ich`; empty for none.
        """
        self._app, self._root = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on with its path within the sub-path."""
        if scope["type"] != "http" or not self._root:
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path == self._root:
            # The page's own addresses are relative to a folder.
            await RedirectResponse(f"{self._root}/", 308)(scope, receive, send)
            return
        if not path.startswith(f"{self._root}/"):
            path = self._root + path
        await self._app({**scope, "root_path": self._root, "path": path}, receive, send)


def path_within(scope: Scope) -> str:
    """Path of a request within the sub-path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
