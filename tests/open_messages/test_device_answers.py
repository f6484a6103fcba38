"""Questions on the sender's own devices: signed answers through the gateway, and everything that is no such answer."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.assurance.test_consent import MUTATIONS
from tests.open_messages.people import Person, person
from tests.open_messages.world import NUMBER, World, world

from letterlock.app.clock import SystemClock
from letterlock.assurance.causes import Cause
from letterlock.assurance.consent import (
    PROMPT_WINDOW_MS,
    Alternative,
    Answer,
    Challenge,
    ConsentError,
    ConsentReason,
    Terms,
    sign_answer,
)
from letterlock.assurance.dialog import challenge_block
from letterlock.client.errors import RelayError, RelayReason
from letterlock.client.questions import ASKED
from letterlock.client.relay import QuestionsAnswer, RelayCalls
from letterlock.gateway.erasures import Erasures
from letterlock.gateway.questions import QuestionBook
from letterlock.model.ids import ChallengeId
from letterlock.model.protection import ConsentKind, Protection
from letterlock.policy.file import profile_source
from letterlock.policy.proof import prove
from letterlock.storage.codes import PROTECTIONS
from letterlock.storage.relay_rows import AccountRow
from letterlock.storage.sqlite.relay_reads import RelayReads
from letterlock.transports.registry import CAPABILITIES
from letterlock.wire.preimage import SoftwareKey

TEXT = "only this, to you, now"
CALL = RelayCalls.call
NUMBERS = [f"+4917012349{number:02}" for number in range(40)]


@asynccontextmanager
async def asked(folder: Path, profile: str = "consumer") -> AsyncIterator[tuple[World, Person]]:
    async with world(folder, profile=profile) as w:
        somebody = await person(w)
        try:
            yield w, somebody
        finally:
            somebody.close()


async def put(w: World, sender: Person, **fields_: Any) -> dict[str, Any]:
    """A question about a text in a person's name."""
    answer = await w.send(TEXT, sender=sender.sender, **fields_)
    assert (answer.status_code, answer.json()["code"]) == (409, "consent_required"), answer.text
    return dict(answer.json()["challenge"])


async def shown(somebody: Person) -> Challenge:
    waiting = await somebody.device.questions.waiting()
    assert waiting.refused == ()
    return waiting.questions[-1]


def envelope_key(somebody: Person) -> SoftwareKey:
    return somebody.device._state.keys.envelope_key()


async def hand_in(
    somebody: Person, challenge: ChallengeId, signature: bytes, answer: str = "agreed", **more: Any
) -> tuple[int, str]:
    body = {"answer": answer, "signature": b64encode(signature).decode()}
    got = await somebody.call("POST", f"/challenges/{challenge}/answer", body, **more)
    return got.status_code, got.json().get("code", got.json().get("state"))


async def test_a_device_is_asked_signs_and_the_message_goes_once(tmp_path: Path) -> None:
    async with asked(tmp_path) as (w, alice):
        question = await put(w, alice)
        assert question["kinds"] == ["DEVICE_SIGNED"]
        assert (question["kind"], question["consent"]) == (None, None)
        challenge = await shown(alice)
        assert (str(challenge.challenge), challenge.terms.destination) == (question["id"], NUMBER)
        done = await alice.device.questions.answer(challenge, Answer.AGREED, TEXT)
        assert (done.state, done.released) == ("consented", False)
        told = (await w.http.get(f"/v1/challenges/{question['id']}")).json()
        assert (told["state"], told["kind"], told["consent"]) == ("consented", "DEVICE_SIGNED", done.consent)
        sent = await w.send(TEXT, sender=alice.sender, consent=done.consent)
        assert sent.status_code == 202, sent.text
        assert sent.json()["security"]["indicator"] == "indicator.fell_by_device"
        await w.until_state(sent.json()["id"], "sent", "delivered")
        assert w.screen() == [TEXT]
        again = await w.send(TEXT, sender=alice.sender, consent=done.consent)
        assert again.json()["duplicate"]
        kinds = [entry.kind for entry in w.entries() if entry.t in {"consent", "fallback"}]  # type: ignore[attr-defined]
        assert kinds == [ConsentKind.DEVICE_SIGNED, ConsentKind.DEVICE_SIGNED]
        assert w.rows("SELECT count(*) FROM challenge_device") == [(0,)]


