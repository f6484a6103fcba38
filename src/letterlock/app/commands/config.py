"""``config explain``: every setting with its value, what it means, and why its default is the strict one."""

from typing import Annotated, Any, Final, NamedTuple

import typer

from letterlock.app.commands.output import Config, Json, print_json, print_table, wrong_usage

app = typer.Typer(no_args_is_help=True, help="What the settings mean, and their defaults.")


class Setting(NamedTuple):
    """What a key means, and why its default is what it is."""

    meaning: str
    why: str


GUIDE: Final[dict[str, Setting]] = {
    "environment": Setting(
        "name of this installation; goes into every signature",
        "the only one for which a key store in software is taken",
    ),
    "server.host": Setting("address to listen on", "nobody but this machine; any other address needs TLS"),
    "server.port": Setting("port; 0 takes a free one", "above 1024: no privilege is needed"),
    "server.tls_certificate": Setting(
        "PEM file with the certificate chain", "required as soon as host is not loopback"
    ),
    "server.tls_key": Setting("PEM file with its key", "required as soon as host is not loopback"),
    "server.tls_minimum": Setting("lowest TLS version: 1.3 or 1.2", "1.3; nothing below 1.2 can be set"),
    "store.folder": Setting("where data and keys lie; mode 0700", "beside the process; never a shared folder"),
    "store.purge_every_s": Setting("seconds between two purges (1 to 3600)", "overdue rows are gone within a minute"),
    "store.metadata_after_delivery_minutes": Setting(
        "N: minutes that a message's row outlives its delivery (1 to 10080)", "long enough for late receipts, no longer"
    ),
    "keystore.driver": Setting("who holds the keys", "the one driver there is; refused outside environment dev"),
    "keystore.passphrase": Setting(
        "reference (env:NAME or file:/path) to the key store's passphrase; empty: a root key file",
        "a secret in a settings file is refused; with a passphrase a stolen disk opens nothing",
    ),
    "keystore.root_file": Setting(
        "file of the root key, made at the first start; empty: root.key in the folder",
        "beside the store for a first try; on another disk, a stolen copy of the store opens nothing",
    ),
    "policy.profile": Setting(
        "shipped policy: standard, consumer or high-risk", "every fall to a weaker path asks first"
    ),
    "policy.file": Setting("policy file instead of a profile", "a file runs only when every guard is proven for it"),
    "ledger.origin": Setting("name of the log and of its key", "a name of your own marks the log as yours"),
    "ledger.sign_every_ms": Setting("milliseconds between two signed heads", "a proof can be had after a second"),
    "ledger.head_file": Setting(
        "second place of the last signed head; empty: in the folder", "put it on another disk: a rollback of one shows"
    ),
    "push.hosts": Setting(
        "push services that may be gone to (.name: all below a name); empty: nobody is woken",
        "a device names an address, and this gateway goes to none that you did not list",
    ),
    "push.subject": Setting(
        "mailto: or https: address of whoever runs this gateway, for push services", "they ask for it (RFC 8292)"
    ),
    "apns.topic": Setting("bundle id of the app that is woken", "Apple delivers to one app"),
    "apns.team_id": Setting("the team, ten characters", "who the key belongs to"),
    "apns.key_id": Setting("Apple's name of the key, ten characters", "which of the team's keys it is"),
    "apns.key": Setting(
        "reference to the key for Apple's push service (.p8): env:NAME or file:/path; empty: no such push",
        "the key can wake every device of the app: it is never in a settings file",
    ),
    "apns.host": Setting("Apple's push service; api.sandbox.push.apple.com for apps in development", "one of the two"),
    "apns.ca": Setting("authority that is trusted instead, for a push service on this machine", "the system's"),
    "fcm.service_account": Setting(
        "reference to the service account's JSON file: env:NAME or file:/path; empty: no such push",
        "its key can wake every device of the project: it is never in a settings file",
    ),
    "fcm.host": Setting("Firebase Cloud Messaging", "the only one there is"),
    "twilio.enabled": Setting(
        "serve software written for Twilio's Messages API, below /2010-04-01", "a door that nobody asked for is shut"
    ),
    "twilio.token_generation": Setting(
        "raise it to replace the accounts' tokens; the ones before are good until it is raised again",
        "a program can be given its new token before the old one ends",
    ),
    "twilio.services": Setting(
        "messaging services: sid, tenant, traffic (conversation or notification), on_downgrade (ask, hold or refuse)",
        "without one, a message is a conversation and nothing goes less protected without an answer",
    ),
    "mls.suites": Setting(
        "MLS cipher suites that the relay takes, by number (RFC 9420, section 17.1: 1 to 7); devices need an engine"
        " that speaks them: suite 2 needs another one than letterlock.client has",
        "the one suite that every implementation must have; another one is refused wherever it shows",
    ),
    "mls.rcc16_roots": Setting(
        "PEM files with root certificates of RCS clients (GSMA RCC.16); empty: groups with an era are not followed",
        "no authority vouches for members unless you say which",
    ),
    "mailboxes.sender_messages": Setting(
        "messages of one device that may wait in mailboxes (1 to 100000)", "half a mailbox: no sender fills anybody's"
    ),
    "mailboxes.sender_mib": Setting("MiB of one device that may wait", "half of what a mailbox holds"),
    "mailboxes.tenant_messages": Setting("messages of one tenant that may wait", "some hundred devices' worth"),
    "mailboxes.tenant_mib": Setting("MiB of one tenant that may wait", "one tenant alone does not fill the disk"),
    "sms.hosts": Setting("host:port of message centres (SMPP 3.4)", "none: there is no way out in clear"),
    "sms.system_id": Setting("name to bind with", "none is guessed"),
    "sms.password": Setting("reference to the password", "a secret in a settings file is refused"),
    "sms.sender": Setting("sender address of messages", "none is guessed"),
    "sms.window": Setting("messages on the way at a time (1 to 1000)", "what common message centres permit"),
    "sms.tls": Setting("TLS towards the message centre", "on; plain SMPP is refused except towards loopback"),
    "sms.tls_ca": Setting(
        "PEM file with the authority to trust; empty: the system's", "certificates are always checked"
    ),
    "sms.enquire_link_s": Setting("seconds between two signs of life", "a dead link is noticed within a minute"),
    "log.level": Setting("debug, info, warning or error", "no level logs content: fields are an allow-list"),
}
SECRETS: Final = frozenset({"keystore.passphrase", "sms.password"})


