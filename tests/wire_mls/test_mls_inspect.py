import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.wire_mls.making import load_messages

from letterlock.model.bodies import SealedKind
from letterlock.wire.mls import (
    CipherSuite,
    CredentialType,
    FramingError,
    FramingReason,
    SenderKind,
    SignatureError,
    SignatureReason,
    check_key_package,
    parse,
    parse_group_info,
    parse_key_package,
    parse_public_commit,
    parse_welcome,
)
from letterlock.wire.mls.codec import Reader, Writer
from letterlock.wire.mls.proposals import Add, Commit, read_commit, read_proposal
from letterlock.wire.mls.signatures import check_signature, sign_content
from letterlock.wire.mls.structures import LeafSource, read_key_package, read_leaf_node

PARSERS: dict[str, Callable[[bytes], object]] = {
    "mls_key_package": parse_key_package,
    "mls_welcome": parse_welcome,
    "public_message_commit": parse_public_commit,
    "mls_group_info": parse_group_info,
}


def refused(parser: Callable[[bytes], object], data: bytes) -> FramingReason:
    with pytest.raises(FramingError) as caught:
        parser(data)
    return caught.value.reason


def test_every_official_key_package_is_read_and_its_signatures_hold(vectors: Path) -> None:
    suites = set()
    for entry in load_messages(vectors):
        info = parse_key_package(entry["mls_key_package"])
        check_key_package(info)
        suites.add(info.suite)
        assert info.credential_type is CredentialType.BASIC
        assert info.identity == b"Alice"
        assert info.not_before < info.not_after
        assert not info.last_resort
        assert len(info.ref) == 32
    assert suites == {
        CipherSuite.X25519_AES128_SHA256_ED25519,
        CipherSuite.P256_AES128_SHA256_P256,
        CipherSuite.X25519_CHACHA20_SHA256_ED25519,
    }


def test_the_official_welcome_names_the_official_key_package(vectors: Path) -> None:
    """welcome.json pairs a key package with the Welcome that was made for it, in all seven suites."""
    cases = json.loads((vectors / "mls" / "welcome.json").read_text())
    suites = set()
    for case in cases:
        info = parse_key_package(bytes.fromhex(case["key_package"]))
        check_key_package(info)
        assert info.ref in parse_welcome(bytes.fromhex(case["welcome"])).key_package_refs
        suites.add(info.suite)
    assert suites == set(CipherSuite)


def test_live_sessions_of_another_implementation_in_all_suites(vectors: Path) -> None:
    """passive-client-welcome.json: real key packages and the Welcomes that were made for them."""
    cases = json.loads((vectors / "mls" / "passive-client-welcome.json").read_text())
    suites = set()
    for case in cases:
        info = parse_key_package(bytes.fromhex(case["key_package"]))
        check_key_package(info)
        assert info.ref in parse_welcome(bytes.fromhex(case["welcome"])).key_package_refs
        suites.add(info.suite)
    assert len(cases) == 56
    assert suites == set(CipherSuite)


def test_protected_messages_in_all_suites(vectors: Path) -> None:
    cases = json.loads((vectors / "mls" / "message-protection.json").read_text())
    assert {case["cipher_suite"] for case in cases} == set(range(1, 8))
    for case in cases:
        for kind in SealedKind:
            name = {"private": "priv", "public": "pub"}.get(kind.value.partition("_")[0])
            if name is not None:
                body = parse(bytes.fromhex(case[f"{kind.value.partition('_')[2]}_{name}"]))
                assert (body.kind, body.group_id) == (kind, bytes.fromhex(case["group_id"]))
                assert body.epoch == case["epoch"]


def test_parts_are_read_to_their_last_byte(vectors: Path) -> None:
    for entry in load_messages(vectors):
        for data, read in (
            (entry["commit"], read_commit),
            (entry["add_proposal"], read_key_package),
            (entry["update_proposal"], lambda reader: read_leaf_node(reader, LeafSource.UPDATE)),
            *(
                (code.to_bytes(2, "big") + entry[name], read_proposal)
                for code, name in (
                    (1, "add_proposal"),
                    (2, "update_proposal"),
                    (3, "remove_proposal"),
                    (4, "pre_shared_key_proposal"),
                    (5, "re_init_proposal"),
                    (6, "external_init_proposal"),
                    (7, "group_context_extensions_proposal"),
                )
            ),
        ):
            reader = Reader(data)
            read(reader)
            reader.finish()


def test_commit_welcome_and_group_info_of_the_vectors(vectors: Path) -> None:
    for entry in load_messages(vectors):
        commit = parse_public_commit(entry["public_message_commit"])
        assert commit.sender.kind is SenderKind.MEMBER
        assert not commit.external
        assert commit.sender.index == 0
        assert commit.path is not None
        assert len(commit.confirmation_tag) == len(commit.membership_tag) == 32
        assert commit.content == entry["public_message_commit"][4 : 4 + len(commit.content)]
        reader = Reader(entry["commit"])
        assert isinstance(read_commit(reader), Commit)
        assert len(parse_welcome(entry["mls_welcome"]).key_package_refs) == 1
        info = parse_group_info(entry["mls_group_info"])
        assert (info.group_id, info.epoch) == (commit.group_id, commit.epoch)
        assert len(info.confirmation_tag) == 32


