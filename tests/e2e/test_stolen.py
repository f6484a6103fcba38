"""The drill of the stolen gateway: a copy of everything on disk, of one moment, and the memory of the process (S25).

The key-encryption key lies elsewhere, as docs/operations.md says. What the thief tries, he tries with the gateway's own
code, and each thing that he cannot do is done once with what he lacks: so it would have been seen.
"""

import os
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.e2e.thief import KeyThief, Loot, TokenThief, files, small_files, steal

from letterlock.app.keys import ROOT_KEY, open_keys
from letterlock.app.settings import load
from letterlock.client.payload import Media
from letterlock.custody.attachments import AttachmentSeal
from letterlock.custody.sealing import unseal_sealed, unshred
from letterlock.custody.slots import SlotFileError, SlotFileReason
from letterlock.lab.demo.world import GatewayProcess, Phone, enrol, received, start_gateway, until
from letterlock.lab.sweep import Canary, Capture, Directory, sweep
from letterlock.model.bodies import RevealPurpose, SealedKind, ShreddableBody
from letterlock.model.ids import AttachmentId, MessageId, TenantId
from letterlock.storage.sqlite.connection import open_reader
from letterlock.wire.mls import parse

NUMBER = "+4915155012387"


@dataclass
class Scene:
    """A gateway at work: somebody reads, somebody is away, software has sent what waits readable."""

    work: Path
    secrets: Path
    gateway: GatewayProcess
    phones: list[Phone]
    texts: list[str]
    media: Media
    mark: str
    held: list[str]

    @property
    def sealed(self) -> list[Canary]:
        return [
            *(Canary(f"text {number}", text) for number, text in enumerate(self.texts)),
            Canary("medium", self.mark),
            Canary("its name", "harbour-at-night.png"),
            Canary("its key", self.media.key.hex()),
        ]

    @property
    def readable(self) -> list[Canary]:
        return [
            *(Canary(f"held {number}", text) for number, text in enumerate(self.held)),
            Canary("number", NUMBER[1:], is_number=True),
        ]


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    work, secrets = tmp_path / "gateway", tmp_path / "another-disk"
    work.mkdir()
    secrets.mkdir(mode=0o700)
    gateway = await start_gateway(work, secrets=secrets)
    phones: list[Phone] = []
    try:
        phones += [await enrol(tmp_path, gateway, name, "lab") for name in ("alice", "bob", "carol")]
        alice, bob, carol = phones
        alice.connect()
        carol.connect()
        group = await alice.device.create_group()
        for other in (bob, carol):
            await alice.device.add_account(group, other.device.account)
        texts = [f"canary {os.urandom(8).hex()} word {number}" for number in range(20)]
        for text in texts:
            await alice.device.send(group, text.encode())
        mark = f"canary {os.urandom(8).hex()} in a picture"
        content = mark.encode() + os.urandom(300_000) + mark.encode()
        media = await alice.device.upload(group, content, "image/png", "harbour-at-night.png")
        await alice.device.say(group, media)
        assert await until(lambda: len(received(carol)) >= len(texts))
        held = [f"canary {os.urandom(8).hex()} held {number}" for number in range(3)]
        async with httpx.AsyncClient(base_url=gateway.url, headers=bearer(gateway.api_key)) as http:
            for text in held:
                answer = await http.post("/v1/messages", json={"to": NUMBER, "text": text, "on_downgrade": "hold"})
                assert (answer.status_code, answer.json()["state"]) == (202, "held")
        yield Scene(work, secrets, gateway, phones, texts, media, mark, held)
    finally:
        for phone in phones:
            await phone.close()
        await gateway.stop()


def bearer(token: str | bytes) -> dict[str, str]:
    return {"authorization": f"Bearer {token if isinstance(token, str) else token.decode('latin-1')}"}


async def accepted(url: str, tokens: list[bytes]) -> set[bytes]:
    """Whom of these the running gateway knows: a key by 200, a device by being sent elsewhere."""
    taken = set()
    async with httpx.AsyncClient(base_url=url) as http:
        for token in tokens:
            answer = await http.get("/v1/messages", headers=bearer(token))
            assert answer.status_code in {200, 401, 403}
            if answer.status_code != 401:
                taken.add(token)
    return taken


def opened(loot: Loot) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """All that the gateway's own code opens in the copy: readable bodies, sealed bodies, pieces of attachments."""
    keys = open_keys(load(loot.disk / "letterlock.toml"), loot.store)
    try:
        with closing(open_reader(loot.store)) as db:
            readable = []
            for tenant, message, sealed, wrapped, generation in db.execute(
                "SELECT t.id, m.id, b.sealed, b.wrapped_key, b.generation FROM shreddable_body b"
                " JOIN message m ON m.seq=b.message JOIN tenant t ON t.no=m.tenant"
            ):
                body = unshred(
                    ShreddableBody(sealed, wrapped, generation), keys.storage.get(generation), TenantId(tenant),
                    MessageId(message),
                )  # fmt: skip
                with body.reveal(RevealPurpose.MEASURE) as view:
                    readable.append(bytes(view))
            ciphertexts = [
                unseal_sealed(keys.storage.get(generation), TenantId(tenant), MessageId(message), sealed)
                for tenant, message, sealed, generation in db.execute(
                    "SELECT t.id, m.id, b.sealed, b.generation FROM sealed_body b JOIN message m ON m.seq=b.message"
                    " JOIN tenant t ON t.no=m.tenant"
                )
            ]
            pieces = [
                AttachmentSeal(keys.storage.get(generation), TenantId(tenant), AttachmentId(attachment), wrapped).open(
                    start, sealed
                )
                for tenant, attachment, wrapped, generation, start, sealed in db.execute(
                    "SELECT t.id, a.id, k.wrapped_key, k.generation, p.start, p.sealed FROM attachment_piece p"
                    " JOIN attachment a ON a.no=p.attachment JOIN attachment_key k ON k.attachment=a.no"
                    " JOIN tenant t ON t.no=a.tenant"
                )
            ]
        return readable, ciphertexts, pieces
    finally:
        keys.close()


