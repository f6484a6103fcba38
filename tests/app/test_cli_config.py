"""Settings: what is refused beside what is accepted; the table of defaults; secrets never shown."""

from pathlib import Path
from typing import Any

import pytest
from tests.app.stores import called, ended, parsed

from letterlock.app.commands.config import GUIDE, flat
from letterlock.app.settings import Settings, SettingsError, SettingsReason, from_tree, load, secret

DEFAULTS: dict[str, Any] = {
    "environment": "dev",
    "server.host": "127.0.0.1",
    "server.port": 8480,
    "server.tls_certificate": "",
    "server.tls_key": "",
    "server.tls_minimum": "1.3",
    "store.folder": "letterlock-data",
    "store.purge_every_s": 30,
    "store.metadata_after_delivery_minutes": 10,
    "keystore.driver": "file",
    "keystore.passphrase": "",
    "keystore.root_file": "",
    "policy.profile": "standard",
    "policy.file": "",
    "ledger.origin": "letterlock.local/ledger",
    "ledger.sign_every_ms": 1000,
    "ledger.head_file": "",
    "mls.suites": [1],
    "mls.rcc16_roots": [],
    "mailboxes.sender_messages": 50_000,
    "mailboxes.sender_mib": 128,
    "mailboxes.tenant_messages": 5_000_000,
    "mailboxes.tenant_mib": 16_384,
    "sms.hosts": [],
    "sms.system_id": "",
    "sms.password": "",
    "sms.sender": "",
    "sms.window": 10,
    "sms.tls": True,
    "sms.tls_ca": "",
    "sms.enquire_link_s": 30,
    "push.hosts": [],
    "push.subject": "",
    "apns.topic": "",
    "apns.team_id": "",
    "apns.key_id": "",
    "apns.key": "",
    "apns.host": "api.push.apple.com",
    "apns.ca": "",
    "fcm.service_account": "",
    "fcm.host": "fcm.googleapis.com",
    "twilio.enabled": False,
    "twilio.token_generation": 1,
    "twilio.services": [],
    "log.level": "info",
}


def test_the_defaults_are_this_table_and_config_explain_prints_it() -> None:
    rows: Any = parsed("config", "explain", "--defaults")
    assert {row["key"]: row["default"] for row in rows} == DEFAULTS
    assert all(row["value"] == row["default"] for row in rows)
    assert flat(Settings()) == DEFAULTS
    text = called("config", "explain", "--defaults").output
    assert all(key in text for key in DEFAULTS)


def test_every_key_has_a_meaning_and_a_reason() -> None:
    assert set(GUIDE) == set(DEFAULTS)
    assert all(len(one.meaning) > 3 and len(one.why) > 3 for one in GUIDE.values())


