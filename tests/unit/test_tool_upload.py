"""Uploading a folder: all of it, once, however often it is interrupted."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batch_vision.operator import cli, folders, uploads
from batch_vision.operator.folders import find_files
from batch_vision.operator.uploads import Target, Upload, journal_of
from tests.unit.tool_stack import FINAL, SOURCE, Deployed

TARGET = Target("image", SOURCE, "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my images"
    for number in range(20):
        path = root / f"line {number % 2}" / f"é+{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"image {number}".encode())
    (root / ".DS_Store").write_bytes(b"x")
    return root


def count(deployed: Deployed, folder: Path, *words: str) -> tuple[int, int]:
    answer = deployed.json("upload", str(folder), *words)
    return answer["uploaded"], answer["skipped"]


def test_a_folder_is_uploaded_once(deployed: Deployed, folder: Path) -> None:
    result = deployed.call("upload", str(folder))
    assert result.exit_code == 0, result.output
    assert "20 files in" in result.stdout
    assert sorted(deployed.keys(SOURCE)) == sorted(find_files(folder, "").files)
    for key, path in find_files(folder, "").files.items():
        assert deployed.read(SOURCE, key) == path.read_bytes()
    again = deployed.call("upload", str(folder))
    assert (again.exit_code, "nothing is new" in again.stdout, "20 skipped" in again.stdout) == (0, True, True)
    assert len(deployed.versions(SOURCE)) == 20


def test_what_was_analyzed_meanwhile_is_not_uploaded_again(deployed: Deployed, folder: Path) -> None:
    count(deployed, folder)
    for key, version in deployed.versions(SOURCE):
        deployed.s3.delete_object(Bucket=SOURCE, Key=key, VersionId=version)
    assert count(deployed, folder) == (0, 20)


def test_what_changed_and_what_is_new_is_uploaded(deployed: Deployed, folder: Path) -> None:
    count(deployed, folder)
    changed = folder / "line 0" / "é+00.png"
    changed.write_bytes(b"image X")
    os.utime(changed, ns=(1, 1))
    (folder / "new.png").write_bytes(b"n")
    assert count(deployed, folder) == (2, 19)
    assert count(deployed, folder) == (0, 21)
    assert count(deployed, folder, "--again") == (21, 0)


def test_another_prefix_stack_or_folder_is_another_upload(deployed: Deployed, folder: Path) -> None:
    count(deployed, folder)
    assert count(deployed, folder, "--prefix", "batch 7/") == (20, 0)
    assert "batch 7/line 0/é+00.png" in deployed.keys(SOURCE)
    assert count(deployed, folder / "line 0") == (10, 0)
    # The same bucket's name, in a stack that was made again.
    deployed.functions.delete_event_source_mapping(UUID=deployed.mapping_uuid)
    deployed.write_outputs(deployed.outputs | {"event_source_mapping_uuid": "another"})
    assert count(deployed, folder) == (20, 0)


def test_interrupted_it_goes_on_where_it_was(deployed: Deployed, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: what is under way is finished and written down."""
    monkeypatch.setattr(folders, "PARALLEL", 2)
    stack = deployed.stack()

    def interrupt(done: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with journal_of(stack, TARGET, folder, "") as journal:
        plan = Upload(stack, TARGET, journal, "", find_files(folder, ""), is_again=False)
        with pytest.raises(KeyboardInterrupt):
            plan.run(interrupt)
    there = len(deployed.versions(SOURCE))
    assert 5 <= there < 20
    assert plan.uploaded == there
    assert count(deployed, folder) == (20 - there, there)
    assert len(deployed.versions(SOURCE)) == 20


def test_the_command_says_how_far_it_came(deployed: Deployed, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(uploads, "upload_files", interrupted)
    result = deployed.call("upload", str(folder))
    assert result.exit_code == 130
    assert "interrupted: 0 files uploaded, 20 left. Call it again to go on." in result.stderr


@pytest.mark.parametrize("place", ["source", "processed", "rejected", "nowhere"])
def test_killed_it_looks_for_what_had_begun(
    deployed: Deployed, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Power off between an upload and its line of the journal."""
    key, content = "line 0/é+00.png", (folder / "line 0" / "é+00.png").read_bytes()
    stack = deployed.stack()
    with journal_of(stack, TARGET, folder, "") as journal:
        written = journal.write
        monkeypatch.setattr(
            journal,
            "write",
            lambda *words, is_done: None if is_done and words[0] == key else written(*words, is_done=is_done),
        )
        Upload(stack, TARGET, journal, "", find_files(folder, ""), is_again=False).run(lambda _: None)
    if place != "source":
        version = deployed.s3.head_object(Bucket=SOURCE, Key=key)["VersionId"]
        deployed.s3.delete_object(Bucket=SOURCE, Key=key, VersionId=version)
    if place in ("processed", "rejected"):
        etag = hashlib.md5(content).hexdigest()
        deployed.put_result({"image_key": f"{place}/{key}", "source": {"key": key, "etag": etag}})
    assert count(deployed, folder) == ((1, 19) if place == "nowhere" else (0, 20))
    assert count(deployed, folder) == (0, 20)


def test_a_torn_line_of_the_journal_is_no_hindrance(deployed: Deployed, folder: Path, tmp_path: Path) -> None:
    count(deployed, folder)
    (journal,) = (tmp_path / "state" / "batch-vision").iterdir()
    with journal.open("a") as file:
        file.write('["line 0/é+0')
    assert count(deployed, folder) == (0, 20)


def test_a_stack_that_looks_at_a_prefix_gets_it(deployed: Deployed, folder: Path) -> None:
    deployed.configure(SOURCE_PREFIXES='["in/", "before/"]')
    assert count(deployed, folder) == (20, 0)
    assert all(key.startswith("in/") for key in deployed.keys(SOURCE))
    result = deployed.call("upload", str(folder), "--prefix", "out/")
    assert (result.exit_code, "--prefix is 'out/'" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "message"), [("none", "does not exist"), ("file", "is not a folder"), ("empty", "holds no file")]
)
def test_a_wrong_folder_is_named(deployed: Deployed, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    result = deployed.call("upload", str(tmp_path / name))
    assert (result.exit_code, f"{name} {message}" in result.stderr) == (2, True), result.output


def test_a_key_that_is_too_long_is_named_and_the_others_are_uploaded(deployed: Deployed, folder: Path) -> None:
    (folder / "a.png").write_bytes(b"a")
    result = deployed.call("upload", str(folder), "--prefix", "x" * 1019)
    assert (result.exit_code, result.stdout.count("S3 takes 1024")) == (1, 20), result.output
    assert deployed.keys(SOURCE) == [f"{'x' * 1019}a.png"]


def test_a_file_that_cannot_be_read_or_a_bucket_that_is_gone(deployed: Deployed, folder: Path) -> None:
    (folder / "a.png").symlink_to(folder / "nowhere.png")
    answer = deployed.json("upload", str(folder))
    assert (answer["uploaded"], answer["failed"]) == (20, {"a.png": "a link to nothing"})
    deployed.s3.delete_bucket(Bucket=FINAL)
    for key, version in deployed.versions(SOURCE):
        deployed.s3.delete_object(Bucket=SOURCE, Key=key, VersionId=version)
    deployed.s3.delete_bucket(Bucket=SOURCE)
    result = deployed.call("upload", str(folder), "--again")
    assert (result.exit_code, "NoSuchBucket" in result.stderr) == (3, True), result.output


def test_the_journal_holds_a_line_for_each_beginning_and_end(deployed: Deployed, folder: Path, tmp_path: Path) -> None:
    count(deployed, folder)
    (journal,) = (tmp_path / "state" / "batch-vision").iterdir()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sum(is_done for *_, is_done in lines) == 20
    assert len(lines) == 40


def test_one_bad_file_stops_nothing_and_each_is_named(
    deployed: Deployed, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not taken is named with its reason; what is plainly no image is left out unless asked for."""
    for name in ("Thumbs.db", "desktop.ini", "notes.txt", "film.mp4"):
        (folder / name).write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / "link to a folder").symlink_to(folder / "line 0")
    (folder / "link to itself.png").symlink_to("link to itself.png")
    (folder / "not UTF-8 \udcff.png").write_bytes(b"x")
    os.mkfifo(folder / "pipe.png")

    def deleted_meanwhile(*words: Any, **more: Any) -> Any:
        found = find_files(*words, **more)
        (folder / "line 0" / "é+00.png").unlink()
        return found

    monkeypatch.setattr(cli, "find_files", deleted_meanwhile)
    answer = deployed.json("upload", str(folder))
    assert answer["uploaded"] == 19
    assert set(answer["left_out"]) == {".DS_Store", ".git/", "Thumbs.db", "desktop.ini", "notes.txt", "film.mp4"}
    assert set(answer["failed"]) == {
        "link to a folder", "link to itself.png", "not UTF-8 \udcff.png", "pipe.png", "line 0/é+00.png",
    }  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(folder.parent / "state"))
    result = deployed.call("upload", str(folder))
    assert (result.exit_code, result.stdout.count("is not uploaded")) == (1, 4), result.output
    for text in ("Thumbs.db", "link to itself.png", "--all"):
        assert text in result.stdout
    answer = deployed.json("upload", str(folder), "--all")
    assert (answer["uploaded"], answer["left_out"]) == (5, {})


def test_a_file_that_fails_while_it_is_uploaded(
    deployed: Deployed, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = deployed.stack()
    real = stack.s3.upload_file

    def upload_file(name: str, *words: Any, **more: Any) -> None:
        if name.endswith("é+01.png"):
            raise PermissionError(13, "Permission denied", name)
        real(name, *words, **more)

    monkeypatch.setattr(stack.s3, "upload_file", upload_file)
    with journal_of(stack, TARGET, folder, "") as journal:
        plan = Upload(stack, TARGET, journal, "", find_files(folder, ""), is_again=False)
        plan.run(lambda _: None)
    assert plan.uploaded == 19
    assert plan.failed == {"line 1/é+01.png": "it cannot be read (Permission denied)"}
    assert count(deployed, folder) == (1, 19), "called again, it is tried again"


def test_two_at_once_do_each_file_once(deployed: Deployed, folder: Path) -> None:
    waits = []

    def work(_: int) -> int:
        stack = deployed.stack()
        with journal_of(stack, TARGET, folder, "", waits=lambda: waits.append(1)) as journal:
            plan = Upload(stack, TARGET, journal, "", find_files(folder, ""), is_again=False)
            plan.run(lambda _: None)
        return plan.uploaded

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(work, range(2))) == [0, 20]
    assert waits
    assert len(deployed.versions(SOURCE)) == 20


@pytest.mark.parametrize("place", ["/dev/null/state", "/proc/state"])
def test_a_journal_that_cannot_be_written_is_named_with_its_remedy(
    deployed: Deployed, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", place)
    result = deployed.call("upload", str(folder))
    assert (result.exit_code, deployed.keys(SOURCE)) == (2, [])
    for text in (place, "XDG_STATE_HOME"):
        assert text in result.stderr
    assert "[Errno" not in result.stderr
