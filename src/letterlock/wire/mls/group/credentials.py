"""Two rules for who may be in a group: keys on signed device lists, and certificates of the RCC.16 profile."""

from collections.abc import Callable
from typing import Final, final

from letterlock.wire.mls.group.certificates import DAY_S, Root, check_chain
from letterlock.wire.mls.group.errors import CredentialError, CredentialReason
from letterlock.wire.mls.group.rules import FOREVER_S
from letterlock.wire.mls.structures import CredentialType, LeafNode

Listed = Callable[[bytes], bool]
"""Whether an account-signed device list names this leaf key. The caller has verified the list."""

MIN_LEFT_S: Final = 30 * DAY_S
"""What must be left of every member's certificate when it is used (GSMA RCC.16, annex A.4)."""


@final
class ListedKeys:
    """Letterlock's own groups: a basic credential that is the leaf's signature key, and that key on a device list.

    Args:
        listed: see :data:`Listed`.
    """

    __slots__ = ("_listed",)

    def __init__(self, listed: Listed) -> None:
        self._listed = listed

    def check(self, leaf: LeafNode, now_s: int) -> int:  # noqa: ARG002 - lists have no end of their own
        """Holds until the list changes, which :meth:`PublicGroup.recheck` sees.

        Raises:
            CredentialError: KIND, NOT_THE_KEY, NOT_LISTED.
        """
        if leaf.credential.kind is not CredentialType.BASIC:
            raise CredentialError(CredentialReason.KIND)
        if leaf.credential.identity != leaf.signature_key:
            raise CredentialError(CredentialReason.NOT_THE_KEY)
        if not self._listed(leaf.signature_key):
            raise CredentialError(CredentialReason.NOT_LISTED)
        return FOREVER_S


@final
class Rcc16Certificates:
    """RCS groups: an X.509 credential of the RCC.16 certificate profile, below one of these roots.

    Args:
        roots: the trusted roots.
    """

    __slots__ = ("_roots",)

    def __init__(self, roots: tuple[Root, ...]) -> None:
        self._roots = roots

    def check(self, leaf: LeafNode, now_s: int) -> int:
        """Holds until too little of the certificate is left.

        Raises:
            CredentialError: see :class:`CredentialReason`.
        """
        if leaf.credential.kind is not CredentialType.X509:
            raise CredentialError(CredentialReason.KIND)
        ends = check_chain(leaf.credential.certificates, self._roots, leaf.signature_key, now_s)
        if ends - now_s < MIN_LEFT_S:
            raise CredentialError(CredentialReason.TOO_LITTLE_LEFT)
        return ends - MIN_LEFT_S
