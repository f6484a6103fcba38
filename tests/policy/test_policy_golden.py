"""S6: one word in the file changes a state's rule, and with it all its behaviours together, and nothing else."""

from dataclasses import fields

from tests.policy.cases import ROWS, file_with, readable, sealed

from letterlock.policy.decision import Analytics, Archive, Decision, Indicator, Keep, Keys, LogField, State
from letterlock.policy.facts import Ways
from letterlock.policy.file import profile_source
from letterlock.policy.proof import ProvenPolicy, prove

OTHER_RULES = """
[rules.strict]
show_from = "ATTESTED"
keep = "nothing"
keys = "none"
retention_minutes = 0
log = ["state"]
metadata_minutes = 1
analytics = "none"
archive = "device_consent"

[rules.long]
show_from = "FRAMED"
keep = "shreddable_while_held"
keys = "month"
retention_minutes = 20000
log = ["state", "exact_size"]
metadata_minutes = 2000
analytics = "labels"
archive = "permitted"
"""
# Detection, keeping, keys, retention, logging, metadata, analytics, compliance: what a rule governs.
BEHAVIOURS = ("keep", "keys", "retention_ms", "metadata_ms", "log", "analytics", "archive")
GOLDEN = {
    "state": State.E2EE,
    "keep": Keep.SEALED_UNTIL_DELIVERED,
    "keys": Keys.NONE,
    "retention_ms": 30 * 24 * 60 * 60_000,
    "metadata_ms": 60 * 60_000,
    "log": frozenset(LogField) - {LogField.EXACT_SIZE},
    "analytics": Analytics.COUNTS,
    "archive": Archive.NEVER,
    "indicator": Indicator.E2EE_FRAMED,
}
GOLDEN_STRICT = {
    "state": State.E2EE,
    "keep": Keep.NOTHING,
    "keys": Keys.NONE,
    "retention_ms": 0,
    "metadata_ms": 60_000,
    "log": frozenset({LogField.STATE}),
    "analytics": Analytics.NONE,
    "archive": Archive.DEVICE_CONSENT,
    "indicator": Indicator.E2EE_CLAIMED,
}
GOLDEN_HELD = {
    "state": State.HELD,
    "keep": Keep.SHREDDABLE_WHILE_HELD,
    "keys": Keys.DAY,
    "retention_ms": 1440 * 60_000,
    "metadata_ms": 60 * 60_000,
    "log": frozenset({LogField.STATE, LogField.OUTCOME, LogField.REASON, LogField.RULE, LogField.PEER_TOKEN}),
    "analytics": Analytics.COUNTS,
    "archive": Archive.NEVER,
    "indicator": Indicator.HELD,
}
GOLDEN_HELD_LONG = {
    "state": State.HELD,
    "keep": Keep.SHREDDABLE_WHILE_HELD,
    "keys": Keys.MONTH,
    "retention_ms": 2880 * 60_000,
    "metadata_ms": 2000 * 60_000,
    "log": frozenset({LogField.STATE, LogField.EXACT_SIZE}),
    "analytics": Analytics.LABELS,
    "archive": Archive.PERMITTED,
    "indicator": Indicator.HELD,
}


def seen(decision: Decision) -> dict[str, object]:
    return {name: getattr(decision, name) for name in GOLDEN}


def same_but(before: ProvenPolicy, after: ProvenPolicy, state: State) -> int:
    """Cells of other states are untouched; returns how many cells of this one changed."""
    changed = 0
    for (cell, old), (_, new) in zip(before.table(), after.table(), strict=True):
        if old.state is state:
            changed += old != new
            for name in (field.name for field in fields(Decision)):
                if name not in {*BEHAVIOURS, "indicator"}:
                    assert getattr(old, name) == getattr(new, name), cell.words
        else:
            assert old == new, cell.words
    return changed


def test_one_word_changes_every_behaviour_of_a_state() -> None:
    # Holding keeps what waits, so the strict rule for sealed messages goes with refusing instead of holding.
    text = (
        '[fallback]\nno_route = "refuse"\nunexplained = "refuse"\nunauthenticated_failure = "refuse"\n'
        'not_reachable_attested = "refuse"\nsecure_failed = "refuse"\nsender_choice = "refuse"\nsideways = "refuse"\n'
        "[states]\n{state}" + OTHER_RULES
    )
    before = prove(file_with(text.replace("{state}", "")), ROWS)
    after = prove(file_with(text.replace("{state}", 'e2ee = "strict"')), ROWS)
    assert seen(before.decide(sealed())) == GOLDEN
    assert seen(after.decide(sealed())) == GOLDEN_STRICT
    assert same_but(before, after, State.E2EE) > 0


def test_one_word_changes_every_behaviour_of_held_messages() -> None:
    text = "[fallback]\nhold_minutes = 2880\n[states]\n{state}" + OTHER_RULES
    before = prove(file_with(text.replace("{state}", "")), ROWS)
    after = prove(file_with(text.replace("{state}", 'held = "long"')), ROWS)
    asks = readable(ways=Ways.of())
    assert seen(before.decide(asks)) == GOLDEN_HELD
    assert seen(after.decide(asks)) == GOLDEN_HELD_LONG
    assert same_but(before, after, State.HELD) > 0


def test_minutes_after_delivery_are_the_files() -> None:
    """S88: N is what the file says, per state."""
    for minutes in (0, 1, 60, 1440):
        proven = prove(file_with(f"[rules.sealed]\nmetadata_minutes = {minutes}"), ROWS)
        assert proven.decide(sealed()).metadata_ms == minutes * 60_000
    assert prove(profile_source("consumer"), ROWS).decide(sealed()).metadata_ms == 10 * 60_000
