"""What a mapping makes of the answer of a container, and the command that shows it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from batch_vision.backends.contracts import Anomaly, BoundingBox, Kind, Prediction
from batch_vision.backends.sagemaker_endpoint import PRESETS, AnswerMapping, Settings, parse_answer
from batch_vision.core import errors
from batch_vision.core.models import Model
from batch_vision.operator import command_line
from batch_vision.operator.cli import main
from local.config import REPOSITORY
from tests.contract.cases import SAGEMAKER_SETTINGS

OBJECTS = [{"score": 0.75, "label": "crack", "box": {"xmin": 20, "ymin": 10, "xmax": 60, "ymax": 50}}]
PLAIN = "[].{name: name, confidence: score}"


def read(mapping: str, answer: Any, sides: tuple[int, int] | None = (200, 100)) -> list[Prediction]:
    return AnswerMapping.compiled(mapping).read(answer, sides, 0)[0]


def box(made: str, answer: Any = OBJECTS, sides: tuple[int, int] | None = (200, 100)) -> BoundingBox | None:
    (one,) = read(f"[].{{name: label, confidence: score, {made}}}", answer, sides)
    return one.bounding_box


def test_the_presets_are_for_the_pipelines_of_hugging_face() -> None:
    (crack,) = read("huggingface-object-detection", OBJECTS)
    assert crack == Prediction("crack", 75.0, BoundingBox(0.1, 0.1, 0.2, 0.4), kind=Kind.CUSTOM_LABEL)
    labels = read("huggingface-image-classification", [{"label": "a", "score": 0.9}, {"label": "b", "score": 0.1}])
    assert [(one.name, one.confidence_percent, one.bounding_box) for one in labels] == [
        ("a", 90, None),
        ("b", 10, None),
    ]
    assert all(read(preset, []) == [] for preset in PRESETS)


@pytest.mark.parametrize(
    ("made", "sides"),
    [
        ("box_px: {left: box.xmin, top: box.ymin, right: box.xmax, bottom: box.ymax}", (200, 100)),
        ("box_px: {left: box.xmin, top: box.ymin, width: `40`, height: `40`}", (200, 100)),
        ("box_px: {center_x: `40`, center_y: `30`, width: `40`, height: `40`}", (200, 100)),
        ("box: {left: `0.1`, top: `0.1`, width: `0.2`, height: `0.4`}", None),
        ("box: {left: `0.1`, top: `0.1`, right: `0.3`, bottom: `0.5`}, box_px: null", (7, 7)),
    ],
)
def test_a_box_may_be_told_in_ratios_or_pixels_by_corners_or_sides(made: str, sides: tuple[int, int] | None) -> None:
    assert box(made, sides=sides) == BoundingBox(0.1, 0.1, 0.2, 0.4)


def test_a_box_ends_at_the_edge_of_the_image_and_one_in_pixels_needs_its_sides() -> None:
    beyond = "box_px: {left: `-20`, top: `50`, right: `400`, bottom: `150`}"
    assert box(beyond) == BoundingBox(0, 0.5, 1, 0.5)
    assert box(beyond, sides=None) is None


def test_confidences_are_ratios_or_percent_and_a_rounding_above_one_is_one() -> None:
    assert read(PLAIN, [{"name": "a", "score": 1.0000001}])[0].confidence_percent == 100
    assert (
        read("[].{name: name, confidence_percent: score}", [{"name": "a", "score": 97.5}])[0].confidence_percent == 97.5
    )


def test_a_model_that_answers_with_rows_of_numbers() -> None:
    """SageMaker's own object detection: class, score, left, top, right, bottom."""
    mapping = (
        "prediction[*].{name: to_string([0]), confidence: [1], box: {left: [2], top: [3], right: [4], bottom: [5]}}"
    )
    (one,) = read(mapping, {"prediction": [[4.0, 0.5, 0.25, 0.25, 0.5, 0.75]]})
    assert (one.name, one.confidence_percent) == ("4.0", 50)
    assert one.bounding_box == BoundingBox(0.25, 0.25, 0.25, 0.5)


def test_a_model_that_answers_with_a_list_for_each_part_of_its_predictions() -> None:
    """Classifiers and detectors of JumpStart, TensorFlow and torchvision do."""
    found = read("{name: ['normal', 'crack'], confidence: probabilities}", {"probabilities": [0.25, 0.75]})
    assert [(one.name, one.confidence_percent) for one in found] == [("normal", 25), ("crack", 75)]
    mapping = (
        "{name: classes[*].to_string(@), confidence: scores,"
        " box: normalized_boxes[*].{left: [0], top: [1], right: [2], bottom: [3]}, box_px: pixels}"
    )
    answer = {
        "normalized_boxes": [[0.25, 0.25, 0.5, 0.75], [0, 0, 1, 1]],
        "classes": [1.0, 18.0],
        "scores": [0.5, 0.25],
    }
    found = read(mapping, answer)
    assert [(one.name, one.confidence_percent) for one in found] == [("1.0", 50), ("18.0", 25)]
    assert [one.bounding_box for one in found] == [BoundingBox(0.25, 0.25, 0.25, 0.5), BoundingBox(0, 0, 1, 1)]
    assert read(mapping, {"normalized_boxes": [], "classes": [], "scores": []}) == []


