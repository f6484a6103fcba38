"""What is counted: states, causes and durations; never who, never what. Exposed for Prometheus."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from letterlock.assurance.receipts import ReceiptReason
from letterlock.relay.receipts import CHECKED
from letterlock.transports.push.port import PushResult
from letterlock.wire.stream import ResultStatus


class Tally(Collector):
    """A counter that one thread counts with: a dictionary, read when Prometheus asks.

    The library's own counter takes a lock for each step, which costs a sealed message as much as its parser does.
    """

    def __init__(self, name: str, summary: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name = name
        self._summary = summary
        self._labels = labels
        self.counts: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def add(self, values: tuple[str, ...], count: int = 1) -> None:
        """Counts; ``values`` are the labels' values in their order."""
        self.counts[values] = self.counts.get(values, 0) + count

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        family = CounterMetricFamily(self._name, self._summary, labels=self._labels)
        for values, count in self.counts.items():
            family.add_metric(values, count)
        yield family


RECEIPT_OUTCOMES: Final = (CHECKED, *(reason.value for reason in ReceiptReason))
PUSH_OUTCOMES: Final = tuple(result.value for result in PushResult)


class Metrics:
    """The gateway's metrics, in a registry of their own. Counted on the event loop alone."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._submissions = Tally(
            "letterlock_submissions", "Submissions of devices, by outcome.", ("outcome",), self.registry
        )
        self._by_status = [(status.name.lower(),) for status in ResultStatus]
        for outcome in self._by_status:
            self._submissions.add(outcome, 0)
        self._delivered = Tally("letterlock_delivered_items", "Items sent to devices.", (), self.registry)
        self._acknowledged = Tally(
            "letterlock_acknowledged_items", "Items acknowledged by devices and deleted.", (), self.registry
        )
        self._connected = Gauge("letterlock_connected_devices", "Open device streams.", registry=self.registry)
        self._requests = Tally(
            "letterlock_http_answers", "Answers of the HTTP API.", ("operation", "status"), self.registry
        )
        self._answers: dict[tuple[str, int], tuple[str, str]] = {}
        self.queue_depth = Gauge(
            "letterlock_writer_queue", "Commands that wait for the writer.", registry=self.registry
        )
        self.ledger_size = Gauge("letterlock_ledger_entries", "Entries of the ledger.", registry=self.registry)
        self._reports = Tally(
            "letterlock_commit_reports", "Commits that devices reported, by outcome.", ("outcome",), self.registry
        )
        self._reports.add(("kept",), 0)
        self._reports.add(("quarantined",), 0)
        self._receipts = Tally(
            "letterlock_checked_receipts", "Receipts of devices that were handed in and checked, by outcome.",
            ("outcome",), self.registry,
        )  # fmt: skip
        for word in RECEIPT_OUTCOMES:
            self._receipts.add((word,), 0)
        self._pushes = Tally("letterlock_pushes", "Wake-ups of devices, by outcome.", ("outcome",), self.registry)
        for result in PUSH_OUTCOMES:
            self._pushes.add((result,), 0)
        self._last_resorts = Tally(
            "letterlock_last_resort_packages", "Last-resort key packages that were handed out.", (), self.registry
        )
        self._last_resorts.add((), 0)
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

    def reported(self, quarantined: bool) -> None:
        """A member's device reported a commit; ``quarantined`` when that ended its group."""
        self._reports.add(("quarantined" if quarantined else "kept",))

    def receipts(self, outcome: str, count: int) -> None:
        """Receipts were checked: what came of them, one of :data:`RECEIPT_OUTCOMES`, and how many."""
        self._receipts.add((outcome,), count)

    def pushed(self, result: str) -> None:
        """A wake-up was sent, or not."""
        self._pushes.add((result,))

    def last_resort(self, packages: int) -> None:
        """Claims were served with last-resort packages: somebody should make more, or is being drained."""
        self._last_resorts.add((), packages)

    def connected(self, change: int) -> None:
        """A stream began or ended."""
        self._connected.inc(change)

    def submitted(self, statuses: Sequence[int]) -> None:
        """Submissions were answered: the status of each."""
        first = statuses[0]
        if statuses.count(first) == len(statuses):
            self._submissions.add(self._by_status[first], len(statuses))
            return
        for status in statuses:
            self._submissions.add(self._by_status[status])

    def delivered(self, count: int) -> None:
        """Items went out."""
        self._delivered.add((), count)

    def acknowledged(self, count: int) -> None:
        """Items were acknowledged."""
        self._acknowledged.add((), count)

    def answered(self, operation: str, status: int) -> None:
        """The HTTP API answered."""
        values = self._answers.get((operation, status))
        if values is None:
            values = self._answers[operation, status] = (operation, str(status))
        self._requests.add(values)

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
