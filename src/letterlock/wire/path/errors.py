"""Why a path is not believed."""

from enum import unique
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


@unique
class PathReason(Reason):
    """Why a path is not believed."""

    MALFORMED = "path_malformed"
    TOO_LARGE = "path_too_large"
    OTHER_MESSAGE = "path_of_another_message"
    """It is sound as far as was looked, and not of the message that was asked about."""
    NO_LOG_KEY = "log_key_of_a_server_missing"
    """A server is named whose log's key was not given: nothing can be said of its markers."""
    RECORD_OF_ANOTHER_MESSAGE = "record_of_another_message"
    """The server's ledger record does not open to this message."""
    KEY_NOT_LOGGED = "marker_key_not_in_the_ledger"
    SERVER_MISSING = "server_of_a_marker_missing"
    """A marker's server shows no key and no record."""
    NO_MARKER = "no_marker"
    OUT_OF_PLACE = "marker_out_of_place"
    """Its position is another: one was removed, added or moved."""
    CHAIN_BROKEN = "marker_chain_broken"
    """It does not follow from the marker before it."""
    NOT_THE_NEXT_HOP = "marker_of_another_hop_than_named"
    """The marker before it named another hop, or none."""
    OTHER_RECORD = "marker_of_another_record"
    BAD_SIGNATURE = "marker_signature_does_not_verify"
    CONTRADICTS_RECORD = "marker_contradicts_the_record"
    """A server says that it reads, and its record that nobody on the path can; or another channel."""
    NEXT_MISSING = "next_marker_missing"
    """The last marker names a hop that signs, and whose marker is not there: removed, or the message is under way."""


class PathError(OperationError[PathReason]):
    """A path is not believed; nothing may be concluded from it."""

    fault: ClassVar[Fault] = Fault.PEER


class PathIncompleteError(PathError):
    """Something is missing without which the path cannot be judged: the log key of a server, or the next marker."""
