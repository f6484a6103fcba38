"""Questions to this device's person: fetched, looked at before they are shown, answered under the device's key.

The gateway gives fields; what may be asked at all, how often, and in which words is decided here. So a gateway that was
taken over can put no question about a failure that nobody proved, and cannot wear a person down.
"""

from dataclasses import dataclass
from typing import Final, final

import msgspec

from letterlock.assurance.consent import (
    PROMPT_WINDOW_MS,
    Answer,
    Challenge,
    ConsentError,
    ConsentReason,
    body_commitment,
    sign_answer,
    worth_showing,
)
from letterlock.assurance.dialog import parse_challenge
from letterlock.assurance.rendering import known_readers
from letterlock.client.relay import QuestionAnswered, QuestionsAnswer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.model.ids import ChallengeId

ASKED: Final = "question_asked"
"""By conversation and cause: which question was shown last, when, and what became of it."""


class _Asked(msgspec.Struct, frozen=True):
    challenge: bytes
    at_ms: int
    answer: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for an answer. ``refused`` is why others were not worth showing; they are not shown."""

    questions: tuple[Challenge, ...]
    refused: tuple[ConsentReason, ...]


@final
class Questions:
    """Those of one device."""

    def __init__(self, state: DeviceState, session: Session) -> None:
        self._state: Final = state
        self._session: Final = session

    async def waiting(self) -> Waiting:
        """Fetches what may be shown now.

        Raises:
            RelayError: refused or unreachable.
        """
        relay = await self._session.relay()
        answer = await relay.call("GET", f"/v1/devices/{self._state.keys.device_id}/challenges", QuestionsAnswer)
        shown: list[Challenge] = []
        refused: list[ConsentReason] = []
        async with self._state.lock:
            for block in answer.challenges:
                try:
                    shown.append(self._worth_showing(block))
                except ConsentError as error:
                    refused.append(error.reason)
        return Waiting(tuple(shown), tuple(refused))

    async def answer(self, challenge: Challenge, answer: Answer, text: str | None = None) -> QuestionAnswered:
        """Signs an answer and hands it in.

        Args:
            challenge: as :meth:`waiting` gave it, and as it was shown.
            answer: the person's.
            text: the message, where this device has it: it must be the one that was asked about.

        Raises:
            ConsentError: EXPIRED; BODY_DIFFERS; as :meth:`waiting` refuses. Nothing was signed.
            RelayError: CONFLICT: answered before, too late, or not what is true any more; refused or unreachable.
        """
        self._check(challenge)
        if (
            text is not None
            and body_commitment(text.encode(), challenge.terms.nonce) != challenge.terms.body_commitment
        ):
            raise ConsentError(ConsentReason.BODY_DIFFERS)
        mine = self._state.keys
        signature = sign_answer(challenge, answer, mine.envelope_key()).encode()
        relay = await self._session.relay()
        path = f"/v1/devices/{mine.device_id}/challenges/{challenge.challenge}/answer"
        body = {"answer": answer.value, "signature": signature}
        answered = await relay.call("POST", path, QuestionAnswered, body)
        async with self._state.lock:
            self._remember(challenge, answer.value)
        return answered

    async def withdraw(self, challenge: ChallengeId) -> None:
        """Takes a yes back that was not used; whoever commits first, this or the message, wins.

        Raises:
            RelayError: CONFLICT: it was used; NOT_FOUND; unreachable.
        """
        relay = await self._session.relay()
        await relay.order("DELETE", f"/v1/devices/{self._state.keys.device_id}/challenges/{challenge}/consent")

    def _worth_showing(self, block: dict[str, object]) -> Challenge:
        challenge = parse_challenge(block)
        self._check(challenge)
        asked = self._asked(challenge)
        now = self._state.clock.now_ms()
        if asked is None or asked.challenge != challenge.challenge.value:
            # A yes was good for its one message: the next one needs its own. Whatever else counts for its window.
            again = asked is not None and asked.answer != Answer.AGREED.value
            if again and asked is not None and now - asked.at_ms < PROMPT_WINDOW_MS:
                raise ConsentError(ConsentReason.ASKED_RECENTLY)
            self._remember(challenge, "")
        return challenge

    def _check(self, challenge: Challenge) -> None:
        mine = self._state.keys
        worth_showing(challenge, mine.tenant_id, mine.environment, self._state.clock.now_ms())
        known_readers(challenge.terms.readers)

    def _asked(self, challenge: Challenge) -> _Asked | None:
        held = self._state.store.get(ASKED, _name(challenge))
        return None if held is None else msgspec.msgpack.decode(held, type=_Asked)

    def _remember(self, challenge: Challenge, answer: str) -> None:
        asked = _Asked(challenge.challenge.value, self._state.clock.now_ms(), answer)
        self._state.persist(put=((ASKED, _name(challenge), msgspec.msgpack.encode(asked)),))


def _name(challenge: Challenge) -> bytes:
    return challenge.terms.conversation.value + challenge.terms.cause.value.encode()
