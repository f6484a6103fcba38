"""Attachments on the relay: resumed, bounded, for members alone, gone with the last word; never readable at rest."""

import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import apsw
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.relay.world import Person, Phone, World, bundle, enrolled, group_of, opened

from letterlock.custody.sealing import SealingError, SealingReason, StorageKey
from letterlock.model.clock import ManualClock
from letterlock.model.ids import AttachmentId, GroupRef
from letterlock.relay import attachments as module
from letterlock.relay.attachments import Attachments
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import ATTACHMENT_TTL_MS, ATTACHMENT_UPLOAD_MS
from letterlock.storage.maintenance_commands import CountReferences, Rewrap
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.sqlite.attachment_reads import AttachmentReads
from letterlock.storage.sqlite.fsck import check_store
from letterlock.storage.sqlite.overdue import find_overdue
from letterlock.wire.attachment import BLOB_SIZES, PIECE

GROUP = b"g"
SIZE = BLOB_SIZES[2]
NAME = AttachmentId(b"\xaa" * 16)


def service(world: World) -> Attachments:
    return Attachments(
        world.committer, world.reads, AttachmentReads(world.readers), world.keys, world.clock, os.urandom
    )


async def refusal(work: Awaitable[Any]) -> tuple[RelayReason, dict[str, Any]]:
    with pytest.raises(RelayError) as found:
        await work
    return found.value.reason, dict(found.value.facts)


async def upload(files: Attachments, phone: Phone, ref: GroupRef, blob: bytes, name: AttachmentId = NAME) -> None:
    await files.begin(phone.caller, ref, name, len(blob))
    for at in range(0, len(blob), PIECE):
        await files.append(phone.caller, name, at, blob[at : at + PIECE])


async def fetched(files: Attachments, phone: Phone, name: AttachmentId = NAME) -> bytes:
    blob, size = b"", 1
    while len(blob) < size:
        piece = await files.piece(phone.caller, name, len(blob))
        blob, size = blob + piece.content, piece.size
    return blob


async def whole(world: World) -> None:
    """The store's own checks find nothing."""
    bad = [(one.name, one.bad) for one in await world.readers.read(lambda db: check_store(db, {7})) if one.bad]
    assert bad == []


async def test_members_fetch_it_and_the_last_word_deletes_it(tmp_path: Path) -> None:
    blob = os.urandom(SIZE)
    async with opened(tmp_path) as world:
        files = service(world)
        ann, bob, cat = await enrolled(world, "a1", "b1", "c1")
        ref = await group_of(world, GROUP, ann, bob, cat)
        assert (await files.begin(ann.caller, ref, NAME, SIZE)).begun
        await upload(files, ann, ref, blob)
        await whole(world)
        assert await fetched(files, bob) == blob == await fetched(files, cat)
        assert (await files.piece(bob.caller, NAME, PIECE + 5)).content == blob[PIECE + 5 : 2 * PIECE]
        assert await refusal(files.piece(bob.caller, NAME, SIZE)) == (RelayReason.WRONG_OFFSET, {"offset": SIZE})
        await files.release(bob.caller, NAME)
        await files.release(bob.caller, NAME)
        assert (await refusal(files.piece(bob.caller, NAME, 0)))[0] is RelayReason.NOT_FOUND
        assert await fetched(files, cat) == blob, "one word does not speak for two"
    for path in tmp_path.iterdir():
        assert blob[:64] not in path.read_bytes(), path.name
    async with opened(tmp_path) as world:
        files = service(world)
        assert await fetched(files, cat) == blob
        sealed = [row[0][100:164] for row in await world.rows("SELECT sealed FROM attachment_piece")]
        wrapped = (await world.rows("SELECT wrapped_key FROM attachment_key"))[0][0]
        await files.release(cat.caller, NAME)
        for table in ("attachment", "attachment_key", "attachment_piece", "attachment_awaited"):
            assert await world.count(table) == 0, table
        await files.release(cat.caller, NAME)
        await whole(world)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert len(sealed) == SIZE // PIECE
    assert not any(part in stored for part in (*sealed, wrapped)), "what was deleted is overwritten"


