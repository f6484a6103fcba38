"""The one signature format: what it covers, what it refuses, and that no signature serves twice."""

import hashlib
import hmac
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.model.ids import TenantId
from letterlock.wire.preimage import (
    MAX_BODY,
    NO_CONTEXT,
    KeyFamily,
    PreimageError,
    PreimageReason,
    PublicKey,
    Purpose,
    Scope,
    Signature,
    SignatureError,
    SignatureReason,
    SoftwareKey,
    Suite,
    build,
    context_hash,
    sign,
    verify,
)

TENANTS = (TenantId(bytes([1]) * 16), TenantId(bytes([2]) * 16))
ENVIRONMENTS = ("prod", "staging")
AUDIENCES = ("gw.example", "gw.example2")
CONTEXTS = (NO_CONTEXT, context_hash(b"x"))
SCOPES = tuple(Scope(*fields) for fields in product(TENANTS, ENVIRONMENTS, AUDIENCES, CONTEXTS))
BODY = b"what is said"
VECTORS = Path(__file__).resolve().parents[2] / "docs" / "protocol" / "signatures.md"


def refused(reason: SignatureReason) -> pytest.RaisesExc[SignatureError]:
    return pytest.RaisesExc(SignatureError, check=lambda error: error.reason is reason)


def not_built(reason: PreimageReason) -> pytest.RaisesExc[PreimageError]:
    return pytest.RaisesExc(PreimageError, check=lambda error: error.reason is reason)


def key(family: KeyFamily, suite: Suite) -> SoftwareKey:
    return SoftwareKey(family, suite, hashlib.sha256(b"test key").digest())


def verifies(public: PublicKey, purpose: Purpose, scope: Scope, body: bytes, signature: Signature) -> bool:
    try:
        verify(public, purpose, scope, body, signature)
    except SignatureError:
        return False
    return True


@pytest.mark.attack("A21")
@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("purpose", Purpose)
def test_a_signature_holds_for_one_statement_only(purpose: Purpose, suite: Suite) -> None:
    """The same secret in every family and suite: only the preimage can tell the statements apart."""
    scope = SCOPES[0]
    signature = sign(key(purpose.family, suite), purpose, scope, BODY)
    accepted = [
        (other_purpose, other_suite, other)
        for other_purpose, other_suite, other in product(Purpose, Suite, SCOPES)
        if verifies(
            key(other_purpose.family, other_suite).public,
            other_purpose,
            other,
            BODY,
            Signature(other_suite, signature.raw),
        )
    ]
    assert accepted == [(purpose, suite, scope)]
    assert not verifies(key(purpose.family, suite).public, purpose, scope, BODY + b".", signature)


@pytest.mark.attack("A21")
def test_every_two_statements_have_two_preimages() -> None:
    bodies = (b"", b"\0", BODY)
    statements = list(product(Purpose, SCOPES, Suite, bodies))
    assert len({build(*statement) for statement in statements}) == len(statements)


