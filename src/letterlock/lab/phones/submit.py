"""Submits any bytes over HTTP with a device's session: what a dishonest app could do beside its SDK."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import httpx

from letterlock.client.device import Device


async def submit_raw(
    http: httpx.AsyncClient, device: Device, group: str, messages: Sequence[tuple[bytes, bytes]]
) -> list[dict[str, Any]]:
    """Submits references and bodies; the gateway's results in their order.

    Raises:
        DeviceError: STATE_ROLLED_BACK: this is an old copy of the device.
        httpx.HTTPStatusError: the gateway refused the whole call.
    """
    try:
        answer = await _post(http, device, group, messages)
    except httpx.TransportError:
        # A kept connection may end while a request is on its way (RFC 9112, section 9.3.1); references make it safe.
        answer = await _post(http, device, group, messages)
    if answer.status_code == httpx.codes.CONFLICT:
        # An old copy, or overtaken by the device's own stream, which states a newer counter: the login tells which.
        await device.login()
        answer = await _post(http, device, group, messages)
    answer.raise_for_status()
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def _post(
    http: httpx.AsyncClient, device: Device, group: str, messages: Sequence[tuple[bytes, bytes]]
) -> httpx.Response:
    token = await device.token(renew=False)
    offered = [
        {"client_message_id": b64encode(reference).decode(), "body": b64encode(body).decode()}
        for reference, body in messages
    ]
    return await http.post(
        f"/v1/groups/{group}/messages",
        json={"messages": offered, "state_counter": device.state_counter()},
        headers={"Authorization": f"Bearer {token}"},
    )
