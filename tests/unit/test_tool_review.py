"""The review's server and what it keeps: who may ask, what is saved, and that no end of it loses a judgement."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batch_vision.operator.corrections import read_all, read_corrections
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.review.journal import Journal
from batch_vision.operator.review.rows import row_of, sample
from batch_vision.operator.review.server import Server
from tests.unit.review_world import BOX, FINAL, HOSTILE, FinalBucket, ask, drawn, line, reviewing, rows_of

LINES = [line(0, ("crack", 51.0)), line(1, ("crack", 60.0), ("stain", 55.0)), line(2, ("stain", 90.0), key=HOSTILE)]


@pytest.fixture
def bucket(s3: Any) -> FinalBucket:
    return FinalBucket(s3)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "state" / "review.jsonl"


@pytest.fixture
def server(bucket: FinalBucket, journal: Path) -> Iterator[Server]:
    with reviewing(bucket.stack(), rows_of(LINES), journal) as running:
        yield running


def judge(server: Server, row: int, verdict: str, *labels: str, **more: Any) -> tuple[int, Any]:
    judgement = {"row": row, "verdict": verdict, "labels": [*labels], "boxes": None} | more
    return ask(server, "/api/judgements", {"judgements": [judgement]})


def test_only_its_own_page_is_answered(server: Server) -> None:
    assert ask(server, "/", Authorization="")[0] == 200
    for path in ("/api/session", "/api/rows", "/api/card/0", "/api/image/0", "/api/state"):
        assert ask(server, path, Authorization="")[0] == 401
        assert ask(server, path, Authorization="Bearer wrong")[0] == 401
    assert ask(server, "/api/session")[0] == 200
    # A name that was made to point to this machine, and a page of somebody else's.
    assert ask(server, "/api/session", Host=f"evil.example:{server.server_port}")[0] == 403
    assert ask(server, "/", Host="127.0.0.1")[0] == 403
    assert ask(server, "/api/session", Origin="http://evil.example")[0] == 403
    assert ask(server, "/", Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(server, "/api/session", Origin=f"http://127.0.0.1:{server.server_port}")[0] == 200
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/card/9", 404), ("/api/card/-1", 404), ("/api/card/²", 404), ("/../x", 404), ("/api/nothing", 404)],
)
def test_what_is_not_there(server: Server, path: str, status: int) -> None:
    assert ask(server, path.replace("²", "%C2%B2"))[0] == status


def test_what_is_no_judgement_is_refused_and_nothing_is_saved(server: Server, journal: Path) -> None:
    good = {"row": 0, "verdict": "right", "labels": ["crack"], "boxes": None}
    wrong: list[Any] = [
        b"{",
        b"[]",
        {"judgements": []},
        {"judgements": [good, {"row": 3, "verdict": "right", "labels": []}]},
        {"judgements": [good | {"verdict": "maybe"}]},
        {"judgements": [good | {"labels": [1]}]},
        {"judgements": [good | {"boxes": [{"name": "crack"}]}]},
        {"judgements": [good, good | {"labels": ["\ud800"]}]},
        {"judgements": [good | {"labels": ["stain"], "boxes": [BOX | {"name": "crack"}]}]},
    ]
    for body in wrong:
        assert ask(server, "/api/judgements", body)[0] == 400, body
    assert ask(server, "/api/judgements", {"judgements": [good]}, Content_Type="text/plain")[0] == 415
    assert ask(server, "/api/judgements", b"", Content_Length=str(1024**2 + 1))[0] == 413
    assert journal.read_text() == ""


def test_no_correction_is_written_that_could_not_be_read(bucket: FinalBucket, journal: Path) -> None:
    lines = [LINES[0] | {"version_id": None, "etag": None}, line(3, ("x" * 300, 90.0))]
    with reviewing(bucket.stack(), rows_of(lines), journal) as server:
        for row, told in enumerate(("neither version_id nor etag", "predicted holds")):
            status, answer = judge(server, row, "wrong", "stain")
            assert (status, told in answer["problem"]) == (400, True)
    assert list(read_all(bucket.s3, FINAL)) == []


def test_the_same_bytes_uploaded_again_are_as_they_were_judged(bucket: FinalBucket, journal: Path) -> None:
    with reviewing(bucket.stack(), rows_of(LINES), journal) as server:
        judge(server, 0, "wrong", "stain")
    with reviewing(bucket.stack(), rows_of([LINES[0] | {"version_id": "again"}]), journal) as server:
        assert ask(server, "/api/rows")[1][0][7][:2] == ["wrong", ["stain"]]


def test_judgements_reach_the_bucket_once(bucket: FinalBucket, server: Server, journal: Path) -> None:
    assert judge(server, 0, "right", "crack")[1]["counting"] == [["right", ["crack"], None, "ann"]]
    assert len(journal.read_text().splitlines()) == 1  # before the answer
    box = BOX | {"name": "scratch"}
    judge(server, 1, "wrong", "scratch", boxes=[box])
    judge(server, 2, "unsure")
    assert server.session.send()
    assert server.session.send()
    (key,) = [key for key in bucket.listed() if key.startswith("corrections/dt=")]
    assert key.endswith(".jsonl")
    found = {one.key: one for one in read_all(bucket.s3, FINAL)}
    assert found[LINES[0]["key"]].to_line() == {
        "schema_version": 1,
        "key": LINES[0]["key"],
        "version_id": "v0",
        "etag": "e0",
        "result": LINES[0]["image_key"],
        "model": LINES[0]["model"],
        "predicted": ["crack"],
        "verdict": "right",
        "labels": ["crack"],
        "boxes": None,
        "by": "ann",
        "at": found[LINES[0]["key"]].at,
    }
    second = found[LINES[1]["key"]]
    assert (second.predicted, second.labels) == (("crack", "stain"), ("scratch",))
    assert second.boxes
    assert second.boxes[0].name == "scratch"
    assert (found[HOSTILE].verdict, found[HOSTILE].labels) == ("unsure", ())


def test_undo_withdraws_and_what_others_say_stays(bucket: FinalBucket, journal: Path) -> None:
    rows = rows_of(LINES)
    with reviewing(bucket.stack(), rows, journal, by="bob") as server:
        judge(server, 0, "wrong", "stain")
    with reviewing(bucket.stack(), rows, journal, by="ann") as server:
        assert ask(server, "/api/rows")[1][0][7] == ["wrong", ["stain"], None, "bob"]
        judge(server, 0, "right", "crack")
        assert judge(server, 0, "withdrawn")[1]["counting"] == [["wrong", ["stain"], None, "bob"]]
    assert [one.by for one in read_corrections(bucket.s3, FINAL).values()] == ["bob"]


def test_a_kill_loses_nothing_and_the_next_review_shows_it(bucket: FinalBucket, journal: Path) -> None:
    rows = rows_of(LINES)
    with reviewing(bucket.stack(), rows, journal, sends=False) as server:
        judge(server, 0, "right", "crack")
        server.session.send()
        judge(server, 1, "wrong", "stain")
        judge(server, 2, "unsure")
    with journal.open("a") as file:
        file.write('{"schema_version": 1, "key": "ha')  # it was killed while it wrote
    with reviewing(bucket.stack(), rows, journal, sends=False) as server:
        assert [row[7] and row[7][0] for row in ask(server, "/api/rows")[1]] == ["right", "wrong", "unsure"]
        assert ask(server, "/api/state")[1] == {"waiting": 2, "problem": None}
        judge(server, 0, "wrong", "stain")
    with reviewing(bucket.stack(), rows, journal) as server:
        assert ask(server, "/api/state")[1]["waiting"] == 3
    assert journal.read_text() == ""
    counting = read_corrections(bucket.s3, FINAL)
    assert sorted(str(one.verdict) for one in counting.values()) == ["unsure", "wrong", "wrong"]
    assert len(list(read_all(bucket.s3, FINAL))) == 4


def test_a_bucket_that_refuses_loses_nothing(
    bucket: FinalBucket, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reviewing(bucket.stack(), rows_of(LINES), journal) as server:
        judge(server, 0, "right", "crack")
        with monkeypatch.context() as patch:
            patch.setattr(server.session.stack.s3, "put_object", lambda **_: 1 / 0)
            assert not server.session.send()
            state = judge(server, 1, "right")[1]
        assert (state["waiting"], state["problem"][:17]) == (2, "ZeroDivisionError")
    assert len(read_corrections(bucket.s3, FINAL)) == 2


def test_the_same_corrections_are_one_object(bucket: FinalBucket, journal: Path) -> None:
    with reviewing(bucket.stack(), rows_of(LINES), journal, sends=False) as server:
        judge(server, 0, "right", "crack")
    before = journal.read_text()
    for _ in range(2):  # the end came after the write and before its note
        journal.write_text(before)
        with reviewing(bucket.stack(), rows_of(LINES), journal):
            pass
    assert len([key for key in bucket.listed() if key.startswith("corrections/")]) == 1


def test_what_the_journal_cannot_read_counts_as_it_did_when_it_was_sent(
    bucket: FinalBucket, server: Server, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in range(3):
        judge(server, row, "unsure")
    old = journal.with_name("old.jsonl")
    first, second, third = journal.read_text().splitlines()
    old.write_text("\n".join(['{"schema_version": 9}', first, '{"sent": 2}', '{"schema', second, third, ""]))
    monkeypatch.setattr("batch_vision.operator.review.journal._MOST_AT_ONCE", 2)
    with Journal(old) as opened:
        assert [one.key for one in opened.waiting] == [LINES[1]["key"], LINES[2]["key"]]
        with pytest.raises(ZeroDivisionError):
            opened.send(lambda batch: [1 / 0 for one in batch if one.key == LINES[2]["key"]])
    with Journal(old) as opened:
        assert [one.key for one in opened.waiting] == [LINES[2]["key"]]


def test_a_journal_is_for_its_user_alone(journal: Path) -> None:
    with Journal(journal):
        assert journal.parent.stat().st_mode & 0o777 == 0o700


def test_two_reviews_on_one_machine(journal: Path) -> None:
    with Journal(journal), pytest.raises(WrongInputError, match="is under way on this machine"):
        Journal(journal).__enter__()


def test_a_later_judgement_counts_though_the_clock_went_back(bucket: FinalBucket, journal: Path) -> None:
    rows = rows_of(LINES)
    with reviewing(bucket.stack(), rows, journal) as server:
        server.session._last_at = server.session._last_at.replace(year=2999)
        judge(server, 0, "right", "crack")
    with reviewing(bucket.stack(), rows, journal) as server:
        assert judge(server, 0, "wrong", "stain")[1]["counting"][0][0] == "wrong"


# Pictures.


def test_a_card(bucket: FinalBucket, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    bucket.place(LINES[0], drawn("navy", (640, 400), "JPEG", exif=exif))
    status, card = ask(server, "/api/card/0")
    assert (status, card["size"], card["missing"]) == (200, [400, 640], "")
    assert card["boxes"] == [BOX | {"name": "crack"}]
    thumbnail = Image.open(io.BytesIO(base64.b64decode(card["thumbnail"].partition(",")[2])))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (200, 320))
    monkeypatch.setattr(server.session.stack.s3, "get_object", lambda **_: 1 / 0)
    assert ask(server, "/api/card/0") == (200, card)  # kept on this machine


def test_a_box_that_reaches_out_of_its_image_can_be_judged(bucket: FinalBucket, server: Server) -> None:
    boxes = [BOX | {"left": -0.02, "height": 0.6}, BOX | {"left": -0.5}]
    said = [LINES[0]["predictions"][0] | {"bounding_box": box} for box in boxes]
    bucket.place(LINES[0], drawn("navy"), predictions=said)
    shown = ask(server, "/api/card/0")[1]["boxes"]
    assert shown == [{"name": "crack", "left": 0.0, "top": 0.5, "width": 0.23, "height": 0.5}]
    assert judge(server, 0, "wrong", "crack", boxes=shown)[0] == 200


def test_full_pictures_and_results(bucket: FinalBucket, server: Server) -> None:
    png = drawn("navy")
    bucket.place(LINES[0], png)
    bucket.place(LINES[1], drawn("navy", form="TIFF"))
    bucket.place(LINES[2], b"<svg onload=alert(1)>")
    assert ask(server, "/api/image/0") == (200, png)
    assert ask(server, "/api/image/1")[1][8:12] == b"WEBP"
    assert ask(server, "/api/image/2")[0] == 404
    assert ask(server, "/api/card/2")[1]["missing"] == "no picture that can be shown"
    assert ask(server, "/api/result/2")[1]["source"]["key"] == HOSTILE


def test_an_image_that_was_replaced_is_not_shown(bucket: FinalBucket, server: Server) -> None:
    bucket.place(LINES[0] | {"version_id": "newer"}, drawn("navy"))
    assert ask(server, "/api/card/0")[1]["missing"] == "replaced, deleted or analyzed again since"
    assert ask(server, "/api/image/0")[0] == 404


def test_rows(server: Server) -> None:
    about = ask(server, "/api/session")[1]
    assert (about["rows"], about["by"], about["labels"]) == (3, "ann", ["crack", "stain"])
    (row,) = ask(server, "/api/rows?start=1&count=1")[1]
    assert row == ["line 1/000001.png", [0, 1], [0, 60.0, 1, 55.0], 60.0, "2026-11-21T08:00:00.000Z", 0, 0, None, 5.0]


def test_a_sample_is_the_same_again_whatever_else_there_is() -> None:
    lines = [line(number, ("crack", 90.0)) for number in range(100)]
    chosen = sample(lines, 10, "1")
    assert sample(reversed(lines), 10, "1") == chosen != sample(lines, 10, "2")
    assert [one for one in sample(lines[:50] + lines[60:], 10, "1") if one not in chosen] == [] or len(chosen) == 10


def test_rows_of_an_existing_bucket_and_of_verdicts() -> None:
    there = line(1, anomaly={"is_anomalous": True, "confidence": 70.0}, result_key="results/k.json", fingerprint="f")
    there |= {"recorded_at": "2026-11-21T00:00:00.000Z", "model": None}
    row = row_of(there, 50)
    assert (row.predicted, row.confidence, row.result, row.fingerprint) == (
        ("anomalous",),
        70.0,
        "results/k.json",
        "f",
    )
    assert (row.finished_at, row.model) == ("2026-11-21T00:00:00.000Z", None)
    nothing = row_of(line(2), 50)
    assert (nothing.predicted, nothing.confidence) == ((), None)
    json.dumps([row.key, row.predicted])
    kinds = line(3, ("EXIT", 99.0), ("car", 60.0), ("bus", 40.0), ("DOOR", 70.0))
    for said, kind in zip(kinds["predictions"], ("text", "label", "label", "text"), strict=True):
        said["kind"] = kind
    assert row_of(kinds, 50).margin == 29.0  # of the same kind
