"""What a message is shown as when its group is followed: a fact about the group, and never more."""

from pathlib import Path

import pytest
from tests.gateway_sealed.stage import Stage, staged

from letterlock.gateway.codes import INDICATORS
from letterlock.gateway.outcomes import Outcome
from letterlock.gateway.sealed import Offered
from letterlock.model.protection import EvidenceGrade, Verifier
from letterlock.relay.directory import GroupHead
from letterlock.storage.codes import GRADES, VERIFIERS
from letterlock.storage.relay_commands import GroupStanding
from letterlock.storage.relay_rows import Tracking

G = EvidenceGrade


async def followed(stage: Stage, standing: GroupStanding = GroupStanding.FOLLOWED, *, epoch: int = 1) -> GroupHead:
    """The stage's group, as if commits had been followed to its head; only ann's leaf and bob's are in the tree."""
    head = await stage.world.group_directory.find(1, stage.group.value)
    assert head is not None
    mailboxes = frozenset(phone.mailbox for phone in stage.phones[:2])
    until = stage.world.clock.now_ms() + 1_000
    stage.world.group_directory.track(head, Tracking(epoch, standing, until, 0, mailboxes))
    return head


async def sent(stage: Stage, number: int, mark: bytes, *, epoch: int = 1) -> Outcome:
    offered = Offered(stage.group.value, mark.ljust(16, b"."), stage.sealed(mark, epoch=epoch))
    (outcome,) = await stage.acceptor.accept(stage.sender(number), [offered])
    return outcome


def grade(outcome: Outcome) -> EvidenceGrade:
    assert outcome.shown is not None
    assert VERIFIERS[outcome.shown.verifier] is Verifier.GATEWAY
    return GRADES[outcome.shown.grade]


@pytest.mark.attack("A3")
async def test_a_leaf_of_a_followed_group_is_tracked_and_nobody_else(tmp_path: Path) -> None:
    """The stage's messages are hand-made shells: what is said of them is said of their group, in so many words."""
    async with staged(tmp_path) as stage:
        assert grade(await sent(stage, 0, b"before")) is G.FRAMED
        await followed(stage)
        of_ann = await sent(stage, 0, b"ann")
        assert grade(of_ann) is G.TRACKED
        assert of_ann.shown is not None
        indicator = INDICATORS[of_ann.shown.indicator]
        assert "group checked by this server" in indicator.text
        assert "not checked" in indicator.text
        assert "verified" not in indicator.text
        assert grade(await sent(stage, 1, b"bob")) is G.TRACKED
        assert grade(await sent(stage, 2, b"eve")) is G.FRAMED, "a member, whose leaf is not in the tree"
        assert grade(await sent(stage, 0, b"old", epoch=0)) is G.FRAMED, "an epoch that was not followed"
        stored = dict(await stage.world.rows("SELECT grade, count(*) FROM message WHERE sender>0 GROUP BY grade"))
        assert stored[GRADES.index(G.TRACKED)] == 2


async def test_what_lowers_a_group_lowers_its_next_message(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for number, standing in enumerate((GroupStanding.LOWERED, GroupStanding.LOST)):
            await followed(stage, standing)
            assert grade(await sent(stage, 0, b"%d" % number)) is G.FRAMED
        await followed(stage, epoch=9)
        assert grade(await sent(stage, 0, b"another head")) is G.FRAMED
        head = await followed(stage)
        assert grade(await sent(stage, 0, b"good")) is G.TRACKED
        stage.world.group_directory.lower([head.number, 12345])
        assert grade(await sent(stage, 0, b"lowered")) is G.FRAMED
        await followed(stage)
        stage.world.clock.advance(1_001)
        assert grade(await sent(stage, 0, b"expired")) is G.FRAMED
