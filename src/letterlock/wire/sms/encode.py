"""The one module of this room that sees content: PDUs to octets, text to parts, octets to text.

What goes in and comes out is an :class:`OpenBody`, save the octets of a PDU on their way to the socket.
An OpenBody of text holds UTF-8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from letterlock.model.bodies import OpenBody, RevealPurpose
from letterlock.wire.sms import gsm0338, ucs2
from letterlock.wire.sms.address import SmppAddress
from letterlock.wire.sms.errors import AddressError, PduError, PduReason, TextError, TextReason
from letterlock.wire.sms.pdu import (
    Bind,
    BindResp,
    DeliverSm,
    DeliverSmResp,
    Pdu,
    QuerySm,
    QuerySmResp,
    Simple,
    SubmitSm,
    SubmitSmResp,
    Tlv,
)
from letterlock.wire.sms.segmentation import (
    DEFAULT_MAX_PARTS,
    Alphabet,
    Concat,
    LongStyle,
    cuts,
    split_header,
    user_data_header,
)
from letterlock.wire.sms.smpp import (
    ADDRESS,
    ADDRESS_RANGE,
    MESSAGE_ID,
    PASSWORD,
    SERVICE_TYPE,
    SYSTEM_ID,
    SYSTEM_TYPE,
    is_time,
)
from letterlock.wire.sms.terms import (
    ESM_UDHI,
    HEADER_OCTETS,
    MAX_PDU_OCTETS,
    MAX_SEQUENCE,
    MAX_SHORT_MESSAGE,
    MAX_TLVS,
    TLV_LENGTHS,
    Carried,
    DataCoding,
    TlvTag,
)

_HEADER: Final = Struct(">IIII")
_TLV: Final = Struct(">HH")


@dataclass(frozen=True, slots=True)
class TextShape:
    """What a text costs: its alphabet, its length in septets or UTF-16 units, and how many messages it takes."""

    alphabet: Alphabet
    units: int
    parts: int


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One part, ready for a ``submit_sm``: octets with their header, and the fields that go with them."""

    octets: OpenBody
    data_coding: int
    esm_class: int = 0
    carried: Carried = Carried.SHORT_MESSAGE
    tlvs: tuple[Tlv, ...] = ()


