"""Signed receipts about messages of a group with an era (GSMA RCC.16), checked by the server."""

from hashlib import sha256
from pathlib import Path

import pytest
from tests.gateway_sealed.stage import Stage
from tests.relay.rcs_chat import RcsChat, rcs_chat
from tests.relay.world import ENVIRONMENT, TENANTS
from tests.wire_mls.certificate_maker import era
from tests.wire_mls.group_maker import GROUP
from tests.wire_mls.rcs_message import mls_of, rcs_message

from letterlock.assurance.receipts import Receipt, Receipted, ReceiptType, roster_hash, sign_receipt
from letterlock.gateway.sealed import Offered
from letterlock.model.ids import MessageId
from letterlock.wire.stream import ResultStatus
from letterlock.wire.tlog.words import FindingCode


async def spoken(chat: RcsChat, body: bytes) -> bytes:
    """Ann's message; its id here."""
    stage = Stage(chat.world, chat.phones, [], chat.ref)
    (outcome,) = await stage.acceptor.accept(stage.sender(0), [Offered(chat.ref.value, b"m" * 16, body)])
    assert outcome.status is ResultStatus.ACCEPTED
    return outcome.message_id


async def handed(chat: RcsChat, message: bytes, body: bytes, told_era: int, kind: ReceiptType) -> None:
    """Bob's device signs for a message of epoch 1, and the server checks it."""
    ann, bob = chat.phones
    leaves = [(one.leaf, one.signature_key) for one in chat.made.state.roster()]
    about = Receipted(
        MessageId(b"i" * 16), ann.id, GROUP, told_era, 1, sha256(body).digest(), roster_hash(GROUP, 1, leaves)
    )
    (digest,) = await chat.world.rows("SELECT list_hash FROM account WHERE id=?", bob.account.value)
    content = Receipt(kind, about, None, bob.account, bob.id, 1, digest[0])
    signed = sign_receipt(content, TENANTS[1], ENVIRONMENT, bob.envelope).encode()
    await chat.world.desk.hand_in(1, bob.mailbox, message, (signed,))
    while await chat.world.desk.round():
        pass


async def test_a_receipt_names_the_era_and_an_older_eras_mail_is_still_receipted(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(2)) as chat:
        await chat.commit(chat.adding())
        body = rcs_message(2)
        message = await spoken(chat, body)
        await handed(chat, message, body, 2, ReceiptType.DELIVERED)
        assert chat.world.counted == {"checked": 1}
        await chat.advance(chat.again(era(3)).adding())
        await handed(chat, message, body, 2, ReceiptType.DISPLAYED)
        assert chat.world.counted == {"checked": 2}
        assert FindingCode.RECEIPT_OF_OTHER_GROUP not in await chat.findings()


@pytest.mark.attack("A21")
@pytest.mark.parametrize("told", [0, 1, 3])
async def test_a_receipt_of_another_era_is_a_finding(tmp_path: Path, told: int) -> None:
    async with rcs_chat(tmp_path, era(2)) as chat:
        await chat.commit(chat.adding())
        body = rcs_message(2)
        await handed(chat, await spoken(chat, body), body, told, ReceiptType.DELIVERED)
        assert await chat.findings() == [FindingCode.RECEIPT_OF_OTHER_GROUP]


@pytest.mark.attack("A21")
async def test_a_receipt_about_the_mls_message_alone_is_of_another_ciphertext(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(2)) as chat:
        await chat.commit(chat.adding())
        message = await spoken(chat, rcs_message(2))
        await handed(chat, message, mls_of(2), 2, ReceiptType.DELIVERED)
        assert await chat.findings() == [FindingCode.RECEIPT_OF_OTHER_MESSAGE]
