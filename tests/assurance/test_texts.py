"""Texts in five languages: whole or not read at all, short, and put together on the device."""

import re
import unicodedata
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.assurance.test_consent import NOW, question

from letterlock.assurance import rendering
from letterlock.assurance.causes import OFFERS, Cause
from letterlock.assurance.consent import Challenge, ConsentError, ConsentReason
from letterlock.assurance.indicator import Indicator as Shown
from letterlock.assurance.rendering import Dialog, isolated, render
from letterlock.assurance.texts import (
    INDICATORS,
    NAMES,
    PLACEHOLDERS,
    SENTENCES,
    Direction,
    Language,
    Phrase,
    Reader,
    TextsError,
    TextsReason,
    english,
    read_texts,
    source_of,
    texts_in,
    texts_of,
)
from letterlock.policy.decision import Indicator
from letterlock.transports.registry import CAPABILITIES

LANGUAGES = list(Language)
QUESTION = question(readers=("this gateway", "SMSC / carrier"))


def refused(reason: TextsReason) -> pytest.RaisesExc[TextsError]:
    return pytest.RaisesExc(TextsError, check=lambda error: error.reason is reason)


def lines_of(language: Language) -> list[tuple[int, str]]:
    """The numbers of the lines that are entries, with their keys."""
    found = [(at, line.partition(" = ")[0]) for at, line in enumerate(source_of(language).splitlines())]
    return [(at, key) for at, key in found if re.fullmatch(r"[A-Za-z0-9_]+", key)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text(language: Language) -> None:
    texts = texts_of(language)
    for name, kind in (SENTENCES | NAMES | {"phrase": Phrase}).items():
        assert set(getattr(texts, name)) == set(kind), name
    assert set(texts.indicator) == {one.value for one in Shown} | {one.value for one in Indicator}
    assert len(texts.indicator) == len(INDICATORS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_missing_text_is_found_whichever_it_is(language: Language) -> None:
    """Each entry of each language is taken out alone: the file is refused. So no text can be missing unnoticed."""
    lines = source_of(language).splitlines()
    entries = lines_of(language)
    assert len(entries) > 90
    for at, _ in entries:
        with pytest.raises(TextsError) as caught:
            read_texts(language, "\n".join(lines[:at] + lines[at + 1 :]))
        assert caught.value.reason is TextsReason.KEY_MISSING
    for at, key in entries:
        if key not in {"language", "direction", "between"}:
            with refused(TextsReason.KEY_MISSING):
                read_texts(language, "\n".join([*lines[:at], f'{key} = " "', *lines[at + 1 :]]))
    read_texts(language, "\n".join(lines))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_missing_doubled_or_foreign_placeholder_is_found(language: Language) -> None:
    source = source_of(language)
    tried = 0
    for name in {name for names in PLACEHOLDERS.values() for name in names}:
        assert source.count(f"{{{name}}}") == 1
        for planted in (
            "",
            f"{{{name}}}{{{name}}}",
            "{other}",
            f"{{{name}!r}}",
            f"{{{name}:>9}}",
            "{",
            f"{{{name}.x}}",
        ):
            tried += 1
            with refused(TextsReason.PLACEHOLDERS_DIFFER):
                read_texts(language, source.replace(f"{{{name}}}", planted))
    assert tried > 40
    said = texts_of(language).cause[Cause.TIMED_OUT]
    with refused(TextsReason.PLACEHOLDERS_DIFFER):
        read_texts(language, source.replace(said, said + " {destination}"))


def test_what_is_not_a_file_of_texts_is_refused() -> None:
    source = source_of(Language.ENGLISH)
    with refused(TextsReason.MALFORMED):
        read_texts(Language.ENGLISH, source + "\n[")
    with refused(TextsReason.MALFORMED):
        read_texts(Language.ENGLISH, source.replace('direction = "ltr"', 'direction = "up"'))
    with refused(TextsReason.KEY_UNKNOWN):
        read_texts(Language.ENGLISH, source + '\nunheard_of = "A text that nobody asks for."')
    with refused(TextsReason.OTHER_LANGUAGE):
        read_texts(Language.GERMAN, source)
    with refused(TextsReason.SAME_TWICE):
        read_texts(
            Language.ENGLISH,
            source.replace("There was no answer in time.", "You chose a less protected way for this message."),
        )
    with refused(TextsReason.TOO_LONG):
        read_texts(Language.ENGLISH, source.replace("There was no answer in time.", "One. Two. Three."))
    with refused(TextsReason.TOO_LONG):
        read_texts(Language.ENGLISH, source.replace("There was no answer in time.", "x" * 171))


def test_no_language_stands_in_for_another() -> None:
    assert [texts_in(one.value).language for one in LANGUAGES] == LANGUAGES
    for tag in ("fr", "EN", "de-AT", "", "en-US"):
        with refused(TextsReason.UNKNOWN_LANGUAGE):
            texts_in(tag)
    for language in LANGUAGES:
        if language is not Language.ENGLISH:
            same = {
                text
                for name in SENTENCES
                for text in getattr(texts_of(language), name).values()
                if text in getattr(english(), name).values()
            }
            assert not same, "a sentence that was left in English"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_ends_and_there_are_two_at_the_most(language: Language) -> None:
    texts = texts_of(language)
    for name in (*SENTENCES, "indicator"):
        for text in getattr(texts, name).values():
            assert text[-1] in ".!?।؟"
            assert 1 <= len(re.findall(r"[.!?।؟](?:\s|$)", text)) <= 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_direction_is_that_of_the_script(language: Language) -> None:
    texts = texts_of(language)
    for text in (*texts.cause.values(), *texts.indicator.values()):
        strong = next(way for sign in text if (way := unicodedata.bidirectional(sign)) in {"L", "R", "AL"})
        assert (strong == "L") is (texts.direction is Direction.LEFT_TO_RIGHT)
    # Marks that turn writing belong to the rendering; in a file nobody would see them.
    assert not any(unicodedata.category(sign) == "Cf" for sign in source_of(language))


def test_every_reader_of_a_transport_has_words() -> None:
    names = {reader.name for row in CAPABILITIES for reader in row.readers}
    assert names <= {one.value for one in Reader}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_in_every_language_names_everything_in_isolates(language: Language) -> None:
    texts = texts_of(language)
    shown = render(QUESTION, texts, NOW)
    assert isolated("+15550100") in shown.question
    assert isolated(texts.channel[QUESTION.terms.route]) in shown.question
    assert texts.cause[QUESTION.terms.cause] in shown.why
    assert texts.says[OFFERS[QUESTION.terms.cause].says] in shown.why
    for reader in Reader:
        assert texts.reader[reader] in shown.readers
    assert shown.time_left.endswith((isolated("1") + ".", isolated("1") + "।"))
    for text in (shown.question, shown.why, shown.fall, shown.readers, shown.loss, shown.scope, shown.time_left):
        assert "{" not in text
        assert 1 <= len(re.findall(r"[.!?।؟](?:\s|$)", text)) <= 2
        assert text.count("\u2068") == text.count("\u2069")
    assert shown.alternatives == tuple(texts.alternative[one] for one in QUESTION.alternatives)
    assert shown.direction.value == ("rtl" if language is Language.ARABIC else "ltr")
    for line in shown.lines():
        assert line[0] == ("\u2067" if language is Language.ARABIC else "\u2066")
        assert line[-1] == "\u2069"


@pytest.mark.attack("A8")
def test_no_other_words_than_the_devices_own_are_shown() -> None:
    """A server names a reader of its own making: nothing is shown, so nothing can be agreed to."""
    for names in (("nobody at all",), ("this gateway", "your bank"), ("this gateway ",), ("This gateway",)):
        planted = Challenge(QUESTION.challenge, replace(QUESTION.terms, readers=names), QUESTION.alternatives)
        with pytest.raises(ConsentError) as caught:
            render(planted, english(), NOW)
        assert caught.value.reason is ConsentReason.UNKNOWN_READER
    assert render(QUESTION, english(), NOW).readers
    assert "It is not known" in render(question(readers=()), english(), NOW).readers


@given(st.text(min_size=1, max_size=60), st.sampled_from(LANGUAGES))
def test_no_value_turns_or_breaks_what_stands_around_it(value: str, language: Language) -> None:
    """Whatever stands where a number belongs stays inside its isolate."""
    try:
        planted = question(destination=value, readers=("this gateway",))
    except ConsentError:
        return
    shown = render(planted, texts_of(language), NOW)
    opened = closed = 0
    for sign in shown.question:
        opened += sign == rendering.FIRST_STRONG_ISOLATE
        closed += sign == rendering.POP_ISOLATE
        assert opened >= closed
        assert sign.isprintable() or sign in {rendering.FIRST_STRONG_ISOLATE, rendering.POP_ISOLATE}
    assert opened == closed == 2


def test_a_dialog_holds_nothing_else() -> None:
    assert {field.name for field in fields(Dialog)} == {
        "direction", "question", "why", "fall", "readers", "loss", "scope", "time_left", "alternatives", "agree",
        "refuse",
    }  # fmt: skip
