"""Contacts, safety numbers, marks and words of a conversation: what may be shown, and what never steers a terminal."""

import hashlib
import json
import re
import unicodedata
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.assurance.test_consent import NOW, question

from letterlock.assurance.consent import Alternative
from letterlock.assurance.envelope import EnvelopeReason
from letterlock.assurance.indicator import Indicator
from letterlock.assurance.texts import Language, Phrase, Texts, english, texts_of
from letterlock.client.chat import screen as s
from letterlock.client.chat.asking import Asking
from letterlock.client.chat.contact import Contact, fingerprint, safety_number
from letterlock.client.chat.wording import COMMANDS, CONTINUED, FINDINGS, HELP, finding, mark, plain, text
from letterlock.client.enrolment import new_identity
from letterlock.client.errors import ChatError, ChatReason, DeviceReason, EngineReason, GateReason
from letterlock.model.clock import ManualClock
from letterlock.model.ids import AccountId
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire.preimage import KeyFamily, PublicKey

ALICE = (AccountId(bytes(16)), new_identity()[1])
BOB = (AccountId(b"\1" * 16), new_identity()[1])
VERIFIED = s.Mark.on_this_device(Protection.E2EE, EvidenceGrade.ATTESTED, Verifier.DEVICE)


def line(said: str, *, again: bool = False) -> s.Line:
    ids = ("msg_" + "0" * 32, "grp_" + "1" * 32, "acc_" + "2" * 32, "dev_" + "3" * 32)
    return s.Line(*ids, 0, "text", said, VERIFIED, again)


def question_of(texts: Texts) -> s.Question:
    return Asking(None, texts, ManualClock(NOW))._shown(1, question(readers=("this gateway",)))  # type: ignore[arg-type]


def shown(value: s.Shown) -> str:
    return text(value, lambda ms: f"<{ms}>")


def test_a_contact_line_is_read_as_it_was_written_and_no_other_way() -> None:
    contact = Contact.of(*ALICE)
    assert Contact.parse(f" {contact}\n") == contact
    assert contact.fingerprint == fingerprint(ALICE[1]) != fingerprint(BOB[1])
    good = str(contact)
    account, _, digits = good.partition(":")
    wrongs = ("", good[:-1], good + "0", good.upper(), good.replace(":", "-"), good.replace("acc", "dev"), "x" + good)
    for wrong in (*wrongs, account, account + ":", digits, f"{account}:{'g' * 32}"):
        with pytest.raises(ChatError) as refused:
            Contact.parse(wrong)
        assert refused.value.reason is ChatReason.NOT_A_CONTACT
        assert str(refused.value) == ChatReason.NOT_A_CONTACT.text


def test_a_safety_number_is_the_same_on_both_sides_and_another_with_any_other_key_or_account() -> None:
    number = safety_number(ALICE, BOB)
    assert number == safety_number(BOB, ALICE)
    assert len(number) == 12
    assert all(re.fullmatch(r"\d{5}", group) for group in number)
    key = new_identity()[1]
    others = [(ALICE, (BOB[0], key)), ((ALICE[0], key), BOB), (ALICE, (AccountId(b"\2" * 16), BOB[1])),
              ((ALICE[0], BOB[1]), (BOB[0], ALICE[1]))]  # fmt: skip
    assert len({number, *(safety_number(*pair) for pair in others)}) == 5


def test_the_vector_of_the_page() -> None:
    """With the sums written out once more, from the page's words alone."""
    page = (Path(__file__).resolve().parents[2] / "docs/protocol/contacts.md").read_text()
    rows = re.findall(r"^\| (?:one|other) \| `([0-9a-f]{32})` \| `([0-9a-f]{66})` \|$", page, re.MULTILINE)
    one, other = (
        (AccountId(bytes.fromhex(account)), PublicKey.parse(bytes.fromhex(key), KeyFamily.IDENTITY))
        for account, key in rows
    )
    digest = hashlib.sha256(b"letterlock/v1/hash/contact_fingerprint\0" + bytes.fromhex(rows[0][1])).digest()
    assert fingerprint(one[1]) == digest[:16]
    assert f"`{digest[:16].hex()}`" in page
    hashed = b"letterlock/v1/hash/safety_number\0"
    for account, key in rows:
        hashed += (16).to_bytes(4) + bytes.fromhex(account) + (33).to_bytes(4) + bytes.fromhex(key)
    digits = f"{int.from_bytes(hashlib.sha256(hashed).digest()) % 10**60:060d}"
    assert "".join(safety_number(other, one)) == digits
    assert f"`{' '.join(re.findall('.{5}', digits))}`" in page


@pytest.mark.attack("A3")
def test_verified_is_said_of_what_this_device_attested_and_of_nothing_else() -> None:
    for protection, grade, verifier in product(Protection, EvidenceGrade, Verifier):
        made = s.Mark.on_this_device(protection, grade, verifier)
        entitled = (protection, grade, verifier) == (Protection.E2EE, EvidenceGrade.ATTESTED, Verifier.DEVICE)
        assert (made.indicator is Indicator.E2EE_VERIFIED) == entitled
        assert ("verified on this device" in mark(made)) == entitled
        assert mark(made).startswith(f"[{protection.value} {grade.value}: ")
        if protection is not Protection.E2EE:
            assert "nd-to-end encrypted, verified" not in mark(made)


