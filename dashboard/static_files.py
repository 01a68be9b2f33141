"""Scripts and styles, compressed once and named by their content."""

from __future__ import annotations

import gzip
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

DIRECTORY = Path(__file__).parent / "static"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOREVER = "public, max-age=31536000, immutable"


class _File(NamedTuple):
    content: bytes
    compressed: bytes
    media_type: str
    version: str


class StaticAssets:
    """The files of a directory, in memory.

    Args:
        directory: Where they are.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._files: dict[str, _File] = {}
        for path in sorted(directory.rglob("*")):
            if path.suffix in _TYPES:
                content = path.read_bytes()
                self._files[path.relative_to(directory).as_posix()] = _File(
                    content,
                    gzip.compress(content, 9, mtime=0),
                    _TYPES[path.suffix],
                    blake2b(content, digest_size=6).hexdigest(),
                )

    def address(self, name: str) -> str:
        """Return the address of a file, which changes with its content."""
        return f"/static/{name}?v={self._files[name].version}"

    async def answer(self, request: Request) -> Response:
        """Return a file."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            return Response("There is no such file.", 404, media_type="text/plain")
        is_current = request.query_params.get("v") == found.version
        headers = {
            "Cache-Control": _FOREVER if is_current else "no-cache",
            "Vary": "Accept-Encoding",
        }
        content = found.content
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"], content = "gzip", found.compressed
        return Response(content, headers=headers, media_type=found.media_type)
