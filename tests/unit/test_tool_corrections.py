"""The commands `review`, `corrections` and `manifest`, on a deployed stack."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batch_vision.core.corrections import read_line
from batch_vision.operator import review_commands
from batch_vision.operator.corrections import write_corrections
from batch_vision.operator.review.session import Session
from tests.unit.review_world import BOX, FinalBucket, drawn, line
from tests.unit.tool_stack import FINAL, IMAGES, Deployed

AT = "2026-11-25T22:00:{:02}.000Z"


def said(one: dict[str, Any], verdict: str, *labels: str, second: int = 0, **more: Any) -> Any:
    """Return what a person says about a line's image."""
    return read_line(
        {
            "schema_version": 1,
            **{name: one[name] for name in ("key", "version_id", "etag", "model")},
            "result": one.get("result_key") or one["image_key"],
            "predicted": [prediction["name"] for prediction in one["predictions"]],
            "verdict": verdict,
            "labels": [*labels],
            "boxes": None,
            "by": "ann",
            "at": AT.format(second),
        }
        | more
    )


@pytest.fixture
def judged(deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """Twelve images that were judged, one of them replaced since."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    bucket = FinalBucket(deployed.s3, FINAL)
    lines = [line(number, ("crack", 60.0 + number)) for number in range(12)]
    lines[0]["key"], lines[0]["image_key"] = "a\n\x1b[31m.png", "processed/a\n\x1b[31m.png"
    for one in lines:
        bucket.place(one, drawn("navy", (640, 400)))
    bucket.place(lines[11] | {"version_id": "newer", "etag": "other"}, drawn("navy"))
    bucket.place(lines[8] | {"version_id": "newer"}, drawn("navy"))  # the same bytes again
    corrections = [said(one, "right", "crack") for one in lines[:5]]
    corrections += [said(one, "wrong", "stain") for one in lines[5:10]]
    corrections += [said(lines[4] | {"model": "another"}, "right", "crack", second=1)]
    corrections += [said(lines[10], "unsure"), said(lines[11], "right", "crack")]
    corrections += [said(lines[9], "wrong", "stain", second=9, boxes=[BOX | {"name": "stain"}])]
    write_corrections(deployed.s3, FINAL, corrections)
    return deployed


def test_corrections(judged: Deployed) -> None:
    printed = judged.call("corrections")
    assert printed.exit_code == 0, printed.output
    assert "\x1b" not in printed.stdout
    rows = printed.stdout.splitlines()
    assert len(rows) == 12
    assert rows[0].endswith(r"a\n\x1b[31m.png")
    assert sum("crack -> stain" in row for row in rows) == 5
    assert next(row for row in rows if "replaced or deleted since" in row).split()[2] == "right"
    assert "12 corrections: 6 right, 5 wrong, 1 unsure; 1 image replaced or deleted since" in printed.stderr
    told = judged.json("corrections", "--verdict", "wrong", "--prefix", "line 0/")
    assert {one["key"] for one in told} == {"line 0/000006.png", "line 0/000009.png"}
    assert all(one["is_current"] for one in told)
    assert judged.json("corrections", "--by", "bob") == []


def test_a_manifest_of_labels(judged: Deployed, tmp_path: Path) -> None:
    out = tmp_path / "train.manifest"
    told = judged.json("manifest", "--out", str(out), "--test-percent", "40")
    assert told["left_out"] == {"replaced or deleted since judged": ["line 2/000011.png"]}
    read = {
        path: [json.loads(entry) for entry in path.read_text().splitlines()]
        for path in (out, tmp_path / "test.manifest")
    }
    train, test = read.values()
    assert (len(train) + len(test), told["train"]["images"], told["test"]["images"]) == (10, len(train), len(test))
    assert min(len(train), len(test)) > 0
    everything = {one["source-ref"]: one["batch-vision-0-metadata"]["class-name"] for one in train + test}
    assert everything[f"s3://{FINAL}/processed/a\n\x1b[31m.png"] == "crack"
    assert sorted(everything.values()) == ["crack"] * 5 + ["stain"] * 5
    printed = judged.call("manifest", "--out", str(out), "--test-percent", "0")
    assert f"{out}: 10 images to train with (crack 5, stain 5)" in printed.stdout
    assert "Left out, replaced or deleted since judged: 1 image\n" in printed.stdout


def test_an_image_is_in_a_manifest_once_as_it_was_judged_last(judged: Deployed, tmp_path: Path) -> None:
    again = line(8, ("crack", 68.0), version_id="newer")  # the same bytes, judged again
    without = [line(number, ("crack", 60.0 + number), etag=None) for number in (6, 7)]  # as old lines of the catalog
    corrections = [said(again, "right", "crack", second=20), said(without[0], "unsure", second=20)]
    write_corrections(judged.s3, FINAL, [*corrections, said(without[1], "right", "crack", second=20)])
    out = tmp_path / "train.manifest"
    told = judged.json("manifest", "--out", str(out), "--test-percent", "0")
    labels = [
        (entry["source-ref"].rpartition("/")[2], entry["batch-vision-0-metadata"]["class-name"])
        for entry in map(json.loads, out.read_text().splitlines())
    ]
    assert len(dict(labels)) == len(labels) == 9
    assert dict(labels)["000008.png"] == dict(labels)["000007.png"] == "crack"
    assert "000006.png" not in dict(labels)
    assert told["left_out"]["judged again later"] == ["line 0/000006.png", "line 1/000007.png"]


def test_only_manifests_are_replaced(judged: Deployed, tmp_path: Path) -> None:
    out, test_out = tmp_path / "train.manifest", tmp_path / "test.manifest"
    test_out.write_text("mine")
    refused = judged.call("manifest", "--out", str(out))
    assert (refused.exit_code, "a file that is no manifest" in refused.output) == (2, True)
    assert (test_out.read_text(), out.exists()) == ("mine", False)
    test_out.write_text("")
    for percent in ("40", "40", "0"):
        printed = judged.call("manifest", "--out", str(out), "--test-percent", percent)
        assert printed.exit_code == 0, printed.output
        assert (f"{test_out} is of an earlier manifest" in printed.stderr) == (percent == "0")


def test_a_manifest_of_boxes(judged: Deployed, tmp_path: Path) -> None:
    out = tmp_path / "train.manifest"
    crack = line(1, ("crack", 61.0))
    crack["predictions"][0]["bounding_box"] = BOX | {"left": -0.02, "width": 0.27}
    FinalBucket(judged.s3, FINAL).place(crack, drawn("navy", (640, 400)), predictions=crack["predictions"])
    told = judged.json("manifest", "--out", str(out), "--test-percent", "0", "--kind", "boxes")
    # Of labels that were corrected without boxes nobody knows where they are, nor of what another model said.
    assert {reason: len(keys) for reason, keys in told["left_out"].items()} == {
        "without a box": 5,
        "replaced or deleted since judged": 1,
    }
    read = [json.loads(entry) for entry in out.read_text().splitlines()]
    assert len(read) == 5
    for one in read:
        is_cut = one["source-ref"].endswith("000001.png")  # the model's box reaches out of the image
        assert one["bounding-box"] == {
            "image_size": [{"width": 640, "height": 400, "depth": 3}],
            "annotations": [{"class_id": 0, "left": 160 * (not is_cut), "top": 200, "width": 160, "height": 100}],
        }
    assert [one["bounding-box-metadata"]["class-map"]["0"] for one in read].count("stain") == 1


@pytest.mark.parametrize("kind", ["labels", "boxes"])
def test_an_image_that_custom_labels_does_not_take_is_in_no_manifest(
    judged: Deployed, tmp_path: Path, kind: str
) -> None:
    """The model saw a JPEG of it; training would read the original."""
    bucket = FinalBucket(judged.s3, FINAL)
    converted = {"from_format": "WEBP", "to_format": "JPEG", "reason": "It is neither a PNG nor a JPEG."}
    webp, cmyk, large, small = (line(number, ("crack", 60.0)) for number in range(20, 24))
    bucket.place(webp, drawn("navy", (640, 400), "WEBP"), converted=converted, width=640, height=400)
    content = io.BytesIO()
    Image.new("CMYK", (640, 400)).save(content, "JPEG")
    bucket.place(cmyk, content.getvalue(), converted=converted, width=640, height=400)
    bucket.place(large, drawn("navy"), width=5000, height=400)  # the image APIs take 10,000 pixels a side
    bucket.place(small, drawn("navy", (640, 400)), converted=converted, width=640, height=400)  # of another service
    write_corrections(judged.s3, FINAL, [said(one, "right", "crack") for one in (webp, cmyk, large, small)])
    out = tmp_path / "train.manifest"
    told = judged.json("manifest", "--out", str(out), "--test-percent", "0", "--kind", kind)
    left_out = told["left_out"]["that Custom Labels does not train with, by format or size"]
    assert sorted(left_out) == sorted(one["key"] for one in (webp, cmyk, large))
    assert small["key"] in out.read_text()


def test_what_custom_labels_would_refuse_is_not_written(judged: Deployed, tmp_path: Path) -> None:
    out = tmp_path / "train.manifest"
    result = judged.call("manifest", "--out", str(out), "--label", "crack", "--test-percent", "0")
    assert result.exit_code == 1
    assert "The training set has one label (crack); Custom Labels needs 2." in result.output
    assert not out.exists()
    for words in (["--out", str(tmp_path / "train.json")], ["--out", str(tmp_path / "none" / "a.manifest")]):
        assert judged.call("manifest", *words).exit_code == 2
    same = judged.call("manifest", "--out", str(tmp_path / "test.manifest"))
    assert (same.exit_code, "Give --test-out another name" in same.output) == (2, True)


def test_an_object_that_holds_no_correction_is_named(judged: Deployed) -> None:
    judged.put("corrections/dt=2026-11-26/x.jsonl", b'{"schema_version": 9}\n', FINAL)
    result = judged.call("corrections")
    assert result.exit_code == 1
    assert f"Line 1 of s3://{FINAL}/corrections/dt=2026-11-26/x.jsonl is no correction" in result.output
    assert "move the object out of corrections/" in result.output


def test_images_of_an_existing_bucket(deploy: Any, tmp_path: Path) -> None:
    deployed = deploy(is_hosted=False, is_drop_off=False)
    lines = []
    for name in ("same", "replaced", "deleted"):
        deployed.put(f"{name}.jpg", drawn("navy", (300, 200), "JPEG"))
        lines.append(deployed.in_place(f"{name}.jpg"))
    deployed.put("replaced.jpg", drawn("red", (300, 200), "JPEG"))
    deployed.s3.delete_object(Bucket=IMAGES, Key="deleted.jpg")
    changes = {"model": "DetectLabels", "predictions": []}
    write_corrections(deployed.s3, FINAL, [said({"etag": "e"} | one | changes, "right", "Cat") for one in lines])
    assert {one["key"]: one["is_current"] for one in deployed.json("corrections")} == {
        "same.jpg": True,
        "replaced.jpg": False,
        "deleted.jpg": False,
    }
    out = tmp_path / "train.manifest"
    deployed.json("manifest", "--out", str(out), "--test-percent", "0", "--kind", "boxes")
    (read,) = [json.loads(entry) for entry in out.read_text().splitlines()]
    assert read["source-ref"] == f"s3://{IMAGES}/same.jpg"
    assert read["bounding-box"]["image_size"] == [{"width": 300, "height": 200, "depth": 3}]


def test_a_review_ends_with_a_sentence(judged: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubtful images and a sample of the others are served; Ctrl-C sends what was judged."""
    judged.catalog(AT.format(0), *[line(number, ("crack", 60.0 + number)) for number in range(12)])
    begun: list[Session] = []
    monkeypatch.setattr(review_commands, "Session", lambda *given: begun.append(Session(*given)) or begun[0])

    def interrupted() -> None:
        begun[0].judge([{"row": 0, "verdict": "wrong", "labels": ["stain"]}])
        raise KeyboardInterrupt

    monkeypatch.setattr(review_commands, "_wait", interrupted)
    result = judged.call("review", "--max-confidence", "65", "--sample", "2", "--no-browser", "--by", "bob")
    assert result.exit_code == 0, result.output
    assert "8 images to judge at http://127.0.0.1:" in result.stdout
    assert f"1 judgement, all of them in s3://{FINAL}/corrections/" in result.stdout
    assert [row.is_sample for row in begun[0].rows] == [False] * 6 + [True] * 2
    assert [one["labels"] for one in judged.json("corrections", "--by", "bob")] == [["stain"]]
    # What --limit leaves out is sampled too; a line that does not say which upload it is of is named.
    begun.clear()
    judged.catalog(AT.format(1), line(12, ("crack", 10.0), version_id=None, etag=None))
    result = judged.call("review", "--limit", "5", "--sample", "3", "--no-browser", "--by", "bob")
    assert result.exit_code == 0, result.output
    assert [row.is_sample for row in begun[0].rows] == [False] * 4 + [True] * 3
    assert "1 image left out: an old line of the catalog" in result.stderr
    assert "5 of 13 images are shown" in result.stderr
    nothing = judged.call("review", "--prefix", "nothing", "--no-browser")
    assert (nothing.exit_code, "No image matches" in nothing.stdout) == (0, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--min-confidence", "70", "--max-confidence", "60"], "Exchange them"),
        (["--since", "yesterday"], "--since is 'yesterday'"),
    ],
)
def test_what_a_review_refuses(deployed: Deployed, words: list[str], told: str) -> None:
    result = deployed.call("review", "--no-browser", *words)
    assert result.exit_code == 2
    assert told in result.output
