"""Why bytes were not taken for MLS. Content never gets into an error: reasons, offsets and numbers only."""

from enum import unique
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


@unique
class FramingReason(Reason):
    """Why bytes are not an acceptable MLS structure."""

    TOO_LARGE = "too_large"
    """More bytes than the caller's limit, or than the field may have."""
    TRUNCATED = "truncated"
    """The bytes end inside a field."""
    TRAILING_BYTES = "trailing_bytes"
    """Bytes are left after the last field."""
    LENGTH_NOT_MINIMAL = "length_not_minimal"
    """A variable-size header that is not the shortest one, or has the invalid prefix 11."""
    LENGTH_OUT_OF_RANGE = "length_out_of_range"
    """A field is shorter or longer than RFC 9420 (or a named bound of ours) allows."""
    UNKNOWN_VERSION = "unknown_version"
    """A protocol version other than mls10."""
    UNKNOWN_WIRE_FORMAT = "unknown_wire_format"
    """Not one of the five wire formats of RFC 9420, section 6."""
    UNKNOWN_CONTENT_TYPE = "unknown_content_type"
    PUBLIC_APPLICATION = "public_application"
    """Application data in a PublicMessage would be plaintext (RFC 9420, section 6.2 forbids it)."""
    UNKNOWN_SENDER = "unknown_sender"
    SENDER_NOT_ALLOWED = "sender_not_allowed"
    """This kind of sender may not send this kind of content."""
    UNKNOWN_PROPOSAL = "unknown_proposal"
    """A proposal type whose length nobody can know without its definition."""
    UNKNOWN_CREDENTIAL = "unknown_credential"
    UNKNOWN_VALUE = "unknown_value"
    """An enumeration or an optional's presence byte has no such value."""
    DUPLICATE_EXTENSION = "duplicate_extension"
    WRONG_LEAF_SOURCE = "wrong_leaf_source"
    """A leaf node of another origin than its place demands (RFC 9420, section 7.3)."""
    WRONG_KIND = "wrong_kind"
    """A well-formed MLS message, but not the kind that was asked for."""
    UNSUPPORTED_SUITE = "unsupported_suite"
    """A cipher suite outside RFC 9420, table 7: its hash and key sizes are unknown here."""
    KEY_REUSED = "key_reused"
    """The init key equals the leaf's encryption key (RFC 9420, section 10.1)."""
    NOT_THIS_PROFILE = "not_this_profile"
    """Authenticated data of another layout than the profile's."""


class FramingError(OperationError[FramingReason]):
    """Bytes are not what a strict MLS parser takes."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class SignatureReason(Reason):
    """Why a signature was not accepted."""

    UNSUPPORTED_SUITE = "unsupported_suite"
    BAD_KEY = "bad_key"
    INVALID_SIGNATURE = "invalid_signature"


class SignatureError(OperationError[SignatureReason]):
    """A signature in a KeyPackage does not hold."""

    fault: ClassVar[Fault] = Fault.PEER
