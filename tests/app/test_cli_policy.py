"""Policy on the command line: a refused file is a failed check, with the place or the class of messages."""

from pathlib import Path
from typing import Any

from tests.app.stores import called, letterlock, parsed


def test_shipped_profiles_are_accepted() -> None:
    for profile in ("standard", "consumer"):
        report = parsed("policy", "check", "--profile", profile)
        assert report["accepted"] is True


def test_a_file_is_refused_with_its_key_and_line_beside_one_that_is_accepted(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('schema_version = 1\nname = "mine"\nextends = "standard"\n')
    bad.write_text('schema_version = 1\nname = "mine"\nextends = "standard"\nnosuchkey = 1\n')
    assert parsed("policy", "check", str(good))["accepted"] is True
    report = parsed("policy", "check", str(bad), status=1)
    assert report["accepted"] is False
    assert (report["key"], report["line"]) == ("nosuchkey", 4)
    assert "nosuchkey" in called("policy", "check", str(bad)).output


def test_explain_names_rule_and_guards() -> None:
    report: Any = parsed("policy", "explain", "body=sealed", "framing=valid", "channels=relay")
    assert report["decision"]["action"] == "deliver"
    assert report["rule"]
    assert report["guards"]
    text = called("policy", "explain", "traffic=conversation").output
    assert "guards that hold" in text


def test_prove_counts_every_cell() -> None:
    report: Any = parsed("policy", "prove")
    assert sum(report["actions"].values()) == report["cells"] > 10_000
    assert "holds in every cell" in called("policy", "prove").output


def test_serve_refuses_a_policy_that_is_not_proven(tmp_path: Path) -> None:
    policy, settings = tmp_path / "policy.toml", tmp_path / "letterlock.toml"
    policy.write_text('schema_version = 1\nname = "mine"\nextends = "standard"\nnosuchkey = 1\n')
    settings.write_text(f"[policy]\nfile = '{policy}'\n[store]\nfolder = '{tmp_path / 'store'}'\n[server]\nport = 0\n")
    done = letterlock("serve", "--config", str(settings))
    assert done.returncode == 40
    assert "nosuchkey" in done.stderr
    assert "Traceback" not in done.stderr
