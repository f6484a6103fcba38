"""What push services answer: small JSON, read with a bound; nothing of it is kept or shown."""

import json
from typing import Any, Final

import httpx

MAX_ANSWER: Final = 16_384
"""Bytes: real ones have some hundred, and whatever is longer is not what is looked for."""


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
