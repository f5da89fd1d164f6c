"""Whatever a command is given, it ends with a status and a sentence: never a traceback, never a bare errno."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.utils
import click
import pytest
from click.testing import CliRunner, Result

from batch_vision.core.times import from_text
from batch_vision.operator import cli, command_line, environment
from batch_vision.operator.cli import main
from batch_vision.operator.errors import WrongInputError
from local.config import REPOSITORY
from tests.unit.tool_stack import FINAL, NAME, SUMMARY, Deployed

ODD = [
    "", " ", "nan", "inf", "-inf", "-1", "0", "1e999", "9" * 40, "0x10", "é日本🔧", "x" * 5000, "a\0b", "--", "-",
    "../..", "9999-12-31T23:59", "0001-01-01T00:00+14:00", "99999999999w", "rate(0 hours)", "None", "[]",
]  # fmt: skip
# What each command needs besides the option that is odd.
ARGUMENTS = {
    "upload": [str(REPOSITORY / "local" / "samples" / "pile")],
    "cost": ["--images-per-day", "18000"],
    "manifest": ["--out", "train.manifest"],
    "review": ["--no-browser"],
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somewhere with nothing in it nor above, for files that are written by default; without what a shell may set."""
    (tmp_path / "1" / "2" / "3").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "1" / "2" / "3")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    for name in ("BATCH_VISION_STACK", "BATCH_VISION_OUTPUTS", "LOCAL_NAME"):
        monkeypatch.delenv(name, raising=False)


def options() -> Iterator[tuple[str, str]]:
    for name, command in main.commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                yield name, parameter.opts[0]
            elif isinstance(parameter, click.Argument):
                yield name, ""


