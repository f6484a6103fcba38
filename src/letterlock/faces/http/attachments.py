"""The routes of encrypted attachments (docs/protocol/devices.md, section 13)."""

from letterlock.faces.http import device_schemas as s
from letterlock.faces.http.device_calls import caller_of, guard, number_parameter, path_id, problems, query_number
from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.model.ids import AttachmentId, GroupRef
from letterlock.relay.attachments import Attachments
from letterlock.storage.attachment_commands import AttachmentStands
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.attachment import BLOB_SIZES, PIECE

MAX_PIECE_BODY = 4 * -(-PIECE // 3) + 256
"""A piece in base64, and its frame of JSON."""

_R = RelayReason


class _Handlers:
    """One method a route."""

    def __init__(self, attachments: Attachments) -> None:
        self._attachments = attachments

    async def begin(self, call: Call) -> Answer:
        group, attachment = path_id(GroupRef, call.path["group"]), _attachment(call)
        stands = await self._attachments.begin(caller_of(call), group, attachment, call.body.size)
        return Answer(201 if stands.begun else 200, _told(stands))

    async def append(self, call: Call) -> Answer:
        body: s.NewPiece = call.body
        stands = await self._attachments.append(caller_of(call), _attachment(call), body.offset, body.piece)
        return Answer(200, _told(stands))

    async def piece(self, call: Call) -> Answer:
        offset = query_number(call, "offset", 0, 0, BLOB_SIZES[-1])
        found = await self._attachments.piece(caller_of(call), _attachment(call), offset)
        return Answer(200, s.PieceAnswer(found.offset, found.content, found.size))

    async def release(self, call: Call) -> Answer:
        await self._attachments.release(caller_of(call), _attachment(call))
        return Answer(204)


def _attachment(call: Call) -> AttachmentId:
    return path_id(AttachmentId, call.path["attachment_id"])


def _told(stands: AttachmentStands) -> s.AttachmentAnswer:
    return s.AttachmentAnswer(stands.size, stands.received, stands.expires_ms)


def attachment_routes(attachments: Attachments) -> tuple[Route, ...]:
    """The entries of the route table. There is none that lists."""
    do = _Handlers(attachments)
    one = "/v1/attachments/{attachment_id}"
    return (
        Route(
            "PUT", "/v1/groups/{group}/attachments/{attachment_id}", "beginAttachment",
            "Begin to upload an encrypted attachment for a group, or ask how far the upload is.",
            Access.DEVICE, guard(do.begin), s.NewAttachment, {201: s.AttachmentAnswer, 200: s.AttachmentAnswer},
            problems(
                _R.SESSION_ENDED, _R.NOT_FOUND, _R.NOT_A_MEMBER, _R.NO_RECIPIENTS, _R.GROUP_QUARANTINED, _R.WRONG_ERA,
                _R.ATTACHMENT_SIZE, _R.ATTACHMENT_EXISTS, _R.ATTACHMENT_QUOTA,
            ),
        ),
        Route(
            "PATCH", one, "appendAttachment", "Upload the next piece of an attachment.",
            Access.DEVICE, guard(do.append), s.NewPiece, {200: s.AttachmentAnswer},
            problems(
                _R.SESSION_ENDED, _R.NOT_FOUND, _R.WRONG_OFFSET, _R.ATTACHMENT_SIZE, _R.NOT_A_MEMBER, _R.NO_RECIPIENTS,
                _R.GROUP_QUARANTINED, _R.WRONG_ERA,
            ),
            max_body=MAX_PIECE_BODY,
        ),
        Route(
            "GET", one, "getAttachment", "A piece of an attachment, for the devices that it is for.",
            Access.DEVICE, guard(do.piece), None, {200: s.PieceAnswer}, problems(_R.NOT_FOUND, _R.WRONG_OFFSET),
            (number_parameter("offset", "Where to begin.", 0, BLOB_SIZES[-1]),),
        ),
        Route(
            "POST", f"{one}/release", "releaseAttachment", "This device has it; with the last such word it is deleted.",
            Access.DEVICE, guard(do.release), None, {204: None}, problems(_R.SESSION_ENDED),
        ),
    )  # fmt: skip
