"""Certificates of the RCC.16 profile, and RCS groups whose members hold them: made by hand, from fixed keys."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from tests.wire_mls.group_maker import NOW_S, LeafMaker, Made, Signer

from letterlock.wire.mls.group import Rcc16Certificates, Root
from letterlock.wire.mls.group.certificates import CLIENT_POLICY, CLIENT_USE, DAY_S, PARTICIPANT
from letterlock.wire.mls.structures import Extension
from letterlock.wire.mls.suites import CipherSuite

SUITE = CipherSuite.P256_AES128_SHA256_P256
ROOT_KEY, MIDDLE_KEY, OTHER_KEY = (ec.derive_private_key(7 + n, ec.SECP256R1()) for n in range(3))
TEL = (x509.UniformResourceIdentifier("tel:+33123456789"),)


@dataclass(frozen=True)
class Wish:
    """A certificate to make; the defaults are an end user's of the profile, below the intermediate."""

    key: ec.EllipticCurvePublicKey
    by: ec.EllipticCurvePrivateKey = MIDDLE_KEY
    subject: str = "leaf"
    issuer: str = "middle"
    since: int = NOW_S - 10 * DAY_S
    until: int = NOW_S + 60 * DAY_S
    ca: bool = False
    path_length: int | None = None
    names: tuple[x509.GeneralName, ...] = TEL
    uses: tuple[x509.ObjectIdentifier, ...] = (CLIENT_USE,)
    policies: tuple[x509.ObjectIdentifier, ...] = (CLIENT_POLICY,)
    policy_critical: bool = False
    signs: bool = True
    others: tuple[tuple[x509.ObjectIdentifier, bytes, bool], ...] = ((PARTICIPANT, b"\x04\x00", True),)
    hash: SHA256 | SHA384 = field(default_factory=SHA256)

    def make(self) -> bytes:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
        )
        builder = (
            x509.CertificateBuilder(_name(self.issuer), _name(self.subject), self.key, 17)
            .not_valid_before(datetime.fromtimestamp(self.since, UTC))
            .not_valid_after(datetime.fromtimestamp(self.until, UTC))
            .add_extension(
                x509.KeyUsage(
                    digital_signature=self.signs and not self.ca,
                    key_cert_sign=self.signs and self.ca,
                    encipher_only=False,
                    decipher_only=False,
                    **usage,
                ),
                True,
            )
        )
        if self.ca or self.path_length is not None:
            builder = builder.add_extension(x509.BasicConstraints(self.ca, self.path_length), True)
        if self.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(self.names), False)
        if self.uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.uses), False)
        if self.policies:
            policies = x509.CertificatePolicies([x509.PolicyInformation(one, None) for one in self.policies])
            builder = builder.add_extension(policies, self.policy_critical)
        for oid, value, critical in self.others:
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical)
        return builder.sign(self.by, self.hash, ecdsa_deterministic=True).public_bytes(Encoding.DER)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def authority(key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, subject: str, issuer: str) -> Wish:
    days = 3650 if subject == issuer else 1800
    return Wish(
        key.public_key(),
        by,
        subject,
        issuer,
        until=NOW_S - 10 * DAY_S + days * DAY_S,
        ca=True,
        names=(),
        uses=(),
        policies=(),
        others=(),
    )


ROOT = authority(ROOT_KEY, ROOT_KEY, "root", "root")
MIDDLE = authority(MIDDLE_KEY, ROOT_KEY, "middle", "root")
USER = Signer(SUITE, "user")
LEAF = Wish(USER.p256.public_key())


def rule(root: Wish = ROOT) -> Rcc16Certificates:
    return Rcc16Certificates((Root.of(root.make(), NOW_S),))


ABLE = (0xF001, 0xF002)
"""Extensions that every client of the profile says it can read."""


def era(number: int) -> Extension:
    return Extension(0xF001, number.to_bytes(4, "big"))


END = Extension(0xF002, b"end_mls")


def chain_of(signer: Signer, wish: Wish = LEAF) -> tuple[bytes, ...]:
    """A member's certificates."""
    return replace(wish, key=signer.p256.public_key()).make(), MIDDLE.make()


def certified(signer: Signer, wish: Wish = LEAF) -> LeafMaker:
    """A member's leaf."""
    lifetime = (0, max(NOW_S + 365 * DAY_S, wish.until))
    return LeafMaker(signer, certificates=chain_of(signer, wish), can_extensions=ABLE, lifetime=lifetime)


def rcs_group(names: str, *extensions: Extension, **wishes: Wish) -> tuple[Made, bytes]:
    """A group of suite 2 whose members have certificates, and its GroupInfo at epoch 0; ``state`` is not set."""
    made = Made(SUITE)
    made.members = {index: made.signer(name) for index, name in enumerate(names)}
    leaves = [certified(one, wishes.get(one.name, LEAF)).for_key_package() for one in made.members.values()]
    return made, made.group_info(made.tree(leaves), extensions=extensions)
