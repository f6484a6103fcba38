"""What a driver does: send one wake-up, and say what came of it. Nothing about a message is handed to it."""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, Protocol, TypeVar

from letterlock.wire.push_targets import ApnsTarget, FcmTarget, PushKind, PushTarget, WebTarget


@unique
class PushResult(Enum):
    """What came of a push."""

    SENT = "sent"
    """The push service took it. Whether the device ever gets it, nobody says."""
    GONE = "gone"
    """The subscription is over: it is forgotten."""
    RETRY = "retry"
    """Not now: no answer, or one that says so."""
    REFUSED = "refused"
    """Never like this: sending it again would not help."""
    UNAUTHORISED = "unauthorised"
    """The push service does not take this gateway's own key: whoever runs it has to look. Tried again later."""


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """A result, and for RETRY and UNAUTHORISED how long to wait (seconds; 0: the push service did not say)."""

    result: PushResult
    wait_s: int = 0


KEY_REFUSED: Final = PushOutcome(PushResult.UNAUTHORISED, 15 * 60)
"""The gateway's own key was refused: somebody has to mend the settings before it is worth trying again."""


Target_contra = TypeVar("Target_contra", contravariant=True)


class PushDriver(Protocol[Target_contra]):
    """One push service."""

    def check(self, target: Target_contra) -> None:
        """Whether this can be gone to.

        Raises:
            PushError: with the reason.
        """
        ...

    async def send(self, target: Target_contra) -> PushOutcome:
        """Sends one wake-up. Never raises for what the network or the push service does."""
        ...


@dataclass(frozen=True, slots=True)
class PushDrivers:
    """The push services that the settings name; None where they do not."""

    web: PushDriver[WebTarget] | None = None
    apns: PushDriver[ApnsTarget] | None = None
    fcm: PushDriver[FcmTarget] | None = None

    @property
    def kinds(self) -> tuple[PushKind, ...]:
        """Which there are."""
        named = ((PushKind.WEB, self.web), (PushKind.APNS, self.apns), (PushKind.FCM, self.fcm))
        return tuple(kind for kind, driver in named if driver is not None)

    def check(self, target: PushTarget) -> bool:
        """Whether there is a driver for it.

        Raises:
            PushError: there is one, which cannot go there.
        """
        if target.kind not in self.kinds:
            return False
        if isinstance(target, WebTarget) and self.web is not None:
            self.web.check(target)
        elif isinstance(target, ApnsTarget) and self.apns is not None:
            self.apns.check(target)
        elif isinstance(target, FcmTarget) and self.fcm is not None:
            self.fcm.check(target)
        return True

    async def send(self, target: PushTarget) -> PushOutcome:
        """Sends one wake-up; GONE where its push service is named no more."""
        if isinstance(target, WebTarget):
            return _GONE if self.web is None else await self.web.send(target)
        if isinstance(target, ApnsTarget):
            return _GONE if self.apns is None else await self.apns.send(target)
        return _GONE if self.fcm is None else await self.fcm.send(target)


_GONE: Final = PushOutcome(PushResult.GONE)
