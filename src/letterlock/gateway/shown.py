"""What is said of a message: one value, made with the decision, the same on every surface."""

from bisect import bisect_left
from typing import Final

from letterlock.assurance.assess import Assessment
from letterlock.gateway.codes import ACTIONS, FALLS, INDICATORS
from letterlock.model.capability import Channel
from letterlock.policy.decision import Decision
from letterlock.storage.codes import GRADES, PROTECTIONS, VERIFIERS
from letterlock.storage.commands import Shown
from letterlock.wire.tlog.commitments import rule_tag
from letterlock.wire.tlog.records import accepted_shape

SIZE_BUCKETS: Final = (256, 512, 1024, 2048, 4096, 16384, 65536)
"""Upper bounds; rows and records say which bucket, never the size."""


def size_bucket(size: int) -> int:
    """Which bucket a body of this many bytes falls into, 0 to 7."""
    return bisect_left(SIZE_BUCKETS, size)


def shown_of(assessment: Assessment, decision: Decision, channel: Channel = Channel.RELAY) -> Shown:
    """What every surface says, from an assessment and a decision on a channel: one value, kept with the decision."""
    return Shown(
        protection=PROTECTIONS.index(assessment.show_as),
        grade=GRADES.index(assessment.grade),
        verifier=VERIFIERS.index(assessment.verifier),
        indicator=INDICATORS.index(decision.indicator),
        decision=ACTIONS.index(decision.action),
        rule=decision.rule,
        fall=FALLS.index(decision.fall),
        shape=accepted_shape(
            channel, assessment.show_as, assessment.grade, assessment.verifier, rule_tag(decision.rule)
        ),
    )