async def test_an_upload_goes_on_where_it_stopped_and_nothing_is_taken_twice(tmp_path: Path) -> None:
    blob = os.urandom(SIZE)
    async with opened(tmp_path) as world:
        files = service(world)
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        await files.begin(ann.caller, ref, NAME, SIZE)
        assert (await files.append(ann.caller, NAME, 0, blob[:1_000])).received == 1_000
        assert await refusal(files.append(ann.caller, NAME, 1_001, b"x")) == (
            RelayReason.WRONG_OFFSET,
            {"offset": 1_000},
        )
        assert (await files.append(ann.caller, NAME, 0, blob[:1_000])).received == 1_000, "the answer was lost"
        for other in (b"x" * 1_000, blob[:999]):
            assert (await refusal(files.append(ann.caller, NAME, 0, other)))[0] is RelayReason.WRONG_OFFSET
        assert (await refusal(files.append(ann.caller, NAME, 500, blob[500:1_000])))[0] is RelayReason.WRONG_OFFSET
        assert (await refusal(files.piece(bob.caller, NAME, 0)))[0] is RelayReason.NOT_FOUND, "not whole yet"
    async with opened(tmp_path) as world:
        files = service(world)
        stands = await files.begin(ann.caller, ref, NAME, SIZE)
        assert (stands.begun, stands.received) == (False, 1_000)
        for at in range(1_000, SIZE, PIECE):
            stands = await files.append(ann.caller, NAME, at, blob[at : at + PIECE])
        assert stands.received == stands.size == SIZE
        last = SIZE - (SIZE - 1_000) % PIECE
        assert (await files.append(ann.caller, NAME, last, blob[last:])).received == SIZE
        assert (await files.begin(ann.caller, ref, NAME, SIZE)).received == SIZE
        assert await fetched(files, bob) == blob


