"""What policy says of devices' submissions: assessed and decided once for each class of them, then looked up."""

from typing import Final, Protocol

from msgspec import Struct

from letterlock.assurance import evidence
from letterlock.assurance.assess import Assessment, Path, assess
from letterlock.gateway.shown import shown_of
from letterlock.model.capability import Channel
from letterlock.model.ids import MessageId
from letterlock.model.protection import Protection, Verifier
from letterlock.model.traces import Deliveries, Traces
from letterlock.policy.decision import Decision
from letterlock.policy.facts import Body, Claim, Face, Facts, Framing, OnDowngrade, Submission, Traffic, Ways
from letterlock.policy.proof import ProvenPolicy
from letterlock.storage.commands import Shown

_TRACKED: Final = evidence.TrackedGroup(b"", 0, Verifier.GATEWAY)
_TRACKED_SUBJECT: Final = evidence.Subject(MessageId(bytes(16)), b"", 0)
"""The class of tracked messages. Which ones are in it, :meth:`GroupHead.tracks` says: group, epoch and leaf."""


class PolicyInForce(Protocol):
    """The proven policy of a tenant, and its version."""

    version: int

    def of(self, tenant: int) -> ProvenPolicy:
        """The tenant's policy."""
        ...


class Prepared(Struct, frozen=True, gc=False):
    """The decisions of one tenant, each with what is said of its messages; and what the store keeps of them."""

    framed: Decision
    framed_shown: Shown
    tracked_shown: Shown
    unframed: Decision
    unframed_shown: Shown
    traces: Traces
    delivered: Decision
    delivered_shown: Shown
    rcs: Decision
    rcs_shown: Shown
    rcs_tracked_shown: Shown
    deliveries: Deliveries


class SealedPolicy:
    """Decides for all submissions of a kind at once.

    Args:
        path: the relay's path.
        policy: what is in force.
    """

    def __init__(self, path: Path, policy: PolicyInForce) -> None:
        self._path = path
        self._policy = policy
        self._prepared: dict[int, Prepared] = {}
        self._prepared_for = -1

    @property
    def version(self) -> int:
        """Of the policy in force."""
        return self._policy.version

    def of(self, tenant: int) -> Prepared:
        """What policy says of this tenant's framed and unframed submissions: decided once a policy version."""
        if self._prepared_for != self._policy.version:
            self._prepared.clear()
            self._prepared_for = self._policy.version
        found = self._prepared.get(tenant)
        if found is None:
            rcs, rcs_shown, rcs_tracked_shown = self._sealed(tenant, evidence.Framing.RCC16)
            unframed = self._decide(tenant, evidence.Framing.ABSENT, evidence.Form.UNPARSED)
            metadata = self._policy.of(tenant).policy.metadata
            found = self._prepared[tenant] = Prepared(
                *self._sealed(tenant, evidence.Framing.LETTERLOCK), *unframed, metadata.traces,
                *self._delivered(tenant), rcs, rcs_shown, rcs_tracked_shown, metadata.deliveries,
            )  # fmt: skip
        return found

    def _sealed(self, tenant: int, framing: evidence.Framing) -> tuple[Decision, Shown, Shown]:
        """Of a framed message in either profile: the decision, and what is shown without and with a followed group."""
        framed, shown = self._decide(tenant, framing, evidence.Form.SEALED)
        tracked, raised = self._decide(tenant, framing, evidence.Form.SEALED, _TRACKED)
        # More evidence is shown; it is no reason to deliver what framing alone would not.
        same = (tracked.action, tracked.retention_ms) == (framed.action, framed.retention_ms)
        return framed, shown, raised if same else shown

    def _decide(
        self,
        tenant: int,
        framing: evidence.Framing,
        form: evidence.Form,
        tracked: evidence.TrackedGroup | None = None,
    ) -> tuple[Decision, Shown]:
        assessment = assess(
            evidence.Envelope(form, evidence.Claim.E2EE, framing),
            evidence.Session(evidence.Source.LISTED_DEVICE, evidence.Standing.AUTHORISED),
            self._path,
            tracked=tracked,
            subject=None if tracked is None else _TRACKED_SUBJECT,
        )
        parsed = form is evidence.Form.SEALED
        return self._judged(tenant, assessment, Framing.VALID if parsed else Framing.INVALID, Submission.DEVICE_SESSION)

    def _delivered(self, tenant: int) -> tuple[Decision, Shown]:
        """Of what comes with a token: its group, and that it is MLS at all, is the word of whoever was handed one."""
        assessment = assess(
            evidence.Envelope(evidence.Form.SEALED, evidence.Claim.E2EE, evidence.Framing.ABSENT),
            evidence.Session(evidence.Source.DELIVERY_TOKEN, evidence.Standing.AUTHORISED),
            self._path,
        )
        return self._judged(tenant, assessment, Framing.VALID, Submission.DELIVERY_TOKEN)

    def _judged(
        self, tenant: int, assessment: Assessment, framing: Framing, submission: Submission
    ) -> tuple[Decision, Shown]:
        """What policy says of a sealed message on the relay, and what is shown of it."""
        decision = self._policy.of(tenant).decide(
            Facts(
                body=Body.SEALED,
                claim=Claim.E2EE_AUTHORISED,
                framing=framing,
                grade=assessment.grade,
                submission=submission,
                floor=Protection.E2EE,
                ways=Ways.of(Channel.RELAY),
                on_downgrade=OnDowngrade.REFUSE,
                face=Face.CANNOT_ASK,
                traffic=Traffic.CONVERSATION,
            )
        )
        return decision, shown_of(assessment, decision)
