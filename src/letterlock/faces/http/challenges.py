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
}
_DETAIL: Final = {
    ConsentReason.NOT_FOUND: "There is no such question or consent.",
    ConsentReason.ALREADY_ANSWERED: "This question has its answer.",
    ConsentReason.EXPIRED: "This question is too old. Send the message again.",
    ConsentReason.DEVICE_SIGNATURE_REQUIRED: "Policy asks for an answer that the sender's own device signs.",
    ConsentReason.TERMS_CHANGED: "What was asked about is different now.",
    ConsentReason.SPENT: "This consent was used or withdrawn before.",
}


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
        conflicts = tuple(reason.value for reason in ConsentReason if reason not in _STATUS)
        unsigned = (ConsentReason.DEVICE_SIGNATURE_REQUIRED.value,)
        return (
            Route("GET", "/v1/challenges/{challenge_id}", "getChallenge", "A question about a step down.",
                  Access.TENANT_MESSAGES, self.get, None, {200: QuestionView}),
            Route("POST", "/v1/challenges/{challenge_id}/answer", "answerChallenge",
                  "Say what the person answered.", Access.TENANT_MESSAGES, self.answer, AnswerQuestion,
                  {200: AnswerView}, {409: conflicts, 422: unsigned}),
            Route("DELETE", "/v1/consents/{consent_id}", "withdrawConsent", "Take an unused consent back.",
                  Access.TENANT_MESSAGES, self.withdraw, None, {204: None}, {409: conflicts}),
        )  # fmt: skip

    async def get(self, call: Call) -> Answer:
        """GET /v1/challenges/{challenge_id}."""
        try:
            return Answer(200, await self._consents.question(call.tenant.tenant, _challenge(call)))
        except ConsentError as error:
            raise _problem(error) from None

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
                tenant.tenant, tenant.tenant_id, _challenge(call), Said(body.answer), body.answered_by
            )
        except ConsentError as error:
            raise _problem(error) from None
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
            raise _problem(error) from None
        return Answer(204)


def _challenge(call: Call) -> ChallengeId:
    try:
        return ChallengeId.parse(call.path["challenge_id"])
    except ValueError:
        raise Problem(Code.NOT_FOUND) from None


def _problem(error: ConsentError) -> Problem:
    return Problem(error.reason.value, _STATUS.get(error.reason, 409), _DETAIL[error.reason])
