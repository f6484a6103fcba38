"""The comparison of transports, as data: the command line, the documents and the console print the same words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from letterlock.model.capability import CapabilityRow, Reader

COLUMNS: Final = (
    "transport",
    "protection at best",
    "evidence at best",
    "who can read",
    "features",
    "storage",
    "metadata",
    "largest body (bytes)",
    "good for",
    "source",
)


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """Column titles, and for each transport one row of as many cells."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def comparison_table(capabilities: Iterable[CapabilityRow]) -> ComparisonTable:
    """The table for people, made from the rows that routing uses, in their order."""
    return ComparisonTable(COLUMNS, tuple(_cells(row) for row in capabilities))


def _cells(row: CapabilityRow) -> tuple[str, ...]:
    return (
        row.title,
        row.ceiling.value,
        row.evidence.value,
        "; ".join(_reader(reader) for reader in row.readers) or "nobody on the path",
        ", ".join(sorted(feature.value for feature in row.features)),
        row.storage,
        row.metadata.value,
        f"{row.max_body:,}",
        row.use,
        row.source,
    )


def _reader(reader: Reader) -> str:
    kinds = "/".join(sorted(marker.value for marker in reader.markers))
    return f"{reader.name} ({kinds}, {'signs its markers' if reader.signs else 'never signs'})"