async def test_a_held_message_waits_for_the_device_and_leaves_by_its_yes_or_ends_by_its_no(tmp_path: Path) -> None:
    async with asked(tmp_path) as (w, alice):
        for number, answer, state in ((NUMBERS[0], Answer.AGREED, "sent"), (NUMBERS[1], Answer.REFUSED, "not_sent")):
            held = (await w.send(TEXT, to=number, sender=alice.sender, on_downgrade="hold")).json()
            assert (held["state"], held["challenge"]["kinds"]) == ("held", ["DEVICE_SIGNED"])
            done = await alice.device.questions.answer(await shown(alice), answer)
            assert (done.consent, done.released) == (None, answer is Answer.AGREED)
            ended = await w.until_state(held["id"], state, "delivered")
            assert (ended["state"] == "not_sent") is (answer is Answer.REFUSED)
        assert (w.screen(NUMBERS[0]), w.screen(NUMBERS[1])) == ([TEXT], [])
        told = [(entry.kind.value, entry.answer.value) for entry in w.entries() if entry.t == "consent"]  # type: ignore[attr-defined]
        assert told == [("DEVICE_SIGNED", "accepted"), ("DEVICE_SIGNED", "refused")]


async def test_a_tenants_word_opens_nothing_where_a_device_has_to_sign(tmp_path: Path) -> None:
    async with asked(tmp_path) as (w, alice):
        question = await put(w, alice)
        word = await w.answer(question["id"])
        assert (word.status_code, word.json()["code"]) == (422, "device_signature_required")
        assert w.count()["consent"] == 0
        # A no needs no signature: it opens nothing.
        assert (await w.answer(question["id"], "refused")).status_code == 200
        assert (await alice.device.questions.waiting()).questions == ()
        (entry,) = [entry for entry in w.entries() if entry.t == "consent"]
        assert entry.kind is ConsentKind.TENANT_ASSERTED  # type: ignore[attr-defined]


async def test_kinds_are_never_merged(tmp_path: Path) -> None:
    """Policy takes both here: each answer is what it is, in the ledger, on the message, and in the counts."""
    async with asked(tmp_path, "standard") as (w, alice):
        shown_as = {}
        for number in NUMBERS[:2]:
            question = await put(w, alice, to=number)
            assert question["kinds"] == ["DEVICE_SIGNED", "TENANT_ASSERTED"]
            if number == NUMBERS[0]:
                consent = (await alice.device.questions.answer(await shown(alice), Answer.AGREED)).consent
            else:
                consent = (await w.answer(question["id"])).json()["consent"]
            sent = await w.send(TEXT, to=number, sender=alice.sender, consent=consent)
            shown_as[number] = sent.json()["security"]["indicator"]
        assert shown_as == {NUMBERS[0]: "indicator.fell_by_device", NUMBERS[1]: "indicator.fell_by_tenant"}
        page = (await w.http.get("/metrics")).text
        for word in ("agreed", "consented"):
            for kind in ("device_signed", "tenant_asserted"):
                assert f'letterlock_downgrades_total{{cause="sender_chose",outcome="{word}_{kind}"}} 1.0' in page


@pytest.mark.attack("A8")
@pytest.mark.parametrize("name", [*MUTATIONS, "alternatives", "challenge", "answer"])
async def test_a_signature_over_any_other_field_is_refused(tmp_path: Path, name: str) -> None:
    """Whoever is between gateway and device alters one thing that the person is shown: their signature is void."""
    async with asked(tmp_path) as (w, alice):
        await put(w, alice)
        true = await shown(alice)
        signed, answer = true, Answer.AGREED
        if name == "alternatives":
            signed = replace(true, alternatives=(Alternative.WAIT, Alternative.DISCARD, Alternative.NOTICE_ONLY))
        elif name == "challenge":
            signed = replace(true, challenge=ChallengeId(bytes([1]) * 16))
        elif name == "answer":
            answer = Answer.REFUSED
        else:
            value: Any = Cause.NO_DEVICE_KNOWN if name == "cause" else MUTATIONS[name]
            assert value != getattr(true.terms, name)
            signed = replace(true, terms=replace(true.terms, **{name: value}))
        signature = sign_answer(signed, answer, envelope_key(alice)).encode()
        assert await hand_in(alice, true.challenge, signature) == (422, "consent_signature_refused")
        assert w.count()["consent"] == 0
        good = sign_answer(true, Answer.AGREED, envelope_key(alice)).encode()
        assert await hand_in(alice, true.challenge, good) == (200, "consented")


def test_every_field_of_the_terms_is_altered() -> None:
    assert {field.name for field in fields(Terms)} == set(MUTATIONS)


