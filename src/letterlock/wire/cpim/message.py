"""A whole message/cpim: header block, MIME header block, body."""

import re
from dataclasses import dataclass
from typing import Final

from letterlock.model.bodies import OpenBody, RevealPurpose, SealedBody, SealedKind
from letterlock.wire import imdn
from letterlock.wire.cpim.errors import CpimError, CpimReason
from letterlock.wire.cpim.headers import CpimHeaders, read_headers, read_lines, write_headers
from letterlock.wire.mls import MAX_GROUP_MESSAGE, FramingError, FramingReason
from letterlock.wire.mls import parse as parse_mls

MAX_CPIM: Final = 72 * 1024
"""Bytes by default: an MLS message of 64 KiB and its headers."""
MAX_BLOCK: Final = 8 * 1024
"""Bytes of one header block; real ones have less than 1000."""

MLS_TYPE: Final = "message/mls"
MLS_CLIENT_TYPE: Final = "message/mls-rcs-client"
IMDN_TYPE: Final = "message/imdn+xml"
_SERVER_KICK: Final = "message/mls-rcs-server-kick"
"""Internal to other clients; RCC.16 clients never take it from a network."""

_END: Final = b"\r\n\r\n"
_MIME_LINE: Final = re.compile(r"([A-Za-z0-9!#$%&'*+^_`|~.-]+):(.*)")
_TYPE: Final = re.compile(r"([A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}) *(;[ -~]*)?")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})

Content = SealedBody | OpenBody | imdn.Imdn


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CpimMessage:
    """A parsed message/cpim.

    Attributes:
        content_type: of the inner body, in lower case, without parameters.
        parameters: of the content type, as sent (``;charset=UTF-8``), or empty.
    """

    headers: CpimHeaders
    content_type: str
    parameters: str
    content: Content

    def __repr__(self) -> str:
        return f"<CpimMessage with {self.content!r}>"


def _read_inner(block: bytes, size: int) -> tuple[str, str]:
    found: dict[str, str] = {}
    for line in read_lines(block):
        match = _MIME_LINE.fullmatch(line)
        if match is None:
            raise CpimError(CpimReason.BAD_LINE)
        name = match[1].lower()
        if name in found:
            raise CpimError(CpimReason.DUPLICATE_HEADER)
        found[name] = match[2].strip(" ")
    kind = _TYPE.fullmatch(found.get("content-type", ""))
    if kind is None:
        raise CpimError(CpimReason.BAD_CONTENT_TYPE)
    length = found.get("content-length")
    if length is not None and (not _NUMBER.fullmatch(length) or int(length) != size):
        raise CpimError(CpimReason.LENGTH_MISMATCH, size=size)
    if found.get("content-transfer-encoding", "").lower() not in _PLAIN_ENCODINGS:
        raise CpimError(CpimReason.UNSUPPORTED_ENCODING)
    return kind[1].lower(), kind[2] or ""


def is_mls_type(content_type: str) -> bool:
    """Whether an inner content type claims an MLS body."""
    return content_type == MLS_TYPE or content_type.startswith(MLS_TYPE + "-")


def _check_mls(headers: CpimHeaders, content_type: str, body: SealedBody) -> None:
    if headers.era_id is None or headers.epoch_authenticator is None:
        raise CpimError(CpimReason.MISSING_MLS_HEADER)
    if content_type == MLS_TYPE and body.kind is not SealedKind.PRIVATE_APPLICATION:
        raise CpimError(CpimReason.WRONG_MLS_KIND, kind=body.kind)


