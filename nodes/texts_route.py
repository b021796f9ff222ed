"""A server route for the editor: which two texts a concept compares."""

from __future__ import annotations

import json
import sys
from typing import Any

from ..sega_core import compared_texts

ROUTE = "/sega/texts"
# The time grows with the square of the length, and it blocks the server.
MAX_LENGTH = 4000


def add_texts_route() -> None:
    """Add the route if the host has a server."""
    # Not an import: that would load a server where none runs.
    host = getattr(sys.modules.get("server"), "PromptServer", None)
    server = getattr(host, "instance", None)
    # Two copies of the pack must not stop the host from starting.
    if server is not None and not any(getattr(route, "path", None) == ROUTE for route in server.routes):
        server.routes.post(ROUTE)(_answer)


async def _answer(request: Any) -> Any:
    respond = sys.modules["server"].web.json_response
    try:
        compared = compared_texts(**_question(await request.text()))
    except ValueError as error:
        return respond({"error": str(error)}, status=400)
    return respond({"text": compared.text, "instead_of": compared.instead_of})


def _question(content: str) -> dict[str, Any]:
    """Return the arguments in a request.

    Raises:
        ValueError: says what is wrong with the request.
    """
    asked = json.loads(content)
    if not isinstance(asked, dict) or asked.keys() != {"text", "prompt", "instead_of"}:
        raise ValueError("the request must have text, prompt and instead_of, and nothing else")
    for name, value in asked.items():
        if not (isinstance(value, str) and len(value) <= MAX_LENGTH) and not (name == "prompt" and value is None):
            raise ValueError(f"{name} must be a string of at most {MAX_LENGTH} characters")
    return asked