async def test_only_a_listed_device_of_the_account_and_its_own_key_answer(tmp_path: Path) -> None:
    async with asked(tmp_path) as (w, alice):
        mallory = await person(w)
        try:
            second = await alice.another_device()
            await put(w, alice)
            true = await shown(alice)
            assert (await mallory.device.questions.waiting()).questions == ()
            foreign = sign_answer(true, Answer.AGREED, envelope_key(mallory)).encode()
            # Another account has no such question, whatever it signs.
            assert await hand_in(mallory, true.challenge, foreign) == (404, "not_found")
            good = sign_answer(true, Answer.AGREED, envelope_key(alice)).encode()
            assert await hand_in(mallory, true.challenge, good) == (404, "not_found")
            # Another account's key, another device's key, no signature at all, and somebody else's path.
            for signature in (foreign, good[:-1], bytes(66), b""):
                assert await hand_in(alice, true.challenge, signature) == (422, "consent_signature_refused")
            assert await hand_in(alice, true.challenge, good, device=second) == (422, "consent_signature_refused")
            headers = {"authorization": f"Bearer {await alice.token(second)}"}
            body = {"answer": "agreed", "signature": b64encode(good).decode()}
            path = f"/v1/devices/{alice.device.device}/challenges/{true.challenge}/answer"
            assert (await w.http.post(path, json=body, headers=headers)).json()["code"] == "not_your_device"
            assert (await w.http.post(path, json=body)).status_code == 403, "a tenant's key is no device"
            # The second device is as good as the first, with its own key.
            own = sign_answer(true, Answer.AGREED, second._state.keys.envelope_key()).encode()
            assert await hand_in(alice, true.challenge, own, device=second) == (200, "consented")
        finally:
            mallory.close()


async def test_a_device_that_was_struck_off_the_list_answers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(tmp_path) as (w, alice):
        second = await alice.another_device()
        await second.login()
        await put(w, alice)
        true = (await second.questions.waiting()).questions[0]
        await alice.device.publish_list([])
        with pytest.raises(RelayError) as refused:
            await second.questions.answer(true, Answer.AGREED)
        assert refused.value.reason in {RelayReason.UNAUTHENTICATED, RelayReason.NOT_FOUND}
        assert w.count()["consent"] == 0


