"""``ledger head | key | verify | prove | check-proof | check-receipt | consistency | export``: all of it offline."""

import sys
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from letterlock.app.commands.output import (
    Config,
    Data,
    Exit,
    Json,
    folder_of,
    print_json,
    print_values,
    wrong_usage,
)

if TYPE_CHECKING:
    from letterlock.app.commands.openlog import OpenLog
    from letterlock.wire.tlog.verdict import Verdict

app = typer.Typer(
    no_args_is_help=True,
    help="Verify the transparency log, offline and beside a running gateway; prove, check and export entries.",
)
Key = Annotated[
    str | None,
    typer.Option("--key", help="The log's public key, or a file with it; by default ledger.vkey of the store."),
]
From = Annotated[
    Path | None,
    typer.Option("--from", exists=True, file_okay=False, help="An exported log instead of a store; needs --key."),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file instead of standard output.")]
InFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="What prove or the API gave.")]


def _open(data: Path | None, config: Path | None, directory: Path | None, key: str | None) -> "OpenLog":
    from letterlock.app.commands.openlog import open_directory, open_store

    if directory is not None:
        return open_directory(directory, key)
    head_file = None
    if config is not None:
        from letterlock.app.settings import load

        named = load(config).ledger.head_file
        head_file = Path(named) if named else None
    return open_store(folder_of(data, config), key, head_file)


