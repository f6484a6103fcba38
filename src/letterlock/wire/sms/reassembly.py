"""Putting the parts of inbound long messages together: bounded in number and octets, with a time limit.

Time comes as an argument. A part that finds no room is refused, so that its sender tries again; nothing held is
pushed out by what comes later, and nothing unfinished stays longer than the limit.
"""

from dataclasses import dataclass, field
from typing import Final

from letterlock.model.bodies import OpenBody
from letterlock.wire.sms.address import SmppAddress
from letterlock.wire.sms.encode import join, take_header
from letterlock.wire.sms.errors import ReassemblyError, ReassemblyReason
from letterlock.wire.sms.pdu import DeliverSm, SubmitSm
from letterlock.wire.sms.segmentation import Concat, checked
from letterlock.wire.sms.terms import ESM_UDHI, TlvTag

MAX_UNFINISHED: Final = 1_024
"""Unfinished messages at a time: a centre that starts more and ends none is broken or hostile."""
MAX_HELD_OCTETS: Final = 4 * 1_024 * 1_024
"""What 1,024 messages of ten parts take, about three times over."""
DEFAULT_TIMEOUT_MS: Final = 10 * 60 * 1_000
"""Parts of one message come within seconds; a phone that loses its network in between gets ten minutes."""


@dataclass(frozen=True, slots=True)
class Part:
    """One ``deliver_sm`` (or ``submit_sm``, at a centre) with its place; ``concat`` is None for a whole message."""

    source: SmppAddress
    destination: SmppAddress
    octets: OpenBody = field(compare=False)
    data_coding: int
    concat: Concat | None


@dataclass(slots=True, eq=False)
class _Unfinished:
    first_ms: int
    total: int
    data_coding: int
    parts: dict[int, OpenBody]


_Key = tuple[SmppAddress, SmppAddress, int, bool]


def part_of(message: DeliverSm | SubmitSm) -> Part:
    """Reads where a message belongs: from its user data header, or its SAR TLVs.

    Raises:
        ReassemblyError: BAD_PART, when header or TLVs are malformed.
    """
    octets, concat = message.octets, None
    if message.esm_class & ESM_UDHI:
        concat, octets = take_header(message.octets)
    if concat is None and message.tlvs:
        tlvs = {tlv.tag: int.from_bytes(tlv.value, "big") for tlv in message.tlvs if tlv.tag in _SAR}
        if len(tlvs) == len(_SAR):
            reference, total, number = (tlvs[tag] for tag in _SAR)
            concat = checked(Concat(reference, total, number, wide=True))
        elif tlvs:
            raise ReassemblyError(ReassemblyReason.BAD_PART)
    if concat is not None and concat.total == 1:
        concat = None
    return Part(message.source, message.destination, octets, message.data_coding, concat)


_SAR: Final = (TlvTag.SAR_MSG_REF_NUM, TlvTag.SAR_TOTAL_SEGMENTS, TlvTag.SAR_SEGMENT_SEQNUM)


class Reassembler:
    """Holds the parts of unfinished messages.

    Args:
        timeout_ms: how long a message may stay unfinished.
        max_unfinished: the most messages held at a time.
        max_octets: the most octets held at a time.
    """

    __slots__ = ("_held", "_max_octets", "_max_unfinished", "_octets", "_timeout_ms")

    def __init__(
        self,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_unfinished: int = MAX_UNFINISHED,
        max_octets: int = MAX_HELD_OCTETS,
    ) -> None:
        self._held: dict[_Key, _Unfinished] = {}
        self._octets = 0
        self._timeout_ms = timeout_ms
        self._max_unfinished = max_unfinished
        self._max_octets = max_octets

    @property
    def unfinished(self) -> int:
        """Messages that wait for parts."""
        return len(self._held)

    @property
    def held_octets(self) -> int:
        """Octets of the parts held."""
        return self._octets

    def offer(self, part: Part, now_ms: int) -> OpenBody | None:
        """Takes a part, which then belongs to this object. One that is there already changes nothing.

        Returns:
            The octets of the whole message when all parts are there, else None. The parts stay until
            :meth:`finish`, so that a part delivered again after a failed write completes the message again.

        Raises:
            ReassemblyError: BAD_PART, INCONSISTENT or FULL; what was held stays as it was.
        """
        self.expire(now_ms)
        if part.concat is None:
            return part.octets
        concat = checked(part.concat)
        key = (part.source, part.destination, concat.reference, concat.wide)
        held = self._held.get(key)
        if held is None:
            if len(self._held) >= self._max_unfinished:
                raise ReassemblyError(ReassemblyReason.FULL)
        elif held.total != concat.total or held.data_coding != part.data_coding:
            raise ReassemblyError(ReassemblyReason.INCONSISTENT)
        elif concat.number in held.parts:
            return self._whole(held)
        if self._octets + part.octets.size > self._max_octets:
            raise ReassemblyError(ReassemblyReason.FULL)
        if held is None:
            held = self._held[key] = _Unfinished(now_ms, concat.total, part.data_coding, {})
        held.parts[concat.number] = part.octets
        self._octets += part.octets.size
        return self._whole(held)

    def finish(self, part: Part) -> None:
        """The message of this part is safe elsewhere: its parts are destroyed. Harmless when repeated."""
        if part.concat is not None:
            key = (part.source, part.destination, part.concat.reference, part.concat.wide)
            if key in self._held:
                self._drop(key)

    @staticmethod
    def _whole(held: _Unfinished) -> OpenBody | None:
        if len(held.parts) < held.total:
            return None
        return join([held.parts[number] for number in range(1, held.total + 1)])

    def expire(self, now_ms: int) -> int:
        """Destroys what has waited too long, and tells how many messages that were."""
        late: list[_Key] = []
        for key, held in self._held.items():  # in order of first part, so the first that is in time ends it
            if now_ms - held.first_ms < self._timeout_ms:
                break
            late.append(key)
        for key in late:
            self._drop(key)
        return len(late)

    def _drop(self, key: _Key) -> None:
        for body in self._held.pop(key).parts.values():
            self._octets -= body.size
            body.destroy()
