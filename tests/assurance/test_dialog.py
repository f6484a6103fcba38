"""A challenge as JSON: what is shown is what is signed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.assurance.test_consent import DEVICE, MUTATIONS, NOW, TERMS, question

from letterlock.assurance.consent import Answer, ConsentError, ConsentReason, answered_by_device, sign_answer
from letterlock.assurance.dialog import challenge_block, parse_challenge

BLOCK = challenge_block(question())
FIELDS = {"before": "from", "after": "to", "cause": "reason"}


def refused() -> pytest.RaisesExc[ConsentError]:
    return pytest.RaisesExc(ConsentError, check=lambda error: error.reason is ConsentReason.MALFORMED)


def test_the_block_comes_back_as_the_challenge() -> None:
    assert parse_challenge(json.loads(json.dumps(BLOCK))) == question()


def test_the_block_says_what_a_person_needs() -> None:
    assert (BLOCK["reason"], BLOCK["source"]) == ("peer_has_no_device", "signed_device_list")
    assert (BLOCK["route"], BLOCK["from"], BLOCK["to"]) == ("sms", "E2EE", "CLEAR")
    assert BLOCK["alternatives"] == ["wait", "discard"]
    assert not any(isinstance(value, str) and ". " in value for value in BLOCK.values()), "no sentence of a server's"
    assert "texts" not in BLOCK


@pytest.mark.attack("A8")
@pytest.mark.parametrize("name", MUTATIONS)
def test_an_answer_to_an_altered_dialog_is_void(name: str) -> None:
    """Somebody between gateway and device alters one field of what the person is shown."""
    value = MUTATIONS[name]
    plain: Any = value.value if hasattr(value, "value") and isinstance(value.value, str) else value
    if isinstance(plain, bytes):
        plain = plain.hex()
    elif isinstance(plain, tuple):
        plain = list(plain)
    elif not isinstance(plain, str | int):
        plain = str(plain)
    shown = parse_challenge(BLOCK | {FIELDS.get(name, name): plain})
    assert getattr(shown.terms, name) == value
    signature = sign_answer(shown, Answer.AGREED, DEVICE)
    with pytest.raises(ConsentError) as caught:
        answered_by_device(question(), Answer.AGREED, signature, DEVICE.public, NOW)
    assert caught.value.reason is ConsentReason.SIGNATURE_REFUSED
    true = sign_answer(parse_challenge(BLOCK), Answer.AGREED, DEVICE)
    assert answered_by_device(question(), Answer.AGREED, true, DEVICE.public, NOW).terms == TERMS


@pytest.mark.parametrize("name", sorted(set(BLOCK) - {"source"}))
def test_missing_and_mistyped_fields_are_refused(name: str) -> None:
    parse_challenge(BLOCK)
    with refused():
        parse_challenge({key: value for key, value in BLOCK.items() if key != name})
    wrongs: list[object] = [None, True, 1.5, {}, [1], -1]
    if name not in {"environment", "destination"}:
        wrongs += ["", "x", "\ud800"]
    for wrong in wrongs:
        with refused():
            parse_challenge(BLOCK | {name: wrong})


def test_lists_are_bounded() -> None:
    for changed in ({"readers": ["x"] * 17}, {"alternatives": ["wait"] * 4}, {"alternatives": ["send_anyway"]}):
        with refused():
            parse_challenge(BLOCK | changed)


@given(st.dictionaries(st.sampled_from(sorted(BLOCK)), st.one_of(st.none(), st.integers(), st.text(), st.booleans())))
def test_any_block_is_a_challenge_or_a_typed_error(changed: dict[str, object]) -> None:
    try:
        parse_challenge(BLOCK | changed)
    except ConsentError as error:
        reason = error.reason
    else:
        return
    assert reason is ConsentReason.MALFORMED
