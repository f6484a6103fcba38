"""Asking push services: no redirects, no proxies of the environment; of an answer, small JSON, read with a bound."""

import json
from typing import Any, Final

import httpx

TIMEOUT_S: Final = 10
MAX_ANSWER: Final = 16_384
"""Bytes: real ones have some hundred, and whatever is longer is not what is looked for."""


def asking(transport: httpx.AsyncBaseTransport | None, **more: Any) -> httpx.AsyncClient:
    """A client for one push service.

    Args:
        transport: for tests; None: the network.
        more: what httpx is told besides.
    """
    return httpx.AsyncClient(
        transport=transport,
        timeout=TIMEOUT_S,
        follow_redirects=False,
        trust_env=False,
        headers={"user-agent": "letterlock"},
        **more,
    )


async def small_json(answer: httpx.Response) -> dict[str, Any]:
    """The answer's object; empty where it is none, or too long."""
    data = b""
    async for piece in answer.aiter_bytes():
        data += piece
        if len(data) > MAX_ANSWER:
            return {}
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def word(value: object) -> str:
    """A word of it; empty where there is something else."""
    return value if isinstance(value, str) else ""