async def test_the_newest_list_decides_in_the_moment_of_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session still stands when the list is looked at: the list decides, and the writer looks once more."""
    async with asked(tmp_path) as (w, alice):
        second = await alice.another_device()
        await put(w, alice)
        true = (await second.questions.waiting()).questions[0]
        signature = sign_answer(true, Answer.AGREED, second._state.keys.envelope_key()).encode()
        rows = w.rows("SELECT version, signed FROM device_list_version ORDER BY version")
        without, newest = rows[0][1], rows[-1]
        read = RelayReads.account
        seen: list[AccountRow] = []

        async def account(self: RelayReads, tenant: int, account: bytes) -> AccountRow | None:
            return seen[0] if seen else await read(self, tenant, account)

        monkeypatch.setattr(RelayReads, "account", account)
        seen.append(AccountRow(b"", newest[0], without))
        assert await hand_in(alice, true.challenge, signature, device=second) == (403, "device_not_listed")
        seen[:] = [AccountRow(b"", newest[0] + 1, newest[1])]
        assert await hand_in(alice, true.challenge, signature, device=second) == (503, "overloaded")
        assert w.count()["consent"] == 0
        seen.clear()
        assert await hand_in(alice, true.challenge, signature, device=second) == (200, "consented")


async def test_an_answer_is_taken_once_and_in_time(tmp_path: Path) -> None:
    async with asked(tmp_path) as (w, alice):
        await put(w, alice)
        true = await shown(alice)
        good = sign_answer(true, Answer.AGREED, envelope_key(alice)).encode()
        assert await hand_in(alice, true.challenge, good) == (200, "consented")
        assert await hand_in(alice, true.challenge, good) == (409, "already_answered")
        refusal = sign_answer(true, Answer.REFUSED, envelope_key(alice)).encode()
        assert await hand_in(alice, true.challenge, refusal, "refused") == (409, "already_answered")
        # The same signature under another question's name.
        other = await put(w, alice, to=NUMBERS[1])
        assert await hand_in(alice, ChallengeId.parse(other["id"]), good) == (422, "consent_signature_refused")
        held = (await w.send(TEXT, to=NUMBERS[2], sender=alice.sender, on_downgrade="hold", expires_in_s=1)).json()
        late = (await alice.device.questions.waiting()).questions[-1]
        assert str(late.challenge) == held["challenge"]["id"]
        await asyncio.sleep(1.1)
        with pytest.raises(ConsentError) as here:
            await alice.device.questions.answer(late, Answer.AGREED)
        assert here.value.reason is ConsentReason.LIFE_OUT_OF_RANGE
        signature = sign_answer(late, Answer.AGREED, envelope_key(alice)).encode()
        assert await hand_in(alice, late.challenge, signature) == (409, "challenge_expired")
        assert str(late.challenge) not in {
            str(one.challenge) for one in (await alice.device.questions.waiting()).questions
        }
        await w.gateway.purger.run()
        assert (await w.get(held["id"]))["state"] == "not_sent"
        assert await hand_in(alice, late.challenge, signature) == (409, "already_answered")
        assert w.screen(NUMBERS[2]) == []


@pytest.mark.attack("A8")
async def test_a_signed_consent_is_good_for_its_own_message_and_sender_alone(tmp_path: Path) -> None:
    async with asked(tmp_path) as (w, alice):
        bob = await person(w)
        try:
            for change in ({"text": TEXT + "."}, {"to": NUMBERS[9]}, {"sender": bob.sender}, {"sender": None}):
                number = NUMBERS[10 + len(w.rows("SELECT 1 FROM challenge"))]
                question = await put(w, alice, to=number)
                consent = (await alice.device.questions.answer(await shown(alice), Answer.AGREED)).consent
                request = {"to": number, "text": TEXT, "sender": alice.sender, "consent": consent} | change
                refused = await w.http.post("/v1/messages", json={k: v for k, v in request.items() if v is not None})
                assert (refused.status_code, refused.json()["code"]) == (409, "consent_void"), change
                after = await w.send(TEXT, to=number, sender=alice.sender, consent=consent)
                assert after.json()["code"] == "consent_spent"
                told = (await w.http.get(f"/v1/challenges/{question['id']}")).json()
                assert told["state"] == "secure_failed"
            assert w.count()["fallback"] == 0
        finally:
            bob.close()


@pytest.mark.attack("A8")
async def test_what_another_policy_changed_since_is_not_shown_and_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(tmp_path) as (w, alice):
        await put(w, alice)
        true = await shown(alice)
        signature = sign_answer(true, Answer.AGREED, envelope_key(alice)).encode()
        source = profile_source("consumer").replace("metadata_minutes = 10", "metadata_minutes = 9")
        w.gateway.policies.give(1, prove(source, CAPABILITIES))
        assert (await alice.device.questions.waiting()).questions == ()
        assert await hand_in(alice, true.challenge, signature) == (409, "terms_changed")
        assert w.count()["consent"] == 0
        w.gateway.policies.give(1, prove(profile_source("consumer"), CAPABILITIES))
        # Another version of the transport's row: its readers or its ceiling may be others.
        terms = QuestionBook.terms
        with monkeypatch.context() as patched:
            patched.setattr(QuestionBook, "terms", lambda *given: replace(terms(*given), row_version=99))
            assert (await alice.device.questions.waiting()).questions == ()
            assert await hand_in(alice, true.challenge, signature) == (409, "terms_changed")
        assert await hand_in(alice, true.challenge, signature) == (200, "consented")


@pytest.mark.attack("A9")
async def test_a_grant_is_dead_when_the_floor_has_risen_and_stays_so(tmp_path: Path) -> None:
    """Meanwhile the other side was heard encrypted: what was agreed to before does not live again, restart or not."""
    async with asked(tmp_path, "standard") as (w, alice):
        await put(w, alice)
        consent = (await alice.device.questions.answer(await shown(alice), Answer.AGREED)).consent
        sender = alice.sender
    async with world(tmp_path) as w:
        w.set_floor(PROTECTIONS.index(Protection.E2EE), 3)
        void = await w.send(TEXT, sender=sender, consent=consent)
        assert (void.status_code, void.json()["code"]) == (409, "consent_void")
        w.set_floor(PROTECTIONS.index(Protection.PROVIDER), 4)
        spent = await w.send(TEXT, sender=sender, consent=consent)
        assert (spent.status_code, spent.json()["code"]) == (409, "consent_spent")
        assert w.count()["fallback"] == 0


@pytest.mark.attack("A12")
async def test_a_withdrawal_and_the_message_are_committed_in_one_order(tmp_path: Path) -> None:
    """The linearisation point is the writer's commit: exactly one of the two happens, and the other is told so."""
    async with asked(tmp_path) as (w, alice):
        outcomes = set()
        for round_ in range(24):
            number = NUMBERS[round_]
            await put(w, alice, to=number)
            challenge = await shown(alice)
            consent = (await alice.device.questions.answer(challenge, Answer.AGREED)).consent
            sending = w.send(TEXT, to=number, sender=alice.sender, consent=consent)
            taking = alice.device.questions.withdraw(challenge.challenge)
            first, second = (sending, taking) if round_ % 2 else (taking, sending)
            results = await asyncio.gather(first, second, return_exceptions=True)
            sent, withdrawn = results if round_ % 2 else (results[1], results[0])
            assert isinstance(sent, httpx.Response)
            if sent.status_code == 202:
                assert isinstance(withdrawn, RelayError)
                assert withdrawn.reason is RelayReason.CONFLICT
            else:
                assert sent.json()["code"] == "consent_spent"
                assert withdrawn is None
            outcomes.add(sent.status_code)
            state = {202: ("sent_downgraded",), 409: ("withdrawn",)}[sent.status_code]
            assert w.rows("SELECT state FROM challenge WHERE id=?", (challenge.challenge.value,)) == [state]
        falls, ended = w.count()["fallback"], [e for e in w.entries() if e.t == "consent"]
        took_back = sum(entry.answer.value == "withdrawn" for entry in ended)  # type: ignore[attr-defined]
        assert falls + took_back == 24
        assert all(entry.kind is ConsentKind.DEVICE_SIGNED for entry in ended)  # type: ignore[attr-defined]


