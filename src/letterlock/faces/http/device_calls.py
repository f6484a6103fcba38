"""What all routes of devices share: refusals as answers, ids and numbers of a call, who is calling."""

from typing import Final, TypeVar

from letterlock.faces.http.problems import Code, Problem, facts_as_members
from letterlock.faces.http.routes import Answer, Call, DevicePrincipal, Handler, Parameter, Streaming
from letterlock.model.ids import DeviceId, Id
from letterlock.relay.errors import RelayError, WrongEpochError
from letterlock.relay.groups import Caller
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.imdn import ServerFailure

_R = RelayReason
STATUS: Final[dict[RelayReason, int]] = {
    _R.NOT_FOUND: 404,
    _R.SESSION_ENDED: 401,
    _R.BAD_KEY: 422,
    _R.BAD_DEVICE_LIST: 422,
    _R.WRONG_ACCOUNT: 422,
    _R.BAD_SIGNATURE: 422,
    _R.DEVICE_LIST_VERSION: 409,
    _R.DEVICE_EXISTS: 409,
    _R.DEVICE_RETIRED: 409,
    _R.NOT_YOUR_DEVICE: 403,
    _R.SESSION_REFUSED: 401,
    _R.STATE_ROLLED_BACK: 409,
    _R.BAD_KEY_PACKAGE: 422,
    _R.SUITE_NOT_ALLOWED: 422,
    _R.LEAF_NOT_LISTED: 422,
    _R.TOO_MANY_KEY_PACKAGES: 409,
    _R.CLAIM_QUOTA: 429,
    _R.BAD_EPOCH: 422,
    _R.GROUP_EXISTS: 409,
    _R.NOT_A_MEMBER: 403,
    _R.IDEMPOTENCY_CONFLICT: 409,
    _R.BAD_COMMIT: 422,
    _R.EXTERNAL_COMMIT: 422,
    _R.BAD_WELCOME: 422,
    _R.BAD_GROUP_INFO: 422,
    _R.BAD_MEMBERS: 422,
    _R.WRONG_EPOCH: 409,
    _R.ACK_AHEAD: 409,
    _R.GROUP_QUARANTINED: 409,
    _R.WRONG_ERA: 409,
    _R.ERA_UNKNOWN: 409,
    _R.BORN_DOWNGRADED: 409,
    _R.ERA_QUOTA: 429,
    _R.NOT_QUARANTINED: 409,
    _R.BAD_REPORT: 422,
    _R.REPORT_STALE: 409,
    _R.REPORT_QUOTA: 429,
    _R.MAILBOX_QUOTA: 429,
    _R.PUSH_NOT_OFFERED: 409,
    _R.BAD_PUSH_SUBSCRIPTION: 422,
    _R.PUSH_ENDPOINT_TAKEN: 409,
    _R.ATTACHMENT_SIZE: 422,
    _R.ATTACHMENT_EXISTS: 409,
    _R.ATTACHMENT_QUOTA: 409,
    _R.WRONG_OFFSET: 409,
    _R.NO_RECIPIENTS: 409,
    _R.DELIVERIES_NOT_OFFERED: 409,
    _R.TOKEN_REFUSED: 403,
    _R.TOKEN_TAKEN: 409,
    _R.TOO_MANY_TOKENS: 409,
    _R.BAD_DELIVERY: 422,
    _R.RECEIPTS_NOT_OFFERED: 409,
    _R.RECEIPT_QUEUE_FULL: 503,
}
"""Total: a test holds it against the closed list of reasons."""

RCC16: Final = {
    _R.WRONG_ERA: ServerFailure.INCORRECT_ERA,
    _R.WRONG_EPOCH: ServerFailure.INCORRECT_EPOCH,
    _R.BORN_DOWNGRADED: ServerFailure.MLS_GROUP_HAS_END_MLS,
    _R.ERA_QUOTA: ServerFailure.ERA_ADVANCEMENT_QUOTA_REACHED,
}
"""The words that RCS clients know for a refusal (RCC.16, section 7.7.2.1)."""

T = TypeVar("T", bound=Id)


def problem_of(error: RelayError) -> Problem:
    """The answer to a refusal of the delivery service."""
    members = facts_as_members(error.facts)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, WrongEpochError):
        members["missing"] = list(error.missing)
    if error.reason in RCC16 and (error.reason is not RelayReason.WRONG_EPOCH or "current_era" in members):
        members["rcc16"] = RCC16[error.reason].token
    if error.reason is RelayReason.CLAIM_QUOTA:
        headers = ((b"retry-after", str(members["retry_after_s"]).encode()),)
    return Problem(error.reason.value, STATUS[error.reason], members=members, headers=headers)


def guard(handler: Handler) -> Handler:
    """A handler whose refusals by the delivery service become answers."""

    async def run(call: Call) -> Answer | Streaming:
        try:
            return await handler(call)
        except RelayError as error:
            raise problem_of(error) from None

    return run


def path_id(kind: type[T], text: str) -> T:
    """An id of the path; one that is misspelt names nothing."""
    try:
        return kind.parse(text)
    except ValueError:
        raise RelayError(RelayReason.NOT_FOUND) from None


def query_number(call: Call, name: str, default: int, least: int, most: int) -> int:
    """A number of the query, or its default.

    Raises:
        Problem: not a number in range.
    """
    text = call.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise Problem(Code.BAD_PARAMETER, detail="A query parameter is not a number in range.", members={"field": name})
    return int(text)


def number_parameter(name: str, summary: str, least: int, most: int) -> Parameter:
    """The description of such a number."""
    return Parameter(name, summary, {"type": "integer", "minimum": least, "maximum": most})


def own_device(call: Call) -> DevicePrincipal:
    """The caller, if the path names its own device.

    Raises:
        RelayError: NOT_FOUND, NOT_YOUR_DEVICE.
    """
    if path_id(DeviceId, call.path["device_id"]) != call.device.device_id:
        raise RelayError(RelayReason.NOT_YOUR_DEVICE)
    return call.device


def caller_of(call: Call) -> Caller:
    """The calling device, for use cases."""
    device = call.device
    return Caller(device.tenant, device.tenant_id, device.mailbox, device.account)


def problems(*reasons: RelayReason) -> dict[int, tuple[str, ...]]:
    """A route's refusals by status, for its description."""
    found: dict[int, tuple[str, ...]] = {}
    for reason in reasons:
        found[STATUS[reason]] = (*found.get(STATUS[reason], ()), reason.value)
    return found
