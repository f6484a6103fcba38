"""The words in which a conversation is shown to people. Pure; nothing that somebody else wrote steers a terminal."""

import re
from collections.abc import Callable
from typing import Final

from letterlock.assurance.rendering import isolated
from letterlock.assurance.texts import Direction, Texts, english
from letterlock.client.chat import screen as s
from letterlock.model.protection import EvidenceGrade

_JOINERS: Final = frozenset("\u200c\u200d")
"""Scripts and emoji need them, and a terminal does nothing on them."""
CONTINUED: Final = "    | "
"""Before each further line of one message, so that none looks like a message of its own."""

_SENTENCE_END: Final = re.compile(r"[.।] ")
COMMANDS: Final = {
    "/safety": "the safety number with each person, to compare aloud; and the group's fingerprint",
    "/who": "members, their devices, and what each has proven in this run",
    "/floor": "below what nothing is sent to them",
    "/yes": "agree to the question with this number, signed by this device: /yes 1",
    "/no": "say no to it",
    "/help": "this",
    "/quit": "end; what is still waiting goes out at the next start",
}
HELP: Final = (
    "Type a line and press Enter to send it. A line that begins with a slash is a command (two slashes send one):\n"
    + "\n".join(f"  {name:8} {what}" for name, what in COMMANDS.items())
    + "\nAfter each line stand the protection of its path and the grade: why that is believed.\n"
    "  E2EE      only the devices in the conversation can read it\n"
    "  ATTESTED  this device checked a signature about this very message: the sender's, or a recipient's receipt\n"
    "  FRAMED    sealed by this device; no recipient has signed for it yet\n"
    "'delivered' is a device's signed word that it opened the message, 'read' that it showed it; k of n devices.\n"
    "Times are the gateway's word. Shown lines are kept nowhere. In a terminal, Ctrl-R shows a half-typed line again."
)

FINDINGS: Final = {
    "external_commit": "Somebody tried to enter the group from outside, added by no member.",
    "leaf_not_on_the_signed_list": "A device was to enter that its account did not sign for.",
    "device_list_refused": "An account's device list does not hold: another identity key, a fork or a bad signature.",
    "device_not_on_the_signed_list": "A device was shown that its account did not sign for.",
    "log_forked": "Two histories of this group exist: members are shown different ones.",
    "commit_missing": "A change of the group was withheld from this device.",
    "commit_not_valid_for_the_public_state": "A change of the group breaks its rules.",
    "engine_reached_another_state": "After a change of the group, two computations of its state disagree.",
    "group_says_that_it_is_not_encrypted": "A group that says it is not encrypted; it was not joined.",
    "messages_missing": "Something that a sender sent did not come: it was lost or withheld.",
    "message_id_seen_before": "A message came a second time; it is not shown again.",
    "refused_by_the_engine": "A message could not be opened: changed on the way, repeated, or not for this device.",
    "envelope_padding_refused": "A message is not padded as it must be; it is not shown.",
    "envelope_signature_refused": "A message does not prove who wrote it; it is not shown.",
    "sender_is_not_the_leaf_that_sent": "A message claims another sender than the one who sent it; it is not shown.",
    "sender_not_on_the_signed_list": "A message of a device that its account did not sign for; it is not shown.",
    "group_closed_for_a_new_one": "The others closed this group for a new one.",
    "group_left": "This device was removed from the group.",
}
"""By reason. What is not here is said by its reason's own words."""
STANDS: Final = " The conversation stands: nothing more is taken or sent in it."

_STATES: Final = {
    "connected": "Connected.",
    "lost": "No connection to the gateway; trying again. What you type waits on this device.",
}
_IDENTITY: Final = {
    s.PINNED: "identity key as in the contact line you gave",
    s.FIRST_SEEN: "identity key as first seen here: compare safety numbers (/safety)",
}


def finding(operation: str, reason: str, *, stopped: bool) -> str:
    """A finding of the gate in plain words."""
    words = FINDINGS.get(reason, f"Refused ({operation}): {reason.replace('_', ' ')}.")
    return words + (STANDS if stopped else "")


