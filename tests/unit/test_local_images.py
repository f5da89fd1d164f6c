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
from local.images import Results, check_out


def test_files_are_found_by_the_key_they_will_have(tmp_path: Path) -> None:
    for name in ("a.jpg", "b c/d+e.PNG", "b c/.DS_Store", ".hidden/f.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert list(find_files(tmp_path, "IMAGES")) == ["a.jpg", "b c/d+e.PNG", "notes.txt"]


def test_a_wrong_folder_is_named_with_its_make_argument(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, problem in {"none": "does not exist", "file": "is not a folder", "empty": "holds no file"}.items():
        with pytest.raises(WrongInputError, match=rf"IMAGES=.*{name} {problem}"):
            find_files(tmp_path / name, f"IMAGES={tmp_path / name}")


def test_a_name_that_can_be_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad\udcff.jpg").write_bytes(b"x")
    with pytest.raises(WrongInputError, match="not UTF-8"):
        find_files(tmp_path, "IMAGES")


def test_results_go_to_an_empty_folder_only(tmp_path: Path) -> None:
    check_out(tmp_path / "new")
    check_out(tmp_path)
    (tmp_path / "old.json").write_text("{}")
    with pytest.raises(LocalError, match=r"OUT=.* is not empty"):
        check_out(tmp_path)
    with pytest.raises(LocalError, match=r"OUT=.* is not a folder"):
        check_out(tmp_path / "old.json")


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
    assert results.by_reason() == {"InvalidImageFormatError": 1}
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
    options = {"backend": "rekognition_custom_labels", "labelled": SAMPLES / "labelled", "localstack": "host"}
    assert run_command.callback
    with pytest.raises(LocalError, match="'schedule_enabled': False"):
        run_command.callback(images=SAMPLES / "pile", out=tmp_path / "out", **options)