def _read_content(headers: CpimHeaders, content_type: str, body: memoryview) -> Content:
    if content_type == _SERVER_KICK:
        raise CpimError(CpimReason.FORBIDDEN_TYPE)
    framing: FramingReason | None = None
    malformed: imdn.ImdnReason | None = None
    if is_mls_type(content_type):
        try:
            sealed = parse_mls(bytes(body), limit=MAX_GROUP_MESSAGE)
        except FramingError as error:
            framing = error.reason
        else:
            _check_mls(headers, content_type, sealed)
            return sealed
    elif content_type == IMDN_TYPE:
        try:
            return imdn.parse(bytes(body))
        except imdn.ImdnError as error:
            malformed = error.reason
    if framing is not None:
        raise CpimError(CpimReason.BODY_NOT_MLS, framing=framing)
    if malformed is not None:
        raise CpimError(CpimReason.BODY_NOT_IMDN, imdn=malformed)
    return OpenBody(body)


def parse(data: bytes, *, limit: int = MAX_CPIM) -> CpimMessage:
    """Reads a message/cpim.

    Args:
        data: header block, empty line, MIME header block, empty line, body.
        limit: how many bytes it may have.

    Raises:
        CpimError: malformed, ambiguous, or a body that is not what its type says. No error holds a byte of it. What
            claimed to be MLS and was refused is the caller's to quarantine unopened.
    """
    if len(data) > limit:
        raise CpimError(CpimReason.TOO_LARGE, size=len(data), limit=limit)
    first = data.find(_END, 0, MAX_BLOCK)
    second = data.find(_END, first + 4, first + 4 + MAX_BLOCK) if first >= 0 else -1
    if second < 0:
        raise CpimError(CpimReason.NO_HEADER_END)
    headers = read_headers(data[:first])
    body = memoryview(data)[second + 4 :]
    content_type, parameters = _read_inner(data[first + 4 : second], len(body))
    content = _read_content(headers, content_type, body)
    return CpimMessage(headers, content_type, parameters, content)


def _head(headers: CpimHeaders, content_type: str, parameters: str, size: int, extra: str = "") -> bytes:
    kind = _TYPE.fullmatch(content_type + parameters)
    if kind is None or kind[1] != content_type or content_type != content_type.lower():
        raise CpimError(CpimReason.BAD_CONTENT_TYPE)
    if (kind[2] or "").rstrip(" ") != parameters:  # spaces around it would not be given back
        raise CpimError(CpimReason.BAD_CONTENT_TYPE)
    inner = f"Content-Type: {content_type}{parameters}\r\n{extra}Content-Length: {size}"
    return write_headers(headers) + _END + inner.encode("ascii") + _END


def build_sealed(headers: CpimHeaders, body: SealedBody, content_type: str = MLS_TYPE) -> bytes:
    """A message/cpim with an MLS body.

    Raises:
        CpimError: the era or the authenticator is missing, or type and body do not belong together.
    """
    if not is_mls_type(content_type) or content_type == _SERVER_KICK:
        raise CpimError(CpimReason.WRONG_MLS_KIND, kind=body.kind)
    _check_mls(headers, content_type, body)
    return _head(headers, content_type, "", len(body.ciphertext)) + body.ciphertext


def build_open(headers: CpimHeaders, body: OpenBody, content_type: str, parameters: str = "") -> OpenBody:
    """A message/cpim with readable content, which makes the whole an OpenBody. ``body`` stays the caller's.

    Raises:
        CpimError: the type claims MLS or a receipt, or is malformed.
    """
    if is_mls_type(content_type.lower()) or content_type.lower() == IMDN_TYPE:
        raise CpimError(CpimReason.FORBIDDEN_TYPE)
    whole = bytearray(_head(headers, content_type, parameters, body.size))
    with body.reveal(RevealPurpose.ENCODE_FOR_TRANSPORT) as view:
        whole += view
    built = OpenBody(whole)
    whole[:] = bytes(len(whole))
    return built


def build_receipt(headers: CpimHeaders, receipt: imdn.Imdn) -> bytes:
    """A message/cpim with a receipt.

    Raises:
        CpimError: a header is not acceptable.
        ImdnError: a failure reason that is read but never written.
    """
    xml = imdn.build(receipt)
    return _head(headers, IMDN_TYPE, "", len(xml), extra="Content-Disposition: notification\r\n") + xml
