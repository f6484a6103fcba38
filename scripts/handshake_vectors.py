"""Writes the test vectors of docs/protocol/handshake.md: one handshake with fixed keys, and one that was edited.

python scripts/handshake_vectors.py           prints them
python scripts/handshake_vectors.py --write   puts them into the page
"""

import hashlib
import sys
from pathlib import Path

from letterlock.assurance.device_list import Device, DeviceKind, DeviceList, first
from letterlock.assurance.handshake.checks import End, Peer
from letterlock.assurance.handshake.exchange import Handshake, begin, receive
from letterlock.model.ids import AccountId, DeviceId, TenantId
from letterlock.model.protection import MarkerKind, Protection
from letterlock.wire.handshake import Capabilities, Choice, Element, Flag, FloorSeen, MarkerShown, Party, Tag, parse
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite, build

PAGE = Path(__file__).resolve().parents[1] / "docs" / "protocol" / "handshake.md"
HEADING = "## Test vectors\n"
TENANT = TenantId(bytes(range(16)))
ENVIRONMENT = "prod"
CONVERSATION = bytes(range(0x40, 0x50))
NOW = 1_750_000_000_000


def seed(text: str) -> bytes:
    return hashlib.sha256(b"letterlock handshake vector: " + text.encode()).digest()


def key(family: KeyFamily, text: str) -> SoftwareKey:
    return SoftwareKey(family, Suite.ED25519, seed(text))


def listed(name: str) -> tuple[AccountId, Device, DeviceList]:
    account, device = AccountId(seed(f"{name} account")[:16]), DeviceId(seed(f"{name} device")[:16])
    entry = Device(
        device,
        DeviceKind.NATIVE,
        key(KeyFamily.ENVELOPE, f"{name} envelope").public,
        seed(f"{name} leaf"),
        key(KeyFamily.SESSION, f"{name} session").public,
        frozenset({"handshake1", "mls10"}),
    )
    return account, entry, first(account, NOW, key(KeyFamily.IDENTITY, f"{name} identity").public, [entry])


def end(name: str, floor: Protection) -> End:
    account, entry, devices = listed(name)
    says = Capabilities(
        NOW - 60_000,
        (Tag("+g.gsma.rcs.mls.mls-kds", "2"), Tag("+g.gsma.rcs.mls.mls-version", "v1")),
        (1,),
        (2, 1) if name == "ann" else (1, 2),
        (Flag.YES, Flag.UNKNOWN, Flag.YES if name == "ann" else Flag.NO),
    )
    marker = MarkerShown("relay.example", frozenset({MarkerKind.ROUTE, MarkerKind.STORE}), seed("marker key"))
    party = Party(account, entry.device, devices.version, devices.digest())
    seen_floor = FloorSeen(floor, 1 if floor is Protection.E2EE else 0)
    return End(TENANT, ENVIRONMENT, CONVERSATION, party, devices, (says,), seen_floor, (marker,), (), NOW)


def block(name: str, rows: dict[str, str]) -> str:
    return "\n".join(["```vector", f"name: {name}", *(f"{label}: {value}" for label, value in rows.items()), "```"])


def shown(name: str, data: bytes, signer: str) -> str:
    element: Element = parse(data)
    body = element.content.body()
    scope = element.party.scope(CONVERSATION, TENANT, ENVIRONMENT)
    session = key(KeyFamily.SESSION, f"{signer} session")
    return block(
        name,
        {
            "purpose": element.content.purpose.value,
            "secret key": seed(f"{signer} session").hex(),
            "public key": session.public.encode().hex(),
            "context hash": scope.context.hex(),
            "body": body.hex(),
            "party": element.party.encode().hex(),
            "preimage": build(element.content.purpose, scope, Suite.ED25519, body).hex(),
            "signature": element.signature.encode().hex(),
            "element": data.hex(),
            "name of the element": element.name().hex(),
        },
    )


def vectors() -> str:
    ann, bob = end("ann", Protection.UNKNOWN), end("bob", Protection.E2EE)
    sessions = {name: key(KeyFamily.SESSION, f"{name} session") for name in ("ann", "bob")}
    choice = Choice(1, 2, Protection.E2EE)
    offered = begin(Handshake(), ann, Peer(bob.devices), choice, seed("ann nonce"), sessions["ann"])
    answered = receive(Handshake(), offered.send[0], bob, Peer(ann.devices), seed("bob nonce"), sessions["bob"])
    finished = receive(offered.handshake, answered.send[0], ann, Peer(bob.devices), seed("unused"), sessions["ann"])
    closed = receive(answered.handshake, finished.send[0], bob, Peer(ann.devices), seed("unused"), sessions["bob"])
    assert finished.agreement == closed.agreement
    parts = [
        block(
            "where",
            {
                "tenant": TENANT.value.hex(),
                "environment": ENVIRONMENT,
                "audience": "handshake",
                "conversation": CONVERSATION.hex(),
                "ann's device list": ann.devices.body().hex(),
                "bob's device list": bob.devices.body().hex(),
            },
        ),
        shown("offer, ann to bob", offered.send[0], "ann"),
        shown("answer, bob to ann", answered.send[0], "bob"),
        shown("finish, ann to bob", finished.send[0], "ann"),
        block("agreement", {"agreement": finished.agreement.hex()}),
    ]
    edited = bytearray(offered.send[0])
    at = edited.index(b"+g.gsma.rcs.mls.mls-version")
    edited[at + 3] ^= 1
    ended = receive(Handshake(), bytes(edited), bob, Peer(ann.devices), seed("bob nonce"), sessions["bob"])
    assert ended.reason is not None
    parts += [
        block(
            "refused: one letter of a tag changed on the way",
            {"element": bytes(edited).hex(), "reason": ended.reason.value},
        ),
        shown("what bob sends back", ended.send[0], "bob"),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        text = PAGE.read_text(encoding="utf-8")
        head, mark, tail = text.partition(HEADING)
        intro = tail.split("```vector", 1)[0]
        PAGE.write_text(head + mark + intro.rstrip("\n") + "\n\n" + vectors(), encoding="utf-8")
    else:
        print(vectors(), end="")
