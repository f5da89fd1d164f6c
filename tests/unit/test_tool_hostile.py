"""Keys and names of strangers: what reaches a terminal, and what becomes a path."""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from batch_vision.core.errors import StorageRefusedError
from batch_vision.core.events import SourceImage
from batch_vision.core.stuck import stuck_entry, stuck_key
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator.display import Display
from batch_vision.operator.paths import Places, fits, other_path, plain_path
from batch_vision.operator.text import visible
from tests.unit.tool_stack import FINAL, SOURCE, SUMMARY, Deployed

TITLE = "title\x1b]0;OWNED\x07\x1b[2Jcleared.jpg"
HOSTILE = [
    TITLE,
    "line\nbreak.jpg",
    "back\rprocessed  ok.jpg",
    "c1\x9b2Jcleared.jpg",
    "turned\u202egpj.exe",
    "separated\u2028line.jpg",
    "deleted\x7f.jpg",
    "[red]markup[/red] [/nothing].jpg",
]


def assert_harmless(text: str) -> None:
    raw = re.findall(r"[^\n\x20-\x7e\xa0-\U0010ffff]|[\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    assert raw == [], repr(text)
    assert not re.search(r"^(break|processed)\b.*\.jpg", text, re.MULTILINE), "no name begins a line of its own"


def finish(deployed: Deployed, key: str, version_id: str = "v1", content: bytes = b"picture", **more: Any) -> None:
    """Leave a finished image as the analyzing function does."""
    source = {"bucket": SOURCE, "key": key, "version_id": version_id, "size_bytes": len(content)}
    source |= {"etag": hashlib.md5(content).hexdigest(), "uploaded_at": to_text(utc_now())}
    status = more.get("status", "processed")
    result = {"status": status, "image_key": f"{status}/{key}", "source": source, "mask_key": None} | more
    deployed.put_result(result)
    deployed.put(result["image_key"], content, FINAL)
    line = {"key": key, "version_id": version_id, "status": status, "image_key": result["image_key"]}
    line["error_type"] = (result.get("error") or {}).get("type")
    deployed.catalog(to_text(utc_now()), line)


@pytest.fixture
def hostile(deployed: Deployed) -> Deployed:
    """Every place where a stranger's text may stand."""
    for number, key in enumerate(HOSTILE):
        finish(deployed, key, f"v{number}", prediction={"name": key, "confidence": 50.0})
        error = {"type": f"Type{key}", "message": key}
        finish(deployed, f"bad {key}", "v", status="rejected", error=error)
        deployed.reject(f"again {key}")
        version = deployed.put(f"held {key}")
        image = SourceImage(SOURCE, f"held {key}", version, "e", 5, utc_now())
        entry = stuck_entry(image, StorageRefusedError(key), key, utc_now()) | {"error": error}
        deployed.put(stuck_key(image.key, version), json.dumps(entry).encode(), FINAL)
        deployed.put(f"stuck/{key}", b"mine", FINAL)
    deployed.put("runs/r.json", json.dumps(SUMMARY | {"rejected_by_reason": {TITLE: 1}}).encode(), FINAL)
    deployed.execution("FAILED", error=TITLE, cause=TITLE)
    deployed.execution("SUCCEEDED", output=json.dumps({"stop": {"is_stopped": True}, "backlog": {"held": TITLE}}))
    return deployed


def folder_of_strangers(tmp_path: Path) -> Path:
    folder = tmp_path / "pile"
    for key in HOSTILE:
        path = folder / key.replace("/", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
        (folder / f"{path.name}.txt").write_bytes(b"no picture")
        (folder / f"{path.name} link.jpg").symlink_to("nowhere")
    return folder


COMMANDS: dict[str, list[str]] = {
    "status": ["status", "--runs", "10"],
    "results": ["results"],
    "results of a key": ["results", "--key", TITLE],
    "download": ["results", "--download", "OUT/pictures"],
    "report": ["report", "--out", "OUT/report.html"],
    "retry": ["retry"],
    "retry of rejected": ["retry", "--rejected"],
    "upload": ["upload", "PILE"],
    "upload of all": ["upload", "PILE", "--all", "--again"],
    "run": ["run"],
    "stop": ["stop"],
    "no such folder": ["upload", f"OUT/{TITLE}"],
    "no such command": [TITLE],
    "no such option": ["status", f"--{TITLE}"],
    "no such choice": ["results", "--status", TITLE],
    "no such time": ["results", "--since", TITLE],
    "no such run": ["results", "--run", TITLE],
    "no such reason": ["retry", "--rejected", "--reason", TITLE],
    "no such outputs": ["status", "--outputs", f"OUT/{TITLE}"],
    "no such name": ["status", "--stack", TITLE],
}


@pytest.mark.parametrize("output", [[], ["--json"]])
@pytest.mark.parametrize("what", COMMANDS)
def test_nothing_that_a_terminal_obeys_is_printed(
    hostile: Deployed, tmp_path: Path, what: str, output: list[str]
) -> None:
    pile = folder_of_strangers(tmp_path)
    words = [word.replace("OUT", str(tmp_path)).replace("PILE", str(pile)) for word in COMMANDS[what]]
    result = hostile.call(*words, *output)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "fault of batch-vision" not in result.stderr
    for text in (result.stdout, result.stderr):
        assert_harmless(text)
    if output and result.stdout:
        json.loads(result.stdout)


def test_a_progress_display_takes_nothing_of_a_key_for_its_own() -> None:
    written = io.StringIO()
    display = Display(Console(file=written, force_terminal=True, width=200, soft_wrap=True, color_system=None))
    for key in HOSTILE:
        with display.step("Uploading") as step:
            step.progress(1, 2, key)
            step.done(key)
        display.say(key)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).replace("\r", "")
    assert_harmless(plain)
    for key in HOSTILE:
        assert visible(key) in plain


# Paths.


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_two_keys_never_share_a_path(one: str, other: str) -> None:
    assert (plain_path(one) == plain_path(other)) == (one == other)
    assert plain_path(one) != other_path(other)


@given(st.lists(st.text("aA/.% ~:é\u0301\x00\\", min_size=1, max_size=8), max_size=12, unique=True))
def test_what_is_taken_is_apart_on_a_disk_that_folds(keys: list[str]) -> None:
    places = Places()
    paths = [path for key in keys if (path := places.take(key))]
    folded = [unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold()) for path in paths]
    assert len(set(folded)) == len(folded)
    for path in folded:
        assert not any(other.startswith(f"{path}/") for other in folded), "no file is a folder as well"
        assert f"{path}.json" not in folded


