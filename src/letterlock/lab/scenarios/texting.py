"""The readable part of a mix: SMS over the tenant's API to phones behind a real message centre, and from outside."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from letterlock.lab.demo.centre import CentreProcess
from letterlock.lab.demo.world import POLL_S, GatewayProcess
from letterlock.lab.scenarios.truth import SMS, Shown, Truth

WAIT_S: Final = 120
"""For all deliveries of a mix together; it only ends a run that hangs."""
AT_ONCE: Final = 8
"""Messages of one batch that are on their way to the gateway at a time."""
PER_PREFIX: Final = 1_000
_SHOWN_BY: Final = {"FRAMED": Shown.FRAMED, "TRACKED": Shown.TRACKED, "ATTESTED": Shown.ATTESTED}
_TRAFFIC: Final = ("notification", "conversation")
_AGREED: Final = frozenset({Truth.SMS_AGREED, Truth.SMS_RELEASED})
_CODES: Final = {
    Truth.SMS_KEY_REUSED: (409, "idempotency_conflict"),
    Truth.SMS_OTHER_WORDS: (409, "consent_void"),
    Truth.SMS_NOT_DOWN: (422, "below_floor"),
    Truth.SMS_CLAIMED: (422, "claim_contradicts_body"),
    Truth.SMS_BAD_NUMBER: (422, "bad_number"),
}
"""What a refusal of each must say."""


class Numbers:
    """Numbers of this run alone, so that a sweep can look for what all of them begin with.

    Args:
        source: of the digits.
    """

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self.prefixes: list[str] = []
        self.given = 0

    def new(self) -> str:
        """A number that nobody had: 12 digits of the run, 3 of its own."""
        if self.given % PER_PREFIX == 0:
            self.prefixes.append(f"49155{self._source.randrange(10**7):07}")
        self.given += 1
        return f"+{self.prefixes[-1]}{(self.given - 1) % PER_PREFIX:03}"


@dataclass(slots=True)
class Texts:
    """What the readable part came to.

    Attributes:
        truths: how many of each were played.
        wrong: answers, states, security blocks and screens that are not what they must be, by what is wrong.
        compared: messages of which two surfaces spoke.
    """

    truths: Counter[Truth] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    compared: int = 0


@dataclass(frozen=True, slots=True)
class _Sent:
    """One message: what it was, where it should go, and the answer that was given to it."""

    truth: Truth
    number: str = field(repr=False)
    text: str = field(repr=False)
    message_id: str = ""
    security: dict[str, Any] | None = None


class Texting:
    """A tenant's software beside the phones of a mix.

    Args:
        gateway: serving, with a way over SMS.
        centre: its message centre.
        source: all chance.
        marker: goes into every text.
    """

    def __init__(self, gateway: GatewayProcess, centre: CentreProcess, source: random.Random, marker: str) -> None:
        headers = {"Authorization": f"Bearer {gateway.api_key}"}
        self._http = httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=30)
        self._centre = centre
        self._source = source
        self._marker = marker
        self.numbers = Numbers(source)
        self._readers = [self.numbers.new() for _ in range(5)]
        self._notices: list[_Sent] = []
        self._made = 0
        self._played: list[_Sent] = []
        self.texts = Texts()

    async def close(self) -> None:
        """Ends it."""
        await self._http.aclose()

    async def play(self, truths: Iterable[Truth]) -> None:
        """Sends those that are SMS; what is shown of them is told by :meth:`shown`, after all were played."""
        gate = asyncio.Semaphore(AT_ONCE)
        if not self._notices:  # so that there is one to repeat
            self._notices.append(await self._notice())

        async def one(truth: Truth) -> None:
            async with gate:
                self._played.append(await self._one(truth))

        listed = [truth for truth in truths if truth in SMS]
        self.texts.truths.update(listed)
        await asyncio.gather(*(one(truth) for truth in listed))

    async def _one(self, truth: Truth) -> _Sent:
        match truth:
            case Truth.SMS_NOTICE:
                notice = await self._notice()
                self._notices.append(notice)
                return notice
            case Truth.SMS_REPEATED | Truth.SMS_KEY_REUSED:
                return await self._again(truth)
            case Truth.SMS_DECLINED | Truth.SMS_AGREED | Truth.SMS_OTHER_WORDS:
                return await self._asked(truth)
            case Truth.SMS_HELD | Truth.SMS_RELEASED:
                return await self._held(truth)
            case Truth.SMS_INBOUND:
                number, text = self._readers[0], self._text()
                told = await self._centre.tell(**{"do": "mo", "from": number, "to": "491234", "text": text})
                self._note("an SMS from outside was not taken by the centre", right=bool(told["ok"]))
                return _Sent(truth, number, text)
            case _:
                return await self._refused(truth)

    def _text(self) -> str:
        self._made += 1
        return f"{self._marker} SMS {self._made}"

    def _note(self, wrong: str, *, right: bool) -> None:
        if not right:
            self.texts.wrong[wrong] += 1

    async def _send(self, number: str, text: str, key: str = "", **fields: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return await self._http.post("/v1/messages", json={"to": number, "text": text, **fields}, headers=headers)

    async def _answer(self, asked: dict[str, Any], said: str) -> dict[str, Any]:
        body = {"answer": said, "answered_by": "user-of-the-lab"}
        answer = await self._http.post(f"/v1/challenges/{asked['challenge']['id']}/answer", json=body)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told

    def _taken(self, truth: Truth, number: str, text: str, answer: httpx.Response) -> _Sent:
        if answer.status_code != 202:
            self._note(f"{truth.name}: refused with {answer.json()['code']}", right=False)
            return _Sent(truth, number, text)
        told = answer.json()
        return _Sent(truth, number, text, told["id"], told["security"])

    async def _notice(self) -> _Sent:
        number, text = self._source.choice(self._readers), self._text()
        answer = await self._send(number, text, text.split()[-1], traffic="notification")
        return self._taken(Truth.SMS_NOTICE, number, text, answer)

    async def _again(self, truth: Truth) -> _Sent:
        first = self._source.choice(self._notices)
        key = first.text.split()[-1]
        if truth is Truth.SMS_KEY_REUSED:
            text = self._text()
            answer = await self._send(first.number, text, key, traffic="notification")
            return self._turned_away(truth, first.number, text, answer)
        answer = await self._send(first.number, first.text, key, traffic="notification")
        again = self._taken(truth, first.number, first.text, answer)
        self._note("a repetition is another message", right=again.message_id == first.message_id)
        return again

    async def _asked(self, truth: Truth) -> _Sent:
        number, text = self.numbers.new(), self._text()
        asked = await self._send(number, text)
        told = asked.json()
        if (asked.status_code, told.get("code")) != (409, "consent_required"):
            self._note("a conversation was not asked about", right=False)
            return self._taken(truth, number, text, asked)
        if truth is Truth.SMS_DECLINED:
            answer = await self._answer(told, "refused")
            self._note("a no is not a refusal", right=answer["state"] == "refused" and answer["consent"] is None)
            return _Sent(truth, number, text)
        consent = (await self._answer(told, "agreed"))["consent"]
        if truth is Truth.SMS_OTHER_WORDS:
            other = self._text()
            return self._turned_away(truth, number, other, await self._send(number, other, consent=consent))
        return self._taken(truth, number, text, await self._send(number, text, consent=consent))

    async def _held(self, truth: Truth) -> _Sent:
        number, text = self.numbers.new(), self._text()
        held = await self._send(number, text, on_downgrade="hold")
        sent = self._taken(truth, number, text, held)
        self._note("a held message is not held", right=held.json().get("state") == "held")
        if truth is Truth.SMS_RELEASED:
            answer = await self._answer(held.json(), "agreed")
            self._note("a held message was not released", right=answer["released"])
        return sent

    async def _refused(self, truth: Truth) -> _Sent:
        number, text = self.numbers.new(), self._text()
        if truth is Truth.SMS_NOT_DOWN:
            answer = await self._send(number, text, on_downgrade="refuse")
        elif truth is Truth.SMS_CLAIMED:
            answer = await self._send(number, text, claim="E2EE", traffic=self._source.choice(_TRAFFIC))
        else:
            answer = await self._send(number[:5], text, traffic="notification")
        return self._turned_away(truth, number, text, answer)

    def _turned_away(self, truth: Truth, number: str, text: str, answer: httpx.Response) -> _Sent:
        told = answer.json()
        if answer.status_code == 202:
            return self._taken(truth, number, text, answer)
        wrong = f"{truth.name}: {answer.status_code} {told['code']}"
        self._note(wrong, right=(answer.status_code, told["code"]) == _CODES[truth])
        return _Sent(truth, number, text)

    async def shown(self) -> list[tuple[Truth, Shown, Shown]]:
        """Waits until what may arrive has; gives each message's truth, and what gateway and phone show of it."""
        found = [(sent, await self._settled(sent)) for sent in self._played]
        screens: dict[str, Counter[str]] = {}
        for number in {sent.number for sent in self._played}:
            screens[number] = Counter(await self._centre.inbox(number))
        told: list[tuple[Truth, Shown, Shown]] = []
        for sent, view in found:
            arrived = screens[sent.number][sent.text]
            # A repetition has the words of its first: only a second time on the screen would be the repetition's.
            own = arrived - (sent.truth is Truth.SMS_REPEATED)
            told.append((sent.truth, _at_gateway(view), Shown.CLEAR if own > 0 else Shown.REFUSED))
        known = {sent.text for sent in (*self._played, *self._notices)}
        for text, count in (item for screen in screens.values() for item in screen.items()):
            self._note("an SMS arrived more than once", right=count <= 1)
            self._note("a phone shows words that nobody sent", right=text in known)
        return told

    async def _settled(self, sent: _Sent) -> dict[str, Any] | None:
        """The gateway's last word about a message, or None where it took none."""
        if not sent.message_id:
            return None
        end = time.monotonic() + WAIT_S
        while True:
            view: dict[str, Any] = (await self._http.get(f"/v1/messages/{sent.message_id}")).json()
            if view["state"] in {"delivered", "failed", "not_sent"} or sent.truth is Truth.SMS_HELD:
                break
            if time.monotonic() > end:
                self._note(f"{sent.truth.name}: {view['state']} and not delivered", right=False)
                break
            await asyncio.sleep(POLL_S)
        alone = (await self._http.get(f"/v1/messages/{sent.message_id}/security")).json()
        self.texts.compared += 1
        self._note("surfaces differ", right=alone == view["security"])
        if sent.truth is not Truth.SMS_RELEASED:  # what was said while it waited is another thing
            self._note("the security block changed", right=sent.security == view["security"])
        fell = "consented" if sent.truth in _AGREED else "not_a_fall"
        self._note("a step down is not shown as what it is", right=view["security"]["fall"] == fell)
        return view


def _at_gateway(view: dict[str, Any] | None) -> Shown:
    if view is None or view["state"] == "not_sent":
        return Shown.REFUSED
    security = view["security"]
    if security["grade"] in _SHOWN_BY:
        return _SHOWN_BY[security["grade"]]
    if security["protection"] != "CLEAR":
        return Shown.SERVERS_READ
    return Shown.HELD if view["state"] == "held" else Shown.CLEAR