def test_the_examples_of_the_document_are_for_the_answers_of_these_containers() -> None:
    boxes = {"normalized_boxes": [[0.1, 0.1, 0.3, 0.5]], "classes": [2.0], "scores": [0.75]}
    answers: dict[str, Any] = {
        "Hugging Face, image-classification": [{"label": "crack", "score": 0.75}],
        "Hugging Face, object-detection": OBJECTS,
        "JumpStart, image classification": {"probabilities": [0.75, 0.25]},
        "JumpStart, object detection": boxes,
        "SageMaker's own Object Detection": {"prediction": [[2.0, 0.75, 0.1, 0.1, 0.3, 0.5]]},
        '`{"is_anomalous": true, "score": 0.93}`': {"is_anomalous": True, "score": 0.93},
    }
    document = (REPOSITORY / "docs" / "from-lookout-for-vision.md").read_text()
    table = document.split("| container | mapping | anomaly_mapping |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    for line in table.split("\n"):
        _, container, *cells, _ = re.split(r" ?(?<!\\)\| ?", line)
        mapping, verdict = ("".join(re.findall("`(.*)`", cell)).replace(r"\|", "|") for cell in cells)
        found, anomaly = AnswerMapping.compiled(mapping, verdict).read(answers.pop(container), (200, 100), 0)
        best = max(found, key=lambda one: one.confidence_percent)
        assert (best.name in ("crack", "anomaly", "2.0"), best.confidence_percent >= 75) == (True, True), container
        assert best.bounding_box == (BoundingBox(0.1, 0.1, 0.2, 0.4) if "etection" in container else None), container
        assert anomaly == (Anomaly(is_anomalous=True, confidence_percent=best.confidence_percent) if verdict else None)
    assert answers == {}


def test_a_verdict_has_an_expression_of_its_own() -> None:
    mapping = AnswerMapping.compiled(PLAIN, "[0].{is_anomalous: name != 'normal', confidence: score}")
    assert mapping.read([{"name": "crack", "score": 0.8}], None, 90) == (
        [],
        Anomaly(is_anomalous=True, confidence_percent=80.0),
    )
    assert mapping.read([], None, 0) == ([], None)


@pytest.mark.parametrize(
    ("mapping", "answer", "said"),
    [
        (PLAIN, {"error": "x"}, "mapping makes null of the answer; it must make a list"),
        ("@", {"name": "a", "confidence": 1}, "or one object with lists of the same length"),
        ("@", {"name": ["a", "b"], "confidence": [1]}, "or one object with lists of the same length"),
        ("@", {"name": ["a"], "confidence": 1}, "or one object with lists of the same length"),
        ("{name: name, confidence: score}", {}, "mapping makes {.*} of the answer; it must make a list"),
        ("@", "text", 'mapping makes "text" of the answer'),
        ("@", [3], "A prediction is 3, and not an object"),
        (PLAIN, [{"score": 0.5}], "the name of a prediction is null"),
        (PLAIN, [{"name": 7, "score": 0.5}], r"the name of a prediction is 7.*to_string\(\)"),
        (PLAIN, [{"name": "a"}], "has no confidence; use confidence or"),
        (PLAIN, [{"name": "a", "score": "0.5"}], r'confidence is "0.5", and not a number \(to_number'),
        (PLAIN, [{"name": "a", "score": True}], "confidence is true, and not a number"),
        (PLAIN, [{"name": "a", "score": 97.5}], "confidence is 97.5, and not from 0 to 1"),
        (PLAIN, [{"name": "a", "score": -0.1}], "confidence is -0.1"),
        (PLAIN, [{"name": "a", "score": 10**400}], "confidence is 1000.*, and not a number"),
        ("@", [{"name": "a", "confidence": 1, "confidence_percent": 1}], "has confidence and confidence_percent; use"),
        ("@", [{"name": "a", "confidence": 1, "label": 1}], "A prediction has 'label'; it may have box, box_px"),
        ("@", [{"name": "a", "confidence": 1, "box": [1, 2]}], r"A box is \[1, 2\], and not an object"),
        ("@", [{"name": "a", "confidence": 1, "box": {"left": 0, "top": 0}}], "a box has left, top; it is to have"),
        (
            "@",
            [{"name": "a", "confidence": 1, "box": {"left": 1, "top": 0, "right": 0, "bottom": 1}}],
            "a box ends before it begins",
        ),
        ("length(@)", 3, "mapping cannot be applied to the answer"),
        ("[ceil(to_number(@))]", "1e999", "mapping cannot be applied to the answer"),
    ],
)
def test_an_answer_of_another_form_is_refused_and_the_reason_named(mapping: str, answer: Any, said: str) -> None:
    with pytest.raises(errors.UnreadableAnswerError, match=said):
        read(mapping, answer)


@pytest.mark.parametrize(
    "body", [b"", b"[{", b"NaN", b'[{"score": Infinity}]', b"\xff", b"[" * 100_000, rb'["\ud800"]', b"[1e999]"]
)
def test_what_is_no_json_is_no_answer(body: bytes) -> None:
    with pytest.raises(errors.UnreadableAnswerError, match="is no JSON"):
        parse_answer(body)


@pytest.mark.parametrize(
    ("mapping", "anomaly_mapping", "said"),
    [
        ("[].{name: ", "", "sagemaker_endpoint.mapping is .* no JMESPath expression"),
        ("", "", "sagemaker_endpoint.mapping is ''"),
        ("huggingface-text-generation", "", "Presets are huggingface-image-classification"),
        ("[].{name: name, confidence: round(score)}", "", r"there is no function round\(\)"),
        ("@", "[0].{", "sagemaker_endpoint.anomaly_mapping is"),
    ],
)
def test_an_expression_that_does_not_compile_is_named(mapping: str, anomaly_mapping: str, said: str) -> None:
    with pytest.raises(errors.SettingsError, match=said):
        AnswerMapping.compiled(mapping, anomaly_mapping)


def test_each_setting_changes_the_name_of_the_endpoint_and_none_is_too_long() -> None:
    names = {Settings.read(SAGEMAKER_SETTINGS | {name: "9"}).endpoint_name for name in SAGEMAKER_SETTINGS}
    assert len(names) == len(SAGEMAKER_SETTINGS)
    longest = Settings.read(SAGEMAKER_SETTINGS | {"deployment": "d" * 27}).endpoint_name
    assert len(f"{longest}-0001") <= 63


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["check-mapping", *map(str, words)])
    return done.exit_code, done.output


