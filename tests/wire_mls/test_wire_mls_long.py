"""A million inputs for each parser: half made up, half made by changing something valid."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.wire_mls import test_cpim, test_imdn
from tests.wire_mls.making import KINDS, check_total, load_messages, mutate, private_message, random_body

from letterlock.model.errors import LetterlockError
from letterlock.model.ids import MessageId
from letterlock.wire import cpim, imdn
from letterlock.wire.mls import (
    FramingError,
    LetterlockAad,
    Rcc16Aad,
    build_letterlock_aad,
    build_rcc16_aad,
    parse,
    parse_group_info,
    parse_key_package,
    parse_letterlock_aad,
    parse_public_commit,
    parse_rcc16_aad,
    parse_welcome,
)

INPUTS = 1_000_000
Parser = Callable[[bytes], object]

CPIM_SEEDS = [
    test_cpim.cpim(test_cpim.WHOLE),
    test_cpim.cpim(test_cpim.TOP, test_cpim.TEXT, b"text"),
    cpim.build_receipt(test_cpim.PLAIN, imdn.Imdn("Mx1", 5, imdn.ReceiptKind.DISPLAY, imdn.ReceiptStatus.DISPLAYED)),
]
IMDN_SEEDS = [test_imdn.failed(""), test_imdn.xml(test_imdn.HEAD + test_imdn.DELIVERED)]
AAD_SEEDS = [build_rcc16_aad(Rcc16Aad("Mx1", 3)), build_letterlock_aad(LetterlockAad(MessageId(bytes(16))))]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("parser", "error", "names", "seeds"),
    [
        (parse, FramingError, KINDS, [private_message()]),
        (parse_key_package, FramingError, ("mls_key_package",), []),
        (parse_welcome, FramingError, ("mls_welcome",), []),
        (parse_public_commit, FramingError, ("public_message_commit",), []),
        (parse_group_info, FramingError, ("mls_group_info",), []),
        (parse_rcc16_aad, FramingError, (), AAD_SEEDS),
        (parse_letterlock_aad, FramingError, (), AAD_SEEDS),
        (cpim.parse, cpim.CpimError, (), CPIM_SEEDS),
        (imdn.parse, imdn.ImdnError, (), IMDN_SEEDS),
    ],
    ids=["message", "key_package", "welcome", "commit", "group_info", "rcc16_aad", "letterlock_aad", "cpim", "imdn"],
)
def test_a_million_inputs(
    parser: Parser, error: type[LetterlockError], names: tuple[str, ...], seeds: list[bytes], vectors: Path
) -> None:
    rng = Random(f"a million for {parser.__module__}.{parser.__name__}")
    valid = [*seeds, *(entry[name] for entry in load_messages(vectors) for name in names)]
    made_up = changed = 0
    for _ in range(INPUTS // 2):
        made_up += check_total(parser, error, random_body(rng))
        changed += check_total(parser, error, mutate(rng.choice(valid), rng))
    assert made_up == 0
    # The control: what is nearly valid is sometimes taken.
    assert changed > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_official_message_cut_at_every_byte(vectors: Path) -> None:
    for entry in load_messages(vectors):
        for name in KINDS:
            data = entry[name]
            assert check_total(parse, FramingError, data)
            assert not any(check_total(parse, FramingError, data[:size]) for size in range(len(data)))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_false_positive_in_a_million_bodies_with_the_right_first_bytes() -> None:
    rng = Random("right first bytes")
    heads = [bytes((0, 1, 0, wire_format)) for wire_format in range(1, 6)]
    taken = sum(check_total(parse, FramingError, rng.choice(heads) + random_body(rng)) for _ in range(INPUTS))
    assert taken == 0
    assert check_total(parse, FramingError, private_message(rng.randbytes(64)))