def check(result: Result, *, statuses: tuple[int, ...] = (0, 1, 2, 3)) -> None:
    """Hold the form of an answer."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in statuses, result.output
    assert "Traceback" not in result.output
    assert "[Errno" not in result.output
    assert "fault of batch-vision" not in result.output
    if result.exit_code in (2, 3):
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith(("batch-vision: ", "Error: ")), result.stderr
        assert len(last) > 30, last


@pytest.mark.parametrize(("command", "option"), [*options()])
def test_every_option_of_every_command(deployed: Deployed, command: str, option: str) -> None:
    for value in ODD:
        words = [f"{option}={value}"] if option else ["--", value]
        is_named = command == "cost" or option in ("--stack", "--outputs")
        more = [] if is_named else ["--outputs", str(deployed.outputs_file)]
        arguments = ARGUMENTS.get(command, []) if option else []
        result = CliRunner().invoke(main, [command, *arguments, *more, *words])
        check(result)
        is_empty = value == "" and (command, option) != ("upload", "--prefix")
        assert not is_empty or result.exit_code == 2, (value, result.output)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["results", "--run", "r", "--since", "1h"], "--since"),
        (["results", "--run", "r", "--until", "1h"], "--until"),
        (["report", "--run", "r", "--since", "1h"], "--since"),
        (["results", "--min-confidence", "90", "--max-confidence", "10"], "--max-confidence"),
        (["results", "--since", "1h", "--until", "2h"], "--until"),
        (["retry", "--reason", "InvalidImageError"], "--rejected"),
        (["run", "--poll-seconds", "nan"], "--poll-seconds"),
        (["results", "--min-confidence", "nan"], "--min-confidence"),
    ],
)
def test_options_that_contradict_each_other(deployed: Deployed, words: list[str], named: str) -> None:
    deployed.put("runs/r.json", json.dumps(SUMMARY).encode(), FINAL)
    result = deployed.call(*words)
    check(result, statuses=(2,))
    assert named in result.stderr


@pytest.mark.parametrize("command", ["results", "report"])
def test_a_run_that_is_under_way(deployed: Deployed, command: str) -> None:
    arn = deployed.execution()
    result = deployed.call(command, "--run", arn.rpartition(":")[2])
    check(result, statuses=(2,))
    assert "still under way" in result.stderr
    since = result.stderr.split("--since ")[1].split(" ")[0]
    assert from_text(since)
    assert deployed.call("results", "--since", since).exit_code == 0


# Which stack.


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["--stack", ""], {}),
        (["--outputs", ""], {}),
        (["--stack="], {"BATCH_VISION_STACK": NAME}),
        ([], {"BATCH_VISION_STACK": ""}),
        ([], {"BATCH_VISION_OUTPUTS": ""}),
        ([], {"BATCH_VISION_STACK": "", "BATCH_VISION_OUTPUTS": "OUTPUTS"}),
        ([], {"LOCAL_NAME": ""}),
    ],
)
@pytest.mark.parametrize("command", [["status"], ["stop"], ["retry"], ["run"]])
def test_a_name_that_is_given_and_empty_is_no_stack(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, command: list[str], words: list[str], variables: dict[str, str]
) -> None:
    """`--stack "$DEV"` with DEV unset: not the local stack, nor one that a variable names."""
    monkeypatch.setattr(command_line, "LOCAL_OUTPUTS", deployed.outputs_file)
    env = {name: str(deployed.outputs_file) if value == "OUTPUTS" else value for name, value in variables.items()}
    result = CliRunner(env=env).invoke(main, [*command, *words])
    check(result, statuses=(2,))
    assert "empty" in result.stderr
    assert CliRunner().invoke(main, ["status"]).exit_code == 0, "without any, it is the local stack"


@pytest.mark.parametrize(
    ("words", "variables"), [(["STACK="], {}), (["OUTPUTS="], {}), ([], {"BATCH_VISION_STACK": ""})]
)
def test_make_takes_no_other_stack_than_the_one_that_is_named(words: list[str], variables: dict[str, str]) -> None:
    shell = {name: value for name, value in os.environ.items() if not name.startswith("BATCH_VISION_")}
    finished = subprocess.run(
        ["make", "--dry-run", "status", *words],
        cwd=REPOSITORY, env=shell | variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "/env" not in finished.stdout
    assert not words or f'--{words[0][:-1].lower()} "$' in finished.stdout


# Files and encodings.


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_outputs_in_the_encodings_of_other_shells(deployed: Deployed, encoding: str) -> None:
    deployed.outputs_file.write_bytes(deployed.outputs_file.read_text().encode(encoding))
    assert deployed.call("status").exit_code == 0


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"\xff\x00\xff", b"[" * 100_000, b"{}", b"null", b'{"source_bucket_name": []}']
)
def test_outputs_that_are_none(deployed: Deployed, content: bytes) -> None:
    deployed.outputs_file.write_bytes(content)
    result = deployed.call("status")
    check(result, statuses=(2,))
    assert "terraform output -json" in result.stderr


@pytest.mark.parametrize("charset", ["cp1252", "cp437", "koi8-r", "utf-8"])
def test_output_in_an_old_encoding(deployed: Deployed, tmp_path: Path, charset: str) -> None:
    deployed.catalog("2026-11-20T08:10:00.000Z", {"key": "日本 é 🔧.png"})
    deployed.put("runs/r.json", json.dumps(SUMMARY).encode(), FINAL)
    deployed.execution("FAILED", error="ModelStopTimeoutError", cause="日本")
    (tmp_path / "pile").mkdir()
    (tmp_path / "pile" / "日本 é 🔧.png").write_bytes(b"x")
    commands = [
        ["status"], ["results", "--run", "r"], ["report", "--run", "r"], ["upload", "pile"], ["retry"], ["run"],
        ["stop"], ["--help"], ["status", "--help"], ["cost", "--help"], ["results", "--label", "日本"],
        ["upload", "日本"],
    ]  # fmt: skip
    for words in commands:
        more = [] if "--help" in words else ["--outputs", str(deployed.outputs_file)]
        result = CliRunner(charset=charset).invoke(main, [*words, *more])
        check(result)
        result.stdout_bytes.decode(charset)


def test_colours(deployed: Deployed) -> None:
    """https://no-color.org: a variable that is set, and not empty."""
    for value, is_coloured in ((None, True), ("", True), ("1", False)):
        words = ["status", "--outputs", str(deployed.outputs_file)]
        result = CliRunner(env={"NO_COLOR": value}).invoke(main, words, color=True)
        assert (result.exit_code, "\x1b[" in result.stdout) == (0, is_coloured)


@pytest.mark.parametrize("columns", ["60", "20", "0", "wide"])
def test_terminals_of_any_width(deployed: Deployed, columns: str) -> None:
    for name in main.commands:
        result = CliRunner(env={"COLUMNS": columns}).invoke(main, [name, "--help"])
        assert (result.exit_code, "\b" in result.output) == (0, False)
    check(CliRunner(env={"COLUMNS": columns}).invoke(main, ["status", "--outputs", str(deployed.outputs_file)]))


