"""A medium from one device with a real engine to another, through a real gateway process, and what is left of it."""

import os
from pathlib import Path

import pytest

from letterlock.client import events
from letterlock.client.errors import RelayError, RelayReason
from letterlock.client.payload import Media
from letterlock.lab.demo.world import enrol, start_gateway, until
from letterlock.lab.sweep import Canary, Directory, sweep


async def test_a_picture_arrives_and_is_gone_after_the_last_word(tmp_path: Path) -> None:
    mark = "LETTERCANARY" + os.urandom(8).hex()
    content = mark.encode() + os.urandom(400_000) + mark.encode()
    gateway = await start_gateway(tmp_path)
    alice, bob = await enrol(tmp_path, gateway, "alice", "lab"), await enrol(tmp_path, gateway, "bob", "lab")
    try:
        alice.connect()
        bob.connect()
        group = await alice.device.create_group()
        await alice.device.add_account(group, bob.device.account)
        sent = await alice.device.upload(group, content, "image/png", "harbour.png")
        await alice.device.say(group, sent)

        def media() -> list[Media]:
            found = [event for _, event in bob.device.inbox() if isinstance(event, events.PayloadReceived)]
            return [event.payload for event in found if isinstance(event.payload, Media)]

        assert await until(lambda: bool(media()))
        assert media() == [sent]
        assert await bob.device.download(media()[0]) == content
        report = sweep([Canary("medium", mark), Canary("key", sent.key.hex())], [Directory(tmp_path, "all files")])
        assert report.proven
        assert report.hits == 0
        await bob.device.release(media()[0])
        with pytest.raises(RelayError) as gone:
            await bob.device.download(media()[0])
        assert gone.value.reason is RelayReason.NOT_FOUND
    finally:
        await alice.close()
        await bob.close()
        await gateway.stop()
