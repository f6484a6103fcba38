"""Receipts that devices and tenants hand to the server: kept, checked by the worker, and what each false one is."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.relay.test_devices_stateful import Phone
from tests.relay.whole_face import BadNetwork, Witness, whole_face
from tests.relay.world import TENANTS, World, opened

from letterlock.app.receipt_parts import SharedIds
from letterlock.assurance.receipts import Receipt, Receipted, ReceiptReason, ReceiptType, sign_receipt
from letterlock.client import events
from letterlock.client.errors import RelayError as ClientRelayError
from letterlock.client.rine import RineEngine
from letterlock.client.sending import _about
from letterlock.faces.http.app import HttpFace
from letterlock.gateway.security import Assessments, SecurityBlock
from letterlock.model.clock import ManualClock
from letterlock.model.ids import DeviceId, GroupRef, MessageId
from letterlock.relay.errors import RelayError
from letterlock.storage import receipt_commands
from letterlock.storage.maintenance_commands import Purge
from letterlock.storage.receipt_commands import HandReceipts, JudgeReceipts, ReceiptVerdict
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.sqlite import receipt_ops
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.transports.registry import CAPABILITIES
from letterlock.wire.tlog.entries import Batch, Finding, decode_entry
from letterlock.wire.tlog.records import Attested, decode_record
from letterlock.wire.tlog.words import FindingCode

R = ReceiptReason


class Scene:
    """Three devices in one followed group, and a message of the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(time.time_ns() // 1_000_000)
        self.world: World
        self.face: HttpFace
        self.phones: list[Phone] = []
        self.group: GroupRef

    def use(self, world: World) -> None:
        self.world = world
        self.face = whole_face(world)
        self.blocks = OpenReads(world.readers, world.ids)

    async def begin(self) -> None:
        for number in range(3):
            phone = Phone(number, self.folder, BadNetwork(lambda: self.face, Witness()), self.clock, RineEngine)
            await phone.enrol()
            self.phones.append(phone)
        first = self.phones[0].device
        self.group = await first.create_group()
        for phone in self.phones[1:]:
            await first.add_account(self.group, phone.device.account)
        await self.sync()

    async def sync(self) -> None:
        for phone in self.phones:
            await phone.device.sync()
            await phone.device.flush()

    async def message(self) -> tuple[events.Received, events.Received]:
        """Sent by the first; as each of the others received it."""
        await self.phones[0].device.send(self.group, b"words")
        await self.phones[0].device.flush()
        found = []
        for phone in self.phones[1:]:
            await phone.device.sync()
            inbox = phone.device.inbox()
            found.append([event for _, event in inbox if isinstance(event, events.Received)][-1])
        return found[0], found[1]

    def about(self, number: int, received: events.Received) -> Receipted:
        return _about(self.phones[number].device.group(self.group), received)

    def receipt(self, number: int, about: Receipted, kind: ReceiptType = ReceiptType.DELIVERED) -> bytes:
        """The device really signs this."""
        return self.phones[number].device._state.book.made(kind, about)

    async def hand(self, number: int | None, received: events.Received, *found: bytes) -> None:
        by = 0
        if number is not None:
            device = self.phones[number].device.device.value
            by = (await self.world.rows("SELECT mailbox FROM device WHERE id=?", device))[0][0]
        await self.world.desk.hand_in(1, by, received.relay_id, found)

    async def check(self) -> None:
        while await self.world.desk.round():
            pass

    async def block(self, received: events.Received) -> SecurityBlock:
        row = await self.blocks.message(1, received.relay_id)
        assert row is not None
        return Assessments(CAPABILITIES).block(row)

    async def refused(self, received: events.Received) -> dict[str, int]:
        shown = (await self.block(received)).receipts
        return {} if shown is None else {one.reason: one.count for one in shown.refused}

    async def findings(self) -> list[Finding]:
        entries = [decode_entry(data) for (data,) in await self.world.rows("SELECT d FROM ledger_entry ORDER BY i")]
        return [one for one in entries if isinstance(one, Finding)]

    async def close(self) -> None:
        for phone in self.phones:
            phone.device.close()
            await phone.http.aclose()


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Scene]:
    scene = Scene(folder)
    async with opened(folder / "store", scene.clock) as world:
        scene.use(world)
        await scene.begin()
        try:
            yield scene
        finally:
            await scene.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path