def test_a_report_replaces_a_report_and_nothing_else(deployed: Deployed, tmp_path: Path) -> None:
    out = Path("report.html")
    for _ in range(2):
        assert deployed.call("report").exit_code == 0
    out.write_bytes(b"my thesis")
    for words in ([], ["--out", str(tmp_path)], ["--out", "/dev/null/x"], ["--out", "none/x.html"]):
        check(deployed.call("report", *words), statuses=(2,))
    assert out.read_bytes() == b"my thesis"


@pytest.mark.parametrize("folder", ["/dev/null/x", "/proc/x", "file"])
def test_a_folder_that_cannot_be_made(deployed: Deployed, folder: str) -> None:
    Path("file").write_bytes(b"")
    result = deployed.call("results", "--download", folder)
    check(result, statuses=(2,))


# The environment.


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize(
    "value", ["localhost:4566", "127.0.0.1", "http://", "ftp://localhost", "//localhost:4566", " "]
)
def test_an_endpoint_without_a_scheme(deployed: Deployed, name: str, value: str) -> None:
    for command in (["status"], ["stop"], ["results"]):
        result = deployed.call(*command, env={name: value})
        check(result, statuses=(2,))
        assert name in result.stderr
        assert "http://" in result.stderr


def test_an_endpoint_without_a_scheme_in_a_profile(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nregion = us-east-1\nendpoint_url = localhost:4566\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers
    result = deployed.call("status")
    check(result, statuses=(2,))
    assert "localhost:4566" in result.stderr


def test_loopback_is_asked_past_a_proxy(deployed: Deployed) -> None:
    """Rekognition is an emulator at 127.0.0.1 here."""
    proxies: dict[str, str | None] = dict.fromkeys(("HTTP_PROXY", "https_proxy"), "http://127.0.0.1:9")
    result = deployed.call("status", env=proxies)
    assert (result.exit_code, "TRAINING_COMPLETED" in result.stdout) == (0, True), result.output


@pytest.mark.parametrize(
    ("variables", "past"),
    [
        ({"HTTP_PROXY": "http://proxy:1"}, ["http://localhost:4566", "http://127.0.0.1:4566/a", "http://[::1]:4566"]),
        (
            {"https_proxy": "http://proxy:1", "no_proxy": "intranet", "NO_PROXY": "other"},
            ["http://127.0.0.1:1", "https://intranet"],
        ),
        (
            {"ALL_PROXY": "socks5://proxy:1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.9:4566"},
            ["http://127.0.0.9:4566"],
        ),
        ({"http_proxy": "http://proxy:1", "no_proxy": "*"}, ["http://example.com"]),
    ],
)
def test_what_goes_past_a_proxy(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], past: list[str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment.bypass_proxies_for_loopback(os.environ)
    for url in past:
        assert botocore.utils.get_environ_proxies(url) == {}, url
    if variables.get("no_proxy") != "*":
        assert botocore.utils.get_environ_proxies("https://s3.us-east-1.amazonaws.com")


def test_without_a_proxy_nothing_is_set() -> None:
    variables = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}
    environment.bypass_proxies_for_loopback(variables)
    assert variables == {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}
    environment.check_endpoints(variables)
    with pytest.raises(WrongInputError, match="AWS_ENDPOINT_URL is 'x'"):
        environment.check_endpoints({"AWS_ENDPOINT_URL": "x"})


# The end.


@pytest.mark.parametrize("words", [["-m", "batch_vision"], ["-c", "from batch_vision.__main__ import main; main()"]])
def test_ctrl_c_while_the_tool_is_imported(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "rich.py").write_text("raise KeyboardInterrupt")
    paths = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    finished = subprocess.run(
        [sys.executable, *words, "status"],
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (finished.returncode, finished.stdout, finished.stderr) == (130, "", "batch-vision: interrupted.\n")


def test_a_fault_of_its_own_is_one_sentence_too(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(cli.status_module, "look", fail)
    result = deployed.call("status")
    assert (result.exit_code, "ZeroDivisionError: by zero" in result.stderr) == (1, True)
    assert isinstance(deployed.call("status", env={"BATCH_VISION_TRACEBACK": "1"}).exception, ZeroDivisionError)


def test_a_reader_that_goes_away_is_no_fault(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli.status_module, "look", fail)
    result = deployed.call("status")
    assert (result.exit_code, result.output) == (1, "")
