"""Web Push on the wire: the example of RFC 8291, tokens that hold for one push service, and addresses we go to."""

import json
import os
from base64 import urlsafe_b64decode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from letterlock.wire.webpush import (
    MAX_ENDPOINT,
    WAKE_UP,
    HostList,
    PushError,
    PushReason,
    Subscription,
    encrypt,
    private_key,
    public_bytes,
    vapid,
)

HOSTS = HostList(("push.example.net", ".notify.example.com"))


def raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


AGENT = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SERVER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
EXAMPLE = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def agent(endpoint: str = "https://push.example.net/x") -> Subscription:
    return Subscription(endpoint, raw(AGENT), raw("BTBZMqHH6r4Tts7J_aSIgg"))


def test_the_example_of_rfc_8291_appendix_a() -> None:
    key = ec.derive_private_key(int.from_bytes(raw(SERVER)), ec.SECP256R1())
    content = b"When I grow up, I want to be a watermelon"
    assert encrypt(agent(), content, key, raw("DGv6ra1nlYgDCS1FRnbzlw")) == raw(EXAMPLE)


def test_every_wake_up_has_one_length_and_fits_one_record() -> None:
    bodies = {encrypt(agent(), WAKE_UP, private_key(os.urandom(64)), os.urandom(16)) for _ in range(5)}
    assert len(bodies) == 5
    assert {len(body) for body in bodies} == {86 + len(WAKE_UP) + 17}
    largest = encrypt(agent(), bytes(4096 - 86 - 17), private_key(os.urandom(64)), os.urandom(16))
    assert len(largest) == 4096
    for content, salt in ((bytes(4096 - 86 - 16), bytes(16)), (b"", bytes(15))):
        with pytest.raises(ValueError, match="one record"):
            encrypt(agent(), content, private_key(os.urandom(64)), salt)


def test_a_token_names_one_origin_and_ends() -> None:
    key = private_key(bytes(range(64)))
    scheme, _, rest = vapid(key, "https://push.example.net", "mailto:ops@example.net", 1_000).partition(" ")
    fields = dict(part.split("=", 1) for part in rest.split(", "))
    head, claims, signature = fields["t"].split(".")
    assert (scheme, json.loads(raw(head))) == ("vapid", {"typ": "JWT", "alg": "ES256"})
    assert json.loads(raw(claims)) == {
        "aud": "https://push.example.net",
        "exp": 1_000 + 12 * 3_600,
        "sub": "mailto:ops@example.net",
    }
    assert raw(fields["k"]) == public_bytes(key)
    both = raw(signature)
    der = encode_dss_signature(int.from_bytes(both[:32]), int.from_bytes(both[32:]))
    key.public_key().verify(der, f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        key.public_key().verify(der, f"{head}.{claims}x".encode(), ec.ECDSA(SHA256()))


def test_keys_come_from_enough_randomness() -> None:
    assert public_bytes(private_key(bytes(64))) != public_bytes(private_key(bytes(63) + b"\1"))
    for seed in (bytes(48), b"\xff" * 64):
        assert len(public_bytes(private_key(seed))) == 65
    with pytest.raises(ValueError, match="48"):
        private_key(bytes(47))


def why(subscription: Subscription, hosts: HostList = HOSTS) -> PushReason:
    with pytest.raises(PushError) as found:
        subscription.checked(hosts)
    assert "example" not in str(found.value)
    return found.value.reason


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://push.example.net/a/b?c=d",
        "https://eu.notify.example.com/w/?token=A%2b",
        "https://a.b.notify.example.com/",
    ],
)
def test_listed_services_are_gone_to(endpoint: str) -> None:
    assert agent(endpoint).checked(HOSTS) == agent(endpoint)
    assert endpoint.startswith(HOSTS.origin_of(endpoint) + "/")
    assert "example" not in repr(agent(endpoint))


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://push.example.net/x", PushReason.BAD_ENDPOINT),
        ("ftp://push.example.net/x", PushReason.BAD_ENDPOINT),
        ("https://push.example.net", PushReason.BAD_ENDPOINT),
        ("https:push.example.net/x", PushReason.BAD_ENDPOINT),
        ("https://push.example.net:8443/x", PushReason.BAD_ENDPOINT),
        ("https://push.example.net:443/x", PushReason.BAD_ENDPOINT),
        ("https://user@push.example.net/x", PushReason.BAD_ENDPOINT),
        ("https://push.example.net@10.0.0.1/x", PushReason.BAD_ENDPOINT),
        ("https://push.example.net#@10.0.0.1/x", PushReason.BAD_ENDPOINT),
        ("https://push.example.net?x=/", PushReason.BAD_ENDPOINT),
        ("https://push.example.net\\@10.0.0.1/x", PushReason.BAD_ENDPOINT),
        ("https://push.example.net/x\r\nhost: y", PushReason.BAD_ENDPOINT),
        ("https://push.example.net/" + "x" * MAX_ENDPOINT, PushReason.BAD_ENDPOINT),
        ("https://PUSH.example.net/x", PushReason.BAD_ENDPOINT),
        ("https://push.example.net./x", PushReason.BAD_ENDPOINT),
        ("https:///x", PushReason.BAD_ENDPOINT),
        ("", PushReason.BAD_ENDPOINT),
        ("https://example.net/x", PushReason.HOST_NOT_LISTED),
        ("https://push.example.net.evil.test/x", PushReason.HOST_NOT_LISTED),
        ("https://notify.example.com/x", PushReason.HOST_NOT_LISTED),
        ("https://evilnotify.example.com/x", PushReason.HOST_NOT_LISTED),
        ("https://127.0.0.1/x", PushReason.HOST_NOT_LISTED),
        ("https://localhost/x", PushReason.HOST_NOT_LISTED),
        ("https://169.254.169.254/latest/meta-data/", PushReason.HOST_NOT_LISTED),
        ("https://[::1]/x", PushReason.BAD_ENDPOINT),
        ("https://2130706433/x", PushReason.HOST_NOT_LISTED),
    ],
)
def test_nowhere_else_is_gone_to(endpoint: str, reason: PushReason) -> None:
    assert why(agent(endpoint)) is reason


def test_this_machine_is_gone_to_only_where_the_settings_say_so_and_then_without_tls_too() -> None:
    here = HostList(("127.0.0.1:9999", "push.example.net"))
    assert here.local
    assert not HOSTS.local
    assert here.origin_of("http://127.0.0.1:9999/x") == "http://127.0.0.1:9999"
    for endpoint in ("http://127.0.0.1:9998/x", "http://127.0.0.1/x", "http://localhost:9999/x"):
        assert why(agent(endpoint), here) in {PushReason.BAD_ENDPOINT, PushReason.HOST_NOT_LISTED}
    assert why(agent("http://127.0.0.1:9999/x")) is PushReason.BAD_ENDPOINT


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "intranet", "127.1", "10.0.0.1:80", "push.example.net:443", "", ".", "a/b.c"]
)
def test_a_list_holds_names_of_services_alone(host: str) -> None:
    with pytest.raises(ValueError, match=r"push service|this machine"):
        HostList((host,))
    assert not HostList(())


def test_keys_are_points_of_the_curve_and_secrets_have_16_bytes() -> None:
    good = agent()
    for public in (b"", good.public[:-1], good.public[:-1] + b"\0", b"\4" + bytes(64), bytes(65)):
        assert why(Subscription(good.endpoint, public, good.auth)) is PushReason.BAD_KEY
    for auth in (b"", bytes(15), bytes(17)):
        assert why(Subscription(good.endpoint, good.public, auth)) is PushReason.BAD_AUTH