async def test_k_of_n_in_a_group_and_never_verified(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, carols = await scene.message()
        before = await scene.block(bobs)
        assert (before.receipts, before.grade, before.decided_on) == (None, "TRACKED", "TRACKED")
        assert await scene.phones[1].device.hand_receipt(bobs)
        waiting = (await scene.block(bobs)).receipts
        assert waiting is not None
        assert (waiting.waiting, waiting.attested, waiting.grade) == (1, 0, "NONE")
        await scene.check()
        one = await scene.block(bobs)
        assert one.receipts is not None
        assert (one.receipts.attested, one.receipts.recipients, one.receipts.waiting) == (1, 2, 0)
        assert (one.receipts.grade, one.receipts.verifier) == ("ATTESTED", "gateway")
        assert one.grade == "TRACKED", "not for every device"
        await scene.phones[2].device.hand_receipt(carols, displayed=True)
        await scene.check()
        both = await scene.block(bobs)
        assert both.receipts is not None
        assert (both.receipts.attested, both.receipts.displayed, both.receipts.recipients) == (2, 1, 2)
        assert (both.grade, both.verifier, both.decided_on) == ("ATTESTED", "gateway", "TRACKED")
        # What was decided, and why, is what it was before anything was learned.
        assert (both.decision, both.rule, both.fall, both.indicator) == (
            before.decision, before.rule, before.fall, before.indicator,
        )  # fmt: skip
        for block in (one, both):
            assert block.receipts is not None
            assert "checked by this server" in block.receipts.text
            assert "verified" not in (block.receipts.text + block.indicator_text).lower()
        assert await scene.world.rows("SELECT DISTINCT grade FROM message WHERE id=?", bobs.relay_id) == [(3,)]
        assert scene.world.counted == {"checked": 2}
        assert await scene.findings() == []


async def test_the_ledger_has_a_record_of_each_and_nothing_that_names_anybody(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, carols = await scene.message()
        await scene.phones[1].device.hand_receipt(bobs)
        await scene.check()
        await scene.phones[2].device.hand_receipt(carols)
        await scene.check()
        lines = [
            line
            for (data,) in await scene.world.rows("SELECT records FROM record_batch ORDER BY entry")
            for line in data.split(b"\n")
        ]
        told = [record for record in map(decode_record, lines) if isinstance(record, Attested)]
        assert [(one.word.value, one.verifier.value, one.devices, one.recipients) for one in told] == [
            ("delivered", "gateway", 1, 2), ("delivered", "gateway", 2, 2),
        ]  # fmt: skip
        entries = [data for (data,) in await scene.world.rows("SELECT d FROM ledger_entry")]
        batches = [one for one in map(decode_entry, entries) if isinstance(one, Batch) and one.attested]
        assert [one.attested for one in batches] == [1, 1]
        device = scene.phones[1].device
        for secret in (device.device.value, device.account.value, bobs.relay_id, bobs.message, bobs.ciphertext):
            assert not any(secret in data or secret.hex().encode() in data for data in (*entries, *lines))


@pytest.mark.attack("A21")
async def test_each_false_receipt_is_a_finding_of_its_own(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, carols = await scene.message()
        others, _ = await scene.message()
        mine, other = scene.about(1, bobs), scene.about(1, others)
        forged = bytearray(scene.receipt(1, mine))
        forged[-1] ^= 1
        device = scene.phones[1].device
        head = device._state.directory.head(device.account)
        assert head is not None
        keys = device._state.keys

        def odd(about: Receipted, **changed: Any) -> bytes:
            content = Receipt(ReceiptType.DELIVERED, about, None, keys.account_id, keys.device_id, head.version,
                              head.digest())  # fmt: skip
            content = dataclasses.replace(content, **changed)
            return sign_receipt(content, TENANTS[1], keys.environment, keys.envelope_key()).encode()

        def wrong(**changed: Any) -> bytes:
            return odd(dataclasses.replace(mine, **changed))

        cases: list[tuple[bytes, int | None, ReceiptReason, FindingCode]] = [
            (bytes(forged), 1, R.BAD_SIGNATURE, FindingCode.RECEIPT_FORGED),
            (scene.receipt(1, other), 1, R.OTHER_CIPHERTEXT, FindingCode.RECEIPT_OF_OTHER_MESSAGE),
            (wrong(sender=DeviceId(b"s" * 16)), 1, R.OTHER_SENDER, FindingCode.RECEIPT_OF_OTHER_MESSAGE),
            (wrong(group_id=b"another"), 1, R.OTHER_GROUP, FindingCode.RECEIPT_OF_OTHER_GROUP),
            (wrong(epoch=mine.epoch + 1), 1, R.OTHER_EPOCH, FindingCode.RECEIPT_OF_OTHER_GROUP),
            (wrong(era=1), 1, R.OTHER_EPOCH, FindingCode.RECEIPT_OF_OTHER_GROUP),
            (wrong(roster=b"r" * 32), 1, R.OTHER_ROSTER, FindingCode.RECEIPT_OF_OTHER_GROUP),
            (scene.receipt(2, scene.about(2, carols)), 1, R.OTHER_DEVICE, FindingCode.RECEIPT_OF_OTHER_DEVICE),
            (scene.receipt(0, mine), 0, R.NOT_A_RECIPIENT, FindingCode.RECEIPT_OF_OTHER_DEVICE),
            (odd(mine, device=DeviceId(b"d" * 16)), None, R.OTHER_DEVICE, FindingCode.RECEIPT_OF_OTHER_DEVICE),
            (odd(mine, list_version=9), 1, R.OTHER_LIST, FindingCode.RECEIPT_KEY_REPLACED),
            (odd(mine, list_hash=b"l" * 32), 1, R.OTHER_LIST, FindingCode.RECEIPT_KEY_REPLACED),
        ]  # fmt: skip
        for receipt, by, reason, code in cases:
            known = await scene.findings()
            counted = (await scene.refused(bobs)).get(reason, 0)
            await scene.hand(by, bobs, receipt)
            await scene.check()
            assert (await scene.refused(bobs))[reason] == counted + 1, reason
            assert [one.code for one in await scene.findings()][len(known) :] == [code], reason
        shown = (await scene.block(bobs)).receipts
        assert shown is not None
        assert (shown.attested, shown.grade, shown.waiting) == (0, "NONE", 0)
        # The genuine one, after all of them; and then it again, which counts once.
        await scene.hand(1, bobs, scene.receipt(1, mine))
        await scene.check()
        await scene.hand(1, bobs, scene.receipt(1, mine))
        await scene.check()
        shown = (await scene.block(bobs)).receipts
        assert shown is not None
        assert shown.attested == 1
        assert (await scene.refused(bobs))[R.REPLAYED] == 1
        assert (await scene.findings())[-1].code is FindingCode.REPLAY
        assert scene.world.counted["checked"] == 1


async def test_what_is_no_receipt_or_attests_nothing_is_refused_and_no_finding(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, _ = await scene.message()
        mine = scene.about(1, bobs)
        await scene.hand(1, bobs, b"junk", bytes(300), b"")
        zero = dataclasses.replace(mine, message=MessageId(bytes(16)), sender=DeviceId(bytes(16)))
        from letterlock.wire.imdn.receipts import ClientFailure

        failed = scene.phones[1].device._state.book.made(ReceiptType.FAILED, zero, ClientFailure.FAILED_TO_DECRYPT)
        await scene.hand(1, bobs, failed)
        await scene.check()
        found = await scene.refused(bobs)
        assert found == {R.UNKNOWN_FORMAT: 2, R.MALFORMED: 1, R.NOT_POSITIVE: 1}
        assert await scene.findings() == []


async def test_a_receipt_signed_before_the_device_left_its_list_counts_no_more(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, _ = await scene.message()
        receipt = scene.receipt(1, scene.about(1, bobs))
        device = scene.phones[1].device.device.value
        await scene.world.rows("SELECT 1")
        await scene.hand(None, bobs, receipt)
        # The account replaces the device while the receipt waits: judged by the list in force, whatever it names.
        mailbox = (await scene.world.rows("SELECT mailbox FROM device WHERE id=?", device))[0][0]
        db = scene.world.core._db
        db.execute("UPDATE device SET revoked_ms=1 WHERE mailbox=?", (mailbox,)).fetchall()
        await scene.check()
        assert await scene.refused(bobs) == {R.KEY_REPLACED: 1}
        assert [one.code for one in await scene.findings()] == [FindingCode.RECEIPT_KEY_REPLACED]


async def test_a_verdict_under_a_list_that_is_no_longer_in_force_is_made_again(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, _ = await scene.message()
        await scene.hand(1, bobs, scene.receipt(1, scene.about(1, bobs)))
        ((no,),) = await scene.world.rows("SELECT no FROM receipt_waiting")
        account = scene.phones[1].device.account.value
        stale = ReceiptVerdict(no, "", account, 1, 1, 2, list_version=7)
        salts = tuple(b"s" * 16 for _ in FindingCode)
        (done,) = await scene.world.committer.submit((JudgeReceipts((stale,), salts),))
        assert (done.outcomes, done.again) == ((), 1)
        assert await scene.world.count("receipt_waiting") == 1
        await scene.check()
        assert scene.world.counted == {"checked": 1}
        (done,) = await scene.world.committer.submit((JudgeReceipts((stale,), salts),))
        assert (done.outcomes, done.again) == ((), 0), "a row that is gone is judged no second time"


async def test_what_waits_survives_a_restart_and_is_checked_by_the_worker(folder: Path) -> None:
    scene = Scene(folder)
    async with opened(folder / "store", scene.clock) as world:
        scene.use(world)
        await scene.begin()
        bobs, carols = await scene.message()
        await scene.phones[1].device.hand_receipt(bobs)
        await scene.phones[2].device.hand_receipt(carols)
        assert await world.count("receipt_waiting") == 2
    async with opened(folder / "store", scene.clock) as world:
        scene.use(world)
        world.desk.start()
        for _ in range(500):
            if not await world.count("receipt_waiting"):
                break
            await asyncio.sleep(0.02)
        shown = (await scene.block(bobs)).receipts
        assert shown is not None
        assert (shown.attested, shown.recipients) == (2, 2)
        await world.desk.stop()
        await scene.close()


async def test_a_full_queue_pushes_back_and_nothing_of_the_call_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(folder) as scene:
        monkeypatch.setattr(receipt_ops, "WAITING_OF_ONE", 2)
        monkeypatch.setattr(receipt_ops, "WAITING_OF_TENANT", 3)
        bobs, carols = await scene.message()
        await scene.hand(1, bobs, b"one", b"two")
        await scene.hand(1, bobs, b"one", b"two")
        assert await scene.world.count("receipt_waiting") == 2, "the same again, while it waits, is harmless"
        with pytest.raises(RelayError) as caught:
            await scene.hand(1, bobs, b"three")
        assert caught.value.reason is RelayReason.RECEIPT_QUEUE_FULL
        await scene.hand(2, carols, b"one")
        with pytest.raises(RelayError):
            await scene.hand(2, carols, b"two")
        with pytest.raises(ClientRelayError) as refused:
            await scene.phones[2].device.hand_receipt(carols)
        assert refused.value.facts["status"] == 503
        assert await scene.world.count("receipt_waiting") == 3
        await scene.check()
        assert await scene.phones[2].device.hand_receipt(carols)


async def test_an_unknown_message_another_tenants_and_one_whose_time_is_over(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, _ = await scene.message()
        for tenant, message in ((1, b"u" * 16), (2, bobs.relay_id)):
            with pytest.raises(RelayError) as caught:
                await scene.world.desk.hand_in(tenant, 0, message, (b"r",))
            assert caught.value.reason is RelayReason.NOT_FOUND
        await scene.hand(1, bobs, scene.receipt(1, scene.about(1, bobs)), b"junk")
        await scene.check()
        await scene.hand(1, bobs, b"waits")
        for phone in scene.phones:
            await phone.device.sync()
        scene.clock.advance(3_600_000)
        await scene.world.committer.submit((Purge(scene.clock.now_ms(), 1_000, 0),))
        assert await scene.blocks.message(1, bobs.relay_id) is None
        for table in ("receipt_waiting", "message_receipt", "receipt_refused"):
            assert await scene.world.count(table) == 0, table
        with pytest.raises(RelayError) as caught:
            await scene.hand(1, bobs, b"late")
        assert caught.value.reason is RelayReason.NOT_FOUND


async def test_a_group_that_is_not_followed_gives_no_verdict_either_way(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, _ = await scene.message()
        scene.world.core._db.execute("DELETE FROM group_roster").fetchall()
        await scene.hand(1, bobs, scene.receipt(1, scene.about(1, bobs)))
        await scene.check()
        assert await scene.refused(bobs) == {R.GROUP_NOT_FOLLOWED: 1}
        assert await scene.findings() == []
        shown = (await scene.block(bobs)).receipts
        assert shown is not None
        assert shown.text == "No receipt that this server could check."


async def test_a_message_of_an_earlier_epoch_is_judged_by_the_members_of_that_epoch(folder: Path) -> None:
    async with staged(folder) as scene:
        bobs, carols = await scene.message()
        receipts = [scene.receipt(n, scene.about(n, one)) for n, one in ((1, bobs), (2, carols))]
        await scene.phones[0].device.remove_device(scene.group, scene.phones[2].device.device)
        await scene.hand(None, bobs, *receipts)
        await scene.check()
        shown = (await scene.block(bobs)).receipts
        assert shown is not None
        assert (shown.attested, shown.recipients) == (2, 2), "a member then, whoever it is now"


def test_the_bounds_of_the_queue_are_those_of_the_page() -> None:
    assert (receipt_commands.WAITING_OF_ONE, receipt_commands.WAITING_OF_TENANT) == (200, 5_000)
    assert HandReceipts(1, 0, b"k" * 16, ()).receipts == ()
    assert SharedIds(b"p" * 32).key_of(b"m" * 16) == SharedIds(b"p" * 32).key_of(b"m" * 16)
