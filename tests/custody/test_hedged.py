"""Keys stay unpredictable when the random generator fails, and the carried secret never leads back."""

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from letterlock.custody.hedged import Ratchet, hedged_key

ZEROS = bytes(32)


def test_a_generator_stuck_at_zero_still_gives_distinct_keys() -> None:
    ratchet = Ratchet(1, b"s" * 32)
    keys: list[bytes] = []
    secrets = [ratchet.secret]
    for _ in range(500):
        key, ratchet = ratchet.turn(ZEROS, b"same context")
        keys.append(key)
        secrets.append(ratchet.secret)
    assert len({*keys, *secrets}) == len(keys) + len(secrets)
    assert ratchet.step == 501


def test_without_the_secret_zeros_predict_nothing_and_with_it_entropy_protects() -> None:
    mine, _ = Ratchet(1, b"s" * 32).turn(ZEROS, b"c")
    guess, _ = Ratchet(1, b"g" * 32).turn(ZEROS, b"c")
    fresh, _ = Ratchet(1, b"s" * 32).turn(b"e" * 32, b"c")
    same, _ = Ratchet(1, b"s" * 32).turn(ZEROS, b"c")
    assert mine == same
    assert len({mine, guess, fresh}) == 3


def test_every_input_counts_and_none_runs_into_another() -> None:
    base = (b"s" * 32, b"e" * 32, b"context", b"key")
    keys = {
        hedged_key(*base),
        hedged_key(b"S" * 32, *base[1:]),
        hedged_key(base[0], b"E" * 32, *base[2:]),
        hedged_key(base[0], base[1], b"contexT", base[3]),
        hedged_key(base[0], base[1], b"ycontext", b"ke"),
        hedged_key(base[0], base[1], base[2], b"ratchet"),
    }
    assert len(keys) == 6
    step_one, _ = Ratchet(1, base[0]).turn(base[1], b"c")
    step_two, _ = Ratchet(2, base[0]).turn(base[1], b"c")
    assert step_one != step_two


def test_it_is_hkdf_over_secret_and_entropy() -> None:
    info = b"letterlock/v1/hedged\x00\x00\x03keyctx"
    expected = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(b"s" * 32 + b"e" * 32)
    assert hedged_key(b"s" * 32, b"e" * 32, b"ctx") == expected


@pytest.mark.parametrize(("secret", "entropy"), [(b"", ZEROS), (b"s" * 31, ZEROS), (ZEROS, b""), (ZEROS, b"e" * 33)])
def test_lengths_are_fixed(secret: bytes, entropy: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        hedged_key(secret, entropy, b"")
    assert len(hedged_key(ZEROS, ZEROS, b"")) == 32


def test_the_ratchet_does_not_print_its_secret() -> None:
    assert "secret" not in repr(Ratchet(3, b"q" * 32))