REFUSED_BESIDE_ACCEPTED = [
    ({"server": {"hostt": "x"}}, {"server": {"host": "::1"}}, SettingsReason.INVALID),
    ({"unknown": 1}, {"environment": "dev"}, SettingsReason.INVALID),
    ({"server": {"port": "8480"}}, {"server": {"port": 0}}, SettingsReason.INVALID),
    ({"server": {"port": 65536}}, {"server": {"port": 65535}}, SettingsReason.INVALID),
    ({"server": {"tls_minimum": "1.1"}}, {"server": {"tls_minimum": "1.2"}}, SettingsReason.INVALID),
    ({"server": {"tls_minimum": "1.0"}}, {"server": {"tls_minimum": "1.3"}}, SettingsReason.INVALID),
    ({"mailboxes": {"sender_messages": 0}}, {"mailboxes": {"sender_messages": 1}}, SettingsReason.INVALID),
    ({"mailboxes": {"tenant_mib": 0}}, {"mailboxes": {"tenant_mib": 1}}, SettingsReason.INVALID),
    ({"mls": {"suites": [0]}}, {"mls": {"suites": [1, 3]}}, SettingsReason.INVALID),
    ({"mls": {"suites": []}}, {"mls": {"suites": [2]}}, SettingsReason.INVALID),
    ({"mls": {"suites": [1, 8]}}, {"mls": {"suites": [1, 7]}}, SettingsReason.SUITE_UNKNOWN),
    ({"mls": {"suites": [61527]}}, {"mls": {"suites": [1, 2, 3, 4, 5, 6, 7]}}, SettingsReason.SUITE_UNKNOWN),
    (
        {"mls": {"rcc16_roots": ["roots.pem"]}},
        {"mls": {"rcc16_roots": ["roots.pem"], "suites": [1, 2]}},
        SettingsReason.MLS_ROOT,
    ),
    (
        {"server": {"host": "0.0.0.0"}},
        {"server": {"host": "0.0.0.0", "tls_certificate": "c.pem", "tls_key": "k.pem"}},
        SettingsReason.TLS_REQUIRED,
    ),
    (
        {"server": {"host": "192.0.2.1", "tls_certificate": "c.pem"}},
        {"server": {"host": "localhost"}},
        SettingsReason.TLS_REQUIRED,
    ),
    ({"sms": {"password": "hunter2"}}, {"sms": {"password": "env:SMS_PASSWORD"}}, SettingsReason.SECRET_INLINE),
    (
        {"keystore": {"passphrase": "hunter2"}},
        {"keystore": {"passphrase": "file:/run/secret"}},
        SettingsReason.SECRET_INLINE,
    ),
    (
        {"keystore": {"passphrase": "env:PASSPHRASE", "root_file": "/media/keys/root.key"}},
        {"keystore": {"root_file": "/media/keys/root.key"}},
        SettingsReason.INVALID,
    ),
    (
        {"store": {"folder": "data"}, "keystore": {"root_file": "data/../data/keys/root.key"}},
        {"store": {"folder": "data"}, "keystore": {"root_file": "data-keys/root.key"}},
        SettingsReason.INVALID,
    ),
    ({"environment": "prod"}, {"environment": "dev"}, SettingsReason.FILE_KEYSTORE_REFUSED),
    (
        {"sms": {"tls": False, "hosts": ["smsc.example:2775"]}},
        {"sms": {"tls": False, "hosts": ["127.0.0.1:2775", "localhost:2776"]}},
        SettingsReason.TLS_REQUIRED,
    ),
    (
        {"push": {"hosts": ["10.0.0.1"], "subject": "mailto:ops@example.net"}},
        {"push": {"hosts": ["push.example.net", ".example.org"], "subject": "mailto:ops@example.net"}},
        SettingsReason.PUSH_HOST,
    ),
    (
        {"environment": "prod", "push": {"hosts": ["127.0.0.1:9"], "subject": "mailto:ops@example.net"}},
        {"environment": "dev", "push": {"hosts": ["127.0.0.1:9"], "subject": "mailto:ops@example.net"}},
        SettingsReason.PUSH_HOST,
    ),
    (
        {"push": {"hosts": ["push.example.net"]}},
        {"push": {"hosts": ["push.example.net"], "subject": "https://example.net/contact"}},
        SettingsReason.PUSH_SUBJECT,
    ),
    (
        {"push": {"subject": "ops@example.net"}},
        {"push": {"subject": "mailto:ops@example.net"}},
        SettingsReason.INVALID,
    ),
    (
        {"apns": {"key": "file:/k.p8", "topic": "net.example.app", "team_id": "TEAM123456"}},
        {"apns": {"key": "file:/k.p8", "topic": "net.example.app", "team_id": "TEAM123456", "key_id": "KEY1234567"}},
        SettingsReason.INVALID,
    ),
    ({"apns": {"host": "api.push.example.com"}}, {"apns": {"host": "127.0.0.1:9"}}, SettingsReason.PUSH_HOST),
    (
        {"environment": "prod", "fcm": {"host": "127.0.0.1:9"}},
        {"environment": "dev", "fcm": {"host": "127.0.0.1:9"}},
        SettingsReason.PUSH_HOST,
    ),
    ({"fcm": {"service_account": "{}"}}, {"fcm": {"service_account": "env:FCM"}}, SettingsReason.SECRET_INLINE),
    ({"log": {"level": "trace"}}, {"log": {"level": "debug"}}, SettingsReason.INVALID),
    ({"store": {"purge_every_s": 0}}, {"store": {"purge_every_s": 1}}, SettingsReason.INVALID),
]


@pytest.mark.parametrize(("refused", "accepted", "reason"), REFUSED_BESIDE_ACCEPTED)
def test_a_setting_is_refused_beside_one_that_is_not(
    refused: dict[str, Any], accepted: dict[str, Any], reason: SettingsReason
) -> None:
    assert isinstance(from_tree(accepted), Settings)
    with pytest.raises(SettingsError) as caught:
        from_tree(refused)
    assert caught.value.reason is reason
    assert "hunter2" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("text", ["[server]\nport = 1", "environment = 'dev'", ""])
def test_serve_and_explain_read_the_same_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "letterlock.toml"
    file.write_text(text)
    shown: Any = parsed("config", "explain", "--config", str(file))
    assert {row["key"]: row["value"] for row in shown} == flat(load(file))


def test_a_refused_file_ends_with_40_and_names_the_key_but_no_value(tmp_path: Path) -> None:
    file = tmp_path / "letterlock.toml"
    file.write_text("[sms]\npassword = 'hunter2'\n")
    done = ended("config", "explain", "--config", str(file))
    assert done.returncode == 40
    assert "sms.password" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_secrets_are_shown_as_references_only(tmp_path: Path) -> None:
    file = tmp_path / "letterlock.toml"
    file.write_text("[sms]\npassword = 'env:NAME_THAT_TELLS'\n[keystore]\npassphrase = 'file:/place/that/tells'\n")
    rows: Any = parsed("config", "explain", "--config", str(file))
    values = {row["key"]: row["value"] for row in rows}
    assert values["sms.password"] == "env:..."
    assert values["keystore.passphrase"] == "file:..."
    assert "tells" not in called("config", "explain", "--config", str(file)).output.lower()


def test_a_secret_is_read_from_where_the_reference_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text("first line\nsecond line\n")
    monkeypatch.setenv("SECRET_OF_THE_TEST", "from the environment")
    assert secret(f"file:{file}") == b"first line"
    assert secret("env:SECRET_OF_THE_TEST") == b"from the environment"
    for reference in ("env:NOT_SET_IN_THE_TEST", f"file:{tmp_path / 'absent'}"):
        with pytest.raises(SettingsError) as caught:
            secret(reference)
        assert caught.value.reason is SettingsReason.SECRET_MISSING
    file.chmod(0o644)
    with pytest.raises(SettingsError) as caught:
        secret(f"file:{file}")
    assert caught.value.reason is SettingsReason.SECRET_READABLE
