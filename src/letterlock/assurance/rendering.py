"""A question as a person reads it: made on the device, of closed words and a few values, in one language.

What stands here was put together from the very fields that the answer is signed over. Values from outside stand in
isolates (UAX 9), so that a number inside Arabic text stays where it belongs, and no value can turn what follows it.
"""

from dataclasses import dataclass
from typing import Final

from letterlock.assurance.causes import OFFERS
from letterlock.assurance.consent import Challenge, ConsentError, ConsentReason
from letterlock.assurance.texts import Direction, Phrase, Reader, Texts

FIRST_STRONG_ISOLATE: Final = "\u2068"
LEFT_TO_RIGHT_ISOLATE: Final = "\u2066"
RIGHT_TO_LEFT_ISOLATE: Final = "\u2067"
POP_ISOLATE: Final = "\u2069"
_MINUTE_MS: Final = 60_000
_OPENS: Final = {
    Direction.LEFT_TO_RIGHT: LEFT_TO_RIGHT_ISOLATE,
    Direction.RIGHT_TO_LEFT: RIGHT_TO_LEFT_ISOLATE,
}


@dataclass(frozen=True, slots=True)
class Dialog:
    """A question in words; at most two sentences in each field.

    Attributes:
        direction: of the language; what HTML's ``dir`` takes.
        question: whether to send it, where, and how.
        why: the reason, and who says so.
        fall: from which protection to which.
        readers: who could read it.
        loss: what the lesser protection means.
        scope: how far a yes reaches.
        time_left: how long there is to answer.
        alternatives: what one can do instead.
        agree: the yes, as on a button.
        refuse: the no.
    """

    direction: Direction
    question: str
    why: str
    fall: str
    readers: str
    loss: str
    scope: str
    time_left: str
    alternatives: tuple[str, ...]
    agree: str
    refuse: str

    def lines(self) -> tuple[str, ...]:
        """All of it for something that has lines alone, a terminal for example: each in its language's direction."""
        told = (self.question, self.why, self.fall, f"{self.readers} {self.loss}", self.scope, self.time_left)
        return tuple(f"{_OPENS[self.direction]}{line}{POP_ISOLATE}" for line in told)


def render(challenge: Challenge, texts: Texts, now_ms: int) -> Dialog:
    """A question in words.

    Raises:
        ConsentError: UNKNOWN_READER: it names a reader for whom there are no words; it must not be answered with a yes.
    """
    terms, phrase = challenge.terms, texts.phrase
    readers = [texts.reader[one] for one in known_readers(terms.readers)]
    named = phrase[Phrase.BETWEEN].join(readers)
    return Dialog(
        direction=texts.direction,
        question=phrase[Phrase.QUESTION].format(
            destination=isolated(terms.destination), route=isolated(texts.channel[terms.route])
        ),
        why=f"{texts.cause[terms.cause]} {texts.says[OFFERS[terms.cause].says]}",
        fall=phrase[Phrase.FALL].format(
            before=isolated(texts.protection[terms.before]), after=isolated(texts.protection[terms.after])
        ),
        readers=phrase[Phrase.READERS].format(readers=isolated(named)) if named else phrase[Phrase.READERS_UNKNOWN],
        loss=texts.loss[terms.after],
        scope=texts.scope[terms.scope],
        time_left=phrase[Phrase.TIME_LEFT].format(
            minutes=isolated(str(max(0, terms.expires_ms - now_ms) // _MINUTE_MS))
        ),
        alternatives=tuple(texts.alternative[one] for one in challenge.alternatives),
        agree=phrase[Phrase.AGREE],
        refuse=phrase[Phrase.REFUSE],
    )


def known_readers(names: tuple[str, ...]) -> tuple[Reader, ...]:
    """Readers by their names in a question.

    Raises:
        ConsentError: UNKNOWN_READER.
    """
    try:
        return tuple(map(Reader, names))
    except ValueError:
        raise ConsentError(ConsentReason.UNKNOWN_READER) from None


def isolated(value: str) -> str:
    """A value inside a sentence: what turns writing, ends an isolate or steers a terminal is replaced."""
    return FIRST_STRONG_ISOLATE + "".join(sign if sign.isprintable() else "\ufffd" for sign in value) + POP_ISOLATE
