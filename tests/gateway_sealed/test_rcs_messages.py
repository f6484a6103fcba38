"""Messages of RCS clients (GSMA RCC.16) at the acceptor: what holds is framed, whatever does not is refused."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.gateway_sealed.stage import Stage
from tests.relay import mls
from tests.relay.rcs_chat import ROOTS, RcsChat, rcs_chat
from tests.relay.world import TENANTS, opened
from tests.wire_mls.certificate_maker import era
from tests.wire_mls.group_maker import GROUP, NOW_S
from tests.wire_mls.rcs_message import ID, authenticator, mls_of, rcs_message

from letterlock.gateway.outcomes import Outcome
from letterlock.gateway.rcs import FAILURES, RcsMessage, read
from letterlock.gateway.sealed import Offered
from letterlock.model.clock import ManualClock
from letterlock.model.ids import GroupRef, MessageId
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.relay.directory import GroupHead
from letterlock.relay.errors import RelayError
from letterlock.storage.codes import GRADES, PROTECTIONS, VERIFIERS
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.sqlite.hot import PAST_EPOCHS
from letterlock.wire import stream as frames
from letterlock.wire.imdn import ServerFailure
from letterlock.wire.mls import Rcc16Aad, build_letterlock_aad, build_rcc16_aad
from letterlock.wire.mls.aad import LetterlockAad
from letterlock.wire.stream import ItemKind, ResultStatus, Submission, TargetKind
from letterlock.wire.tlog.words import FindingCode

S, G = ResultStatus, EvidenceGrade
HEAD = GroupHead(1, bytes(16), GROUP, 1, 1, era=2)
"""A group of era 2."""
BARE = GroupHead(2, bytes(16), GROUP, 1, 1)
"""A group without an era."""


@pytest.mark.parametrize("resent", [b"", b"\x01again"])
def test_a_message_that_holds(resent: bytes) -> None:
    aad = build_rcc16_aad(Rcc16Aad(ID, 2, resent))
    found = read(rcs_message(2, 1, authenticated_data=aad), HEAD)
    assert isinstance(found, RcsMessage)
    assert (found.era, found.authenticator, found.sealed.epoch) == (2, b"epoch".ljust(32, b"-"), 1)


REFUSED: dict[str, tuple[bytes, ResultStatus]] = {
    "no era header": (rcs_message(2, era_id=None), S.MLS_HEADER_MISSING),
    "no authenticator": (rcs_message(2, named=None), S.MLS_HEADER_MISSING),
    "neither": (rcs_message(2, era_id=None, named=None), S.MLS_HEADER_MISSING),
    "no message id": (rcs_message(2, imdn_id=None), S.MLS_HEADER_MISSING),
    "an era that is no number": (rcs_message(2, era_id="two"), S.WRONG_ERA),
    "an era with a sign": (rcs_message(2, era_id="+2"), S.WRONG_ERA),
    "an older era": (rcs_message(1), S.WRONG_ERA),
    "a later era": (rcs_message(3), S.WRONG_ERA),
    "an older era in the header alone": (rcs_message(2, era_id="1"), S.WRONG_ERA),
    "an older era in the authenticated data alone": (rcs_message(1, era_id="2"), S.MESSAGE_ID_DIFFERS),
    "an authenticator that is short": (rcs_message(2, named="AAAA"), S.WRONG_AUTHENTICATOR),
    "an authenticator that is no base64": (rcs_message(2, named="?" * 44), S.WRONG_AUTHENTICATOR),
    "an authenticator with spare bits": (rcs_message(2, named="A" * 42 + "B="), S.WRONG_AUTHENTICATOR),
    "another message id": (rcs_message(2, imdn_id=ID[:-1] + "x"), S.MESSAGE_ID_DIFFERS),
    "the same id in another case": (rcs_message(2, imdn_id=ID.lower()), S.MESSAGE_ID_DIFFERS),
    "a message id with a space": (rcs_message(2, imdn_id="M x"), S.MESSAGE_ID_DIFFERS),
    "no authenticated data": (rcs_message(2, authenticated_data=b""), S.MESSAGE_ID_DIFFERS),
    "our own authenticated data": (
        rcs_message(2, authenticated_data=build_letterlock_aad(LetterlockAad(MessageId(bytes(16))))),
        S.MESSAGE_ID_DIFFERS,
    ),
    "another group": (rcs_message(2, group_id=b"another"), S.NOT_ALLOWED),
    "a proposal": (rcs_message(2, content_type=2), S.NOT_ALLOWED),
    "a commit": (rcs_message(2, content_type=3), S.NOT_ALLOWED),
    "a client's handshake type": (rcs_message(2, kind="message/mls-rcs-client"), S.NOT_ALLOWED),
    "a commit of that type": (
        rcs_message(2, kind="message/mls-rcs-client", body=mls.commit(GROUP, 1)), S.NOT_ALLOWED
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=list(REFUSED))
def test_what_does_not_hold_is_refused_in_so_many_words(body: bytes, status: ResultStatus) -> None:
    assert read(body, HEAD) is status
    assert (status in FAILURES) is (status is not S.NOT_ALLOWED)


NOT_MLS = {
    "readable words": rcs_message(2, kind="text/plain", body=b"CANARY-readable"),
    "readable words with the headers of MLS": rcs_message(2, kind="text/plain;charset=UTF-8", body=b"CANARY"),
    "readable words said to be MLS": rcs_message(2, body=b"CANARY-readable"),
    "a server's word": rcs_message(2, kind="message/mls-rcs-server-kick"),
    "no message/cpim": b"CANARY",
    "half of one": rcs_message(2)[:200],
    "nothing": b"",
}


@pytest.mark.attack("A16")
@pytest.mark.parametrize("body", NOT_MLS.values(), ids=list(NOT_MLS))
def test_what_is_no_mls_message_is_nothing_that_could_be_delivered(body: bytes) -> None:
    assert read(body, HEAD) is None


def test_a_group_without_an_era_takes_no_such_message() -> None:
    assert read(rcs_message(2), BARE) is S.ERA_UNKNOWN
    assert (BARE.bare_id, HEAD.bare_id) == (GROUP, None)


@asynccontextmanager
async def talking(folder: Path) -> AsyncGenerator[tuple[RcsChat, Stage]]:
    """Ann and Bob in a group of era 1, at epoch 1."""
    async with rcs_chat(folder, era(1)) as chat:
        await chat.commit(chat.adding())
        yield chat, Stage(chat.world, chat.phones, [], chat.ref)


async def sent(stage: Stage, number: int, body: bytes, mark: bytes = b"m", group: GroupRef | None = None) -> Outcome:
    offered = Offered((group or stage.group).value, mark.ljust(16, b"."), body)
    (outcome,) = await stage.acceptor.accept(stage.sender(number), [offered])
    return outcome


def words(outcome: Outcome) -> tuple[Protection, EvidenceGrade, Verifier]:
    assert outcome.status is S.ACCEPTED
    shown = outcome.shown
    assert shown is not None
    return PROTECTIONS[shown.protection], GRADES[shown.grade], VERIFIERS[shown.verifier]


async def test_it_is_tracked_for_a_leaf_of_the_group_and_framed_where_the_group_is_lowered(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        body = rcs_message()
        assert words(await sent(stage, 0, body)) == (Protection.E2EE, G.TRACKED, Verifier.GATEWAY)
        page = await chat.world.mailboxes.page(TENANTS[1], chat.phones[1].mailbox, 1, 10)
        (item,) = page.items
        assert (item.row.kind, item.row.group, item.body) == (ItemKind.APPLICATION, chat.ref.value, body)
        assert (PROTECTIONS[item.row.protection], GRADES[item.row.grade]) == (Protection.E2EE, G.TRACKED)
        number = (await chat.world.rows("SELECT no FROM mls_group"))[0][0]
        chat.world.group_directory.lower([number])
        assert words(await sent(stage, 0, rcs_message(), b"n")) == (Protection.E2EE, G.FRAMED, Verifier.GATEWAY)


async def test_the_writer_orders_epochs_and_says_so_in_the_words_of_rcc16(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        ahead = await sent(stage, 0, rcs_message(epoch=2))
        assert (ahead.status, ahead.failure) == (S.WRONG_EPOCH, ServerFailure.INCORRECT_EPOCH)
        for _ in range(PAST_EPOCHS + 1):
            bundle = chat.renewing()
            await chat.commit(bundle)
            chat.made.follow(bundle.commit)
        late = await sent(stage, 0, rcs_message(epoch=1))
        assert (late.status, late.failure) == (S.EPOCH_TOO_OLD, ServerFailure.INCORRECT_EPOCH)
        assert words(await sent(stage, 0, rcs_message(epoch=2)))[0] is Protection.E2EE
        assert words(await sent(stage, 0, rcs_message(epoch=6), b"n"))[1] is G.TRACKED


async def test_a_bare_mls_message_has_no_era_and_is_not_taken_for_one(tmp_path: Path) -> None:
    async with talking(tmp_path) as (_, stage):
        bare = await sent(stage, 0, mls_of())
        assert (bare.status, bare.failure) == (S.MLS_HEADER_MISSING, ServerFailure.INVALID_INPUT)
        other = await sent(stage, 0, mls_of(group_id=b"another"))
        assert (other.status, other.failure) == (S.NOT_ALLOWED, None)


@pytest.mark.attack("A16")
async def test_readable_words_in_such_a_message_are_quarantined(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        outcome = await sent(stage, 0, NOT_MLS["readable words"])
        assert outcome.status is S.QUARANTINED
        assert await chat.world.count("sealed_body") == 1, "the Welcome alone"
        assert b"CANARY" not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


@pytest.mark.attack("A18")
async def test_an_older_era_is_refused_by_whichever_name(tmp_path: Path) -> None:
    """What is left in an old copy of a device: its old group by its old name, and old words under the new one."""
    async with talking(tmp_path) as (chat, stage):
        first = await sent(stage, 0, rcs_message())
        new = GroupRef((await chat.advance(chat.again(era(2)).adding())).ref)
        await stage.acceptor.load_group(1, new.value)
        for group in (chat.ref, new):
            late = await sent(stage, 0, rcs_message(), b"late", group)
            assert (late.status, late.failure) == (S.WRONG_ERA, ServerFailure.INCORRECT_ERA)
        again = await sent(stage, 0, rcs_message())
        assert (again.status, again.record_hash) == (S.DUPLICATE, first.record_hash)
        assert words(await sent(stage, 0, rcs_message(2), b"new", new)) == (
            Protection.E2EE, G.TRACKED, Verifier.GATEWAY
        )  # fmt: skip


async def test_the_same_again_is_a_duplicate_and_other_bytes_a_conflict(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        first = await sent(stage, 0, rcs_message())
        again = await sent(stage, 0, rcs_message())
        assert (again.status, again.message_id) == (S.DUPLICATE, first.message_id)
        assert (await sent(stage, 0, rcs_message(words=b"\xdd" * 300))).status is S.CONFLICT
        assert await chat.world.count("mailbox_item") == 2


@pytest.mark.attack("A14")
async def test_two_authenticators_of_one_epoch_are_a_finding_and_the_second_is_refused(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        assert words(await sent(stage, 0, rcs_message()))[1] is G.TRACKED
        other = rcs_message(named=authenticator(b"another"))
        for mark in (b"n", b"o"):
            forked = await sent(stage, 1, other, mark)
            assert (forked.status, forked.failure) == (
                S.WRONG_AUTHENTICATOR, ServerFailure.INCORRECT_EPOCH_AUTHENTICATOR
            )  # fmt: skip
        assert await chat.findings() == [FindingCode.EPOCH_AUTHENTICATOR_FORKED], "once an epoch"
        assert await chat.standing() == "LOWERED"
        # Who was first goes on, and is not told any more that the group was checked.
        assert words(await sent(stage, 0, rcs_message(), b"p")) == (Protection.E2EE, G.FRAMED, Verifier.GATEWAY)
        # An anchor at the same head mends nothing: only the next epoch has an authenticator of its own.
        with pytest.raises(RelayError) as refused:
            await chat.world.groups.anchor(chat.phones[1].caller, chat.ref, chat.info())
        assert refused.value.reason is RelayReason.BAD_GROUP_INFO
        assert words(await sent(stage, 0, rcs_message(), b"r"))[1] is G.FRAMED
        await chat.commit(chat.renewing())
        assert words(await sent(stage, 1, rcs_message(epoch=2, named=authenticator(b"two")), b"q"))[1] is G.TRACKED


@pytest.mark.attack("A14")
async def test_the_store_knows_authenticators_by_a_keyed_hash_alone_and_keeps_few(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        raw = b"epoch".ljust(32, b"-")
        await sent(stage, 0, rcs_message())
        for epoch in range(2, PAST_EPOCHS + 4):
            bundle = chat.renewing()
            await chat.commit(bundle)
            chat.made.follow(bundle.commit)
            await sent(stage, 0, rcs_message(epoch=epoch), b"%d" % epoch)
        kept = await chat.world.rows("SELECT epoch, digest FROM group_authenticator ORDER BY epoch")
        assert [epoch for epoch, _ in kept] == list(range(3, PAST_EPOCHS + 4))
        assert len({digest for _, digest in kept}) == len(kept), "the same bytes of another epoch look otherwise"
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
        assert raw not in held
        assert kept[0][1] in held, "the control: what is stored can be found"
        new = (await chat.advance(chat.again(era(2)).adding())).ref
        assert await chat.world.count("group_authenticator") == 0
        assert new != chat.ref.value


async def test_who_is_no_member_names_no_authenticator(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        bundle = chat.renewing()
        await chat.commit(bundle)
        sender = stage.sender(1)
        stranger = type(sender)(sender.tenant, sender.tenant_id, 99, sender.session_version)
        offered = Offered(chat.ref.value, b"m" * 16, rcs_message(epoch=2, named=authenticator(b"false")))
        (outcome,) = await stage.acceptor.accept(stranger, [offered])
        assert outcome.status is S.NOT_ALLOWED
        ahead = await sent(stage, 1, rcs_message(epoch=3, named=authenticator(b"false")), b"n")
        assert ahead.status is S.WRONG_EPOCH
        assert await chat.world.count("group_authenticator") == 0
        assert words(await sent(stage, 0, rcs_message(epoch=2)))[0] is Protection.E2EE


@pytest.mark.attack("A14")
async def test_a_fork_and_an_era_outlive_a_restart(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        await sent(stage, 0, rcs_message())
        await sent(stage, 1, rcs_message(named=authenticator(b"another")), b"n")
    async with opened(tmp_path, ManualClock(NOW_S * 1_000), (1, 2), ROOTS) as world:
        again = Stage(world, chat.phones, [], chat.ref)
        assert words(await sent(again, 0, rcs_message(), b"o")) == (Protection.E2EE, G.FRAMED, Verifier.GATEWAY)
        assert (await sent(again, 1, rcs_message(named=authenticator(b"x")), b"p")).status is S.WRONG_AUTHENTICATOR
        assert (await sent(again, 0, rcs_message(2), b"q")).status is S.WRONG_ERA


async def test_ordinary_and_rcs_messages_share_a_batch(tmp_path: Path) -> None:
    """In the order of the submissions, each with its own outcome."""
    async with talking(tmp_path) as (chat, stage):
        bodies = [rcs_message(), mls_of(), rcs_message(3), b"none", rcs_message(words=b"\xdd" * 300)]
        offered = [Offered(chat.ref.value, b"%d" % n * 16, body) for n, body in enumerate(bodies)]
        outcomes = await stage.acceptor.accept(stage.sender(0), offered)
        assert [one.status for one in outcomes] == [
            S.ACCEPTED, S.MLS_HEADER_MISSING, S.WRONG_ERA, S.QUARANTINED, S.ACCEPTED
        ]  # fmt: skip
        page = await chat.world.mailboxes.page(TENANTS[1], chat.phones[1].mailbox, 1, 10)
        assert [item.body for item in page.items] == [bodies[0], bodies[4]]


async def test_the_stream_carries_the_same_messages_and_answers(tmp_path: Path) -> None:
    async with talking(tmp_path) as (chat, stage):
        for phone in chat.phones:
            phone.counter = 1  # what Ann stated with her commit
            stage.tokens.append((await phone.log_in(chat.world)).token)
        ann, bob = stage.connect(0), stage.connect(1)
        await ann.hello()
        head = (await bob.hello()).head
        await bob.deliveries(head)
        good = rcs_message()
        cases = [
            (good, S.ACCEPTED),
            (rcs_message(named=None), S.MLS_HEADER_MISSING),
            (rcs_message(named="AAAA"), S.WRONG_AUTHENTICATOR),
            (rcs_message(imdn_id="another"), S.MESSAGE_ID_DIFFERS),
            (rcs_message(2), S.WRONG_ERA),
            (rcs_message(epoch=2), S.WRONG_EPOCH),
            (rcs_message(named=authenticator(b"another")), S.WRONG_AUTHENTICATOR),
        ]
        target = chat.ref.value
        ann.say(
            frames.encode_submit(
                chat.phones[0].counter,
                [Submission(TargetKind.GROUP, target, b"%d" % n * 16, body) for n, (body, _) in enumerate(cases)],
            )
        )
        assert [one.status for one in await ann.results(len(cases))] == [status for _, status in cases]
        ((_, item),) = await bob.deliveries(1)
        assert (item.kind, item.group_ref, item.body) == (ItemKind.APPLICATION, target, good)
        assert (PROTECTIONS[item.protection], GRADES[item.grade]) == (Protection.E2EE, G.TRACKED)
        await ann.hang_up()
        await bob.hang_up()