async def test_a_stolen_disk_and_memory_open_no_body(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        loot = steal(here.gateway, here.work, tmp_path / "loot")
    disk = sweep([*here.sealed, *here.readable], [Directory(loot.disk, "the stolen disk")])
    assert disk.proven, disk.lines()
    assert disk.hits == 0, disk.lines()
    memory = sweep(here.sealed, [Directory(loot.memory, "the stolen memory")])
    assert memory.proven, memory.lines()
    assert memory.hits == 0, memory.lines()
    # It is the memory of that process, with its code and all: something of it is found that was never on its disk.
    assert sweep([Canary("module", "letterlock.gateway.sealed")], [Directory(loot.memory, "memory")]).hits > 0

    # Without the key-encryption key nothing opens, not even by the gateway's own code, and no new key is made for it.
    settings = loot.disk / "letterlock.toml"
    settings.write_text(settings.read_text().replace(str(here.secrets), str(tmp_path / "the-thiefs")))
    (tmp_path / "the-thiefs").mkdir(mode=0o700)
    with pytest.raises(SlotFileError) as missing:
        opened(loot)
    assert missing.value.reason is SlotFileReason.MISSING
    assert not list((tmp_path / "the-thiefs").iterdir())

    # With it the readable ones do, which is the control; of the sealed ones, what devices sealed comes out.
    (tmp_path / "the-thiefs" / ROOT_KEY).write_bytes((here.secrets / ROOT_KEY).read_bytes())
    (tmp_path / "the-thiefs" / ROOT_KEY).chmod(0o600)
    readable, ciphertexts, pieces = opened(loot)
    assert sorted(readable) == sorted(text.encode() for text in here.held)
    private = [one for one in ciphertexts if parse(one).kind is SealedKind.PRIVATE_APPLICATION]
    assert len(private) >= len(here.texts)
    assert sum(map(len, pieces)) > 300_000
    everything = b"\0".join((*ciphertexts, *pieces))
    report = sweep(here.sealed, [Capture(everything, "what opens with every key that the gateway has")])
    assert report.proven
    assert report.hits == 0, report.lines()


async def test_no_stolen_file_holds_a_token_or_the_root_key(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        tokens = [(await phone.device.token(False)).encode() for phone in here.phones]
        key = here.gateway.api_key.encode()
        loot = steal(here.gateway, here.work, tmp_path / "loot")
        thief, seeker = TokenThief(loot.store), KeyThief(loot.store)
        assert len(thief.hashes) >= len(tokens) + 1
        for data in files(loot.disk):
            assert thief.texts(data) == set()
            assert thief.secrets(data) == set()
        for data in small_files(loot.store):
            assert seeker.root_keys(data) == set()
        assert thief.tried > 300_000
        assert seeker.tried > 1_000
        # What he looks for, he would have found, whatever stands around it.
        around = os.urandom(7) + b"Authorization=" + tokens[0] + b"_-" + os.urandom(9)
        assert thief.texts(around) == {tokens[0]}
        assert thief.texts(b"\0" + key + b"\0") == {key}
        assert thief.secrets(os.urandom(11) + bytes.fromhex(key[3:].decode()) + os.urandom(5)) == {key}
        root = (here.secrets / ROOT_KEY).read_bytes()
        assert seeker.root_keys(os.urandom(13) + root + os.urandom(3)) == {root}
        # The hashes are no tokens; the tokens are.
        assert await accepted(here.gateway.url, [*thief.replays(), urlsafe_b64encode(os.urandom(32))]) == set()
        assert await accepted(here.gateway.url, [*tokens, key]) == {*tokens, key}


async def test_a_token_in_stolen_memory_ends_with_its_session(tmp_path: Path) -> None:
    """The memory of a running process holds tokens of its last requests. Each is good until its session ends."""
    async with scene(tmp_path) as here:
        tokens = {(await phone.device.token(False)).encode() for phone in here.phones}
        loot = steal(here.gateway, here.work, tmp_path / "loot")
        thief = TokenThief(loot.store)
        found: set[bytes] = set()
        for data in files(loot.memory):
            found |= thief.texts(data)
        # Nothing but what was in use just now: no token that was not sent, and nobody else's.
        assert found <= {*tokens, here.gateway.api_key.encode()}
        of_devices = found & tokens
        assert of_devices, "a dump in which the thief finds no token at all was not searched well"
        assert await accepted(here.gateway.url, list(of_devices)) == of_devices
        async with httpx.AsyncClient(base_url=here.gateway.url) as http:
            for phone in here.phones:
                own = bearer(await phone.device.token(False))
                ended = await http.delete(f"/v1/devices/{phone.device.device}/session", headers=own)
                assert ended.status_code == 204
        assert await accepted(here.gateway.url, list(of_devices)) == set()
