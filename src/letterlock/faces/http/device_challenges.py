"""Questions on devices: ``/v1/devices/{device}/challenges``. Fields in, fields out; a device has words of its own."""

from typing import Annotated, Final, Literal

import msgspec

from letterlock.assurance.dialog import challenge_block
from letterlock.faces.http.challenges import challenge_of, consent_problem, problems_of
from letterlock.faces.http.device_calls import guard, own_device
from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.gateway.consents import AnswerView, ConsentError, ConsentReason, Said
from letterlock.gateway.device_answers import Caller, DeviceAnswers
from letterlock.model.ids import AccountId

MAX_SIGNATURE: Final = 256
"""Bytes; a signature has 66."""
_R = ConsentReason


class ShownChallenge(msgspec.Struct, frozen=True):
    """A question as a device shows and signs it (docs/protocol/fallback.md). ``from`` and ``to`` are protections."""

    challenge: str
    tenant: str
    environment: str
    conversation: str
    message: str
    body_commitment: str
    destination: str
    route: str
    row_version: int
    from_: str = msgspec.field(name="from")
    to: str
    readers: list[str]
    reason: str
    source: str
    policy_hash: str
    transcript: str
    scope: str
    expires_ms: int
    nonce: str
    alternatives: list[str]

    def __repr__(self) -> str:
        return "<ShownChallenge>"


class ShownChallenges(msgspec.Struct, frozen=True):
    """The open questions to the device's account, the oldest first."""

    challenges: list[ShownChallenge]


class SignedAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's answer on their device, signed by the device's envelope-and-receipt key."""

    answer: Literal["agreed", "refused"]
    signature: Annotated[bytes, msgspec.Meta(max_length=MAX_SIGNATURE)]


def device_challenge_routes(answers: DeviceAnswers) -> tuple[Route, ...]:
    """The entries of the route table."""

    async def waiting(call: Call) -> Answer:
        """GET /v1/devices/{device_id}/challenges."""
        found = await answers.waiting(_caller(call))
        return Answer(200, ShownChallenges([msgspec.convert(challenge_block(one), ShownChallenge) for one in found]))

    async def answer(call: Call) -> Answer:
        """POST /v1/devices/{device_id}/challenges/{challenge_id}/answer."""
        body: SignedAnswer = call.body
        caller = _caller(call)
        try:
            view = await answers.answer(caller, challenge_of(call), Said(body.answer), body.signature)
        except ConsentError as error:
            raise consent_problem(error) from None
        return Answer(200, view)

    async def withdraw(call: Call) -> Answer:
        """DELETE /v1/devices/{device_id}/challenges/{challenge_id}/consent."""
        caller = _caller(call)
        try:
            await answers.withdraw(caller, challenge_of(call))
        except ConsentError as error:
            raise consent_problem(error) from None
        return Answer(204)

    base = "/v1/devices/{device_id}/challenges"
    refused = problems_of(
        _R.NOT_FOUND, _R.ALREADY_ANSWERED, _R.EXPIRED, _R.TERMS_CHANGED, _R.SIGNATURE_REFUSED, _R.DEVICE_NOT_LISTED
    )
    return (
        Route("GET", base, "listDeviceChallenges", "Questions that this device's person may answer.",
              Access.DEVICE, guard(waiting), None, {200: ShownChallenges}),
        Route("POST", f"{base}/{{challenge_id}}/answer", "answerOnDevice", "Answer a question, signed.",
              Access.DEVICE, guard(answer), SignedAnswer, {200: AnswerView}, refused),
        Route("DELETE", f"{base}/{{challenge_id}}/consent", "withdrawOnDevice", "Take an unused yes back.",
              Access.DEVICE, guard(withdraw), None, {204: None}, problems_of(_R.NOT_FOUND, _R.SPENT)),
    )  # fmt: skip


def _caller(call: Call) -> Caller:
    device = own_device(call)
    return Caller(device.tenant, device.tenant_id, AccountId(device.account), device.device_id, device.mailbox)
