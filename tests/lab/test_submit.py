"""Raw submissions over a kept connection that ends while a request is on its way."""

from typing import Any, cast

import httpx
import pytest

from letterlock.client.device import Device
from letterlock.lab.phones.submit import submit_raw


class Phone:
    """As much of a device as a submission asks for."""

    async def token(self, *, renew: bool) -> str:
        return "t"

    def state_counter(self) -> int:
        return 1


def breaking(times: int) -> tuple[httpx.AsyncClient, list[bytes]]:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        if len(seen) <= times:
            raise httpx.ReadError("ended")
        return httpx.Response(200, json={"results": [{"status": "accepted"}]})

    return httpx.AsyncClient(base_url="http://gateway", transport=httpx.MockTransport(answer)), seen


async def test_the_same_references_go_once_more() -> None:
    http, seen = breaking(1)
    async with http:
        found: list[dict[str, Any]] = await submit_raw(http, cast("Device", Phone()), "grp_1", [(b"r" * 16, b"body")])
    assert found == [{"status": "accepted"}]
    assert len(seen) == 2
    assert seen[0] == seen[1]


async def test_and_only_once() -> None:
    http, seen = breaking(2)
    async with http:
        with pytest.raises(httpx.ReadError):
            await submit_raw(http, cast("Device", Phone()), "grp_1", [(b"r" * 16, b"body")])
    assert len(seen) == 2
