"""Messages that are held because there was no route, and what happens to them once there is one.

Policy is asked again as if they came now. What it lets go leaves, with an entry of its own; what it would ask about
stays held, for nobody has answered; what waits for an answer already is not touched.
"""

from collections.abc import Callable
from typing import Final

from letterlock.assurance.causes import Cause
from letterlock.assurance.fallback import FallbackEvent, FallbackState, step
from letterlock.gateway.offers import Counts
from letterlock.gateway.policies import Policies
from letterlock.gateway.questions import TRAFFICS, QuestionBook
from letterlock.gateway.security import Assessments
from letterlock.gateway.shown import shown_of
from letterlock.gateway.writer import Writer
from letterlock.model.clock import Clock
from letterlock.model.protection import ConsentKind, EvidenceGrade, Protection
from letterlock.policy.decision import Action, Fall
from letterlock.policy.facts import Body, Claim, Face, Facts, Framing, OnDowngrade, Submission, Ways
from letterlock.storage import open_commands
from letterlock.storage.codes import CHANNELS, PROTECTIONS
from letterlock.storage.commands import Relied
from letterlock.storage.errors import CommitRefused
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.wire.tlog.words import ReasonCode

PAGE: Final = 100
"""Messages looked at with one query."""


def policy_fall(before: Protection, after: Protection, policy: bytes) -> open_commands.Fall:
    """A step down that policy alone permits, as it is recorded."""
    # The same machine as for answers; its steps are all in this one commit, so there is no row to keep it in.
    state = FallbackState.SECURE_PENDING
    for event in (FallbackEvent.FAILURE_PROVEN, FallbackEvent.POLICY_PERMITS, FallbackEvent.SUBMIT):
        state = step(state, event)
    places = PROTECTIONS.index(before), PROTECTIONS.index(after)
    return open_commands.Fall(*places, policy, ConsentKind.POLICY.value, ReasonCode.POLICY.value, None)


class HeldMessages:
    """Looks again at what is held without a question.

    Args:
        ways: the channels that readable messages may take here.
        queued: called when a message may leave.
    """

    def __init__(
        self,
        writer: Writer,
        reads: OpenReads,
        policies: Policies,
        assessments: Assessments,
        questions: QuestionBook,
        ways: Ways,
        clock: Clock,
        counts: Counts,
        queued: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._reads = reads
        self._policies = policies
        self._assessments = assessments
        self._questions = questions
        self._ways = ways
        self._clock = clock
        self._counts = counts
        self._queued = queued

    async def look(self) -> int:
        """Releases what may leave now; returns how many. To be run at a start, and from time to time.

        Raises:
            StorageError: the store takes nothing now.
        """
        if self._ways == Ways.of():
            return 0
        after = released = 0
        while True:
            page = await self._reads.waiting_for_route(after, self._clock.now_ms(), PAGE)
            for one in page:
                released += await self._released(one)
            if len(page) < PAGE:
                break
            after = page[-1].seq
        if released:
            self._queued()
        return released

    async def _released(self, one: open_commands.WaitsForRoute) -> int:
        version = self._policies.version
        policy = self._policies.of(one.tenant)
        floor = Protection.UNKNOWN if one.floor is None else PROTECTIONS[one.floor]
        traffic = TRAFFICS[one.traffic]
        decision = policy.decide(
            Facts(
                body=Body.OPEN,
                claim=Claim.NONE,
                framing=Framing.ABSENT,
                grade=EvidenceGrade.NONE,
                submission=Submission.TENANT_API,
                floor=floor,
                ways=self._ways,
                on_downgrade=OnDowngrade.HOLD,
                face=Face.CAN_ASK,
                traffic=traffic,
            )
        )
        if decision.action is not Action.DELIVER:
            return 0
        channel = decision.channels[0]
        fall = None
        if decision.fall is not Fall.NOT_A_FALL:
            before = self._questions.before(one.tenant, floor, traffic)
            fall = policy_fall(before, self._questions.after(channel), policy.hash)
        command = open_commands.ReleaseHeld(
            one.seq,
            CHANNELS.index(channel),
            shown_of(self._assessments.readable(channel), decision, channel),
            Relied(version, -1, one.floor_version),
            policy.hash,
            fall,
            self._clock.now_ms(),
        )
        try:
            await self._writer.run(command, tenant=one.tenant)
        except CommitRefused:
            # Something it relied on has changed, or it is not held any more: the next look is soon enough.
            return 0
        if fall is not None:
            self._counts.fall(decision.fall.value, Cause.SENDER_CHOSE.value)
        return 1