def test_each_parser_takes_its_own_kind_only(vectors: Path) -> None:
    entry = load_messages(vectors)[0]
    for own, parser in PARSERS.items():
        for name, data in entry.items():
            if name == own:
                parser(data)
            elif name in PARSERS or name in {"private_message", "public_message_proposal"}:
                assert refused(parser, data) is FramingReason.WRONG_KIND
            else:
                refused(parser, data)


def test_cut_off_or_continued(vectors: Path) -> None:
    entry = load_messages(vectors)[0]
    for name, parser in PARSERS.items():
        data = entry[name]
        for size in range(len(data)):
            refused(parser, data[:size])
        assert refused(parser, data + b"\x00") is FramingReason.TRAILING_BYTES


def test_limits(vectors: Path) -> None:
    entry = load_messages(vectors)[0]
    for name, parser in PARSERS.items():
        size = len(entry[name])
        parser(entry[name], limit=size)  # type: ignore[call-arg]
        with pytest.raises(FramingError) as caught:
            parser(entry[name], limit=size - 1)  # type: ignore[call-arg]
        assert caught.value.reason is FramingReason.TOO_LARGE


def test_any_changed_byte_breaks_a_signature_or_the_structure(vectors: Path) -> None:
    for entry in load_messages(vectors)[:200:100]:
        data = entry["mls_key_package"]
        check_key_package(parse_key_package(data))
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises((FramingError, SignatureError)):
                check_key_package(parse_key_package(changed))


def test_signature_refusals_say_why() -> None:
    suite = CipherSuite.X25519_AES128_SHA256_ED25519
    for key, reason in ((b"k" * 31, SignatureReason.BAD_KEY), (bytes(32), SignatureReason.INVALID_SIGNATURE)):
        with pytest.raises(SignatureError) as caught:
            check_signature(suite, key, b"LeafNodeTBS", b"content", b"s" * 64)
        assert caught.value.reason is reason
    with pytest.raises(SignatureError) as point:
        check_signature(CipherSuite.P256_AES128_SHA256_P256, b"\x04" + b"k" * 64, b"LeafNodeTBS", b"c", b"s")
    assert point.value.reason is SignatureReason.BAD_KEY


def key_package(
    *,
    suite: int = 1,
    init_key: bytes = b"i" * 32,
    encryption_key: bytes = b"e" * 32,
    signature_key: bytes = b"s" * 32,
    credential: bytes = b"\x00\x01\x02id",
    source: int = 1,
    extensions: bytes = b"",
) -> bytes:
    writer = Writer().u16(1).u16(5).u16(1).u16(suite).opaque(init_key)
    writer.opaque(encryption_key).opaque(signature_key).raw(credential)
    writer.raw(bytes.fromhex("020001 020001 00 00 020001".replace(" ", "")))
    writer.u8(source).u64(5).u64(6).opaque(b"").opaque(b"leaf signature")
    return writer.opaque(extensions).opaque(b"package signature").done()


def test_each_of_the_two_signatures_is_checked() -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()

    def signed(label: bytes, content: bytes, *, right: bool) -> bytes:
        return key.sign(sign_content(label if right else b"Another", content))

    def made(*, leaf_right: bool, package_right: bool) -> bytes:
        unsigned = parse_key_package(key_package(signature_key=public)).package
        leaf = Writer().raw(unsigned.leaf.content)
        leaf.opaque(signed(b"LeafNodeTBS", unsigned.leaf.content, right=leaf_right))
        head = Writer().u16(1).u16(1).opaque(unsigned.init_key).raw(leaf.done()).opaque(b"").done()
        tail = Writer().opaque(signed(b"KeyPackageTBS", head, right=package_right)).done()
        return Writer().u16(1).u16(5).raw(head + tail).done()

    check_key_package(parse_key_package(made(leaf_right=True, package_right=True)))
    for leaf_right, package_right in ((False, True), (True, False)):
        with pytest.raises(SignatureError) as caught:
            check_key_package(parse_key_package(made(leaf_right=leaf_right, package_right=package_right)))
        assert caught.value.reason is SignatureReason.INVALID_SIGNATURE