def measure(body: OpenBody, style: LongStyle = LongStyle.UDH_8BIT, max_parts: int = DEFAULT_MAX_PARTS) -> TextShape:
    """What sending this text takes; nothing is kept.

    Raises:
        TextError: NOT_UTF8, UNENCODABLE, TOO_MANY_PARTS.
    """
    with body.reveal(RevealPurpose.MEASURE) as view:
        octets, alphabet = _alphabet(view)
    return TextShape(alphabet, len(octets) // alphabet.value[1], len(cuts(octets, alphabet, style, max_parts)))


def segment(
    body: OpenBody,
    reference: int,
    style: LongStyle = LongStyle.UDH_8BIT,
    max_parts: int = DEFAULT_MAX_PARTS,
) -> tuple[Segment, ...]:
    """The parts of a text, in order; GSM 03.38 when every character allows it, else UCS-2.

    Args:
        body: the text, in UTF-8.
        reference: the number that the parts share; its low 8 or 16 bits are used, as the style needs.
        style: how the parts say that they belong together.
        max_parts: the most parts; a longer text is refused, never shortened.

    Raises:
        TextError: NOT_UTF8, UNENCODABLE (a lone surrogate), TOO_MANY_PARTS.
    """
    with body.reveal(RevealPurpose.ENCODE_FOR_TRANSPORT) as view:
        octets, alphabet = _alphabet(view)
    coding = int(DataCoding.SMSC_DEFAULT if alphabet is Alphabet.GSM7 else DataCoding.UCS2)
    ends = cuts(octets, alphabet, style, max_parts)
    if len(ends) == 1:
        return (Segment(OpenBody(octets), coding),)
    if style is LongStyle.PAYLOAD:
        return (Segment(OpenBody(octets), coding, carried=Carried.PAYLOAD),)
    wide = style is not LongStyle.UDH_8BIT
    reference &= 0xFFFF if wide else 0xFF
    segments: list[Segment] = []
    start = 0
    for number, end in enumerate(ends, 1):
        concat = Concat(reference, len(ends), number, wide)
        piece = octets[start:end]
        start = end
        if style is LongStyle.SAR:
            segments.append(Segment(OpenBody(piece), coding, tlvs=_sar(concat)))
        else:
            segments.append(Segment(OpenBody(user_data_header(concat) + piece), coding, ESM_UDHI))
    return tuple(segments)


def _alphabet(view: memoryview) -> tuple[bytes, Alphabet]:
    text = _text(view)
    try:
        return gsm0338.encode(text), Alphabet.GSM7
    except TextError:
        return ucs2.encode(text), Alphabet.UCS2


def _text(view: memoryview) -> str:
    try:
        return str(view, "utf-8")
    except UnicodeDecodeError:
        pass  # that exception holds the octets: ours must not have it as its context
    raise TextError(TextReason.NOT_UTF8)


def _sar(concat: Concat) -> tuple[Tlv, ...]:
    return (
        Tlv(TlvTag.SAR_MSG_REF_NUM, concat.reference.to_bytes(2, "big")),
        Tlv(TlvTag.SAR_TOTAL_SEGMENTS, bytes([concat.total])),
        Tlv(TlvTag.SAR_SEGMENT_SEQNUM, bytes([concat.number])),
    )


def take_header(octets: OpenBody) -> tuple[Concat | None, OpenBody]:
    """Parts a user data header from the octets behind it.

    Raises:
        ReassemblyError: BAD_PART, a malformed header.
    """
    with octets.reveal(RevealPurpose.MEASURE) as view:
        raw = bytes(view)
    concat, at = split_header(raw)
    return concat, OpenBody(raw[at:])


def join(parts: Sequence[OpenBody]) -> OpenBody:
    """The octets of several bodies, one behind the other."""
    whole = bytearray()
    for part in parts:
        with part.reveal(RevealPurpose.MEASURE) as view:
            whole += view
    joined = OpenBody(whole)
    whole[:] = bytes(len(whole))
    return joined


def to_text(octets: OpenBody, data_coding: int) -> OpenBody:
    """Received octets as UTF-8 text, also in an OpenBody; what is no text shows as U+FFFD, so nothing is lost.

    Raises:
        TextError: BAD_OCTETS, when the data coding says that this is no text (binary, or reserved).
    """
    decode = _decoder(data_coding)
    if decode is None:
        raise TextError(TextReason.BAD_OCTETS, data_coding=data_coding)
    with octets.reveal(RevealPurpose.MEASURE) as view:
        return OpenBody(decode(bytes(view)).encode("utf-8"))


def _decoder(data_coding: int) -> Callable[[bytes], str] | None:
    if data_coding & 0xF0 == 0xF0:  # GSM message class: bit 2 tells octets from the default alphabet
        return None if data_coding & 0x04 else gsm0338.decode_lossy
    match data_coding:
        case 0x00:
            return gsm0338.decode_lossy
        case 0x01:
            return lambda raw: raw.decode("ascii", errors="replace")
        case 0x03:
            return lambda raw: raw.decode("latin-1")
        case 0x08:
            return ucs2.decode_lossy
        case _:
            return None


def encode(pdu: Pdu) -> bytes:
    """The octets of a PDU.

    Raises:
        PduError: a field does not fit, an address has a character it may not have, the PDU is over 64 KiB.
    """
    body = pdu.body
    if isinstance(body, SubmitSm | DeliverSm):
        payload = _message(body)
    elif isinstance(body, Simple):
        payload = b""
    elif isinstance(body, SubmitSmResp):
        payload = b"" if pdu.status and not body.message_id else _string(body.message_id, MESSAGE_ID)
    elif isinstance(body, DeliverSmResp):
        payload = b"\0"
    elif isinstance(body, Bind):
        payload = _bind(body)
    elif isinstance(body, BindResp):
        payload = b"" if pdu.status and not body.system_id else _bind_resp(body)
    elif isinstance(body, QuerySm):
        payload = _string(body.message_id, MESSAGE_ID) + _address(body.source)
    else:
        payload = b"" if pdu.status and not body.message_id else _query_resp(body)
    length = HEADER_OCTETS + len(payload)
    if length > MAX_PDU_OCTETS:
        raise PduError(PduReason.BAD_LENGTH, length=length)
    if not 0 <= pdu.sequence <= MAX_SEQUENCE or not 0 <= pdu.status <= 0xFFFF_FFFF:
        raise PduError(PduReason.BAD_VALUE)
    return _HEADER.pack(length, body.command, pdu.status, pdu.sequence) + payload


def _string(text: str, most: int) -> bytes:
    if not text:
        return b"\0"
    if not (text.isascii() and text.isprintable()):
        raise PduError(PduReason.BAD_STRING)
    if len(text) >= most:
        raise PduError(PduReason.STRING_TOO_LONG)
    return text.encode("ascii") + b"\0"


def _address(address: SmppAddress) -> bytes:
    checked = False
    try:
        address.check()
        checked = True
    except AddressError:
        pass
    if not checked:
        raise PduError(PduReason.BAD_ADDRESS)
    return bytes([address.ton, address.npi]) + _string(address.value, ADDRESS)


def _time(text: str) -> bytes:
    if text and not is_time(text):
        raise PduError(PduReason.BAD_TIME)
    return text.encode("ascii") + b"\0"


def _octets(*values: int) -> bytes:
    if any(not 0 <= value <= 0xFF for value in values):
        raise PduError(PduReason.BAD_VALUE)
    return bytes(values)


def _tlv(tag: int, value: bytes | memoryview) -> bytes:
    least, most = TLV_LENGTHS.get(tag, (0, 0xFFFF))
    if not 0 <= tag <= 0xFFFF or not least <= len(value) <= most:
        raise PduError(PduReason.BAD_TLV)
    return _TLV.pack(tag, len(value)) + value


def _bind(body: Bind) -> bytes:
    return b"".join(
        (
            _string(body.system_id, SYSTEM_ID),
            _string(body.password, PASSWORD),
            _string(body.system_type, SYSTEM_TYPE),
            _octets(body.interface_version, body.addr_ton, body.addr_npi),
            _string(body.address_range, ADDRESS_RANGE),
        )
    )


def _bind_resp(body: BindResp) -> bytes:
    name = _string(body.system_id, SYSTEM_ID)
    if body.interface_version is None:
        return name
    return name + _tlv(TlvTag.SC_INTERFACE_VERSION, _octets(body.interface_version))


def _query_resp(body: QuerySmResp) -> bytes:
    return b"".join(
        (
            _string(body.message_id, MESSAGE_ID),
            _time(body.final_date),
            _octets(body.state, body.error_code),
        )
    )


def _message(body: SubmitSm | DeliverSm) -> bytes:
    if len(body.tlvs) > MAX_TLVS:
        raise PduError(PduReason.TOO_MANY_TLVS)
    tags = {tlv.tag for tlv in body.tlvs}
    if len(tags) != len(body.tlvs) or TlvTag.MESSAGE_PAYLOAD in tags:
        raise PduError(PduReason.BAD_TLV)
    pieces: list[bytes | memoryview] = [
        _string(body.service_type, SERVICE_TYPE),
        _address(body.source),
        _address(body.destination),
        _octets(body.esm_class, body.protocol_id, body.priority),
        _time(body.schedule),
        _time(body.validity),
        _octets(body.registered_delivery, body.replace_if_present, body.data_coding, body.default_message),
    ]
    with body.octets.reveal(RevealPurpose.ENCODE_FOR_TRANSPORT) as view:
        if body.carried is Carried.SHORT_MESSAGE:
            if len(view) > MAX_SHORT_MESSAGE:
                raise PduError(PduReason.BAD_SM_LENGTH, length=len(view))
            pieces += (bytes([len(view)]), view)
        else:
            pieces += (b"\0", _tlv(TlvTag.MESSAGE_PAYLOAD, view))
        pieces += (_tlv(tlv.tag, tlv.value) for tlv in body.tlvs)
        return b"".join(pieces)
