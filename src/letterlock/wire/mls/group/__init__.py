"""A group's public state, followed without any key; see :mod:`letterlock.wire.mls.group.follower`."""

from letterlock.wire.mls.group.certificates import Root
from letterlock.wire.mls.group.credentials import Listed, ListedKeys, Rcc16Certificates
from letterlock.wire.mls.group.errors import CredentialError, CredentialReason, FollowError, FollowReason
from letterlock.wire.mls.group.follower import FOLLOWED, Gap, PublicGroup, RosterEntry, anchor, own_state, reanchor
from letterlock.wire.mls.group.reading import ended_of, era_of, signer_of
from letterlock.wire.mls.group.rules import CredentialRule
from letterlock.wire.mls.group.state import pack, unpack

__all__ = [
    "FOLLOWED",
    "CredentialError",
    "CredentialReason",
    "CredentialRule",
    "FollowError",
    "FollowReason",
    "Gap",
    "Listed",
    "ListedKeys",
    "PublicGroup",
    "Rcc16Certificates",
    "Root",
    "RosterEntry",
    "anchor",
    "ended_of",
    "era_of",
    "own_state",
    "pack",
    "reanchor",
    "signer_of",
    "unpack",
]
