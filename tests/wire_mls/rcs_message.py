"""What an RCS client sends (GSMA RCC.16), header by header, so that a test can leave one out or change it."""

import base64
from typing import Any

from tests.wire_mls.group_maker import GROUP
from tests.wire_mls.making import private_message

from letterlock.wire.mls import Rcc16Aad, build_rcc16_aad

ID = "MxAAECAwQFBgcICQoLDA0ODw"
"""As deployed clients make them: 24 characters."""


def authenticator(mark: bytes = b"epoch") -> str:
    """An epoch authenticator, as it stands in its header."""
    return base64.b64encode(mark.ljust(32, b"-")).decode()


def mls_of(era: int = 1, epoch: int = 1, message_id: str = ID, **how: Any) -> bytes:
    """The MLS message inside: its authenticated data names the message and the era."""
    how.setdefault("authenticated_data", build_rcc16_aad(Rcc16Aad(message_id, era)))
    how.setdefault("group_id", GROUP)
    return private_message(how.pop("words", b"\xcc" * 300), epoch=epoch, **how)


def rcs_message(
    era: int = 1,
    epoch: int = 1,
    message_id: str = ID,
    *,
    era_id: str | None = "",
    named: str | None = "",
    imdn_id: str | None = "",
    kind: str = "message/mls",
    body: bytes | None = None,
    **how: Any,
) -> bytes:
    """A message/cpim around an MLS message; an empty header is the right one, None leaves it out."""
    headers = [
        "From: <sip:anonymous@anonymous.invalid>",
        "To: <sip:anonymous@anonymous.invalid>",
        "NS: imdn <urn:ietf:params:imdn>",
        "NS: mls <http://www.gsma.com/rcs/mls>",
    ]
    if imdn_id is not None:
        headers.append(f"imdn.Message-ID: {imdn_id or message_id}")
    headers.append("DateTime: 2026-11-27T09:00:00Z")
    if era_id is not None:
        headers.append(f"mls.Era-ID: {era_id or era}")
    if named is not None:
        headers.append(f"mls.Epoch-Authenticator: {named or authenticator()}")
    inner = mls_of(era, epoch, message_id, **how) if body is None else body
    mime = f"Content-Type: {kind}\r\nContent-Length: {len(inner)}"
    return ("\r\n".join(headers) + "\r\n\r\n" + mime + "\r\n\r\n").encode() + inner
