"""Messages of RCS clients (GSMA RCC.16): a message/cpim around an MLS message, compared with the group's era. Pure.

What a relay without keys can compare: both MLS headers are there and well formed, the authenticated data names the
same message id and the same era as the headers, and that era is the group's. Whether the epoch is, and whether this
epoch's authenticator is the one that others named before, the writer compares.
"""

from dataclasses import dataclass, field
from typing import Final

from letterlock.assurance.evidence import Framing
from letterlock.assurance.framing import rcc16_framing
from letterlock.model.bodies import OpenBody, SealedBody, SealedKind
from letterlock.relay.directory import GroupHead
from letterlock.wire import cpim
from letterlock.wire.cpim import CpimReason
from letterlock.wire.imdn import ServerFailure
from letterlock.wire.mls import FramingError, Rcc16Aad, parse_rcc16_aad
from letterlock.wire.stream import ResultStatus

_R = ResultStatus
FAILURES: Final = {
    _R.WRONG_ERA: ServerFailure.INCORRECT_ERA,
    _R.EPOCH_TOO_OLD: ServerFailure.INCORRECT_EPOCH,
    _R.WRONG_EPOCH: ServerFailure.INCORRECT_EPOCH,
    _R.WRONG_AUTHENTICATOR: ServerFailure.INCORRECT_EPOCH_AUTHENTICATOR,
    _R.MLS_HEADER_MISSING: ServerFailure.INVALID_INPUT,
    _R.MESSAGE_ID_DIFFERS: ServerFailure.INVALID_INPUT,
    _R.ERA_UNKNOWN: ServerFailure.MLS_GROUP_NOT_FOUND,
}
"""What RCS clients call a refusal of one of their messages (RCC.16, section 7.7.2.1)."""

_MALFORMED: Final = {
    CpimReason.MISSING_MLS_HEADER: _R.MLS_HEADER_MISSING,
    CpimReason.BAD_ERA: _R.WRONG_ERA,
    CpimReason.BAD_EPOCH_AUTHENTICATOR: _R.WRONG_AUTHENTICATOR,
    CpimReason.BAD_MESSAGE_ID: _R.MESSAGE_ID_DIFFERS,
    CpimReason.WRONG_MLS_KIND: _R.NOT_ALLOWED,
}
"""A message/cpim that is refused for what it is; any other that cannot be read is not MLS for all that can be said."""


@dataclass(frozen=True, slots=True)
class RcsMessage:
    """A message that holds against its group: the MLS message inside, its era, and the authenticator that it names."""

    sealed: SealedBody
    era: int
    authenticator: bytes = field(repr=False)


def read(body: bytes, group: GroupHead) -> RcsMessage | ResultStatus | None:
    """A submission that is no bare MLSMessage, as what an RCS client sends.

    Args:
        body: as it came; nothing of what turns out to be readable is kept.
        group: that it was sent to.

    Returns:
        the message; why it is refused; or None where it is no MLS message in any form.
    """
    try:
        message = cpim.parse(body)
    except cpim.CpimError as error:
        return _MALFORMED.get(error.reason)
    content, headers = message.content, message.headers
    if isinstance(content, OpenBody):
        content.destroy()
        return None
    if not isinstance(content, SealedBody):
        return None
    if group.era is None:
        return _R.ERA_UNKNOWN
    if headers.message_id is None:
        return _R.MLS_HEADER_MISSING
    era, authenticator = headers.era_id, headers.epoch_authenticator
    if era is None or authenticator is None:
        return _R.MLS_HEADER_MISSING
    if era != group.era:
        return _R.WRONG_ERA
    handshake = message.content_type == cpim.MLS_CLIENT_TYPE or content.kind is not SealedKind.PRIVATE_APPLICATION
    if handshake or content.group_id != group.group_id:
        return _R.NOT_ALLOWED
    aad = _aad(content)
    framing = rcc16_framing(
        content,
        cpim_era=era,
        cpim_authenticator=authenticator,
        cpim_message_id=headers.message_id,
        aad_message_id=None if aad is None else aad.message_id,
        aad_era=None if aad is None else aad.era,
    )
    return RcsMessage(content, era, authenticator) if framing is Framing.RCC16 else _R.MESSAGE_ID_DIFFERS


def _aad(body: SealedBody) -> Rcc16Aad | None:
    try:
        return parse_rcc16_aad(body.authenticated_data)
    except FramingError:
        return None
