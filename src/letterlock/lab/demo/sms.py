"""The readable half of the demonstration: notices, questions, consents and holds, over real SMPP to a phone."""

import asyncio
import os
import time
from typing import Any, Final

import httpx

from letterlock.lab.demo.centre import CentreProcess
from letterlock.lab.demo.record import NOTHING, SMS, Demo
from letterlock.lab.demo.world import POLL_S, WAIT_S, GatewayProcess

NOTICES, TALKS, HELD, ASKED = (f"+4915155{series}{os.getpid() % 10_000:04}" for series in ("231", "467", "895", "349"))
"""Numbers of the SMS-only phones, others in each run, so that a sweep finds only its own. One for each conversation:
a person is asked once in a while, not twice."""
NUMBERS: Final = (NOTICES, TALKS, HELD, ASKED)


class SmsPart:
    """The tenant's software and the phones behind the centre."""

    def __init__(self, demo: Demo, http: httpx.AsyncClient, centre: CentreProcess) -> None:
        self._demo = demo
        self._http = http
        self._centre = centre
        self.texts: list[str] = []

    def _text(self, what: str) -> str:
        self.texts.append(f"canary {os.urandom(8).hex()} {what}")
        return self.texts[-1]

    async def _send(self, to: str, text: str, key: str = "", **fields: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return await self._http.post("/v1/messages", json={"to": to, "text": text, **fields}, headers=headers)

    async def _answer(self, challenge: str, said: str) -> dict[str, Any]:
        body = {"answer": said, "answered_by": "user-of-the-demonstration"}
        answer: dict[str, Any] = (await self._http.post(f"/v1/challenges/{challenge}/answer", json=body)).json()
        return answer

    async def _state(self, message: str, wanted: str) -> dict[str, Any]:
        """A message once it is in a state, or as it is when that does not come."""
        end = time.monotonic() + WAIT_S
        while True:
            view: dict[str, Any] = (await self._http.get(f"/v1/messages/{message}")).json()
            if view["state"] == wanted or time.monotonic() > end:
                return view
            await asyncio.sleep(POLL_S)

    async def _delivered(self, what: str, taken: dict[str, Any], to: str, text: str, decision: str) -> None:
        view = await self._state(taken["id"], "delivered")
        arrived = text in await self._centre.inbox(to)
        same = view["security"] == taken.get("security", view["security"])
        self._demo.expect(f"{what}: on the phone's screen, its receipt came back", view["state"] == "delivered")
        self._demo.expect(f"{what}: the text arrived as it was, the security block stayed as it was", arrived and same)
        self._row(what, view["security"], decision, view["state"])

    def _row(self, what: str, security: dict[str, Any], decision: str, state: str) -> None:
        # What is refused was readable on its way here: it came over the API, and nothing of it was kept.
        readers = ", ".join(security["readers"]) if "readers" in security else "this gateway; nothing kept"
        self._demo.row(what, SMS, security, decision, readers, state)

    async def play(self) -> None:
        """All of it."""
        await self._notices()
        await self._refusals()
        await self._consented()
        await self._held()

    async def _notices(self) -> None:
        text, key = self._text("your parcel is here"), os.urandom(8).hex()
        first = (await self._send(NOTICES, text, key, traffic="notification")).json()
        await self._delivered("notice", first, NOTICES, text, "deliver: policy lets notices go in clear")
        again = (await self._send(NOTICES, text, key, traffic="notification")).json()
        self._demo.expect("the same Idempotency-Key again is the same message", again["id"] == first["id"])
        other = await self._send(NOTICES, self._text("another body"), key, traffic="notification")
        conflict = (other.status_code, other.json()["code"])
        self._demo.expect("another body under that key is refused (A17)", conflict == (409, "idempotency_conflict"))
        self._row("same key, another text", NOTHING, f"refuse: {conflict[1]}", "refused")
        screen = await self._centre.inbox(NOTICES)
        self._demo.expect("and it reached the phone once", screen.count(text) == 1)
        long = self._text("a long one, жéß €, " + "many words 😀 " * 15)
        taken = (await self._send(NOTICES, long, traffic="notification")).json()
        await self._delivered("long notice, Unicode", taken, NOTICES, long, "deliver: several parts")

    async def _refusals(self) -> None:
        text = self._text("claims to be sealed")
        claimed = await self._send(NOTICES, text, traffic="notification", claim="E2EE")
        code = (claimed.status_code, claimed.json()["code"])
        self._demo.expect("readable with a claim of E2EE is refused (A16)", code == (422, "claim_contradicts_body"))
        self._row("readable, claims E2EE", NOTHING, f"refuse: {code[1]}", "refused")
        asked = await self._send(ASKED, self._text("not in clear"))
        self._demo.expect("a conversation does not go in clear without asking", asked.status_code == 409)
        answer = await self._answer(asked.json()["challenge"]["id"], "refused")
        kept = await self._centre.inbox(ASKED)
        self._demo.expect("answered no: nothing is sent", answer["state"] == "refused" and kept == [])
        self._row("conversation, refused", NOTHING, "ask; answered: no", "not sent")

    async def _consented(self) -> None:
        text = self._text("meet me at noon")
        asked = await self._send(TALKS, text)
        code = (asked.status_code, asked.json()["code"])
        self._demo.expect("the next conversation is asked about too", code == (409, "consent_required"))
        answer = await self._answer(asked.json()["challenge"]["id"], "agreed")
        taken = (await self._send(TALKS, text, consent=answer["consent"])).json()
        fell = taken["security"]["fall"] == "consented"
        self._demo.expect("answered yes: it goes, and is shown as a consented step down", fell)
        await self._delivered("conversation, agreed", taken, TALKS, text, "ask; answered: yes (by the tenant)")

    async def _held(self) -> None:
        text = self._text("later is fine")
        held = (await self._send(HELD, text, on_downgrade="hold")).json()
        waits = held["state"] == "held" and await self._centre.inbox(HELD) == []
        self._demo.expect("held: it waits, and nothing leaves", waits)
        answer = await self._answer(held["challenge"]["id"], "agreed")
        self._demo.expect("answered yes: the held one is released", bool(answer.get("released")))
        del held["security"]  # what was said while it waited; what holds of the sent one is another thing
        await self._delivered("conversation, held", held, HELD, text, "hold; then yes")


async def play_sms(demo: Demo, gateway: GatewayProcess, centre: CentreProcess) -> list[str]:
    """Plays it; gives the texts that were sent."""
    headers = {"Authorization": f"Bearer {gateway.api_key}"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=20) as http:
        part = SmsPart(demo, http, centre)
        await part.play()
        return part.texts