@pytest.mark.attack("A10")
async def test_one_question_a_cause_and_window_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked(tmp_path) as (w, alice):
        await put(w, alice)
        true = await shown(alice)
        await alice.device.questions.answer(true, Answer.REFUSED)
        again = await w.send("another try", sender=alice.sender)
        assert (again.status_code, again.json()["code"]) == (409, "asked_recently")
        # A gateway that was taken over asks all the same: the device does not show it.
        farmed = replace(true, challenge=ChallengeId(bytes([9]) * 16), terms=replace(true.terms, nonce=bytes([9]) * 32))
        await told_by(monkeypatch, farmed)
        waiting = await alice.device.questions.waiting()
        assert (waiting.questions, waiting.refused) == ((), (ConsentReason.ASKED_RECENTLY,))
        # Another conversation is another matter, and so is the next window.
        other = replace(farmed, terms=replace(farmed.terms, conversation=MUTATIONS["conversation"]))
        await told_by(monkeypatch, other)
        assert (await alice.device.questions.waiting()).questions == (other,)
        assert (await alice.device.questions.waiting()).questions == (other,), "the same one again is no new one"
        later = replace(farmed, terms=replace(farmed.terms, expires_ms=farmed.terms.expires_ms + PROMPT_WINDOW_MS))
        await told_by(monkeypatch, later)
        monkeypatch.setattr(SystemClock, "now_ms", lambda self: true.terms.expires_ms + PROMPT_WINDOW_MS - 1)
        assert (await alice.device.questions.waiting()).questions == (later,)
        assert len(alice.device._state.store.entries(ASKED)) == 2


async def told_by(monkeypatch: pytest.MonkeyPatch, *challenges: Challenge) -> None:
    """What a gateway that was taken over says."""
    blocks = [challenge_block(one) for one in challenges]

    async def call(self: RelayCalls, method: str, path: str, kind: type, body: Any = None) -> Any:
        return QuestionsAnswer(blocks) if kind is QuestionsAnswer else await CALL(self, method, path, kind, body)

    monkeypatch.setattr(RelayCalls, "call", call)


@pytest.mark.attack("A11")
async def test_a_reason_that_nobody_proved_is_no_question_whoever_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(tmp_path) as (w, alice):
        await put(w, alice)
        true = await shown(alice)
        for cause in Cause:
            planted = replace(true, challenge=ChallengeId(bytes([7]) * 16), terms=replace(true.terms, cause=cause))
            with monkeypatch.context() as patched:
                await told_by(patched, planted)
                waiting = await alice.device.questions.waiting()
            provable = {
                Cause.SENDER_CHOSE, Cause.PEER_HAS_NO_DEVICE, Cause.NO_DEVICE_KNOWN, Cause.PEER_CANNOT_DECRYPT,
                Cause.PEER_ENDED_ENCRYPTION,
            }  # fmt: skip
            if cause in provable:
                continue
            assert (waiting.questions, waiting.refused) == ((), (ConsentReason.CAUSE_NOT_PROVEN,))
            with pytest.raises(ConsentError) as unsigned:
                await alice.device.questions.answer(planted, Answer.AGREED)
            assert unsigned.value.reason is ConsentReason.CAUSE_NOT_PROVEN