def test_fields_of_a_key_package() -> None:
    info = parse_key_package(key_package())
    assert (info.init_key, info.encryption_key, info.signature_key) == (b"i" * 32, b"e" * 32, b"s" * 32)
    assert (info.not_before, info.not_after, info.identity, info.last_resort) == (5, 6, b"id", False)
    assert parse_key_package(key_package(extensions=b"\x00\x0a\x00")).last_resort
    x509 = parse_key_package(key_package(credential=b"\x00\x02\x05\x04cert"))
    assert (x509.credential_type, x509.certificates) == (CredentialType.X509, (b"cert",))
    assert x509.identity == b""
    with pytest.raises(SignatureError):
        check_key_package(info)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (key_package(suite=0), FramingReason.UNKNOWN_VALUE),
        (key_package(suite=8), FramingReason.UNSUPPORTED_SUITE),
        (key_package(suite=0xF057), FramingReason.UNSUPPORTED_SUITE),
        (key_package(suite=2), FramingReason.LENGTH_OUT_OF_RANGE),
        (key_package(init_key=b"i" * 31), FramingReason.LENGTH_OUT_OF_RANGE),
        (key_package(init_key=b""), FramingReason.LENGTH_OUT_OF_RANGE),
        (key_package(encryption_key=b"i" * 32), FramingReason.KEY_REUSED),
        (key_package(signature_key=b"s" * 33), FramingReason.LENGTH_OUT_OF_RANGE),
        (key_package(credential=b"\x00\x03\x02id"), FramingReason.UNKNOWN_CREDENTIAL),
        (key_package(credential=b"\x00\x02\x00"), FramingReason.LENGTH_OUT_OF_RANGE),
        (key_package(source=2), FramingReason.WRONG_LEAF_SOURCE),
        (key_package(source=0), FramingReason.WRONG_LEAF_SOURCE),
        (key_package(extensions=b"\x00\x0a\x00\x00\x0a\x00"), FramingReason.DUPLICATE_EXTENSION),
    ],
)
def test_key_packages_that_are_refused(data: bytes, reason: FramingReason) -> None:
    assert refused(parse_key_package, data) is reason


def test_reprs_hold_no_identity() -> None:
    data = key_package(credential=b"\x00\x01\x0c+15551234567")
    info = parse_key_package(data)
    assert info.identity == b"+15551234567"
    shown = f"{info!r} {info.package!r} {info.package.leaf!r} {info.package.leaf.credential!r} {parse(data)!r}"
    assert "5551234567" not in shown


def test_an_external_commit_is_told_apart(vectors: Path) -> None:
    head = Writer().u16(1).u16(1).opaque(b"g").u64(3)
    tail = Writer().opaque(b"").u8(3).raw(b"\x00\x00").opaque(b"signature").opaque(b"t" * 32).done()
    external = parse_public_commit(head.done() + b"\x04" + tail)
    assert external.external
    assert external.sender.index is None
    assert external.membership_tag == b""
    member = parse_public_commit(head.done() + b"\x01\x00\x00\x00\x02" + tail + b"\x20" + b"m" * 32)
    assert not member.external
    assert member.sender.index == 2


def test_key_packages_welcomes_and_commits_made_by_a_real_engine(tmp_path: Path) -> None:
    rine_mls = pytest.importorskip("rine_mls")
    made = 0

    def client(name: str) -> object:
        nonlocal made
        made += 1
        (tmp_path / name).mkdir()
        return rine_mls.MlsClient(str(tmp_path / name), bytes([made]) * 32, rine_mls.CIPHER_SUITE_CLASSICAL)

    alice, bob, carol, outsider = (client(name) for name in ("alice", "bob", "carol", "outsider"))
    packages = [bob.generate_key_package(), carol.generate_key_package()]  # type: ignore[attr-defined]
    refs = []
    for package, owner in zip(packages, (bob, carol), strict=True):
        assert parse(package).kind is SealedKind.KEY_PACKAGE
        info = parse_key_package(package)
        check_key_package(info)
        assert info.suite is CipherSuite.X25519_AES128_SHA256_ED25519
        assert info.identity == info.signature_key == owner.public_key()  # type: ignore[attr-defined]
        assert info.not_before < info.not_after
        refs.append(info.ref)
    assert refs[0] != refs[1]

    group = alice.create_group_with_members(b"a group", packages)  # type: ignore[attr-defined]
    bundle = group.last_commit()
    group.save()
    named = [ref for welcome in bundle.welcomes for ref in parse_welcome(welcome).key_package_refs]
    assert set(named) == set(refs)

    commit = parse_public_commit(bundle.commit)
    assert (commit.group_id, commit.epoch, commit.external) == (b"a group", 0, False)
    added = [proposal for proposal in commit.proposals if isinstance(proposal, Add)]
    assert {proposal.key_package.encoded for proposal in added} == {package[4:] for package in packages}
    assert parse(bundle.commit).kind is SealedKind.PUBLIC_COMMIT

    group_info = parse_group_info(bundle.group_info)
    assert (group_info.group_id, group_info.epoch) == (b"a group", 1)
    sealed = group.encrypt_application_message(b"hello")
    assert sealed[0] == rine_mls.APP_MESSAGE_TAG
    body = parse(sealed[1:])
    assert (body.kind, body.group_id, body.epoch) == (SealedKind.PRIVATE_APPLICATION, b"a group", 1)
    assert refused(parse, sealed) is FramingReason.UNKNOWN_VERSION

    joined = outsider.join_by_external_commit(group.group_info())  # type: ignore[attr-defined]
    external = parse_public_commit(joined.last_commit().commit)
    assert external.external
    assert external.sender.kind is SenderKind.NEW_MEMBER_COMMIT
