"""The path of an end-to-end encrypted message, asked for by a tenant's software: one hop, ciphertext, nobody reads."""

import asyncio
from pathlib import Path

import httpx
from tests.e2e.test_devices_through_the_gateway import one_message, pair

from letterlock.client import api
from letterlock.client.api_answers import ApiCode, ApiError
from letterlock.lab.demo.world import start_gateway
from letterlock.model.ids import MessageId
from letterlock.model.protection import MarkerKind
from letterlock.wire.path import Onward
from letterlock.wire.tlog.note import VerifierKey


async def test_the_path_of_a_sealed_message_ends_at_the_devices(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    alice, bob = await pair(tmp_path, gateway)
    try:
        _, event = await one_message(alice, bob)
        message = MessageId(event.relay_id)
        key = VerifierKey.parse((gateway.folder / "ledger.vkey").read_text().strip())
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            calls = api.AsyncTenantApi(http, gateway.api_key)
            found = None
            while found is None:
                try:
                    found = await calls(api.path(str(message)))
                except ApiError as error:
                    if error.reason is not ApiCode.ENTRY_NOT_SIGNED_YET:
                        raise
                    await asyncio.sleep(0.05)
        proven = found.verify(key, message=message)
        assert [one.kinds for one in proven.hops] == [frozenset({MarkerKind.ROUTE, MarkerKind.STORE})]
        assert (proven.end.to, proven.readers) == (Onward.DEVICES, ())
    finally:
        await alice.close()
        await bob.close()
        await gateway.stop()