async def test_a_device_shows_and_signs_only_what_is_its_own_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(tmp_path) as (w, alice):
        await put(w, alice)
        true = await shown(alice)
        planted: list[tuple[Challenge, ConsentReason]] = [
            (replace(true, terms=replace(true.terms, tenant=MUTATIONS["tenant"])), ConsentReason.MALFORMED),
            (replace(true, terms=replace(true.terms, environment="elsewhere")), ConsentReason.MALFORMED),
            (replace(true, alternatives=()), ConsentReason.MALFORMED),
            (replace(true, terms=replace(true.terms, readers=("nobody",))), ConsentReason.UNKNOWN_READER),
            (replace(true, terms=replace(true.terms, before=true.terms.after)), ConsentReason.NOT_A_FALL),
            (replace(true, terms=replace(true.terms, expires_ms=1)), ConsentReason.LIFE_OUT_OF_RANGE),
        ]
        for challenge, reason in planted:
            with monkeypatch.context() as patched:
                await told_by(patched, challenge)
                waiting = await alice.device.questions.waiting()
                assert (waiting.questions, waiting.refused) == ((), (reason,))
            with pytest.raises(ConsentError) as unsigned:
                await alice.device.questions.answer(challenge, Answer.AGREED)
            assert unsigned.value.reason is reason
        # With the text at hand, the device makes sure that it is the one that was asked about.
        with pytest.raises(ConsentError) as other:
            await alice.device.questions.answer(true, Answer.AGREED, TEXT + " and more")
        assert other.value.reason is ConsentReason.BODY_DIFFERS
        assert w.count()["consent"] == 0
        assert (await alice.device.questions.answer(true, Answer.AGREED, TEXT)).state == "consented"


async def test_nothing_of_number_or_text_can_be_read_in_the_store(tmp_path: Path) -> None:
    async with asked(tmp_path) as (w, alice):
        await put(w, alice)
        (row,) = w.rows("SELECT sealed FROM challenge_device")
        assert len(row[0]) == 29 + 64, "as long as for any other number"
        for table in ("challenge", "challenge_device"):
            for stored in w.rows(f"SELECT * FROM {table}"):
                assert TEXT not in str(stored)
                assert NUMBER[1:] not in str(stored)
        tenant = await w.gateway.tenants.add("other", "consumer")
        _, secret = await w.gateway.tenants.add_key(tenant.no)
        foreign = await person(w, secret)
        try:
            assert (await foreign.device.questions.waiting()).questions == ()
        finally:
            foreign.close()


async def test_a_sender_without_a_device_here_is_refused(tmp_path: Path) -> None:
    async with asked(tmp_path) as (w, alice):
        for sender in ("acc_" + "0" * 32, "acc_" + "f" * 32):
            refused = await w.send(TEXT, sender=sender)
            assert (refused.status_code, refused.json()["code"]) == (422, "sender_unknown")
        unnamed = await w.send(TEXT)
        assert (unnamed.status_code, unnamed.json()["code"]) == (422, "device_signature_required")
        assert await put(w, alice)


async def test_the_sealed_part_moves_with_its_keys_and_goes_with_an_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(tmp_path) as (w, alice):
        await put(w, alice)
        ((before,),) = w.rows("SELECT generation FROM challenge_device")
        later = w.gateway.clock.now_ms() + 3_600_000
        with monkeypatch.context() as patched:
            patched.setattr(SystemClock, "now_ms", lambda self: later)
            for _ in range(4):
                await w.gateway.maintenance.turn_keys()
        ((after,),) = w.rows("SELECT generation FROM challenge_device")
        assert after != before
        assert (await shown(alice)).terms.destination == NUMBER
        # Whoever forgets the number forgets what devices would be shown of it.
        erasures = Erasures(w.gateway.committer, w.gateway.keys.vault)
        await erasures.erase(alice.enrolment.tenant, NUMBER.encode())
        assert w.rows("SELECT count(*) FROM challenge_device") == [(0,)]
        assert (await alice.device.questions.waiting()).questions == ()
