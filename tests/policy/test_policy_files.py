"""Bad files: refused with the place and the right words, and with nothing of what the file held."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.cases import RELAY, ROWS, allow, file_with, row

from letterlock.policy.errors import Place, PolicyError, PolicyReason
from letterlock.policy.file import MAX_POLICY_BYTES, PROFILES, digest, profile_source, read_policy
from letterlock.policy.proof import prove
from letterlock.policy.schema import MAX_ALLOWED_FALLS, MAX_RULES

R = PolicyReason
SECRET = "hunter2secret"


def refused(source: str | bytes) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        read_policy(source)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("text", "reason", "key", "line"),
    [
        ("e2e_first = true", R.UNKNOWN_KEY, "e2e_first", 4),
        ("[floor]\nconversation = 'E2EE'", R.UNKNOWN_KEY, "floor", 4),
        ("\n[rules.sealed]\nretention = 1", R.UNKNOWN_KEY, "rules.sealed.retention", 6),
        ("[fallback]\nhold_minutes = 5\nasks = 'no'", R.UNKNOWN_KEY, "fallback.asks", 6),
        ("e2ee_first = 1", R.WRONG_TYPE, "e2ee_first", 4),
        ("e2ee_first = 'hunter2secret'", R.WRONG_TYPE, "e2ee_first", 4),
        ("floors = 'hunter2secret'", R.WRONG_TYPE, "floors", 4),
        ("rules = []", R.WRONG_TYPE, "rules", 4),
        ("[fallback]\nhold_minutes = true", R.WRONG_TYPE, "fallback.hold_minutes", 5),
        ("[fallback]\nhold_minutes = 1.5", R.WRONG_TYPE, "fallback.hold_minutes", 5),
        ("[fallback]\nhold_minutes = 1979-05-27", R.WRONG_TYPE, "fallback.hold_minutes", 5),
        ("[fallback]\nhold_minutes = 0", R.OUT_OF_BOUNDS, "fallback.hold_minutes", 5),
        ("[fallback]\nhold_minutes = 527041", R.OUT_OF_BOUNDS, "fallback.hold_minutes", 5),
        ("[rules.sealed]\nmetadata_minutes = -1", R.OUT_OF_BOUNDS, "rules.sealed.metadata_minutes", 5),
        ("[rules.sealed]\nkeep = 'hunter2secret'", R.WRONG_WORD, "rules.sealed.keep", 5),
        ("[rules.sealed]\nkeep = 3", R.WRONG_WORD, "rules.sealed.keep", 5),
        ("[rules.sealed]\nlog = ['state', 'body']", R.WRONG_WORD, "rules.sealed.log[1]", 5),
        ("[rules.sealed]\nlog = ['state', 'state']", R.REPEATED, "rules.sealed.log", 5),
        ("[rules.new]\nkeep = 'nothing'", R.MISSING_KEY, "rules.new.show_from", 4),
        ("[states]\ne2ee = 'nowhere'", R.UNKNOWN_RULE, "states.e2ee", 5),
        ("[states]\ne2ee = 'Hunter2 hunter2secret'", R.WRONG_WORD, "states.e2ee", 5),
        ("[floors]\nconversation = 'UNKNOWN'", R.WRONG_WORD, "floors.conversation", 5),
        ("[routing]\nsealed = 'relay'", R.WRONG_TYPE, "routing.sealed", 5),
        ("[routing]\nsealed = ['relay', 'relay']", R.REPEATED, "routing.sealed", 5),
        (allow(causes="[]"), R.OUT_OF_BOUNDS, "allow[0].causes", 9),
        (allow() + allow(), R.REPEATED, "allow", 5),
        (allow() + allow(traffic="conversation"), R.REPEATED, "allow[1].id", 14),
        (allow().replace("A notice that finds no device may go by SMS.", "so"), R.OUT_OF_BOUNDS, "allow[0].reason", 7),
        (allow().replace('channel = "sms"', ""), R.MISSING_KEY, "allow[0].channel", 5),
        ('"hunter2secret with words" = 1', R.UNKNOWN_KEY, "(a key with other characters)", 0),
    ],
)
def test_bad_files(text: str, reason: PolicyReason, key: str, line: int) -> None:
    error = refused(file_with(text))
    assert (error.reason, error.place) == (reason, Place(key, line))
    assert key in str(error)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", R.MISSING_KEY),
        ("schema_version = 1", R.MISSING_KEY),
        ("schema_version = 2", R.NEWER_SCHEMA),
        ("schema_version = 2\nsomething_new = 1", R.NEWER_SCHEMA),
        ("schema_version = 0", R.WRONG_TYPE),
        ("schema_version = '1'", R.WRONG_TYPE),
        ("schema_version = true", R.WRONG_TYPE),
        ("schema_version = 1\nextends = 'hunter2secret'", R.UNKNOWN_PROFILE),
        ("schema_version = 1\nextends = ['standard']", R.UNKNOWN_PROFILE),
        ("schema_version = 1\nextends = 'standard'\nname = 'Has Spaces'", R.WRONG_WORD),
        ("schema_version = 1\nname = hunter2secret", R.NOT_TOML),
        ("a = " + "[" * 20_000, R.NOT_TOML),
        (b"\xff\xfe", R.NOT_UTF8),
        ("#" * (MAX_POLICY_BYTES + 1), R.TOO_LARGE),
        ("\ud800", R.NOT_UTF8),
    ],
)
def test_files_that_are_no_policies(source: str | bytes, reason: PolicyReason) -> None:
    assert refused(source).reason is reason


def test_toml_errors_say_the_line() -> None:
    assert refused("schema_version = 1\nname = = 2\n").place == Place("the file", 2)


def test_a_wrong_word_is_answered_with_the_right_ones() -> None:
    error = refused(file_with("[fallback]\nsecure_failed = 'hunter2secret'"))
    assert error.allowed == ("ask", "hold", "refuse", "deliver")
    assert str(error) == "wrong word; at fallback.secure_failed, line 5; one of: ask, hold, refuse, deliver"
    assert "conversation" in refused(file_with("[floors]\nconversations = 'E2EE'")).allowed


def test_bounds_are_the_last_accepted_value() -> None:
    rule = 'show_from = "FRAMED"\nkeep = "nothing"\nkeys = "none"\nretention_minutes = 0\nlog = []\n'
    rule += 'metadata_minutes = 1\nanalytics = "none"\narchive = "never"\n'
    most = "".join(f"[rules.r{index}]\n{rule}" for index in range(MAX_RULES - 4))
    assert len(read_policy(file_with(most)).rules) == MAX_RULES
    assert refused(file_with(most + f"[rules.more]\n{rule}")).reason is R.OUT_OF_BOUNDS
    many = "".join(allow(f"a{index}") for index in range(MAX_ALLOWED_FALLS))
    assert len(read_policy(file_with(many)).allow) == MAX_ALLOWED_FALLS
    assert refused(file_with(many + allow("more"))).reason is R.OUT_OF_BOUNDS
    assert read_policy(file_with("[fallback]\nhold_minutes = 527040")).fallback.hold_minutes == 527_040
    padded = profile_source("standard")
    padded += "#" * (MAX_POLICY_BYTES - len(padded.encode()))
    assert read_policy(padded) == read_policy(profile_source("standard"))


def test_profiles_are_whole_and_named_after_themselves() -> None:
    for name in PROFILES:
        assert read_policy(profile_source(name)).name == name
        assert prove(profile_source(name), ROWS).unused == ()
    with pytest.raises(PolicyError) as caught:
        profile_source("../../etc/passwd")
    assert caught.value.allowed == PROFILES


def test_overlay_changes_what_it_names_and_nothing_else() -> None:
    base = read_policy(profile_source("standard"))
    changed = read_policy(file_with("[rules.sealed]\nmetadata_minutes = 5"))
    assert changed.rules["sealed"].metadata_minutes == 5
    assert changed.rules["sealed"].retention_minutes == base.rules["sealed"].retention_minutes
    assert {name: rule for name, rule in changed.rules.items() if name != "sealed"} == {
        name: rule for name, rule in base.rules.items() if name != "sealed"
    }
    assert (changed.fallback, changed.routing, changed.consent) == (base.fallback, base.routing, base.consent)


def test_rows_must_fit() -> None:
    source = profile_source("standard")
    with pytest.raises(PolicyError) as caught:
        prove(source, ROWS[:1])
    assert (caught.value.reason, caught.value.place) == (R.NO_ROW, Place("routing.conversation"))
    with pytest.raises(PolicyError) as caught:
        prove(source, (*ROWS, row(RELAY, ROWS[0].ceiling, 2)))
    assert (caught.value.reason, caught.value.sentence) == (R.REPEATED, "two capability rows for relay")
    alone = file_with('[routing]\nconversation = ["relay"]\nnotification = ["relay"]')
    assert prove(alone, ROWS[:1]).rows == ROWS[:1]


def test_the_digest_is_of_what_the_policy_says() -> None:
    source = profile_source("standard")
    same = "# another comment\n" + "\n".join(line for line in source.splitlines() if not line.startswith("#"))
    assert digest(read_policy(same)) == digest(read_policy(source)) == prove(source, ROWS).hash
    assert len(digest(read_policy(source))) == 32
    digests = {digest(read_policy(profile_source(name))) for name in PROFILES}
    digests.add(digest(read_policy(source.replace("hold_minutes = 1440", "hold_minutes = 1439"))))
    digests.add(digest(read_policy(source.replace('name = "standard"', 'name = "standards"'))))
    assert len(digests) == 5


@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_a_policy_error(raw: bytes) -> None:
    with pytest.raises(PolicyError):
        read_policy(raw)


@given(
    st.sampled_from([line for line in profile_source("standard").splitlines() if line and line[0] != "#"]),
    st.text(max_size=20),
)
def test_any_spoilt_line_is_a_policy_or_a_policy_error(line: str, text: str) -> None:
    key = line.partition("=")[0]
    for spoilt in (f"{key}= {text}", f"{key}{text} = 1", text):
        source = profile_source("standard").replace(line, spoilt, 1)
        try:
            policy = read_policy(source)
        except PolicyError:
            continue
        assert tomllib.loads(source)["schema_version"] == policy.schema_version == 1
