"""The path of a message: markers that servers signed, chained, and who reads beyond the last of them."""

from letterlock.wire.path.document import PathDocument
from letterlock.wire.path.errors import PathError, PathIncompleteError, PathReason
from letterlock.wire.path.marker import (
    Handed,
    MarkerStatement,
    Onward,
    SignedMarker,
    Unsigned,
    first_link,
    mark,
)
from letterlock.wire.path.verify import Hop, ProvenPath, verify_path

__all__ = [
    "Handed",
    "Hop",
    "MarkerStatement",
    "Onward",
    "PathDocument",
    "PathError",
    "PathIncompleteError",
    "PathReason",
    "ProvenPath",
    "SignedMarker",
    "Unsigned",
    "first_link",
    "mark",
    "verify_path",
]
