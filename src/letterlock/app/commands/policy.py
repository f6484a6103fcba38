"""``policy check | explain | prove``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from letterlock.app.commands.output import Exit, Json, print_json, print_table, print_values, wrong_usage

app = typer.Typer(no_args_is_help=True, help="Check a policy file, prove it, and ask what it says of a message.")

File = Annotated[
    Path | None,
    typer.Argument(exists=True, dir_okay=False, readable=True, help="A policy file; without it a shipped profile."),
]
FileOption = Annotated[
    Path | None, typer.Option("--file", exists=True, dir_okay=False, readable=True, help="A policy file.")
]
Profile = Annotated[str, typer.Option("--profile", help="A shipped profile: standard, consumer or high-risk.")]


def _source(file: Path | None, profile: str) -> bytes | str:
    from letterlock.policy.errors import PolicyError
    from letterlock.policy.file import PROFILES, profile_source

    if file is not None:
        return file.read_bytes()
    try:
        return profile_source(profile)
    except PolicyError:
        wrong_usage(f"there is no such profile; shipped are: {', '.join(PROFILES)}")


@app.command("check")
def check(file: File = None, profile: Profile = "standard", as_json: Json = False) -> None:
    """Prove a policy: every guard in every class of messages. Names key and line, or the class where a guard fails."""
    from letterlock.policy.report import check_report
    from letterlock.transports.registry import CAPABILITIES

    report = check_report(_source(file, profile), CAPABILITIES)
    if as_json:
        print_json(report)
    else:
        print_values("accepted" if report["accepted"] else "refused", report)
    if not report["accepted"]:
        raise typer.Exit(Exit.FINDING)


@app.command("explain")
def explain(
    facts: Annotated[
        list[str] | None, typer.Argument(help="Facts as name=word, for example traffic=conversation body=sealed")
    ] = None,
    file: FileOption = None,
    profile: Profile = "standard",
    as_json: Json = False,
) -> None:
    """Say what a message gets, by which rule and guards. Facts that are not named: a plain notice over the API."""
    from letterlock.policy.errors import PolicyError
    from letterlock.policy.proof import prove
    from letterlock.policy.report import explain_report, facts_from_words
    from letterlock.transports.registry import CAPABILITIES

    pairs = [fact.partition("=") for fact in facts or []]
    if any(not mark for _, mark, _ in pairs):
        wrong_usage("write facts as name=word, for example traffic=conversation")
    try:
        wanted = facts_from_words({name: word for name, _, word in pairs})
    except PolicyError as error:
        wrong_usage(str(error))
    report: dict[str, Any] = explain_report(prove(_source(file, profile), CAPABILITIES), wanted)
    if as_json:
        print_json(report)
        return
    for sentence in report["sentences"]:
        print(sentence)
    print()
    print_values("decision", report["decision"])
    print()
    print_table("guards that hold", ("guard", "holds"), [(g["id"], g["holds"]) for g in report["guards"]])


@app.command("prove")
def prove_policy(file: File = None, profile: Profile = "standard", as_json: Json = False) -> None:
    """Show what was proven: cells, guards, and how decisions are divided among actions, falls and rules."""
    from letterlock.policy.proof import prove
    from letterlock.policy.report import prove_report
    from letterlock.transports.registry import CAPABILITIES

    report: dict[str, Any] = prove_report(prove(_source(file, profile), CAPABILITIES))
    if as_json:
        print_json(report)
        return
    tables = ("guards", "states")
    print_values("proven", {name: value for name, value in report.items() if name not in tables})
    print()
    print_table("guards", ("guard", "holds in every cell"), [(g["id"], g["holds"]) for g in report["guards"]])
    print()
    states: dict[str, dict[str, object]] = report["states"]
    columns = list(next(iter(states.values())))
    print_table(
        "states", ("state", *(name.replace("_", " ") for name in columns)),
        [(state, *(row[name] for name in columns)) for state, row in states.items()],
    )  # fmt: skip