def plain(text: str) -> str:
    """Text that a terminal only prints: whatever is not printable stands there as its escape, line ends excepted.

    Escape sequences, C1 controls, carriage returns and marks that turn the direction of writing are all not printable.
    """
    return "".join(sign if sign.isprintable() or sign in _JOINERS or sign == "\n" else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    if sign == "\t":
        return "    "
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def short(name: str) -> str:
    """An id as people can tell it from others at a glance: its first eight digits."""
    return name[: name.index("_") + 9]


def mark(shown: s.Mark, texts: Texts | None = None) -> str:
    """Protection, grade and who checked, with the first sentence of the indicator's own words."""
    told = (texts or english()).indicator[shown.indicator.value]
    words = _SENTENCE_END.split(told, maxsplit=1)[0].rstrip(".।")
    if texts is not None and texts.direction is Direction.RIGHT_TO_LEFT:
        words = isolated(words)
    return f"[{shown.protection.value} {shown.grade.value}: {words}]"


def text(shown: s.Shown, clock: Callable[[int], str], texts: Texts | None = None) -> str:
    """One thing as lines for people.

    Args:
        shown: what.
        clock: milliseconds UTC as a time of day.
        texts: the words for protection, in the person's language; English where there are none.
    """
    match shown:
        case s.Ready():
            return _ready(shown)
        case s.Waiting():
            return "Waiting to be added to a conversation. (/help says what can be typed.)"
        case s.Conversation():
            return _conversation(shown)
        case s.Line() | s.Sent() | s.Receipt() | s.Failed():
            return _of_message(shown, clock, texts)
        case s.Changed():
            if not shown.active:
                return "This device was removed from the conversation."
            return f"The group changed (epoch {shown.epoch}). In it now: {', '.join(map(short, shown.members))}."
        case s.Found() | s.Problem():
            return f"! {shown.text}"
        case s.Connection():
            return f"* {_STATES[shown.state]}"
        case s.Question() | s.Answered():
            return _of_question(shown)
        case s.Safety() | s.Who() | s.Floors() | s.Help():
            return _answer(shown)
        case s.Ended():
            return f"Ended.{_waiting(shown.waiting, 'for the next start')}"


def _answer(shown: s.Safety | s.Who | s.Floors | s.Help) -> str:
    match shown:
        case s.Safety():
            return _safety(shown)
        case s.Who():
            return _who(shown)
        case s.Floors():
            lines = (
                f"Below {one.protection.value} nothing is sent to {short(one.account)}. Why: {one.basis}."
                for one in shown.floors
            )
            return "\n".join(lines) or "Nobody else is here."
        case s.Help():
            return shown.text


def _of_question(shown: s.Question | s.Answered) -> str:
    match shown:
        case s.Question():
            lines = [f"? {shown.number}", *shown.lines, *(f"- {one}" for one in shown.alternatives)]
            choices = f"/yes {shown.number}: {shown.agree}    /no {shown.number}: {shown.refuse}"
            return "\n  ".join((*lines, choices))
        case s.Answered():
            return f"? {shown.number} {shown.text}"


def _waiting(count: int, for_what: str) -> str:
    return f" Sealed and not taken by the gateway yet: {count}, waiting {for_what}." if count else ""


def _of_message(shown: s.Line | s.Sent | s.Receipt | s.Failed, clock: Callable[[int], str], texts: Texts | None) -> str:
    match shown:
        case s.Line():
            again = " (may have been shown before)" if shown.again else ""
            said = plain(shown.text).replace("\n", "\n" + CONTINUED)
            return f"{clock(shown.time_ms)} {short(shown.account)}> {said}  {mark(shown.mark, texts)}{again}"
        case s.Sent():
            return f"    #{_number(shown.message)} sealed  {mark(shown.mark, texts)}"
        case s.Receipt():
            counted = f"{shown.kind} by {shown.count} of {shown.of}"
            return f"    #{_number(shown.message)} {counted}: {short(shown.account)}  {mark(shown.mark, texts)}"
        case s.Failed():
            told = f"{short(shown.account)} could not open it ({shown.reason}); what may help: {shown.remedy}"
            return f"    #{_number(shown.message)} {told}"


def _number(message: str) -> str:
    """Few digits that tie a receipt to its line."""
    return message[-6:]


def _ready(shown: s.Ready) -> str:
    done = "is enrolled" if shown.state == "enrolled" else "is back"
    return (
        f"{shown.name} {done}. The device's state is sealed under a key of its own, without a passphrase:\n"
        f"  {plain(shown.store)}, key in {plain(shown.key_file)} (mode 0600). Whoever has both files has this device.\n"
        f"Your contact line, for others: {shown.contact}"
        + (f"\nFrom the last run:{_waiting(shown.waiting, 'to go out now')}" if shown.waiting else "")
    )


def _conversation(shown: s.Conversation) -> str:
    names = ", ".join(f"{one.contact} ({_IDENTITY[one.identity]})" for one in shown.peers) or "nobody yet"
    if shown.how == "added":
        rest = (
            "" if shown.current else "\nYour lines still go to the other conversation; restart with --with to change."
        )
        return f"Added to a conversation with {names}.{rest}"
    return f"Conversation {shown.how} with {names}."


def _safety(shown: s.Safety) -> str:
    lines = ["Compare aloud, or side by side. Each number is made of both identity keys, and stays the same."]
    for one in shown.numbers:
        lines.append(f"With {short(one.account)} ({_IDENTITY[one.identity]}):")
        lines += _rows(one.number)
    lines.append(f"Fingerprint of the group at epoch {shown.epoch}; it differs where members were shown two histories:")
    return "\n".join(lines + _rows(shown.fingerprint))


def _rows(groups: list[str]) -> list[str]:
    return [f"  {' '.join(groups[at : at + 6])}" for at in range(0, len(groups), 6)]


def _who(shown: s.Who) -> str:
    lines = [f"Members at epoch {shown.epoch}:"]
    for one in shown.members:
        if one.this_device:
            lines.append(f"  {short(one.account)} {short(one.device)}: this device")
            continue
        listed = "on its account's signed list" if one.listed else "NOT on its account's signed list"
        heard = (
            "ATTESTED by what it signed in this run"
            if one.grade is EvidenceGrade.ATTESTED
            else "it has signed nothing in this run"
        )
        lines.append(f"  {short(one.account)} {short(one.device)}: {listed}; {heard}; {_IDENTITY[one.identity]}")
    return "\n".join(lines)