def flat(settings: object) -> dict[str, Any]:
    """Settings as dotted names and values; of a secret the kind of its reference alone."""
    import msgspec

    tree: dict[str, Any] = msgspec.to_builtins(settings)
    found: dict[str, Any] = {}
    for section, value in tree.items():
        if isinstance(value, dict):
            found.update(
                {f"{section}.{key}": list(inner) if isinstance(inner, tuple) else inner for key, inner in value.items()}
            )
        else:
            found[section] = value
    for name in SECRETS:
        kind, mark, _ = str(found[name]).partition(":")
        found[name] = f"{kind}:..." if mark else ""
    return found


@app.command("explain")
def explain(
    defaults: Annotated[bool, typer.Option("--defaults", help="Show the defaults, whatever a file says.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show every setting: value, default, meaning, and why the default is the strict one.

    A file is checked as serve checks it. Of secrets only the kind of reference is shown.
    """
    from letterlock.app.settings import Settings, load

    if defaults and config is not None:
        wrong_usage("--defaults and --config exclude each other")
    standard = flat(Settings())
    values = flat(load(None if defaults else config))
    rows = [
        {"key": key, "value": value, "default": standard[key], "meaning": GUIDE[key].meaning, "why": GUIDE[key].why}
        for key, value in values.items()
    ]
    if as_json:
        print_json(rows)
        return
    shown = [(row["key"], _value(row["value"], row["default"]), row["meaning"], row["why"]) for row in rows]
    print_table("Settings (* differs from the default)", ("key", "value", "meaning", "why this default"), shown)


def _value(value: object, default: object) -> str:
    match value:
        case bool():
            text = "on" if value else "off"
        case list():
            text = ", ".join(map(str, value)) or "none"
        case _:
            text = str(value) or '""'
    return text if value == default else f"{text} *"