async def test_sizes_are_those_of_padded_blobs(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        files = service(world)
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        for size in (1, SIZE - 1, SIZE + 1, BLOB_SIZES[-1] * 4):
            assert (await refusal(files.begin(ann.caller, ref, NAME, size)))[0] is RelayReason.ATTACHMENT_SIZE
        await files.begin(ann.caller, ref, NAME, BLOB_SIZES[0])
        assert (await refusal(files.append(ann.caller, NAME, 0, bytes(BLOB_SIZES[0] + 1))))[0] is (
            RelayReason.ATTACHMENT_SIZE
        )
        await files.append(ann.caller, NAME, 0, bytes(BLOB_SIZES[0]))


async def test_an_account_stores_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTACHMENT_BYTES", 2 * SIZE)
    monkeypatch.setattr(module, "ATTACHMENTS", 3)
    async with opened(tmp_path) as world:
        files = service(world)
        ann, own, bob = Phone("a1"), Phone("a2"), Phone("b1")
        await Person("ann").enrol(world, ann, own)
        await Person("bob").enrol(world, bob)
        ref = await group_of(world, GROUP, ann, own, bob)
        names = [AttachmentId(os.urandom(16)) for _ in range(5)]
        await files.begin(ann.caller, ref, names[0], SIZE)
        assert (await refusal(files.begin(own.caller, ref, names[1], 4 * SIZE)))[0] is RelayReason.ATTACHMENT_QUOTA
        await files.begin(own.caller, ref, names[1], SIZE)
        refused = await refusal(files.begin(ann.caller, ref, names[2], BLOB_SIZES[0]))
        assert refused == (RelayReason.ATTACHMENT_QUOTA, {"limit": 2 * SIZE}), "the devices of an account share it"
        assert not (await files.begin(ann.caller, ref, names[0], SIZE)).begun, "what is begun may go on"
        await files.begin(bob.caller, ref, names[2], SIZE)
        monkeypatch.setattr(module, "ATTACHMENT_BYTES", 2**40)
        await files.begin(own.caller, ref, names[3], SIZE)
        assert (await refusal(files.begin(own.caller, ref, names[4], SIZE)))[0] is RelayReason.ATTACHMENT_QUOTA


async def test_only_its_own_device_uploads_and_only_members_of_then_fetch(tmp_path: Path) -> None:
    blob = os.urandom(BLOB_SIZES[0])
    async with opened(tmp_path) as world:
        files = service(world)
        ann, bob, eve, late = await enrolled(world, "a1", "b1", "e1", "l1")
        (foe,) = await enrolled(world, "x1", tenant=2)
        ref = await group_of(world, GROUP, ann, bob)
        assert (await refusal(files.begin(eve.caller, ref, NAME, SIZE)))[0] is RelayReason.NOT_A_MEMBER
        assert (await refusal(files.begin(foe.caller, ref, NAME, SIZE)))[0] is RelayReason.NOT_FOUND
        await files.begin(ann.caller, ref, NAME, BLOB_SIZES[0])
        for other in (bob, eve):
            assert (await refusal(files.append(other.caller, NAME, 0, blob)))[0] is RelayReason.NOT_FOUND
        assert (await refusal(files.begin(bob.caller, ref, NAME, BLOB_SIZES[0])))[0] is RelayReason.ATTACHMENT_EXISTS
        assert (await refusal(files.begin(ann.caller, ref, NAME, SIZE)))[0] is RelayReason.ATTACHMENT_EXISTS
        await files.append(ann.caller, NAME, 0, blob)
        await late.put(world)
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1, adds=(late,)))
        for other in (eve, late, foe, ann):
            assert (await refusal(files.piece(other.caller, NAME, 0)))[0] is RelayReason.NOT_FOUND
            await files.release(other.caller, NAME)
        assert await fetched(files, bob) == blob, "the word of somebody else released nothing"
        alone = await group_of(world, b"alone", ann)
        assert (await refusal(files.begin(ann.caller, alone, AttachmentId(b"o" * 16), SIZE)))[0] is (
            RelayReason.NO_RECIPIENTS
        )


async def test_what_nobody_fetches_and_what_is_never_whole_goes_in_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        files = service(world)
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        blob, half = os.urandom(BLOB_SIZES[4]), AttachmentId(b"h" * 16)
        await upload(files, ann, ref, blob)
        await files.begin(ann.caller, ref, half, SIZE)
        await files.append(ann.caller, half, 0, blob[:PIECE])
        clock.advance(ATTACHMENT_UPLOAD_MS)
        assert (await refusal(files.append(ann.caller, half, PIECE, blob[:PIECE])))[0] is RelayReason.NOT_FOUND
        assert (await refusal(files.begin(ann.caller, ref, half, SIZE)))[0] is RelayReason.ATTACHMENT_EXISTS
        await files.purge()
        assert await world.count("attachment") == 1
        clock.advance(ATTACHMENT_TTL_MS - ATTACHMENT_UPLOAD_MS - 1)
        assert await fetched(files, bob) == blob
        clock.advance(1)
        assert (await refusal(files.piece(bob.caller, NAME, 0)))[0] is RelayReason.NOT_FOUND
        late = clock.now_ms() + 100 * 30_000
        assert [one.rows for one in await overdue(world, late) if one.table == "attachment"] == [1]
        assert await files.purge() == BLOB_SIZES[4] // PIECE
        assert [one.rows for one in await overdue(world, late) if one.table == "attachment"] == [0]
        for table in ("attachment", "attachment_key", "attachment_piece", "attachment_awaited"):
            assert await world.count(table) == 0, table


async def overdue(world: World, now_ms: int) -> list[Any]:
    return await world.readers.read(lambda db: find_overdue(db, now_ms, 30))