def test_the_command_shows_what_a_mapping_makes_of_a_sample(tmp_path: Path) -> None:
    sample, image = tmp_path / "sample.json", tmp_path / "a.png"
    sample.write_text(json.dumps(OBJECTS))
    content = io.BytesIO()
    Image.new("RGB", (200, 100)).save(content, "PNG")
    image.write_bytes(content.getvalue())
    words = (sample, "--mapping", "huggingface-object-detection")
    verdict = ("--anomaly-mapping", "[0].{is_anomalous: label != 'normal', confidence: score}")
    status, printed = run(*words, *verdict, "--image", image)
    assert status == 0
    assert "1 prediction" in printed
    assert "crack 75.00%, left 0.1000, top 0.1000, width 0.2000, height 0.4000" in printed
    assert "verdict: anomalous, 75.00%" in printed
    status, printed = run(*words)
    assert (status, "give the image with --image" in printed) == (0, True)
    status, printed = run(*words, "--image", image, "--json")
    assert json.loads(printed) == {
        "predictions": [
            {
                "name": "crack",
                "confidence": 75.0,
                "bounding_box": {"left": 0.1, "top": 0.1, "width": 0.2, "height": 0.4},
            }
        ],
        "anomaly": None,
    }


def test_the_command_takes_the_mapping_of_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = tmp_path / "sample.json"
    sample.write_text(json.dumps(OBJECTS))
    models = [Model.named("sagemaker_endpoint", SAGEMAKER_SETTINGS), Model.named("rekognition", {})]
    monkeypatch.setattr(command_line, "_find", lambda *_: SimpleNamespace(name="welds", model=models.pop(0)))
    status, printed = run(sample)
    assert (status, "verdict: anomalous, 75.00%" in printed) == (0, True)
    assert "give the image with --image" in printed
    status, printed = run(sample)
    assert (status, "The backend of stack welds is rekognition" in printed) == (2, True)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--mapping", "[].{"], 1, "no JMESPath expression"),
        (["--mapping", "label"], 1, "makes null of the answer"),
        (["--anomaly-mapping", "@"], 2, "--anomaly-mapping is given without --mapping"),
        (["--mapping", "@", "--image", __file__], 2, "is no PNG or JPEG"),
    ],
)
def test_the_command_names_what_is_wrong(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    sample = tmp_path / "sample.json"
    sample.write_text("[]")
    ended, printed = run(sample, *words)
    assert ended == status
    assert said in printed.replace("\n", " ")
