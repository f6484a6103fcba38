"""One entry of every type, and strategies that draw any of them."""

from dataclasses import fields
from enum import Enum
from types import NoneType
from typing import Any, cast, get_args, get_type_hints

from hypothesis import strategies as st

from letterlock.wire.tlog.commitments import Commitment, Digest, RuleTag
from letterlock.wire.tlog.entries import ENTRY_TYPES, MAX_INT, Batch, Fallback, Interval, LedgerEntry
from letterlock.wire.tlog.errors import EntryError

_BYTES = {Digest: 32, Commitment: 32, RuleTag: 8}


def values_of(annotation: object) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    parts = [part for part in get_args(annotation) if part is not NoneType] or [annotation]
    kind = cast("type", parts[0])
    made: st.SearchStrategy[Any]
    if kind is int:
        made = st.integers(0, MAX_INT)
    elif issubclass(kind, Enum):
        made = st.sampled_from(list(kind))
    else:
        made = st.binary(min_size=_BYTES[kind], max_size=_BYTES[kind]).map(kind)
    return st.none() | made if NoneType in get_args(annotation) else made


@st.composite
def entries(draw: st.DrawFn, kind: type[LedgerEntry] | None = None) -> LedgerEntry:
    """Any entry of the schema."""
    kind = kind or draw(st.sampled_from(list(ENTRY_TYPES.values())))
    hints = get_type_hints(kind)
    values = {item.name: draw(values_of(hints[item.name])) for item in fields(kind)}
    if kind is Batch:
        counts = draw(st.tuples(*[st.integers(0, 2**40)] * 5).filter(any))
        names = ("accepted", "delivered", "acked", "failed", "attested")
        values |= dict(zip(names, (*counts[:4], counts[4] or None), strict=True), n=sum(counts))
    if kind is Interval:
        values["n"] = 1 << draw(st.integers(0, 16))
    if kind is Fallback:
        by_policy = values["kind"].value == "POLICY"
        values["consent"] = None if by_policy else values["consent"] or Commitment(bytes(32))
    return kind(**values)


__all__ = ["EntryError", "entries", "values_of"]
