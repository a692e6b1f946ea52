"""Where do style sheet and scripts come from?  From here, and nowhere else."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from relay.api.ui.rendering import STATIC

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES: Final = {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES}
"""What there is, by name: a path from outside is never opened."""


async def serve(request: Request) -> Response:
    """Serve one file; for a year where its address names the content."""
    path = _FILES.get(request.path_params["name"])
    if path is None:
        return Response("There is no such file.", status_code=404, media_type="text/plain")
    lasts = "public, max-age=31536000, immutable" if request.scope["query_string"] else "no-cache"
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers={"cache-control": lasts})
