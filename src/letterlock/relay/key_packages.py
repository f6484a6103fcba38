"""Key packages: put into a pool, claimed once."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

import structlog

from letterlock.model.clock import Clock
from letterlock.model.ids import AccountId, DeviceId
from letterlock.relay.accounts import SALT_BYTES
from letterlock.relay.claim_quota import ClaimQuota
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import MAX_KEY_PACKAGE
from letterlock.relay.ports import Committer, Entropy, settle
from letterlock.storage.relay_commands import (
    Claimed,
    ClaimKeyPackages,
    ClearKeyPackages,
    NewPackage,
    NoteFinding,
    PackagesKept,
    PutKeyPackages,
    RelayReason,
)
from letterlock.wire.mls import (
    CipherSuite,
    FramingError,
    FramingReason,
    SignatureError,
    check_key_package,
    parse_key_package,
)
from letterlock.wire.tlog.words import FindingCode, Severity

_log: Final = structlog.get_logger("letterlock.relay")
_NEVER_MS = 2**62
"""A lifetime without end, as a number that every store can hold."""


class KeyPackages:
    """Puts and claims.

    Args:
        committer: the writer.
        quota: counts claims.
        clock: wall time, for lifetimes.
        entropy: for salts.
        suites: what packages may be made for.
        low: told the mailbox of a device whose pool has become low, so that a connected one hears of it.
        last_resort: told how many last-resort packages a claim was served with.
    """

    def __init__(
        self,
        committer: Committer,
        quota: ClaimQuota,
        clock: Clock,
        entropy: Entropy,
        suites: frozenset[CipherSuite],
        low: Callable[[int], None],
        last_resort: Callable[[int], None],
    ) -> None:
        self._committer = committer
        self._low = low
        self._last_resort = last_resort
        self._quota = quota
        self._clock = clock
        self._entropy = entropy
        self._suites = suites

    async def put(self, tenant: int, mailbox: int, packages: Sequence[tuple[bytes, bool]]) -> PackagesKept:
        """Adds packages (MLSMessage, whether it is a last resort) to a device's pool.

        Raises:
            RelayError: BAD_KEY_PACKAGE, SUITE_NOT_ALLOWED, LEAF_NOT_LISTED, TOO_MANY_KEY_PACKAGES.
        """
        command = PutKeyPackages(tenant, mailbox, tuple(self._checked(*package) for package in packages))
        size = sum(len(package.package) for package in command.packages)
        return await settle(self._committer, command, PackagesKept, tenant=tenant, size=size)

    def _checked(self, data: bytes, last_resort: bool) -> NewPackage:
        try:
            info = parse_key_package(data, limit=MAX_KEY_PACKAGE)
            if info.suite not in self._suites:
                raise RelayError(RelayReason.SUITE_NOT_ALLOWED, suite=int(info.suite))
            check_key_package(info)
        except FramingError as error:
            if error.reason is FramingReason.UNSUPPORTED_SUITE:
                raise RelayError(RelayReason.SUITE_NOT_ALLOWED, **error.facts) from None
            raise RelayError(RelayReason.BAD_KEY_PACKAGE) from None
        except SignatureError:
            raise RelayError(RelayReason.BAD_KEY_PACKAGE) from None
        ends = min(info.not_after * 1_000, _NEVER_MS)
        # A package that says "last resort" inside must be declared so, or it would be given out as an ordinary one.
        misdeclared = info.last_resort and not last_resort
        if ends <= self._clock.now_ms() or misdeclared:
            raise RelayError(RelayReason.BAD_KEY_PACKAGE)
        return NewPackage(sha256(data).digest(), data, info.signature_key, last_resort, ends)

    async def clear(self, tenant: int, mailbox: int) -> None:
        """Empties a device's pool."""
        await settle(self._committer, ClearKeyPackages(tenant, mailbox), type(None), tenant=tenant)

    async def claim(
        self, tenant: int, claimer: int, claimer_account: bytes, account: AccountId, devices: Sequence[DeviceId] | None
    ) -> Claimed:
        """One package for each device of an account, or of these devices; never the claimer's own.

        Raises:
            RelayError: CLAIM_QUOTA with ``retry_after_s`` and ``limit``; NOT_FOUND.
        """
        verdict = self._quota.take(tenant, claimer_account, account.value)
        if verdict.limit is not None:
            if verdict.note:
                finding = NoteFinding(
                    FindingCode.QUOTA_DRAINING, Severity.NOTICE, claimer_account, self._entropy(SALT_BYTES)
                )
                await settle(self._committer, finding, type(None), tenant=tenant)
            raise RelayError(RelayReason.CLAIM_QUOTA, retry_after_s=verdict.wait_s, limit=verdict.limit)
        wanted = None if devices is None else tuple(device.value for device in devices)
        command = ClaimKeyPackages(tenant, account.value, wanted, claimer)
        return await settle(self._committer, command, Claimed, self._served, tenant=tenant)

    def _served(self, found: Claimed) -> None:
        for mailbox in found.low:
            self._low(mailbox)
        served = sum(package.last_resort for package in found.packages)
        if served:
            self._last_resort(served)
            _log.warning("last_resort_served", packages=served)
