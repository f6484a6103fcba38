"""Operations about the gateway itself: health, metrics, the description of the API, transports, the ledger."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from letterlock import __version__
from letterlock.faces.http.openapi import document
from letterlock.faces.http.problems import Problem
from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.ledger.errors import LedgerError
from letterlock.ledger.heads import HeadSigner
from letterlock.ledger.ports import LedgerReads
from letterlock.ledger.serve import Prover
from letterlock.model.capability import CapabilityRow
from letterlock.watch.metrics import Metrics


class Health(msgspec.Struct, frozen=True):
    """How the gateway is.

    Attributes:
        status: ``ok``, or ``degraded`` where something waits that should not: nothing accepted is lost then.
        components: part to its state.
        ledger: size and signed size of the log, and whether a witness saw its head.
    """

    status: str
    version: str
    components: dict[str, str]
    ledger: dict[str, str | int]


class TransportRow(msgspec.Struct, frozen=True):
    """One row of the comparison of transports."""

    channel: str
    title: str
    protection_at_best: str
    evidence_at_best: str
    readers: list[str]
    storage: str
    metadata: str
    use: str
    features: list[str]
    max_body: int
    source: str
    version: int


class Transports(msgspec.Struct, frozen=True):
    """The comparison of transports: the same rows that routing uses."""

    transports: list[TransportRow]


class SystemRoutes:
    """Serves what is about the gateway itself."""

    def __init__(
        self,
        heads: HeadSigner,
        ledger: LedgerReads,
        metrics: Metrics,
        capabilities: tuple[CapabilityRow, ...],
        components: Callable[[], dict[str, str]],
    ) -> None:
        self._heads = heads
        self._ledger = ledger
        self._metrics = metrics
        self._capabilities = capabilities
        self._components = components
        self._description = b""

    def routes(self) -> tuple[Route, ...]:
        """The entries of the route table."""
        proof = {404: ("not_found",), 409: ("entry_not_signed_yet",)}
        return (
            Route("GET", "/v1/health", "getHealth", "How the gateway is.", Access.PUBLIC, self.health, None,
                  {200: Health}),
            Route("GET", "/metrics", "getMetrics", "Counters and durations for Prometheus.", Access.TENANT_READ,
                  self.metrics, None, {200: None}, media_type="text/plain"),
            Route("GET", "/openapi.json", "getOpenapi", "This description.", Access.PUBLIC, self.openapi, None,
                  {200: None}, media_type="application/json"),
            Route("GET", "/v1/transports", "listTransports", "Every transport, and who reads on it.", Access.PUBLIC,
                  self.transports, None, {200: Transports}),
            Route("GET", "/v1/ledger/checkpoint", "getCheckpoint", "The last signed head of the ledger.",
                  Access.PUBLIC, self.checkpoint, None, {200: None}, {404: ("not_found",)}, media_type="text/plain"),
            Route("GET", "/v1/ledger/proofs/{index}", "getLedgerProof",
                  "An entry's inclusion under the last signed head (C2SP tlog-proof).", Access.TENANT_READ,
                  self.proof, None, {200: None}, proof, media_type="text/plain"),
        )  # fmt: skip

    def describe(self, routes: tuple[Route, ...]) -> None:
        """Takes the whole route table, for the description."""
        self._description = msgspec.json.encode(document(routes))

    async def health(self, call: Call) -> Answer:  # noqa: ARG002
        """GET /v1/health."""
        status = await _on_thread(self._heads.status)
        components = self._components()
        return Answer(
            200,
            Health(
                "ok" if all(state == "ok" for state in components.values()) else "degraded",
                __version__,
                components,
                {
                    "origin": status.origin,
                    "size": status.size,
                    "signed_size": status.signed_size,
                    "witnessing": status.witnessing.value,
                },
            ),
        )

    async def metrics(self, call: Call) -> Answer:  # noqa: ARG002
        """GET /metrics."""
        return Answer(200, self._metrics.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, call: Call) -> Answer:  # noqa: ARG002
        """GET /openapi.json."""
        return Answer(200, self._description)

    async def transports(self, call: Call) -> Answer:  # noqa: ARG002
        """GET /v1/transports."""
        return Answer(200, Transports([_row(row) for row in self._capabilities]))

    async def checkpoint(self, call: Call) -> Answer:  # noqa: ARG002
        """GET /v1/ledger/checkpoint."""
        last = self._heads.last
        if last is None:
            raise Problem("not_found", 404, "Nothing was signed yet; a head is signed every second.")
        return Answer(200, last.note, "text/plain; charset=utf-8")

    async def proof(self, call: Call) -> Answer:
        """GET /v1/ledger/proofs/{index}."""
        text = call.path["index"]
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise Problem("not_found", 404)
        last = self._heads.last
        if last is None:
            raise Problem("entry_not_signed_yet", 409, "Try again after the next signed head.")
        try:
            proof = await _on_thread(lambda: Prover(self._ledger, last).proof_file(int(text)))
        except LedgerError:
            raise Problem("entry_not_signed_yet", 409, "No such entry under the last signed head.") from None
        return Answer(200, proof.encode(), "text/plain; charset=utf-8")


def _row(row: CapabilityRow) -> TransportRow:
    return TransportRow(
        row.channel.value,
        row.title,
        row.ceiling.value,
        row.evidence.value,
        [reader.name for reader in row.readers],
        row.storage,
        row.metadata.value,
        row.use,
        sorted(feature.value for feature in row.features),
        row.max_body,
        row.source,
        row.version,
    )


async def _on_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work)
