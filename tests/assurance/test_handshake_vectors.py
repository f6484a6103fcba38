"""The vectors of docs/protocol/handshake.md: made again, and read by a second reader that knows the page alone."""

import hashlib
import re
import runpy
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from letterlock.wire.handshake import ElementError, ElementReason, parse
from letterlock.wire.handshake.elements import MAX_ELEMENT

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "protocol" / "handshake.md"


def vectors() -> dict[str, dict[str, str]]:
    blocks = re.findall(r"```vector\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    rows = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    return {row["name"]: row for row in rows}


def test_the_page_holds_what_the_script_makes() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "handshake_vectors.py"))["vectors"]()
    assert PAGE.read_text(encoding="utf-8").endswith(made)


class Reader:
    """Reads as the page says, with nothing of the implementation."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        piece, self.data = self.data[:count], self.data[count:]
        assert len(piece) == count
        return piece

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def named(self) -> str:
        return self.take(self.number(1)).decode("ascii")

    def capabilities(self) -> dict[str, object]:
        return {
            "observed": self.number(8),
            "tags": [(self.named(), self.named()) for _ in range(self.number(1))],
            "versions": [self.number(2) for _ in range(self.number(1))],
            "suites": [self.number(2) for _ in range(self.number(1))],
            "flags": [self.number(1) for _ in range(3)],
        }

    def view(self) -> dict[str, object]:
        """Seen, capabilities, floor, choice, markers."""
        seen = (self.number(8), self.take(32), self.capabilities() if self.number(1) else None)
        return {
            "seen": seen,
            "capabilities": self.capabilities(),
            "floor": (self.number(1), self.number(8)),
            "choice": (self.number(2), self.number(2), self.number(1)),
            "markers": [(self.named(), self.number(1), self.take(32)) for _ in range(self.number(1))],
        }

    def body(self) -> dict[str, object]:
        assert self.number(1) == 1
        kind = self.number(1)
        found: dict[str, object] = {"kind": kind}
        if kind == 3:
            found["verdict"], found["offer"] = self.number(1), self.take(32)
            found["earlier"] = [self.take(32) for _ in range(self.number(1))]
            found["answers"] = {self.take(16): self.take(32) for _ in range(self.number(1))}
        else:
            found["nonce"], found["time"] = self.take(32), self.number(8)
            if kind == 1:
                found["peer"] = self.take(16)
                found["devices"] = [self.take(16) for _ in range(self.number(1))]
            else:
                found["offer"], found["peer"] = self.take(32), self.take(16)
            found |= self.view()
        assert not self.data
        return found


def lp(value: bytes) -> bytes:
    return len(value).to_bytes(4) + value


def sha(label: str, *parts: bytes) -> bytes:
    return hashlib.sha256(f"letterlock/v1/hash/{label}".encode() + b"\0" + b"".join(parts)).digest()


@pytest.mark.parametrize(
    "name", ["offer, ann to bob", "answer, bob to ann", "finish, ann to bob", "what bob sends back"]
)
def test_an_element_is_as_the_page_says(name: str) -> None:
    where, row = vectors()["where"], vectors()[name]
    body, party, signature = (bytes.fromhex(row[one]) for one in ("body", "party", "signature"))
    element = bytes.fromhex(row["element"])
    assert element == lp(body) + party + signature
    assert len(party) == 72
    assert len(signature) == 66
    conversation = bytes.fromhex(where["conversation"])
    fields = (conversation, party[:16], party[16:32], party[32:40], party[40:])
    context = hashlib.sha256(b"".join(map(lp, fields))).digest()
    assert context.hex() == row["context hash"]
    stated = (bytes.fromhex(where["tenant"]), where["environment"].encode(), where["audience"].encode(), b"ed25519")
    preimage = b"letterlock/v1/" + row["purpose"].encode() + b"\0" + b"".join(map(lp, (*stated, context, body)))
    assert preimage.hex() == row["preimage"]
    assert signature[:2] == b"\1\1"
    public = bytes.fromhex(row["public key"])
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature[2:], preimage)
    assert sha("handshake", party, body).hex() == row["name of the element"]
    who = "ann" if ", ann to" in name else "bob"
    account_list = bytes.fromhex(where[f"{who}'s device list"])
    assert party[40:] == sha("device_list", account_list)
    assert public in account_list
    assert parse(element).encode() == element


def test_the_chain_of_the_three_elements_comes_to_the_agreement() -> None:
    rows = vectors()
    read = {
        name: Reader(bytes.fromhex(rows[name]["body"])).body()
        for name in ("offer, ann to bob", "answer, bob to ann", "finish, ann to bob", "what bob sends back")
    }
    offer, answer, finish, ended = read.values()
    assert answer["offer"] == bytes.fromhex(rows["offer, ann to bob"]["name of the element"]) == finish["offer"]
    assert finish["verdict"] == 1
    assert ended["verdict"] == 2
    bob = bytes.fromhex(rows["answer, bob to ann"]["party"])[16:32]
    assert finish["answers"] == {bob: bytes.fromhex(rows["answer, bob to ann"]["name of the element"])}
    assert offer["choice"] == answer["choice"] == (1, 2, 6)
    assert offer["floor"] == (0, 0)
    assert answer["floor"] == (6, 1)
    assert offer["devices"] == [bob]
    conversation = bytes.fromhex(rows["where"]["conversation"])
    body = bytes.fromhex(rows["finish, ann to bob"]["body"])
    assert sha("handshake_agreement", lp(conversation), lp(body)).hex() == rows["agreement"]["agreement"]


def refused(reason: ElementReason) -> pytest.RaisesExc[ElementError]:
    return pytest.RaisesExc(ElementError, check=lambda error: error.reason is reason)


def test_nothing_but_the_one_encoding_is_read() -> None:
    whole = bytes.fromhex(vectors()["offer, ann to bob"]["element"])
    for length in range(len(whole)):
        with pytest.raises(ElementError):
            parse(whole[:length])
    with refused(ElementReason.TRAILING_BYTES):
        parse(whole + b"\0")
    with refused(ElementReason.TOO_LARGE):
        parse(bytes(MAX_ELEMENT + 1))
    for at, value, reason in (
        (4, 2, ElementReason.UNKNOWN_FORMAT),
        (5, 9, ElementReason.UNKNOWN_KIND),
        (len(whole) - 66, 2, ElementReason.SIGNATURE_MALFORMED),
    ):
        changed = bytearray(whole)
        changed[at] = value
        with refused(reason):
            parse(bytes(changed))
    finish = bytearray.fromhex(vectors()["finish, ann to bob"]["element"])
    finish[6] = 3
    with refused(ElementReason.UNKNOWN_CODE):
        parse(bytes(finish))
