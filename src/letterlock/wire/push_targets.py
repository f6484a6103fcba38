"""Where a device can be woken: a Web Push subscription, or what another push service calls the device. Pure."""

import re
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from letterlock.wire.webpush import PushError, PushReason, Subscription

MAX_APNS_TOKEN: Final = 100
"""Bytes. Apple's have 32, and may grow; the field on the wire holds no more than this in hex."""
MIN_APNS_TOKEN: Final = 32
MAX_FCM_TOKEN: Final = 1_024
"""Characters; those of today have some 160."""
_FCM: Final = re.compile(r"[A-Za-z0-9_:\-]{32,1024}")


@unique
class PushKind(Enum):
    """By which push service."""

    WEB = "web"
    """Web Push (RFC 8030)."""
    APNS = "apns"
    """Apple Push Notification service."""
    FCM = "fcm"
    """Firebase Cloud Messaging."""


@dataclass(frozen=True, slots=True)
class ApnsTarget:
    """A device by the token that APNs gave the app. It is a capability: never shown."""

    token: bytes = field(repr=False)

    @property
    def kind(self) -> PushKind:
        """APNS."""
        return PushKind.APNS

    @property
    def address(self) -> str:
        """What no two devices share."""
        return f"apns:{self.token.hex()}"

    def checked(self) -> "ApnsTarget":
        """The same, if it can be used.

        Raises:
            PushError: BAD_TOKEN.
        """
        if not MIN_APNS_TOKEN <= len(self.token) <= MAX_APNS_TOKEN:
            raise PushError(PushReason.BAD_TOKEN, length=len(self.token))
        return self


@dataclass(frozen=True, slots=True)
class FcmTarget:
    """A device by the registration token that FCM gave the app. It is a capability: never shown."""

    token: str = field(repr=False)

    @property
    def kind(self) -> PushKind:
        """FCM."""
        return PushKind.FCM

    @property
    def address(self) -> str:
        """What no two devices share."""
        return f"fcm:{self.token}"

    def checked(self) -> "FcmTarget":
        """The same, if it can be used.

        Raises:
            PushError: BAD_TOKEN.
        """
        if not _FCM.fullmatch(self.token):
            raise PushError(PushReason.BAD_TOKEN, length=len(self.token))
        return self


@dataclass(frozen=True, slots=True)
class WebTarget:
    """A Web Push subscription."""

    subscription: Subscription

    @property
    def kind(self) -> PushKind:
        """WEB."""
        return PushKind.WEB

    @property
    def address(self) -> str:
        """What no two devices share."""
        return self.subscription.endpoint


PushTarget = WebTarget | ApnsTarget | FcmTarget