Scopes = st.builds(
    Scope,
    st.binary(min_size=16, max_size=16).map(TenantId),
    st.from_regex(r"[!-~]{1,20}", fullmatch=True),
    st.from_regex(r"[!-~]{1,20}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
)


@given(st.sampled_from(Purpose), Scopes, st.sampled_from(Suite), st.binary(max_size=300))
def test_the_preimage_reads_back_to_its_fields(purpose: Purpose, scope: Scope, suite: Suite, body: bytes) -> None:
    """An independent reader gets every field back, so the preimage is injective."""
    rest = build(purpose, scope, suite, body)
    assert rest.startswith(b"letterlock/v1/")
    name, _, rest = rest[14:].partition(b"\0")
    fields = []
    while rest:
        length = int.from_bytes(rest[:4])
        assert len(rest) >= 4 + length
        fields.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    assert scope.tenant is not None
    assert (name.decode(), *fields) == (
        purpose.value,
        scope.tenant.value,
        scope.environment.encode(),
        scope.audience.encode(),
        suite.value.encode(),
        scope.context,
        body,
    )


def test_purposes_and_families_are_closed_and_complete() -> None:
    assert all(re.fullmatch(r"[a-z_]+", purpose.value) for purpose in Purpose)
    assert {purpose.family for purpose in Purpose} == set(KeyFamily)
    assert len({suite.code for suite in Suite}) == len(Suite)


@pytest.mark.attack("A21")
def test_one_key_signs_for_one_family() -> None:
    for purpose, family in product(Purpose, KeyFamily):
        signer = key(family, Suite.ED25519)
        good = sign(key(purpose.family, Suite.ED25519), purpose, SCOPES[0], BODY)
        if family is purpose.family:
            assert sign(signer, purpose, SCOPES[0], BODY) == good
            verify(signer.public, purpose, SCOPES[0], BODY, good)
        else:
            with not_built(PreimageReason.KEY_OF_ANOTHER_FAMILY):
                sign(signer, purpose, SCOPES[0], BODY)
            with refused(SignatureReason.KEY_OF_ANOTHER_FAMILY):
                verify(signer.public, purpose, SCOPES[0], BODY, good)


def test_what_makes_no_statement_is_not_signed() -> None:
    good = SCOPES[0]
    build(Purpose.SESSION, good, Suite.ED25519, bytes(MAX_BODY))
    build(Purpose.LEDGER_META, replace(good, tenant=None), Suite.ED25519, b"")
    cases = [
        (PreimageReason.TENANT_MISSING, replace(good, tenant=None)),
        (PreimageReason.CONTEXT_NOT_A_HASH, replace(good, context=b"")),
        (PreimageReason.CONTEXT_NOT_A_HASH, replace(good, context=bytes(33))),
    ]
    for name in ("", "a b", "é", "a\n", "\0", "x" * 256):
        cases.append((PreimageReason.ENVIRONMENT_NOT_A_NAME, replace(good, environment=name)))
        cases.append((PreimageReason.AUDIENCE_NOT_A_NAME, replace(good, audience=name)))
    for reason, scope in cases:
        with not_built(reason):
            build(Purpose.SESSION, scope, Suite.ED25519, b"")
    with not_built(PreimageReason.BODY_TOO_LARGE):
        build(Purpose.SESSION, good, Suite.ED25519, bytes(MAX_BODY + 1))


@pytest.mark.parametrize("suite", Suite)
def test_unknown_versions_suites_and_lengths_are_refused(suite: Suite) -> None:
    data = sign(key(KeyFamily.SESSION, suite), Purpose.SESSION, SCOPES[0], BODY).encode()
    verify(key(KeyFamily.SESSION, suite).public, Purpose.SESSION, SCOPES[0], BODY, Signature.parse(data))
    for version in {*range(256)} - {1}:
        with refused(SignatureReason.UNKNOWN_VERSION):
            Signature.parse(bytes((version,)) + data[1:])
    for code in {*range(256)} - {1, 2}:
        with refused(SignatureReason.UNKNOWN_SUITE):
            Signature.parse(data[:1] + bytes((code,)) + data[2:])
    for wrong in (b"", data[:-1], data + b"\0"):
        with refused(SignatureReason.WRONG_LENGTH):
            Signature.parse(wrong)
    with refused(SignatureReason.WRONG_LENGTH):
        verify(key(KeyFamily.SESSION, suite).public, Purpose.SESSION, SCOPES[0], BODY, Signature(suite, b""))


@pytest.mark.parametrize("suite", Suite)
def test_every_flipped_bit_of_a_signature_is_refused(suite: Suite) -> None:
    signer = key(KeyFamily.SESSION, suite)
    raw = sign(signer, Purpose.SESSION, SCOPES[0], BODY).raw
    assert verifies(signer.public, Purpose.SESSION, SCOPES[0], BODY, Signature(suite, raw))
    for bit in range(512):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not verifies(signer.public, Purpose.SESSION, SCOPES[0], BODY, Signature(suite, bytes(flipped)))
    for degenerate in (bytes(64), b"\xff" * 64):
        assert not verifies(signer.public, Purpose.SESSION, SCOPES[0], BODY, Signature(suite, degenerate))


@pytest.mark.attack("A21")
def test_the_suite_of_the_signature_is_the_suite_of_the_key() -> None:
    signature = sign(key(KeyFamily.SESSION, Suite.ED25519), Purpose.SESSION, SCOPES[0], BODY)
    with refused(SignatureReason.SUITE_OF_ANOTHER_KEY):
        verify(key(KeyFamily.SESSION, Suite.ECDSA_P256).public, Purpose.SESSION, SCOPES[0], BODY, signature)


@pytest.mark.parametrize("suite", Suite)
def test_public_keys_come_back_from_their_bytes(suite: Suite) -> None:
    public = key(KeyFamily.ENVELOPE, suite).public
    assert PublicKey.parse(public.encode(), KeyFamily.ENVELOPE) == public
    for wrong in (public.encode()[:-1], public.encode() + b"\0"):
        with refused(SignatureReason.KEY_MALFORMED):
            PublicKey.parse(wrong, KeyFamily.ENVELOPE)
    for unknown in (b"", b"\0" + public.raw, b"\3" + public.raw):
        with refused(SignatureReason.UNKNOWN_SUITE):
            PublicKey.parse(unknown, KeyFamily.ENVELOPE)


def test_a_point_off_the_curve_is_no_key() -> None:
    good = key(KeyFamily.ENVELOPE, Suite.ECDSA_P256).public.raw
    for wrong in (good[:-1] + bytes((good[-1] ^ 1,)), bytes(65), b"\x02" + good[1:]):
        with refused(SignatureReason.KEY_MALFORMED):
            PublicKey(KeyFamily.ENVELOPE, Suite.ECDSA_P256, wrong)


def small_order_points() -> list[bytes]:
    """Every 32-byte string that decodes to a point of order 1, 2, 4 or 8, by plain curve arithmetic (RFC 8032, 5.1)."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    root = pow(2, (p - 1) // 4, p)

    def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        t = d * a[0] * b[0] * a[1] * b[1] % p
        x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + t, -1, p) % p
        return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, p) % p

    def decode(y: int) -> tuple[int, int] | None:
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = pow(square, (p + 3) // 8, p)
        for candidate in (x, x * root % p):
            if candidate * candidate % p == square:
                return candidate, y % p
        return None

    # L times any point has an order that divides 8.
    order = 2**252 + 27742317777372353535851937790883648493
    ys: set[int] = set()
    for start in range(2, 60):
        point = decode(start)
        if point is None:
            continue
        result, scalar, power = (0, 1), order, point
        while scalar:
            if scalar & 1:
                result = add(result, power)
            power, scalar = add(power, power), scalar >> 1
        ys.add(result[1])
    ys |= {y + p for y in ys if y + p < 2**255}
    return [(y | sign << 255).to_bytes(32, "little") for y in ys for sign in (0, 1)]


def test_keys_under_which_anybody_could_sign_are_refused() -> None:
    points = small_order_points()
    assert len(points) == 14
    for point in points:
        with refused(SignatureReason.KEY_MALFORMED):
            PublicKey(KeyFamily.SESSION, Suite.ED25519, point)
    PublicKey(KeyFamily.SESSION, Suite.ED25519, key(KeyFamily.SESSION, Suite.ED25519).public.raw)


def test_secrets_are_checked_and_never_shown() -> None:
    for suite, wrong in ((Suite.ED25519, bytes(31)), (Suite.ECDSA_P256, bytes(32)), (Suite.ECDSA_P256, b"\xff" * 32)):
        with not_built(PreimageReason.KEY_MALFORMED):
            SoftwareKey(KeyFamily.SESSION, suite, wrong)
    signer = key(KeyFamily.SESSION, Suite.ED25519)
    signature = sign(signer, Purpose.SESSION, SCOPES[0], BODY)
    shown = f"{signer!r} {signer.public!r} {signature!r}"
    for hidden in (hashlib.sha256(b"test key").digest(), signer.public.raw, signature.raw):
        assert repr(hidden)[2:-1] not in shown
        assert hidden.hex() not in shown


def test_context_hash_tells_fields_apart() -> None:
    assert context_hash(b"ab", b"c") != context_hash(b"a", b"bc")
    assert hmac.compare_digest(NO_CONTEXT, hashlib.sha256(b"").digest())


def vectors() -> list[dict[str, str]]:
    text = VECTORS.read_text(encoding="utf-8")
    blocks = re.findall(r"```vector\n(.*?)```", text, re.DOTALL)
    return [dict(line.split(": ", 1) for line in block.strip().splitlines()) for block in blocks]


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["name"])
def test_the_printed_vectors_are_true(vector: dict[str, str]) -> None:
    purpose, suite = Purpose(vector["purpose"]), Suite(vector["suite"])
    signer = SoftwareKey(purpose.family, suite, bytes.fromhex(vector["secret key"]))
    tenant = TenantId(bytes.fromhex(vector["tenant"])) if vector["tenant"] != "(none)" else None
    scope = Scope(tenant, vector["environment"], vector["audience"], bytes.fromhex(vector["context hash"]))
    body = bytes.fromhex(vector["body"].replace("(empty)", ""))
    signature = Signature.parse(bytes.fromhex(vector["signature"]))
    assert signer.public.encode().hex() == vector["public key"]
    assert build(purpose, scope, suite, body).hex() == vector["preimage"]
    assert sign(signer, purpose, scope, body) == signature
    verify(signer.public, purpose, scope, body, signature)


def test_there_are_vectors_for_every_suite_and_family() -> None:
    printed = vectors()
    assert {vector["suite"] for vector in printed} == {suite.value for suite in Suite}
    assert {Purpose(vector["purpose"]).family for vector in printed} == set(KeyFamily)


def test_the_page_lists_every_purpose_with_its_family() -> None:
    text = VECTORS.read_text(encoding="utf-8")
    for purpose in Purpose:
        assert re.search(rf"^\| `{purpose.value}` \| `{purpose.family.value}` \|", text, re.MULTILINE), purpose
