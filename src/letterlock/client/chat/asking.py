"""Questions in a conversation: shown once each in the person's language, answered by number."""

from typing import Final, final

from letterlock.assurance.consent import Answer, Challenge, ConsentError
from letterlock.assurance.fallback import FallbackState
from letterlock.assurance.rendering import render
from letterlock.assurance.texts import Texts
from letterlock.client.chat import screen as s
from letterlock.client.device import Device
from letterlock.client.errors import RelayError
from letterlock.model.clock import Clock

UNKNOWN: Final = s.Problem("unknown_question", "There is no open question with this number; nothing was answered.")
WORDS: Final = {"/yes": Answer.AGREED, "/no": Answer.REFUSED}


@final
class Asking:
    """Shows and answers.

    Args:
        device: signs.
        texts: in the person's language.
        clock: wall time.
    """

    def __init__(self, device: Device, texts: Texts, clock: Clock) -> None:
        self._device: Final = device
        self._texts: Final = texts
        self._clock: Final = clock
        self._open: Final[dict[int, Challenge]] = {}
        self._last = 0

    async def look(self, screen: s.Screen) -> None:
        """Shows what is asked and was not shown in this run; and says what was refused unseen.

        Raises:
            RelayError: refused or unreachable.
        """
        waiting = await self._device.questions.waiting()
        known = {challenge.challenge for challenge in self._open.values()}
        for challenge in waiting.questions:
            if challenge.challenge not in known:
                self._last += 1
                self._open[self._last] = challenge
                screen(self._shown(self._last, challenge))
        for reason in waiting.refused:
            screen(s.Problem(f"question_refused_{reason.value}", "A question was not shown, for it may not be asked."))

    async def answer(self, words: str) -> s.Shown:
        """``/yes 1`` or ``/no 1``."""
        command, _, number = words.partition(" ")
        challenge = self._open.get(int(number)) if number.isascii() and number.isdigit() else None
        if challenge is None:
            return UNKNOWN
        answer = WORDS[command]
        try:
            done = await self._device.questions.answer(challenge, answer)
        except (ConsentError, RelayError) as error:
            return s.Problem(str(error.reason), f"Not answered: {error}.")
        del self._open[int(number)]
        # By what was answered here: no word of the gateway's is shown.
        state = FallbackState.CONSENTED if answer is Answer.AGREED else FallbackState.REFUSED
        named = str(challenge.challenge)
        return s.Answered(int(number), named, answer.value, state.value, done.released, self._texts.state[state])

    def _shown(self, number: int, challenge: Challenge) -> s.Question:
        dialog = render(challenge, self._texts, self._clock.now_ms())
        return s.Question(
            number=number,
            challenge=str(challenge.challenge),
            language=self._texts.language.value,
            direction=dialog.direction.value,
            question=dialog.question,
            why=dialog.why,
            fall=dialog.fall,
            readers=dialog.readers,
            loss=dialog.loss,
            scope=dialog.scope,
            time_left=dialog.time_left,
            alternatives=list(dialog.alternatives),
            agree=dialog.agree,
            refuse=dialog.refuse,
            expires_ms=challenge.terms.expires_ms,
            lines=list(dialog.lines()),
        )
