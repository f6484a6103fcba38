"""IMDN receipts (RFC 5438, section 7) with the failure reasons of GSMA RCC.16, section 7.7.2: strict XML, both ways.

A receipt names a message and a status; it holds no content. Its XML is read without document type, entities,
processing instructions or any encoding but UTF-8, within fixed bounds.
"""

from letterlock.wire.imdn.reader import MAX_IMDN, parse
from letterlock.wire.imdn.receipts import (
    ClientFailure,
    Imdn,
    ImdnError,
    ImdnReason,
    ReceiptKind,
    ReceiptStatus,
    ServerFailure,
    build,
)

__all__ = [
    "MAX_IMDN",
    "ClientFailure",
    "Imdn",
    "ImdnError",
    "ImdnReason",
    "ReceiptKind",
    "ReceiptStatus",
    "ServerFailure",
    "build",
    "parse",
]
