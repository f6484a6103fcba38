"""The security block: one function for every message, whichever way it took."""

from itertools import product

import pytest

from letterlock.assurance import evidence
from letterlock.assurance.assess import Path
from letterlock.gateway.codes import ACTIONS, FALLS, INDICATORS
from letterlock.gateway.security import Assessments
from letterlock.model.capability import Channel
from letterlock.model.message import MessageState
from letterlock.policy.decision import Action, Fall, Indicator
from letterlock.storage.codes import CHANNELS, GRADES, PROTECTIONS, VERIFIERS
from letterlock.storage.open_commands import MessageRow
from letterlock.storage.sqlite.question_ops import CONSENTED_FALL
from letterlock.transports.registry import CAPABILITIES, capability

BLOCKS = Assessments(CAPABILITIES)


def row_of(channel: Channel, state: MessageState, assessed: object, indicator: Indicator) -> MessageRow:
    from letterlock.assurance.assess import Assessment

    assert isinstance(assessed, Assessment)
    return MessageRow(
        1, 1, b"m" * 16, int(state), CHANNELS.index(channel), PROTECTIONS.index(assessed.show_as),
        GRADES.index(assessed.grade), VERIFIERS.index(assessed.verifier), INDICATORS.index(indicator),
        ACTIONS.index(Action.DELIVER), "routing.sealed", FALLS.index(Fall.NOT_A_FALL), 0, 1, 0, None, 1, 1, 1,
        bytes(32),
    )  # fmt: skip


def relay(form: evidence.Form, framing: evidence.Framing) -> object:
    return Path.of(capability(Channel.RELAY)).look_up(
        evidence.Envelope(form, evidence.Claim.E2EE, framing),
        evidence.Session(evidence.Source.LISTED_DEVICE, evidence.Standing.AUTHORISED),
    )


def test_a_devices_message_is_shown_with_its_evidence_and_no_more() -> None:
    assessed = relay(evidence.Form.SEALED, evidence.Framing.LETTERLOCK)
    block = BLOCKS.block(row_of(Channel.RELAY, MessageState.ACCEPTED, assessed, Indicator.E2EE_FRAMED))
    assert (block.protection, block.grade, block.verifier) == ("E2EE", "FRAMED", "gateway")
    assert (block.handled_as, block.framing, block.readers, block.finding) == ("E2EE", "letterlock", [], None)
    assert "verified" not in block.indicator_text.lower()


@pytest.mark.attack("A3")
def test_a_quarantined_claim_is_handled_as_e2ee_and_shown_as_unknown() -> None:
    assessed = relay(evidence.Form.UNPARSED, evidence.Framing.ABSENT)
    for state in (MessageState.QUARANTINED, MessageState.EXPIRED):
        block = BLOCKS.block(row_of(Channel.RELAY, state, assessed, Indicator.QUARANTINED))
        assert (block.protection, block.grade, block.handled_as) == ("UNKNOWN", "NONE", "E2EE")
        assert (block.finding, block.indicator) == ("e2ee_not_framed", "indicator.quarantined")


def test_a_readable_message_names_its_readers_once_and_is_never_more_than_clear_on_sms() -> None:
    assessed = BLOCKS.readable(Channel.SMS)
    for state in MessageState:
        block = BLOCKS.block(row_of(Channel.SMS, state, assessed, Indicator.NOT_ENCRYPTED))
        assert (block.protection, block.handled_as, block.grade) == ("CLEAR", "CLEAR", "NONE")
        assert block.readers == ["this gateway", "SMSC / carrier"]
        shown = "indicator.refused" if state is MessageState.NOT_SENT else "indicator.not_encrypted"
        assert block.indicator == shown


def test_the_store_and_policy_agree_on_the_number_of_a_consented_fall() -> None:
    assert FALLS[CONSENTED_FALL] is Fall.CONSENTED


def test_every_row_that_can_be_stored_has_a_block() -> None:
    assessed = BLOCKS.readable(Channel.SMS)
    for indicator, action, fall, channel in product(Indicator, Action, Fall, Channel):
        row = row_of(channel, MessageState.QUEUED, assessed, indicator)
        numbers = {"decision": ACTIONS.index(action), "fall": FALLS.index(fall)}
        values = {name: getattr(row, name) for name in row.__struct_fields__} | numbers
        block = BLOCKS.block(MessageRow(**values))
        assert (block.decision, block.fall, block.indicator) == (action.value, fall.value, indicator.value)