@app.command("head")
def head(
    data: Data = None, config: Config = None, directory: From = None, key: Key = None, out: Out = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Print the last signed head. Keep it elsewhere: only then can a rollback be shown."""
    signed = _open(data, config, directory, key).head()
    if as_json:
        point = signed.checkpoint
        values = {
            "origin": point.origin, "size": point.size, "root": b64encode(point.root).decode(),
            "witnessing": "witnessed" if signed.cosigners else "unwitnessed", "note": signed.note.decode(),
        }  # fmt: skip
        print_json(values)
    if out is not None:
        out.write_bytes(signed.note)
    elif not as_json:
        sys.stdout.write(signed.note.decode())


@app.command("key")
def show_key(data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Print the log's public key (C2SP verifier key). Give it to whoever verifies, over a way that you trust."""
    from letterlock.app.commands.openlog import KEY_FILE, parse_key

    path = folder_of(data, config) / KEY_FILE
    if not path.is_file():
        wrong_usage(f"no {path}; the gateway writes it when it starts")
    found = parse_key(path.read_text())
    if as_json:
        print_json({"key": str(found), "origin": found.name, "id": found.key_id.hex()})
    else:
        print(found)


@app.command("verify")
def verify(
    data: Data = None,
    config: Config = None,
    directory: From = None,
    key: Key = None,
    heads: Annotated[
        list[Path] | None,
        typer.Option("--head", exists=True, dir_okay=False, help="A signed head that was kept elsewhere; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify every entry up to the signed head, and against heads held elsewhere. Names the first bad entry.

    Exit codes: 0 sound; 10 data is missing; 20 tampered; 30 forked or rolled back.
    """
    from letterlock.app.commands.openlog import narrowed
    from letterlock.wire.tlog.verify import held_from_note, verify_log

    log = _open(data, config, directory, key)
    held = [held_from_note(path.read_bytes(), log.key) for path in heads or []]
    verdict = narrowed(log, verify_log(log.reader, log.key, held=[*held, *log.kept, *log.former]))
    gravity = None if verdict.finding is None else verdict.finding.gravity.value
    values = {
        "finding": None if verdict.finding is None else verdict.finding.value,
        "gravity": gravity,
        "sentence": sentence(verdict),
        "first_bad": verdict.first_bad,
        "bad_before": verdict.bad_before,
        "entries": verdict.checked,
        "origin": log.key.name,
        "size": verdict.head.checkpoint.size if verdict.head else None,
        "root": verdict.head.checkpoint.root.hex() if verdict.head else None,
        "witnessing": verdict.witnessing.value,
        "heads_compared": len(held) + len(log.kept),
        "key": log.trusted,
        "kinds": dict(verdict.kinds),
    }
    if as_json:
        print_json(values)
    else:
        print(values["sentence"])
        print_values("", {name: value for name, value in values.items() if name != "sentence"})
    if gravity is not None:
        raise typer.Exit(GRAVITY[gravity])


GRAVITY: Final = {
    "cannot_verify": Exit.CANNOT_VERIFY,
    "tampered": Exit.TAMPERED,
    "forked_or_rolled_back": Exit.FORKED_OR_ROLLED_BACK,
}
_SENTENCES: Final = {
    "checkpoint_missing": "There is no signed head, so nothing can be verified.",
    "checkpoint_malformed": "The signed head is not readable.",
    "bad_signature": "The signature on the head is not valid.",
    "not_signed_by_log": "The head is not signed by this key.",
    "other_log": "The head is of another log.",
    "data_missing": "Data is missing {place}.",
    "data_malformed": "Data is malformed {place}.",
    "entry_changed": "An entry was changed {place}.",
    "entries_reordered": "Entries were put into another order {place}.",
    "tile_changed": "A hash tile was changed; the entries below it begin {place}.",
    "tail_rewritten": "The log was rewritten {place}.",
    "tail_dropped": "The log was cut off or rolled back: a head held elsewhere is larger; missing {place}.",
    "forked": "The log signed two histories that contradict each other {place}.",
    "entry_outside_schema": "An entry is outside the closed schema {place}.",
}


def sentence(verdict: "Verdict") -> str:
    """What was found, for people."""
    if verdict.finding is None:
        return f"Sound: all {verdict.checked} entries lead to the signed head ({verdict.witnessing.value})."
    place = ""
    if verdict.first_bad is not None:
        exact = verdict.bad_before in {None, verdict.first_bad + 1}
        dropped = verdict.finding.value == "tail_dropped"
        if dropped:
            place = f"from index {verdict.first_bad} on"
        elif exact:
            place = f"at index {verdict.first_bad}"
        else:
            place = f"at an index from {verdict.first_bad} to {(verdict.bad_before or 0) - 1}"
    return _SENTENCES[verdict.finding.value].format(place=place)


@app.command("prove")
def prove(
    index: Annotated[int, typer.Argument(min=0, help="Which entry, counted from 0.")],
    data: Data = None, config: Config = None, directory: From = None, key: Key = None, out: Out = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Print an entry with its proof (C2SP tlog-proof): one file that anybody can check offline."""
    from letterlock.ledger.errors import LedgerError, LedgerReason
    from letterlock.wire.tlog.errors import TileError, TreeError
    from letterlock.wire.tlog.proof_file import ProofFile
    from letterlock.wire.tlog.proofs import prove_inclusion
    from letterlock.wire.tlog.tiles import TILE_WIDTH, TileHashes, split_bundle, width_at

    log = _open(data, config, directory, key)
    signed = log.head()
    size = signed.checkpoint.size
    if index >= size:
        raise LedgerError(LedgerReason.NOT_YET_SIGNED, index=index, size=size)
    try:
        path = prove_inclusion(TileHashes(log.reader, size), index, size)
        width = width_at(size, 0, index // TILE_WIDTH)
        bundle = log.reader.bundle(index // TILE_WIDTH, width)
        if bundle is None:
            raise LedgerError(LedgerReason.ROWS_MISSING, index=index)
        entry = split_bundle(bundle, width)[index % TILE_WIDTH]
    except (TreeError, TileError):
        raise LedgerError(LedgerReason.ROWS_MISSING, index=index) from None
    made = ProofFile(index, tuple(path), signed.note, entry).encode()
    if out is not None:
        out.write_bytes(made)
    if as_json:
        print_json(
            {"index": index, "size": size, "entry": entry.decode("ascii"), "proof": made.decode("ascii", "replace")}
        )
    elif out is None:
        sys.stdout.write(made.decode())


@app.command("check-proof")
def check_proof(
    file: InFile,
    key: Annotated[str, typer.Option("--key", help="The log's public key, or a file with it.")],
    entry_file: Annotated[
        Path | None,
        typer.Option("--entry", exists=True, dir_okay=False, help="The entry's bytes; by default those in the file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a proof file offline: the entry is in the log that this key signs."""
    from letterlock.app.commands.openlog import parse_key
    from letterlock.wire.tlog.entries import decode_entry
    from letterlock.wire.tlog.proof_file import ProofFile
    from letterlock.wire.tlog.verify import verify_entry_proof

    proof = file.read_bytes()
    entry = entry_file.read_bytes() if entry_file is not None else ProofFile.parse(proof).extra
    if entry is None:
        wrong_usage("the file holds no entry: give its bytes with --entry")
    proven = verify_entry_proof(proof, entry, parse_key(key))
    point = proven.head.checkpoint
    values = {
        "proven": True, "index": proven.index, "size": point.size, "origin": point.origin,
        "type": decode_entry(entry).t, "entry": entry.decode("ascii"),
        "witnessing": "witnessed" if proven.head.cosigners else "unwitnessed",
    }  # fmt: skip
    _show(values, f"Proven: entry {proven.index} is in the log {point.origin} at size {point.size}.", as_json)


@app.command("check-receipt")
def check_receipt(
    file: InFile,
    key: Annotated[str, typer.Option("--key", help="The log's public key, or a file with it.")],
    as_json: Json = False,
) -> None:
    """Check a message's receipt offline: record, batch entry and signed head fit together."""
    from letterlock.app.commands.openlog import parse_key
    from letterlock.wire.tlog.verify import verify_receipt

    proven = verify_receipt(file.read_bytes(), parse_key(key))
    point = proven.head.checkpoint
    values = {
        "proven": True, "record": proven.record.encode().decode("ascii"), "slot": proven.slot, "index": proven.index,
        "size": point.size, "origin": point.origin,
        "witnessing": "witnessed" if proven.head.cosigners else "unwitnessed",
    }  # fmt: skip
    _show(values, f"Proven: record {proven.slot} of entry {proven.index} in the log {point.origin}.", as_json)


@app.command("consistency")
def consistency(
    held: Annotated[Path, typer.Option("--head", exists=True, dir_okay=False, help="The older head, as it was kept.")],
    data: Data = None, config: Config = None, directory: From = None, key: Key = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Prove that the log still begins with what an older head signed (RFC 9162, section 2.1.4)."""
    from letterlock.ledger.errors import LedgerError, LedgerReason
    from letterlock.wire.tlog.checkpoint import open_checkpoint
    from letterlock.wire.tlog.errors import TileError, TreeError
    from letterlock.wire.tlog.proofs import prove_consistency, verify_consistency
    from letterlock.wire.tlog.tiles import TileHashes

    log = _open(data, config, directory, key)
    older, newer = open_checkpoint(held.read_bytes(), log.key).checkpoint, log.head().checkpoint
    values = {"consistent": True, "older": older.size, "newer": newer.size, "origin": newer.origin}
    if older.size > newer.size:
        _show({**values, "consistent": False}, f"Rolled back: the log has {newer.size} entries, the head {older.size}.",
              as_json)  # fmt: skip
        raise typer.Exit(Exit.FORKED_OR_ROLLED_BACK)
    if older.size == 0:
        _show(values, "Consistent: every log begins with the empty one, so nothing follows from it.", as_json)
        return
    try:
        proof = prove_consistency(TileHashes(log.reader, newer.size), older.size, newer.size)
    except (TreeError, TileError):
        raise LedgerError(LedgerReason.ROWS_MISSING, older=older.size) from None
    try:
        verify_consistency(older.size, newer.size, proof, older.root, newer.root)
    except TreeError:
        text = f"Forked: the log does not begin with the {older.size} entries that were signed before."
        _show({**values, "consistent": False}, text, as_json)
        raise typer.Exit(Exit.FORKED_OR_ROLLED_BACK) from None
    _show(
        {**values, "proof": [b64encode(one).decode() for one in proof]},
        f"Consistent: the {newer.size} entries begin with the {older.size} that were signed before.",
        as_json,
    )


@app.command("export")
def export(
    to: Annotated[Path, typer.Argument(file_okay=False, help="The directory; what is there is checked and kept.")],
    data: Data = None, config: Config = None, key: Key = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Write the log as a C2SP tlog-tiles directory, for mirrors, foreign verifiers and write-once media."""
    from letterlock.ledger.export import export_log

    log = _open(data, config, None, key)
    done = export_log(log.reader, log.key, to)
    values = {"directory": str(to), "size": done.size, "files_added": done.added, "key": str(log.key)}
    text = f"Exported {done.size} entries. Verify: letterlock ledger verify --from {to} --key '{log.key}'"
    _show(values, text, as_json)


def _show(values: dict[str, object], text: str, as_json: bool) -> None:
    if as_json:
        print_json(values)
    else:
        print(text)
        print_values("", values)