@given(st.text(min_size=1, max_size=1024))
def test_a_path_is_plain_everywhere(key: str) -> None:
    for path in (plain_path(key), other_path(f"processed/{key}")):
        for name in path.split("/"):
            assert name not in ("", ".", "..")
            assert not set(name) & set('\\:*?"<>|\x00\n\r\x1b')
            assert name[-1] not in " ."
            assert name.partition(".")[0].upper() not in ("CON", "NUL", "COM1")
    assert fits(other_path(f"processed/{key}"))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("line 1/é+a (2).JPG", "line 1/é+a (2).JPG"),
        ("a//b.jpg", "a/%2F/b.jpg"),
        ("/lead.jpg", "%2F/lead.jpg"),
        ("in/./x.jpg", "in/%2E/x.jpg"),
        ("ok/../c.jpg", "ok/%2E%2E/c.jpg"),
        ("photos/", "photos/%2F"),
        ("a%2Fb", "a%252Fb"),
        ("08:00.jpg", "08%3A00.jpg"),
        ("con.txt", "%63on.txt"),
        ("trail. ", "trail.%20"),
        ("line\nbreak", "line%0Abreak"),
    ],
)
def test_paths_of_keys(key: str, path: str) -> None:
    assert plain_path(key) == path


KEYS = [
    "a/b.jpg", "a//b.jpg", "c.jpg", "ok/../c.jpg", "in/x.jpg", "in/./x.jpg", "A/B.jpg", "a/B.jpg",
    unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg"),
    "photo.jpg", "photo.jpg/inner.jpg", "folder/", f"{'L' * 300}.jpg", f"{'n' * 250}.jpg", "con.jpg", "a\\b.jpg",
    f"{'deep/' * 190}x.jpg", "../../out.jpg", "/lead.jpg", "lead.jpg",
]  # fmt: skip


