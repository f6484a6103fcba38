"""What is counted: states, causes and durations; never who, never what. Exposed for Prometheus.

Children of labelled metrics are made once, because finding one costs more than counting with it.
"""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from letterlock.wire.stream import ResultStatus


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._submissions = Counter(
            "letterlock_submissions", "Submissions of devices, by outcome.", ("outcome",), registry=self.registry
        )
        self._by_status = [self._submissions.labels(status.name.lower()) for status in ResultStatus]
        self._delivered = Counter("letterlock_delivered_items", "Items sent to devices.", registry=self.registry)
        self._acknowledged = Counter(
            "letterlock_acknowledged_items", "Items acknowledged by devices and deleted.", registry=self.registry
        )
        self._connected = Gauge("letterlock_connected_devices", "Open device streams.", registry=self.registry)
        self._requests = Counter(
            "letterlock_http_answers", "Answers of the HTTP API.", ("operation", "status"), registry=self.registry
        )
        self._request_children: dict[tuple[str, int], Counter] = {}
        self.queue_depth = Gauge(
            "letterlock_writer_queue", "Commands that wait for the writer.", registry=self.registry
        )
        self.ledger_size = Gauge("letterlock_ledger_entries", "Entries of the ledger.", registry=self.registry)
        self._messages = Counter(
            "letterlock_messages",
            "Messages of tenants, by channel, protection and outcome.",
            ("channel", "protection", "outcome"),
            registry=self.registry,
        )
        self._falls = Counter(
            "letterlock_downgrades",
            "Attempts to send with less protection, by what became of them.",
            ("outcome", "cause"),
            registry=self.registry,
        )

    def connected(self, change: int) -> None:
        """A stream began or ended."""
        self._connected.inc(change)

    def submitted(self, answers: Sequence[tuple[int, bytes, bytes]]) -> None:
        """Submissions were answered: status, message id, record hash."""
        first = answers[0][0]
        if all(answer[0] == first for answer in answers):
            self._by_status[first].inc(len(answers))
            return
        for answer in answers:
            self._by_status[answer[0]].inc()

    def delivered(self, count: int) -> None:
        """Items went out."""
        self._delivered.inc(count)

    def acknowledged(self, count: int) -> None:
        """Items were acknowledged."""
        self._acknowledged.inc(count)

    def answered(self, operation: str, status: int) -> None:
        """The HTTP API answered."""
        key = (operation, status)
        child = self._request_children.get(key)
        if child is None:
            child = self._request_children[key] = self._requests.labels(operation, str(status))
        child.inc()

    def message(self, channel: str, protection: str, outcome: str) -> None:
        """A tenant's message was decided, sent, delivered or given up. All three are words of closed enums."""
        self._messages.labels(channel, protection, outcome).inc()

    def fall(self, outcome: str, cause: str) -> None:
        """A step down was attempted, asked about, allowed, consented to or refused. Both are words of enums."""
        self._falls.labels(outcome, cause).inc()

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Reads the writer's queue whenever it is asked for."""
        self.queue_depth.set_function(lambda: float(depth()))

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
