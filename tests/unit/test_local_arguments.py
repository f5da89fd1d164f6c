"""Arguments of the local commands: a wrong one is named, with its value and the remedy, before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batch_vision.operator.errors import OperatorError
from local import environment
from local.__main__ import _guarded, main
from local.config import REPOSITORY
from local.errors import LocalError


class StartedError(Exception):
    """The environment would have been started."""


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Nothing starts in these tests; what would have been started with."""
    given: list[dict[str, Any]] = []

    def up(*_: object, **options: Any) -> None:
        given.append(options)
        raise StartedError

    monkeypatch.setattr(environment, "up", up)
    return given


def run(*words: str) -> None:
    main([*words], standalone_mode=False)


OF_BOTH = ["labelled", "backend", "localstack", "tfvars", "convert"]


@pytest.mark.parametrize(
    ("command", "name"), [*(("run", name) for name in [*OF_BOTH, "images", "out"]), *(("up", name) for name in OF_BOTH)]
)
def test_an_empty_argument_does_not_stand_for_the_default(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["local", command, f"--{name}", ""])
    with pytest.raises(SystemExit, match=rf"{name.upper()}: it is empty\. Give a value, or leave it out"):
        _guarded()
    assert not started


def test_a_message_of_several_lines_is_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def up(*_: object, **__: object) -> None:
        raise LocalError("terraform apply failed:\nNo such \x1b[2Jthing")

    monkeypatch.setattr(environment, "up", up)
    monkeypatch.setattr(sys, "argv", ["local", "up"])
    with pytest.raises(SystemExit) as ended:
        _guarded()
    assert str(ended.value) == "batch-vision: terraform apply failed:\nNo such \\x1b[2Jthing"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "/nowhere"], r"IMAGES=/nowhere does not exist"),
        (["--labelled", "/nowhere"], r"LABELLED=/nowhere does not exist"),
        (["--backend", "abacus"], r"BACKEND=abacus is not known\. Use one of: rekognition_custom_labels, lookout"),
        (["--localstack", "podman"], r"LOCALSTACK=podman is not known\. Use host"),
        (["--convert", "yes"], r"CONVERT=yes is not known\. Use 1 to convert"),
        (["--tfvars", "/nowhere"], r"TFVARS=/nowhere does not exist"),
        (["--tfvars", "Makefile"], r"(?s)TFVARS=Makefile cannot be read.*Invalid"),
        (["--tfvars", "terraform"], r"TFVARS=terraform is not a file"),
        (["--out", "terraform"], r"OUT=terraform is not empty"),
    ],
)
def test_a_wrong_argument_is_named(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises((LocalError, OperatorError), match=message):
        run("run", *words)
    assert not started


def test_the_model_service_of_the_file_is_used(started: list[dict[str, Any]], tmp_path: Path) -> None:
    tfvars = tmp_path / "my.tfvars"
    tfvars.write_text('backend = "lookout_for_vision"\nname_prefix = "weld-seams"\n')
    for words in (["up"], ["run", "--out", str(tmp_path / "out")]):
        with pytest.raises(StartedError):
            run(*words, "--tfvars", str(tfvars))
        assert started[-1]["backend"] == "lookout_for_vision"
        assert started[-1]["tfvars"].values["name_prefix"] == "weld-seams"
    with pytest.raises(StartedError):
        run("up")
    assert (started[-1]["backend"], started[-1]["tfvars"]) == ("rekognition_custom_labels", None)


def test_whether_images_are_converted(started: list[dict[str, Any]], tmp_path: Path) -> None:
    for words in (["run", "--out", str(tmp_path / "out")], ["up"]):
        for chosen in ([], ["--convert", "0"], ["--convert", "1"]):
            with pytest.raises(StartedError):
                run(*words, *chosen)
    assert [one["arguments"].get("convert_images") for one in started] == [None, False, True] * 2


def make(target: str, *arguments: str) -> str:
    """Return the command line that a target of make runs, each word in angle brackets; nothing is installed."""
    finished = subprocess.run(
        ["make", "--no-print-directory", target, "LOCAL=", "PYTHON=printf '<%s>' --", *arguments],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"]},  # no variable of a make that runs the tests
        check=True,
        capture_output=True,
        text=True,
    )
    return finished.stdout


@pytest.mark.parametrize("value", ["a b", "it's", 'say "a"', "$(touch x)", "`touch x`", "a;b", "-x", "", "部品"])
def test_make_hands_a_value_on_as_it_is(value: str) -> None:
    for_make = value.replace("$", "$$")
    assert make("local-run", f"OUT={for_make}").endswith(f"<-m><local><run><--out><{value}>")
    assert make("local-up", f"TFVARS={for_make}").endswith(f"<-m><local><up><--tfvars><{value}>")
    assert make("local-up", f"CONVERT={for_make}").endswith(f"<-m><local><up><--convert><{value}>")


def test_make_leaves_the_defaults_to_the_commands() -> None:
    assert make("local-run").endswith("<-m><local><run>")
    assert make("local-up").endswith("<-m><local><up>")


@pytest.fixture
def piles(tmp_path: Path) -> tuple[str, str]:
    """A folder of images and one of videos."""
    for name in ("images/a.png", "videos/a.mp4", "videos/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return str(tmp_path / "images"), str(tmp_path / "videos")


def test_videos_alone_or_beside_images(started: list[dict[str, Any]], piles: tuple[str, str], tmp_path: Path) -> None:
    images, videos = piles
    out = ("--out", str(tmp_path / "out"))
    for words in (("--videos", videos), ("--videos", videos, "--images", images)):
        with pytest.raises(StartedError):
            run("run", *words, *out)
    tfvars = tmp_path / "own.tfvars"
    tfvars.write_text('backend = null\nvideos = { analyses = ["text"] }')
    with pytest.raises(StartedError):
        run("run", "--videos", videos, "--tfvars", str(tfvars), *out)
    for chosen in (["--videos", "1"], ["--videos", "only"], []):
        with pytest.raises(StartedError):
            run("up", *chosen)
    hosted = "rekognition_custom_labels"
    assert [one["backend"] for one in started] == [None, hosted, None, hosted, None, hosted]
    asked = [bool(one["arguments"].get("videos")) for one in started]
    assert asked == [True, True, False, True, True, False]  # what a file of variables says counts


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "--videos", "{images}"), "holds no file of a video"),
        (("up", "--videos", "maybe"), "VIDEOS=maybe is not known. Use 1"),
        (("up", "--videos", "only", "--backend", "rekognition"), "VIDEOS=only is for a stack without images"),
        (("up", "--videos", "only", "--convert", "1"), "CONVERT=1 is about images, and this stack has videos only"),
    ],
)
def test_wrong_arguments_of_videos(
    started: list[dict[str, Any]], piles: tuple[str, str], tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    with pytest.raises((LocalError, OperatorError), match=told):
        run(*(word.format(images=piles[0]) for word in words))
    assert not started
