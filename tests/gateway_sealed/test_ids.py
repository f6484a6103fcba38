"""Ids outside and keys inside: in the store what came together lies together, and nobody outside can see it."""

from pathlib import Path

from tests.gateway_sealed.stage import Stage, staged

from letterlock.gateway.outcomes import Outcome
from letterlock.gateway.sealed import Offered
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.wire.stream import REFERENCE_TIME, ResultStatus

NOW_MS = 1_795_000_000_000


async def sent(stage: Stage, number: int, *references: bytes, mark: bytes = b"m") -> list[Outcome]:
    offered = [Offered(stage.group.value, reference, stage.sealed(mark)) for reference in references]
    return await stage.acceptor.accept(stage.sender(number), offered)


async def test_keys_follow_the_time_and_ids_do_not(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        ((before,),) = await stage.world.rows("SELECT max(seq) FROM message")
        start = NOW_MS >> 21 << 21
        accepted: list[Outcome] = []
        for at in range(40):
            reference = (start + at).to_bytes(REFERENCE_TIME, "big") + bytes([at]) * 10
            accepted += await sent(stage, at % 2, reference)
        assert {one.status for one in accepted} == {ResultStatus.ACCEPTED}
        by_key = await stage.world.rows("SELECT seq FROM message_key WHERE seq>? ORDER BY id", before)
        assert by_key == sorted(by_key), "one page after the other"
        shown = [one.message_id for one in accepted]
        stored = await stage.world.rows("SELECT id FROM message WHERE seq>? ORDER BY seq", before)
        assert [row[0] for row in stored] == shown
        assert shown != sorted(shown)
        keys = {row[0] for row in await stage.world.rows("SELECT id FROM message_key WHERE seq>?", before)}
        assert not keys & set(shown)


async def test_a_retry_finds_its_first_answer_and_other_bytes_conflict_whatever_time_was_told(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for reference in (bytes(16), b"\xff" * 16, NOW_MS.to_bytes(REFERENCE_TIME, "big") + b"0123456789"):
            (first,) = await sent(stage, 0, reference)
            again, another = await sent(stage, 0, reference, b"%b!" % reference[:15])
            assert (first.status, again.status) == (ResultStatus.ACCEPTED, ResultStatus.DUPLICATE)
            assert (again.message_id, again.record_hash) == (first.message_id, first.record_hash)
            assert another.status is ResultStatus.ACCEPTED
            (other,) = await sent(stage, 0, reference, mark=b"other bytes")
            assert other.status is ResultStatus.CONFLICT
            (others,) = await sent(stage, 1, reference)
            assert others.status is ResultStatus.ACCEPTED, "another device's reference is another message"


async def test_a_message_is_found_by_its_id_and_not_by_its_key(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        (one,) = await sent(stage, 0, NOW_MS.to_bytes(REFERENCE_TIME, "big") + b"0123456789")
        ((key,),) = await stage.world.rows("SELECT id FROM message_key ORDER BY seq DESC LIMIT 1")
        reads = OpenReads(stage.world.readers, stage.world.ids)
        found = await reads.message(1, one.message_id)
        assert found is not None
        assert (found.id, found.record_hash) == (one.message_id, one.record_hash)
        assert await reads.message(1, key) is None
        assert await reads.message(2, one.message_id) is None, "another tenant's"
        listed = await reads.messages(1, None, 1)
        assert [row.record_hash for row in listed] == [one.record_hash]
