"""What the tests of this room share: capability rows, facts with usual values, and files made from a profile."""

import tomllib
from typing import Any

from letterlock.model.capability import CapabilityRow, Channel, Exposure
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.policy.facts import (
    Body,
    Cause,
    Claim,
    Consent,
    Face,
    Facts,
    Framing,
    OnDowngrade,
    Submission,
    Traffic,
    Ways,
)

RELAY, SMS = Channel.RELAY, Channel.SMS


def row(channel: Channel, ceiling: Protection, version: int = 1) -> CapabilityRow:
    return CapabilityRow(
        channel=channel,
        title=channel.value,
        ceiling=ceiling,
        evidence=EvidenceGrade.FRAMED,
        readers=(),
        features=frozenset(),
        storage="a test",
        metadata=Exposure.HIGH,
        use="a test",
        max_body=1000,
        source="a test",
        version=version,
    )


ROWS = (row(RELAY, Protection.E2EE), row(SMS, Protection.CLEAR))


def sealed(**changes: Any) -> Facts:
    """A sealed message in a conversation, all channels there, from a device that can be asked."""
    usual: dict[str, Any] = {
        "body": Body.SEALED,
        "claim": Claim.E2EE_AUTHORISED,
        "framing": Framing.VALID,
        "grade": EvidenceGrade.FRAMED,
        "submission": Submission.DEVICE_SESSION,
        "floor": Protection.E2EE,
        "ways": Ways.of(RELAY, SMS),
        "on_downgrade": OnDowngrade.ASK,
        "face": Face.CAN_ASK,
        "traffic": Traffic.CONVERSATION,
        "consent": Consent.NONE,
        "cause": Cause.NONE,
    }
    return Facts(**{**usual, **changes})


def readable(**changes: Any) -> Facts:
    """A readable message over the tenant's API that can be asked, by SMS alone."""
    usual: dict[str, Any] = {
        "body": Body.OPEN,
        "claim": Claim.NONE,
        "framing": Framing.ABSENT,
        "grade": EvidenceGrade.NONE,
        "submission": Submission.TENANT_API,
        "ways": Ways.of(SMS),
    }
    return sealed(**{**usual, **changes})


def file_with(text: str = "", base: str = "standard") -> str:
    """A policy file that extends a profile; the text must be TOML that follows the first three lines."""
    head = f'schema_version = 1\nname = "changed"\nextends = "{base}"\n'
    tomllib.loads(head + text)
    return head + text


ALLOW = """
[[allow]]
id = "{id}"
reason = "A notice that finds no device may go by SMS."
traffic = "{traffic}"
causes = {causes}
floors = {floors}
channel = "{channel}"
"""


def allow(
    name: str = "notice-by-sms",
    traffic: str = "notification",
    causes: str = '["not_reachable_attested"]',
    floors: str = '["PROVIDER", "HOP"]',
    channel: str = "sms",
) -> str:
    return ALLOW.format(id=name, traffic=traffic, causes=causes, floors=floors, channel=channel)
