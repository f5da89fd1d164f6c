from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.folders import find_files
from batch_vision.operator.prices import in_words, model_dollars
from local import environment
from local.__main__ import SAMPLES, run_command
from local.errors import LocalError
from local.images import Results, check_out, clear_out, paths_for


def test_files_are_found_by_the_key_they_will_have(tmp_path: Path) -> None:
    for name in ("a.jpg", "b c/d+e.PNG", "b c/.DS_Store", ".hidden/f.jpg", "notes.txt", "no suffix"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_files(tmp_path, "IMAGES")
    assert list(found.files) == ["a.jpg", "b c/d+e.PNG", "no suffix"]
    assert set(found.left_out) == {"b c/.DS_Store", ".hidden/", "notes.txt"}
    assert len(find_files(tmp_path, "IMAGES", takes_all=True).files) == 6


def test_a_wrong_folder_is_named_with_its_make_argument(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, problem in {"none": "does not exist", "file": "is not a folder", "empty": "holds no file"}.items():
        with pytest.raises(WrongInputError, match=rf"IMAGES=.*{name} {problem}"):
            find_files(tmp_path / name, f"IMAGES={tmp_path / name}")


def test_a_name_that_can_be_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad\udcff.jpg").write_bytes(b"x")
    (tmp_path / "good.jpg").write_bytes(b"x")
    found = find_files(tmp_path, "IMAGES")
    assert (list(found.files), "not UTF-8" in found.failed["bad\udcff.jpg"]) == (["good.jpg"], True)


def test_results_go_to_an_empty_folder_only(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    check_out(tmp_path / "new", images)
    check_out(out, images)
    check_out(out, images)  # of a run that failed before it had results
    (out / "old.json").write_text("{}")
    with pytest.raises(LocalError, match=r"OUT=.* is not empty"):
        check_out(out, images)
    with pytest.raises(LocalError, match=r"OUT=.* is not a folder"):
        check_out(out / "old.json", images)


def test_only_results_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    """The default folder is recognized by the mark that a run leaves in it, not by its place alone."""
    images, out = tmp_path / "images", tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("")
    with pytest.raises(LocalError, match=r"OUT=.* is not empty"):
        check_out(out, images, is_replaced=True)
    (out / "mine.txt").unlink()
    check_out(out, images, is_replaced=True)
    (out / "old.json").write_text("{}")
    check_out(out, images, is_replaced=True)
    clear_out(out)
    assert not (out / "old.json").exists()
    with pytest.raises(LocalError, match=r"IMAGES=.* is in OUT="):
        check_out(out, out / "processed", is_replaced=True)


@pytest.mark.parametrize("length", [245, 246, 247, 251, 255])
def test_names_that_are_too_long_with_what_is_beside_them(tmp_path: Path, length: int) -> None:
    key = f"processed/{'n' * (length - 4)}.jpg"
    paths = paths_for([key, f"{key}.json", f"{key}.mask.png", "runs/r.json", "processed/a//b.jpg", "processed/a/b.jpg"])
    assert len(set(paths.values())) == 6
    assert (paths[key] == key) == (length <= 246)
    assert (paths[f"{key}.json"], paths["runs/r.json"]) == (f"{paths[key]}.json", "runs/r.json")
    for path in paths.values():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")


def result(
    key: str, *labels: tuple[str, float], error: str | None = None, anomalous: bool | None = None
) -> dict[str, Any]:
    return {
        "status": "rejected" if error else "processed",
        "source": {"key": key},
        "predictions": [{"name": name, "confidence": confidence} for name, confidence in labels],
        "error": error and {"type": error},
        "anomaly": anomalous if anomalous is None else {"is_anomalous": anomalous},
    }


def test_results_are_counted() -> None:
    results = Results(
        [
            result("normal/1.png", ("normal", 60.0), ("crack", 40.0)),
            result("crack/2.png", ("stain", 51.0), ("crack", 50.0)),
            result("crack/3.png"),
            result("elsewhere/4.png", ("crack", 80.0)),
            result("crack/5.txt", error="InvalidImageFormatError"),
        ]
    )
    assert (results.count("processed"), results.count("rejected")) == (4, 1)
    assert results.by_label() == {"normal": 1, "stain": 1, "(no label)": 1, "crack": 1}
    assert results.by_reason("rejected") == {"InvalidImageFormatError": 1}
    assert results.agreement(["normal", "crack", "stain"]) == (1, 3)
    assert results.anomalous() is None
    assert Results([result("a", anomalous=True), result("b", anomalous=False)]).anomalous() == 1


def test_the_price_is_four_dollars_an_hour_for_each_unit() -> None:
    assert model_dollars(3600) == pytest.approx(4.0)
    assert model_dollars(2 * 90) == pytest.approx(0.2)


def test_a_service_that_has_ended_has_no_price_of_its_own() -> None:
    assert in_words(900, "rekognition_custom_labels") == "$1.0000"
    assert (
        in_words(900, "lookout_for_vision") == "$1.0000 with Rekognition (AWS ended Lookout for Vision on 2025-10-31)"
    )


def test_a_run_has_no_schedule_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a full hour LocalStack's tick would start the one run that `make local-run` is to show."""

    def up(*_: Any, **options: Any) -> None:
        raise LocalError(f"applied with {options['arguments']}")

    monkeypatch.setattr(environment, "up", up)
    options = {
        "backend": "rekognition_custom_labels",
        "labelled": SAMPLES / "labelled",
        "localstack": "host",
        "tfvars": None,
        "convert": None,
        "images_bucket": None,
        "versioned": None,
        "videos": None,
    }
    assert run_command.callback
    with pytest.raises(LocalError, match="'schedule_enabled': False"):
        run_command.callback(images=SAMPLES / "pile", out=tmp_path / "out", **options)
