"""Plays a mix through a real gateway process: MLS over HTTP and the stream to a real device, SMS to phones."""

import random
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from letterlock.client import events
from letterlock.client.errors import DeviceReason
from letterlock.client.sending import HTTP_RESULTS
from letterlock.lab.demo.centre import CentreProcess
from letterlock.lab.demo.world import GatewayProcess, Phone, enrol
from letterlock.lab.phones.submit import submit_raw
from letterlock.lab.scenarios.maker import Maker, Sample
from letterlock.lab.scenarios.matrix import Matrix
from letterlock.lab.scenarios.submitter import StreamSubmitter
from letterlock.lab.scenarios.texting import Texting, Texts
from letterlock.lab.scenarios.truth import Shown, Truth, at_device, at_server
from letterlock.model.ids import GroupRef
from letterlock.wire.stream import NO_HASH, NO_ID, Delivery, ItemKind, Result, ResultStatus

BATCH: Final = 200
EPOCHS: Final = 8
"""Commits before the mix: the relay takes messages of four epochs past, so there must be older ones."""

_WORDS: Final = {
    ResultStatus.ACCEPTED: "accepted",
    ResultStatus.DUPLICATE: "duplicate",
    ResultStatus.QUARANTINED: "quarantined",
}
Block = tuple[str, str, str]
"""Protection, grade and verifier, as a surface words them."""


@dataclass(slots=True)
class Outcome:
    """What a mix came to.

    Attributes:
        server: what the gateway said of each submission.
        device: what the recipient's device showed of it.
        statuses: the gateway's answers, over both faces.
        submitted: all of them, over HTTP and the stream, by the stream's words.
        compared: messages of which the sender's answer and the recipient's mailbox both spoke.
        differing: messages of which two surfaces of the gateway said different things.
        marker: stands in every text of the mix, genuine or not; for a sweep.
        texts: what the SMS came to besides.
        prefixes: what every phone number of the mix begins with.
        wrong_text: messages that the device showed with other words than were sent, out of order or twice.
    """

    marker: str
    texts: Texts
    prefixes: list[str]
    server: Matrix = field(default_factory=lambda: Matrix("The gateway", at_server))
    device: Matrix = field(default_factory=lambda: Matrix("The recipient's device or phone", at_device))
    statuses: Counter[str] = field(default_factory=Counter)
    submitted: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    differing: int = 0
    wrong_text: int = 0

    @property
    def holds(self) -> bool:
        """Whether all was as it must be."""
        shown = self.server.holds and self.device.holds
        return shown and not self.differing and not self.wrong_text and not self.texts.wrong


@dataclass(slots=True)
class _Told:
    """What the gateway said of one submission."""

    status: str
    message_id: str = ""
    block: Block | None = None


