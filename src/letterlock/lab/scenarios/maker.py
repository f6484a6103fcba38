"""Makes the messages of a mix: the genuine ones with the sender's real MLS engine, the others out of them."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from letterlock.lab.demo.world import Phone
from letterlock.lab.scenarios.truth import SHARES, SMS, Truth
from letterlock.model.ids import GroupRef
from letterlock.wire.mls.codec import length_header
from letterlock.wire.stream import NO_HASH, NO_ID, Result, ResultStatus

APPLICATION: Final = 1
COMMIT: Final = 3
"""Content types (RFC 9420, section 6)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One submission and its truth. ``text`` is what a genuine one says."""

    truth: Truth
    reference: bytes
    body: bytes = field(repr=False)
    text: bytes = field(default=b"", repr=False)


def shell(group_id: bytes, epoch: int, content: bytes, content_type: int = APPLICATION) -> bytes:
    """A PrivateMessage (RFC 9420, section 6.3) around bytes that no engine encrypted."""

    def vector(data: bytes) -> bytes:
        return length_header(len(data)) + data

    head = b"\x00\x01\x00\x02" + vector(group_id) + epoch.to_bytes(8) + bytes([content_type])
    return head + vector(b"") + vector(bytes(28)) + vector(content)


class Maker:
    """Makes samples in the order in which they are to be sent.

    Args:
        phone: the sender.
        group: its group, at an epoch above 6.
        source: all chance that is not the engine's.
        marker: goes into every text.
    """

    def __init__(self, phone: Phone, group: GroupRef, source: random.Random, marker: str) -> None:
        self._phone = phone
        self._group = group
        self._source = source
        self._marker = marker
        self._made = 0
        self._genuine: list[Sample] = []
        self.group_id = phone.device.group(group).group_id
        self.epoch = phone.device.engine.epoch(self.group_id)

    def truths(self, count: int) -> list[Truth]:
        """What the next messages of the mix are to be. The first of a run is genuine: something to vary."""
        truths = self._source.choices(list(SHARES), list(SHARES.values()), k=count)
        if not self._genuine:
            truths[0] = Truth.GENUINE
        return truths

    async def samples(self, truths: Iterable[Truth]) -> list[Sample]:
        """Makes those that devices send."""
        return [await self._one(truth) for truth in truths if truth not in SMS]

    async def _one(self, truth: Truth) -> Sample:
        if truth is Truth.GENUINE:
            return await self._encrypted()
        if truth is Truth.REPEATED:
            again = self._source.choice(self._genuine[-200:])
            return Sample(truth, again.reference, again.body)
        return Sample(truth, self._source.randbytes(16), await self._body(truth))

    async def _body(self, truth: Truth) -> bytes:
        source = self._source
        content = f"{self._marker} plain {source.randbytes(4).hex()}".encode()
        match truth:
            case Truth.REPLAYED:
                return source.choice(self._genuine[-200:]).body
            case Truth.ALTERED:
                altered = bytearray((await self._encrypted(kept=False)).body)
                altered[-1 - source.randrange(16)] ^= 1 << source.randrange(8)
                return bytes(altered)
            case Truth.SHELL | Truth.OUTSIDER:
                return shell(self.group_id, self.epoch, content)
            case Truth.RANDOM:
                return source.randbytes(source.randint(1, 600))
            case Truth.TRUNCATED:
                body = source.choice(self._genuine[-200:]).body
                return body[: source.randint(1, len(body) - 1)]
            case Truth.TRAILING:
                return source.choice(self._genuine[-200:]).body + source.randbytes(source.randint(1, 40))
            case Truth.READABLE:
                return content
            case Truth.OTHER_GROUP:
                return shell(source.randbytes(16), self.epoch, content)
            case Truth.OLD_EPOCH:
                return shell(self.group_id, source.randint(0, self.epoch - 5), content)
            case Truth.AHEAD:
                return shell(self.group_id, self.epoch + source.randint(1, 1000), content)
            case _:
                return shell(self.group_id, self.epoch, content, COMMIT)

    async def _encrypted(self, *, kept: bool = True) -> Sample:
        """A message that the engine encrypted; the outbox is emptied, because the laboratory sends it itself."""
        device = self._phone.device
        self._made += 1
        text = f"{self._marker} message {self._made}".encode()
        await device.send(self._group, text)
        (sending,) = device.waiting(0, 2)
        await device.answered([(sending, Result(ResultStatus.ACCEPTED, NO_ID, NO_HASH))])
        submission = sending.submission
        sample = Sample(Truth.GENUINE, submission.message_ref, submission.body, text)
        if kept:
            self._genuine.append(sample)
        return sample
