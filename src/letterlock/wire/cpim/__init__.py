"""message/cpim (RFC 3862) as RCS uses it: headers by namespace URI, inner MIME headers, a body that is never text.

Headers are found by (namespace URI, name), never by prefix; names match in any case, because deployed clients write
both ``mls.Era-ID`` and ``mls.Era-Id``, and a header that decides something may stand there once only, in whatever
spelling. A body of a ``message/mls`` type is a SealedBody or the whole is refused; a receipt is an Imdn; everything
else is an OpenBody.
"""

from letterlock.wire.cpim.errors import CpimError, CpimReason
from letterlock.wire.cpim.headers import CpimHeaders, Notification
from letterlock.wire.cpim.message import (
    IMDN_TYPE,
    MAX_CPIM,
    MLS_CLIENT_TYPE,
    MLS_TYPE,
    CpimMessage,
    build_open,
    build_receipt,
    build_sealed,
    is_mls_type,
    parse,
)

__all__ = [
    "IMDN_TYPE",
    "MAX_CPIM",
    "MLS_CLIENT_TYPE",
    "MLS_TYPE",
    "CpimError",
    "CpimHeaders",
    "CpimMessage",
    "CpimReason",
    "Notification",
    "build_open",
    "build_receipt",
    "build_sealed",
    "is_mls_type",
    "parse",
]