async def play(
    work: Path,
    gateway: GatewayProcess,
    centre: CentreProcess,
    count: int,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Enrols a sender, a recipient and an outsider, and plays a mix.

    Args:
        work: for the phones' stores.
        gateway: serving, with a way over SMS.
        centre: its message centre.
        count: of messages.
        seed: of everything but keys.
        progress: told how many were played.
    """
    phones: list[Phone] = []
    source = random.Random(seed)
    marker = f"canary {source.randbytes(12).hex()}"
    texting = Texting(gateway, centre, source, marker)
    try:
        # One after the other, each noted at once, so that all that were made are closed.
        phones.append(await enrol(work, gateway, f"sender-{seed}", "lab"))
        phones.append(await enrol(work, gateway, f"recipient-{seed}", "lab"))
        phones.append(await enrol(work, gateway, f"outsider-{seed}", "lab"))
        outcome = Outcome(marker, texting.texts, texting.numbers.prefixes)
        return await _Play(phones[0], phones[1], phones[2], texting, gateway.url, source, outcome).run(count, progress)
    finally:
        await texting.close()
        for phone in phones:
            await phone.close()


class _Play:
    def __init__(
        self,
        sender: Phone,
        recipient: Phone,
        outsider: Phone,
        texting: Texting,
        url: str,
        source: random.Random,
        outcome: Outcome,
    ) -> None:
        self._sender = sender
        self._recipient = recipient
        self._outsider = outsider
        self._texting = texting
        self._url = url
        self._source = source
        self._outcome = outcome
        self._pending: dict[str, tuple[Sample, Block]] = {}
        self._repeated: list[tuple[Sample, str]] = []
        self._delivered: dict[str, Block] = {}

    async def run(self, count: int, progress: Callable[[int], None]) -> Outcome:
        sender, recipient = self._sender.device, self._recipient.device
        group = await sender.create_group()
        await sender.add_account(group, recipient.account)
        for _ in range(EPOCHS):
            await sender.refresh_keys(group)
        await recipient.sync()
        await recipient.take([position for position, _ in recipient.inbox()])
        maker = Maker(self._sender, group, self._source, self._outcome.marker)
        played = 0
        while played < count:
            truths = maker.truths(min(BATCH, count - played))
            samples = await maker.samples(truths)
            await self._submit(group, samples, streamed=played // BATCH % 2 == 1)
            await self._texting.play(truths)
            await self._receive()
            for sample, message_id in self._repeated:
                self._outcome.server.add(sample.truth, _shown_of(self._delivered.get(message_id, ("", "", ""))))
            self._repeated.clear()
            played += len(truths)
            progress(played)
        # Accepted and never delivered is shown by no device; the matrix would lack it.
        for sample, _ in self._pending.values():
            self._outcome.device.add(sample.truth, Shown.REFUSED)
        for truth, at_gateway, at_phone in await self._texting.shown():
            self._outcome.server.add(truth, at_gateway)
            self._outcome.device.add(truth, at_phone)
        return self._outcome

    async def _submit(self, group: GroupRef, samples: list[Sample], *, streamed: bool) -> None:
        inside = [sample for sample in samples if sample.truth is not Truth.OUTSIDER]
        outside = [sample for sample in samples if sample.truth is Truth.OUTSIDER]
        for phone, part in ((self._sender, inside), (self._outsider, outside)):
            if not part:
                continue
            told = await (self._stream if streamed else self._http)(phone, group, part)
            for sample, answer in zip(part, told, strict=True):
                self._said(sample, answer)

    def _said(self, sample: Sample, told: _Told) -> None:
        outcome = self._outcome
        outcome.statuses[told.status] += 1
        if told.status == "quarantined":
            outcome.server.add(sample.truth, Shown.QUARANTINED)
        elif told.status == "accepted":
            # What the stream's answer does not say, the recipient is told: judged at its delivery.
            self._pending[told.message_id] = (sample, told.block or ("", "", ""))
            return
        elif told.status == "duplicate":
            if told.block is None:
                # The stream's answer names the first submission's message; what is said of that one holds.
                self._repeated.append((sample, told.message_id))
            else:
                outcome.server.add(sample.truth, _shown_of(told.block))
        else:
            outcome.server.add(sample.truth, Shown.REFUSED)
        outcome.device.add(sample.truth, Shown.REFUSED)

    async def _http(self, phone: Phone, group: GroupRef, samples: list[Sample]) -> list[_Told]:
        offered = [(sample.reference, sample.body) for sample in samples]
        results = await submit_raw(phone.http, phone.device, str(group), offered)
        words = (HTTP_RESULTS[result.get("code") or result["status"]] for result in results)
        self._outcome.submitted.update(word.name.lower() for word in words)
        return [
            _Told(result["status"], result.get("message_id", ""), _block(result.get("security"))) for result in results
        ]

    async def _stream(self, phone: Phone, group: GroupRef, samples: list[Sample]) -> list[_Told]:
        token = await phone.device.token(renew=False)
        async with StreamSubmitter(self._url, token, phone.device.cursor(), phone.device.state_counter()) as line:
            results = await line.submit(group, [(s.reference, s.body) for s in samples])
        self._outcome.submitted.update(result.status.name.lower() for result in results)
        return [_Told(_WORDS.get(result.status, "refused"), f"msg_{result.message_id.hex()}") for result in results]

    async def _receive(self) -> None:
        """The recipient takes its mailbox, item by item as the gateway words them."""
        phone = self._recipient
        device, path = phone.device, f"/v1/devices/{phone.device.device}/mailbox"
        while True:
            headers = {"Authorization": f"Bearer {await device.token(renew=False)}"}
            page = await phone.http.get(f"{path}?after={device.cursor()}&limit=100", headers=headers)
            page.raise_for_status()
            items: list[dict[str, Any]] = page.json()["items"]
            if not items:
                return
            await device.delivered(items[0]["sequence"], [_delivery(item) for item in items])
            shown = device.inbox()
            await device.take([position for position, _ in shown])
            # A message that was altered is missing among the sender's numbers; that is said beside the next one.
            came = [event for _, event in shown if not _says_missing(event)]
            if len(came) != len(items):
                self._outcome.wrong_text += abs(len(came) - len(items))
            for item, event in zip(items, came, strict=False):
                self._showed(item, event)
            await self._acknowledge(path, device.cursor(), headers)
            await self._forget_receipts()

    async def _acknowledge(self, path: str, through: int, headers: dict[str, str]) -> None:
        answer = await self._recipient.http.post(
            f"{path}/ack", json={"through": through, "state_counter": 0}, headers=headers
        )
        answer.raise_for_status()

    async def _forget_receipts(self) -> None:
        """The recipient's own receipts are no part of the mix."""
        device = self._recipient.device
        sent = device.waiting(0, BATCH)
        await device.answered([(one, Result(ResultStatus.ACCEPTED, NO_ID, NO_HASH)) for one in sent])

    def _showed(self, item: dict[str, Any], event: events.DeviceEvent) -> None:
        found = self._pending.pop(item["message_id"], None)
        if found is None:
            self._outcome.wrong_text += 1
            return
        sample, answered = found
        delivered = (item["protection"], item["grade"], item["verifier"])
        self._delivered[item["message_id"]] = delivered
        if answered[0]:
            self._outcome.compared += 1
            self._outcome.differing += answered != delivered
        self._outcome.server.add(sample.truth, max(_shown_of(delivered), _shown_of(answered)))
        opened = isinstance(event, events.Received)
        if isinstance(event, events.Received) and event.content != sample.text:
            self._outcome.wrong_text += 1
        self._outcome.device.add(sample.truth, Shown.ATTESTED if opened else Shown.REFUSED)


def _says_missing(event: events.DeviceEvent) -> bool:
    return isinstance(event, events.Finding) and event.reason == str(DeviceReason.MESSAGES_MISSING)


def _block(security: dict[str, str] | None) -> Block | None:
    return (security["protection"], security["grade"], security["verifier"]) if security else None


def _shown_of(block: Block) -> Shown:
    """How much a security block says. A server that claims more than it knows is taken at its word, and found out."""
    if block[1] in {"NONE", "ASSERTED", ""}:
        return Shown.QUARANTINED
    return {"FRAMED": Shown.FRAMED, "TRACKED": Shown.TRACKED}.get(block[1], Shown.ATTESTED)


def _delivery(item: dict[str, Any]) -> Delivery:
    return Delivery(
        ItemKind[item["kind"].upper()],
        bytes.fromhex(item["message_id"].removeprefix("msg_")),
        GroupRef.parse(item["group"]).value,
        item["accepted_ms"],
        0,
        0,
        0,
        b64decode(item["body"]),
    )
