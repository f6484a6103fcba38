"""MLS (RFC 9420) as a relay reads it: framing, key packages, Welcomes, commits and GroupInfo, without any key."""

from letterlock.wire.mls.aad import (
    LetterlockAad,
    Rcc16Aad,
    build_letterlock_aad,
    build_rcc16_aad,
    parse_letterlock_aad,
    parse_rcc16_aad,
)
from letterlock.wire.mls.errors import FramingError, FramingReason, SignatureError, SignatureReason
from letterlock.wire.mls.framing import MAX_GROUP_MESSAGE, MAX_MESSAGE, parse
from letterlock.wire.mls.inspect import (
    KeyPackageInfo,
    PublicCommitInfo,
    PublishedGroupInfo,
    WelcomeInfo,
    parse_group_info,
    parse_key_package,
    parse_public_commit,
    parse_welcome,
)
from letterlock.wire.mls.public import ContentType, Sender, SenderKind
from letterlock.wire.mls.signatures import check_key_package
from letterlock.wire.mls.structures import CredentialType
from letterlock.wire.mls.suites import CipherSuite

__all__ = [
    "MAX_GROUP_MESSAGE",
    "MAX_MESSAGE",
    "CipherSuite",
    "ContentType",
    "CredentialType",
    "FramingError",
    "FramingReason",
    "KeyPackageInfo",
    "LetterlockAad",
    "PublicCommitInfo",
    "PublishedGroupInfo",
    "Rcc16Aad",
    "Sender",
    "SenderKind",
    "SignatureError",
    "SignatureReason",
    "WelcomeInfo",
    "build_letterlock_aad",
    "build_rcc16_aad",
    "check_key_package",
    "parse",
    "parse_group_info",
    "parse_key_package",
    "parse_letterlock_aad",
    "parse_public_commit",
    "parse_rcc16_aad",
    "parse_welcome",
]