async def test_a_large_one_loses_its_key_at_once_and_its_pieces_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECES_PER_PURGE", 7)
    async with opened(tmp_path) as world:
        files = service(world)
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        await upload(files, ann, ref, os.urandom(BLOB_SIZES[5]))
        await files.release(bob.caller, NAME)
        assert await world.count("attachment_key") == 0
        assert await world.count("attachment_piece") == BLOB_SIZES[5] // PIECE - 16
        await whole(world)
        assert (await refusal(files.piece(bob.caller, NAME, 0)))[0] is RelayReason.NOT_FOUND
        assert await files.purge() == BLOB_SIZES[5] // PIECE - 16
        assert await world.count("attachment") == 0


async def test_a_removed_device_is_not_waited_for_and_its_uploads_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        files = service(world)
        ann, own, bob = Phone("a1"), Phone("a2"), Phone("b1")
        people = Person("ann"), Person("bob")
        await people[0].enrol(world, ann, own)
        await people[1].enrol(world, bob)
        ref = await group_of(world, GROUP, ann, own, bob)
        await upload(files, ann, ref, os.urandom(BLOB_SIZES[0]))
        await files.begin(own.caller, ref, AttachmentId(b"h" * 16), SIZE)
        await people[0].publish(world, [ann])
        assert await world.rows("SELECT id FROM attachment") == [(NAME.value,)]
        assert await world.rows("SELECT mailbox FROM attachment_awaited") == [(bob.mailbox,)]
        await files.release(bob.caller, NAME)
        assert await world.count("attachment") == 0
        await whole(world)


async def test_only_the_key_moves_to_another_generation(tmp_path: Path) -> None:
    blob = os.urandom(BLOB_SIZES[0])
    async with opened(tmp_path) as world:
        files = service(world)
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        await upload(files, ann, ref, blob)
        before = await world.rows("SELECT sealed FROM attachment_piece")
        assert (await world.committer.run(CountReferences()))[7].free >= 1
        newer = StorageKey(8, AESGCM(b"n" * 32))
        await world.committer.run(Rewrap(world.keys.get(7), newer, False, 100))
        counted = await world.committer.run(CountReferences())
        assert 7 not in counted
        assert await world.rows("SELECT sealed FROM attachment_piece") == before
        world.keys.get = lambda generation: newer  # type: ignore[method-assign]
        assert await fetched(files, bob) == blob


async def test_a_piece_that_was_changed_or_moved_on_disk_does_not_open(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        files = service(world)
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        await upload(files, ann, ref, os.urandom(SIZE))
        assert len(await fetched(files, bob)) == SIZE
    db = apsw.Connection(str(tmp_path / "letterlock.db"))
    pieces = db.execute("SELECT no, sealed FROM attachment_piece ORDER BY start").fetchall()
    db.execute("UPDATE attachment_piece SET sealed=? WHERE no=?", (pieces[1][1], pieces[0][0])).fetchall()
    db.close()
    async with opened(tmp_path) as world:
        files = service(world)
        with pytest.raises(SealingError) as found:
            await files.piece(bob.caller, NAME, 0)
        assert found.value.reason is SealingReason.NOT_AUTHENTIC
        assert (await files.piece(bob.caller, NAME, PIECE)).size == SIZE


async def test_a_quarantined_group_gets_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        files = service(world)
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        await files.begin(ann.caller, ref, NAME, BLOB_SIZES[0])
    db = apsw.Connection(str(tmp_path / "letterlock.db"))
    db.execute(
        "INSERT INTO group_quarantine (group_no, base_epoch, commit_hash, salt, entry, created_ms)"
        " VALUES (1, 1, zeroblob(32), zeroblob(16), 0, 0)"
    ).fetchall()
    db.close()
    async with opened(tmp_path) as world:
        files = service(world)
        last = files.append(ann.caller, NAME, 0, bytes(BLOB_SIZES[0]))
        assert (await refusal(last))[0] is RelayReason.GROUP_QUARANTINED
        other = files.begin(ann.caller, ref, AttachmentId(b"o" * 16), SIZE)
        assert (await refusal(other))[0] is RelayReason.GROUP_QUARANTINED