def test_escape_sequences_and_all_that_steers_are_shown_and_not_done() -> None:
    nasty = "\x1b[2J\x1b]0;title\x07 \x9b31m \r over \x08 \u202e gnp.exe \u2066x \u200b\ufeff\x7f\x00 \u2028 \ue000"
    said = shown(line(nasty))
    assert all(sign.isprintable() for sign in said)
    for seen in (r"\x1b[2J", r"\x9b31m", r"\x0d over", r"\u202e", r"\u2066", r"\u200b", r"\ufeff", r"\x7f", r"\x00"):
        assert seen in said
    assert plain("Grüße, שלום, 你好, 👩\u200d👩\u200d👧 e\u0301") == "Grüße, שלום, 你好, 👩\u200d👩\u200d👧 e\u0301"


@given(st.text())
def test_no_text_reaches_the_terminal_as_anything_but_text(said: str) -> None:
    out = plain(said)
    assert not [sign for sign in out if unicodedata.category(sign) in {"Cc", "Cs", "Co", "Zl", "Zp"} and sign != "\n"]
    encoded = s.as_json(line(said))
    assert encoded.isascii()
    assert not [sign for sign in encoded if ord(sign) < 0x20]
    assert json.loads(encoded)["text"] == said


def test_further_lines_of_a_message_do_not_look_like_messages() -> None:
    first, *rest = shown(line("one\n<0> acc_22222222> two\n")).split("\n")
    assert first == "<0> acc_22222222> one"
    assert len(rest) == 2
    assert all(one.startswith(CONTINUED) for one in rest)
    assert shown(line("one", again=True)).endswith("(may have been shown before)")
    assert "before" not in shown(line("one"))


def test_nothing_shown_tells_its_words_to_a_log() -> None:
    assert repr(line("canary")) == "<Line>"


def test_findings_are_said_in_words_and_whether_the_conversation_stands() -> None:
    known = {str(one) for kind in (GateReason, EngineReason, EnvelopeReason, DeviceReason) for one in kind}
    assert set(FINDINGS) <= known
    assert "outside" in finding("commit", str(GateReason.EXTERNAL_COMMIT), stopped=True)
    assert finding("commit", "log_forked", stopped=True).endswith("sent in it.")
    assert not finding("commit", "log_forked", stopped=False).endswith("sent in it.")
    assert finding("welcome", "not_for_us", stopped=False) == "Refused (welcome): not for us."


def test_the_help_names_every_command_and_everything_shown_has_words() -> None:
    assert re.findall(r"^  (/\w+)", HELP, re.MULTILINE) == list(COMMANDS)
    peer = s.Peer("acc_" + "2" * 32, "acc_" + "2" * 32 + ":" + "0" * 32, s.FIRST_SEEN)
    number = s.SafetyNumber(peer.account, peer.contact, list(safety_number(ALICE, BOB)), s.PINNED)
    ids = ("msg_" + "0" * 32, "grp_" + "1" * 32, "acc_" + "2" * 32, "dev_" + "3" * 32)
    group = ids[1]
    members = [
        s.Member(ids[2], ids[3], s.PINNED, listed=listed, this_device=mine, grade=grade)
        for listed, mine, grade in product((True, False), (True, False), (EvidenceGrade.NONE, EvidenceGrade.ATTESTED))
    ]
    framed = s.Mark.on_this_device(Protection.E2EE, EvidenceGrade.FRAMED, Verifier.DEVICE)
    everything: list[tuple[s.Shown, str]] = [
        (s.Ready("bob", peer.contact, ids[2], ids[3], "enrolled", "f/device.db", "f/device.key", 2), "mode 0600"),
        (s.Waiting(), "Waiting"),
        (s.Conversation(group, "started", [peer], current=True), "as first seen"),
        (s.Conversation(group, "added", [peer], current=False), "restart with --with"),
        (line("words"), "words"),
        (s.Sent(ids[0], group, 0, "words", framed), "FRAMED: Sealed in the form"),
        (s.Receipt(*ids, "read", 1, 2, VERIFIED), "read by 1 of 2"),
        (s.Failed(*ids, "failed_to_decrypt", "resend"), "resend"),
        (s.Changed(group, 3, active=True, members=[ids[2]]), "epoch 3"),
        (s.Changed(group, 3, active=False, members=[]), "removed"),
        (s.Found(group, "commit", "log_forked", FINDINGS["log_forked"], stopped=True), "Two histories"),
        (s.Connection("lost"), "trying again"),
        (s.Safety([number], group, 3, ["0" * 5] * 12), number.number[0]),
        (s.Who(group, 3, members), "NOT on its account's signed list"),
        (s.Floors([s.FloorOf(ids[2], Protection.E2EE, "signed_device_list", 1)]), "Below E2EE nothing"),
        (question_of(english()), "/yes 1: Send it all the same    /no 1: Do not send it"),
        (s.Answered(1, "chl", "refused", "refused", released=False, text="You said no."), "? 1 You said no."),
        (s.Help(HELP), "/quit"),
        (s.Problem("nobody_here", "Nobody is here."), "Nobody"),
        (s.Ended(3), "3"),
    ]  # fmt: skip
    assert {type(value) for value, _ in everything} == set(get_args(s.Shown))
    for value, words in everything:
        assert words in shown(value)
        assert json.loads(s.as_json(value))["event"]


@pytest.mark.parametrize("language", list(Language))
def test_marks_and_questions_are_in_the_persons_language(language: Language) -> None:
    texts = texts_of(language)
    told = text(line("words"), str, texts)
    first = re.split(r"[.।]", texts.indicator[Indicator.E2EE_VERIFIED.value])[0]
    assert first in told
    assert ("\u2068" in told) is (language is Language.ARABIC)
    asked = text(question_of(texts), str, texts)
    assert "+15550100" in asked
    for words in (texts.phrase[Phrase.AGREE], texts.phrase[Phrase.REFUSE], *texts.alternative.values()):
        assert (words in asked) is (words != texts.alternative[Alternative.NOTICE_ONLY])
