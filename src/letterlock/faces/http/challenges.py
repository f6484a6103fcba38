"""Operations about questions: look at one, answer it, take an answer back."""

from typing import Annotated, Final, Literal

import msgspec

from letterlock.faces.http.problems import Code, Problem
from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.gateway.consents import AnswerView, ConsentError, ConsentReason, Consents, Said
from letterlock.gateway.questions import QuestionView
from letterlock.model.ids import ChallengeId, ConsentId

_STATUS: Final = {
    ConsentReason.NOT_FOUND: 404,
    ConsentReason.DEVICE_SIGNATURE_REQUIRED: 422,
    ConsentReason.SIGNATURE_REFUSED: 422,
    ConsentReason.DEVICE_NOT_LISTED: 403,
}
_DETAIL: Final = {
    ConsentReason.NOT_FOUND: "There is no such question or consent.",
    ConsentReason.ALREADY_ANSWERED: "This question has its answer.",
    ConsentReason.EXPIRED: "This question is too old. Send the message again.",
    ConsentReason.DEVICE_SIGNATURE_REQUIRED: "Policy asks for an answer that the sender's own device signs.",
    ConsentReason.SIGNATURE_REFUSED: "It is not signed by this device, or not over this question.",
    ConsentReason.DEVICE_NOT_LISTED: "The account's signed list does not have this device.",
    ConsentReason.TERMS_CHANGED: "What was asked about is different now.",
    ConsentReason.SPENT: "This consent was used or withdrawn before.",
}


_R = ConsentReason


class AnswerQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's answer, in the tenant's words.

    Attributes:
        answered_by: the tenant's own opaque id of the person who answered; kept only as a keyed digest.
    """

    answer: Literal["agreed", "refused"]
    answered_by: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

    def __repr__(self) -> str:
        return "<AnswerQuestion>"


class ChallengeRoutes:
    """Serves them."""

    def __init__(self, consents: Consents) -> None:
        self._consents = consents

    def routes(self) -> tuple[Route, ...]:
        """The entries of the route table."""
        answered = problems_of(_R.ALREADY_ANSWERED, _R.EXPIRED, _R.TERMS_CHANGED, _R.DEVICE_SIGNATURE_REQUIRED)
        return (
            Route("GET", "/v1/challenges/{challenge_id}", "getChallenge", "A question about a step down.",
                  Access.TENANT_MESSAGES, self.get, None, {200: QuestionView}),
            Route("POST", "/v1/challenges/{challenge_id}/answer", "answerChallenge",
                  "Say what the person answered.", Access.TENANT_MESSAGES, self.answer, AnswerQuestion,
                  {200: AnswerView}, answered),
            Route("DELETE", "/v1/consents/{consent_id}", "withdrawConsent", "Take an unused consent back.",
                  Access.TENANT_MESSAGES, self.withdraw, None, {204: None}, problems_of(_R.SPENT)),
        )  # fmt: skip

    async def get(self, call: Call) -> Answer:
        """GET /v1/challenges/{challenge_id}."""
        try:
            return Answer(200, await self._consents.question(call.tenant.tenant, challenge_of(call)))
        except ConsentError as error:
            raise consent_problem(error) from None

    async def answer(self, call: Call) -> Answer:
        """POST /v1/challenges/{challenge_id}/answer."""
        tenant = call.tenant
        body: AnswerQuestion = call.body
        try:
            body.answered_by.encode()
        except UnicodeEncodeError:
            raise Problem(Code.WRONG_TYPE, members={"at": "$.answered_by"}) from None
        try:
            view = await self._consents.answer(
                tenant.tenant, tenant.tenant_id, challenge_of(call), Said(body.answer), body.answered_by
            )
        except ConsentError as error:
            raise consent_problem(error) from None
        return Answer(200, view)

    async def withdraw(self, call: Call) -> Answer:
        """DELETE /v1/consents/{consent_id}."""
        try:
            consent = ConsentId.parse(call.path["consent_id"])
        except ValueError:
            raise Problem(Code.NOT_FOUND) from None
        try:
            await self._consents.withdraw(call.tenant.tenant, consent)
        except ConsentError as error:
            raise consent_problem(error) from None
        return Answer(204)


def challenge_of(call: Call) -> ChallengeId:
    """The question that the path names.

    Raises:
        Problem: it names none.
    """
    try:
        return ChallengeId.parse(call.path["challenge_id"])
    except ValueError:
        raise Problem(Code.NOT_FOUND) from None


def consent_problem(error: ConsentError) -> Problem:
    """The answer to a refusal."""
    return Problem(error.reason.value, _STATUS.get(error.reason, 409), _DETAIL[error.reason])


def problems_of(*reasons: ConsentReason) -> dict[int, tuple[str, ...]]:
    """A route's refusals by status, for its description."""
    found: dict[int, tuple[str, ...]] = {}
    for reason in reasons:
        status = _STATUS.get(reason, 409)
        found[status] = (*found.get(status, ()), reason.value)
    return found