def test_every_image_of_a_download_has_a_path_of_its_own(deployed: Deployed, tmp_path: Path) -> None:
    for key in KEYS:
        finish(deployed, key, content=key.encode())
    out = tmp_path / "out"
    for _ in range(2):  # again, into the same folder
        answer = deployed.json("results", "--download", str(out))
        assert (answer["images"], answer["failed"], answer["replaced"]) == (len(KEYS), {}, [])
        results = [json.loads(path.read_bytes()) | {"path": path} for path in out.rglob("*.json")]
        assert {result["source"]["key"] for result in results} == set(KEYS)
        for result in results:
            assert result["path"].with_suffix("").read_bytes() == result["source"]["key"].encode()
    assert not (tmp_path.parent / "out.jpg").exists()
    told = {renamed["key"]: renamed["path"] for renamed in answer["renamed"]}
    assert {f"{'L' * 300}.jpg", f"{'n' * 250}.jpg", "A/B.jpg"} <= set(told)
    assert all((out / path).is_file() for path in told.values())


def test_a_file_of_the_user_is_not_written_over(deployed: Deployed, tmp_path: Path) -> None:
    finish(deployed, "a.jpg")
    (tmp_path / "processed").mkdir()
    (tmp_path / "processed" / "a.jpg").write_bytes(b"mine")
    answer = deployed.json("results", "--download", str(tmp_path))
    assert (tmp_path / "processed" / "a.jpg").read_bytes() == b"mine"
    (renamed,) = answer["renamed"]
    assert (tmp_path / renamed["path"]).read_bytes() == b"picture"


def test_of_two_uploads_of_a_key_both_are_fetched(deployed: Deployed, tmp_path: Path) -> None:
    """The older one is a noncurrent version of the final bucket."""
    mask = {"mask_key": "processed/a.jpg.mask.png"}
    for number, content in enumerate((b"the first", b"the other", b"the third one")):
        metadata = {"batch-vision": "mask", "version-id": f"v{number}"}
        deployed.put("processed/a.jpg.mask.png", b"mask of " + content, FINAL, Metadata=metadata)
        finish(deployed, "a.jpg", f"v{number}", content, **mask)
    finish(deployed, "other.jpg")
    out = tmp_path / "out"
    result = deployed.call("results", "--key", "a.jpg", "--download", str(out))
    assert (result.exit_code, "2 under another name" in result.stdout) == (0, True), result.output
    assert (out / "processed" / "a.jpg").read_bytes() == b"the third one"
    pictures = {
        json.loads(path.read_bytes())["source"]["version_id"]: path.with_suffix("") for path in out.rglob("*.json")
    }
    assert {version: path.read_bytes() for version, path in pictures.items()} == {
        "v0": b"the first", "v1": b"the other", "v2": b"the third one",
    }  # fmt: skip
    for path in pictures.values():
        assert path.with_name(f"{path.name}.mask.png").read_bytes() == b"mask of " + path.read_bytes()


def test_a_span_is_of_the_past(deployed: Deployed) -> None:
    finish(deployed, "a.jpg")
    assert (
        len(deployed.json("results", "--since", to_text(utc_now() - timedelta(hours=1)), "--until", "9999-12-31")) == 1
    )
