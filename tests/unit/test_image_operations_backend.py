"""The backend on Rekognition's image operations against botocore's own service model: requests, and the common form."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from batch_vision.backends import rekognition
from batch_vision.backends.contracts import BoundingBox, Detection, Instance, Kind, Prediction
from batch_vision.core import errors
from tests.unit.test_rekognition_backend import Converted, Image, png_header

BOX = {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4}
BOUNDS = BoundingBox(0.1, 0.2, 0.3, 0.4)
ADAPTER = "arn:aws:rekognition:us-east-1:123456789012:project/m/version/m.1/1700000000002"
STORED = {"S3Object": {"Bucket": "source", "Name": "a b/é.jpg", "Version": "v1"}}


def detect(
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    answer: dict[str, Any],
    *,
    request: dict[str, Any] | None = None,
    least_percent: float | None = None,
    image: Any = None,
) -> Detection:
    """Ask the one detector of these settings, whose service expects a request; the stub holds both to the model."""
    client = boto3.client("rekognition", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
    ((operation, detector),) = rekognition.make_detectors(settings, least_percent).items()
    stub = Stubber(client)
    expected = None if request is None else {"Image": STORED} | request
    stub.add_response(
        {method: name for name, method in client.meta.method_to_api_mapping.items()}[operation], answer, expected
    )
    with stub:
        detection = detector.detect(image or Image())
    stub.assert_no_pending_responses()
    return detection


LABELS = {"GeneralLabels": {"LabelInclusionFilters": ["Car"], "LabelCategoryExclusionFilters": ["Food"]}}


@pytest.mark.parametrize(
    ("settings", "least_percent", "request_"),
    [
        ({"analyses": ["labels"]}, None, {"Features": ["GENERAL_LABELS"]}),
        ({"analyses": ["labels"]}, 70.0, {"Features": ["GENERAL_LABELS"], "MinConfidence": 70.0}),
        (
            {
                "analyses": ["image_properties", "labels"],
                "labels": {
                    "min_confidence_percent": 0,
                    "max_labels": 3,
                    "include": ["Car"],
                    "exclude_categories": ["Food"],
                },
                "image_properties": {"max_dominant_colors": 4},
            },
            70.0,
            {
                "Features": ["GENERAL_LABELS", "IMAGE_PROPERTIES"],
                "MinConfidence": 0,
                "MaxLabels": 3,
                "Settings": LABELS | {"ImageProperties": {"MaxDominantColors": 4}},
            },
        ),
        # Of labels that nobody asked for, no number and no confidence.
        ({"analyses": ["image_properties"], "labels": {"max_labels": 3}}, 70.0, {"Features": ["IMAGE_PROPERTIES"]}),
        ({"analyses": ["text"]}, None, {}),
        ({"analyses": ["text"]}, 60.0, {"Filters": {"WordFilter": {"MinConfidence": 60.0}}}),
        (
            {"analyses": ["faces"], "faces": {"attributes": ["AGE_RANGE", "SMILE"]}},
            None,
            {"Attributes": ["AGE_RANGE", "SMILE"]},
        ),
        ({"analyses": ["faces"]}, 60.0, {}),
        ({"analyses": ["moderation"], "moderation": {"min_confidence_percent": 0}}, 60.0, {"MinConfidence": 0}),
        ({"analyses": ["moderation"], "moderation": {"adapter_arn": ADAPTER}}, None, {"ProjectVersion": ADAPTER}),
        ({"analyses": ["celebrities"]}, 60.0, {}),
        ({"analyses": ["protective_equipment"]}, 60.0, {}),
        (
            {"analyses": ["protective_equipment"], "protective_equipment": {"required_equipment": ["HEAD_COVER"]}},
            None,
            {"SummarizationAttributes": {"MinConfidence": 80.0, "RequiredEquipmentTypes": ["HEAD_COVER"]}},
        ),
    ],
)
def test_a_setting_is_asked_for_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], least_percent: float | None, request_: dict[str, Any]
) -> None:
    detect(monkeypatch, settings, {}, request=request_, least_percent=least_percent)


def test_one_detector_for_each_operation_in_the_order_of_the_analyses() -> None:
    analyses = ["text", "image_properties", "faces", "labels"]
    assert list(rekognition.make_detectors({"analyses": analyses}, None)) == [
        "DetectText",
        "DetectLabels",
        "DetectFaces",
    ]


def test_every_analysis_has_the_operation_that_the_service_has() -> None:
    service = boto3.client("rekognition", "us-east-1").meta.service_model
    assert {cls.operation for cls in rekognition.OPERATIONS.values()} <= set(service.operation_names)


@pytest.mark.parametrize("analyses", [None, [], "labels", ["labels", "smells"], [["labels"]]])
def test_an_analysis_that_there_is_not_is_named_with_those_there_are(analyses: Any) -> None:
    with pytest.raises(errors.SettingsError, match=r"protective_equipment.*rekognition\.analyses") as caught:
        rekognition.make_detectors({"analyses": analyses}, None)
    assert repr(analyses) in str(caught.value)


def test_an_object_from_before_versioning_is_named_without_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    image = {"S3Object": {"Bucket": "source", "Name": "a b/é.jpg"}}
    detect(monkeypatch, {"analyses": ["text"]}, {}, request={"Image": image}, image=Image(version_id="null"))


def test_an_image_that_was_converted_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {"Image": {"Bytes": b"converted"}}
    detect(monkeypatch, {"analyses": ["text"]}, {}, request=sent, image=Converted())


def test_labels_have_parents_and_instances_and_colors_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {
        "Labels": [
            {
                "Name": "Car",
                "Confidence": 98.5,
                "Parents": [{"Name": "Vehicle"}, {"Name": "Transportation"}],
                "Instances": [{"BoundingBox": BOX, "Confidence": 97.0}],
                "Aliases": [{"Name": "Automobile"}],
                "Categories": [{"Name": "Vehicles and Automotive"}],
            },
            {"Name": "Vehicle", "Confidence": 98.5, "Parents": [], "Instances": []},
        ],
        "LabelModelVersion": "3.0",
        "ImageProperties": {
            "Quality": {"Brightness": 80.0, "Sharpness": 90.0, "Contrast": 70.0},
            "DominantColors": [
                {
                    "Red": 255,
                    "Green": 99,
                    "Blue": 71,
                    "HexCode": "#ff6347",
                    "CSSColor": "tomato",
                    "SimplifiedColor": "red",
                    "PixelPercent": 12.5,
                }
            ],
        },
    }
    # The share of a color is no confidence: the least confidence leaves it in.
    found = detect(monkeypatch, {"analyses": ["labels", "image_properties"]}, answer, least_percent=98.0)
    assert found.predictions == [
        Prediction(
            "Car",
            98.5,
            kind=Kind.LABEL,
            parents=("Vehicle", "Transportation"),
            instances=(Instance(97.0, BOUNDS),),
            attributes={"aliases": ["Automobile"], "categories": ["Vehicles and Automotive"]},
        ),
        Prediction(
            "Vehicle", 98.5, kind=Kind.LABEL, parents=(), instances=(), attributes={"aliases": [], "categories": []}
        ),
        Prediction(
            "tomato",
            12.5,
            kind=Kind.COLOR,
            attributes={"hex": "#ff6347", "red": 255, "green": 99, "blue": 71, "simplified": "red"},
        ),
    ]
    assert found.raw == answer, "as the service gives it, without what botocore adds"


def test_text_has_its_place_and_a_word_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = {"BoundingBox": BOX, "Polygon": [{"X": 0.1, "Y": 0.2}]}
    line = {"DetectedText": "LOT 4711", "Type": "LINE", "Id": 0, "Confidence": 99.0, "Geometry": geometry}
    word = {"DetectedText": "LOT", "Type": "WORD", "Id": 1, "ParentId": 0, "Confidence": 98.0, "Geometry": geometry}
    faint = line | {"Id": 2, "Confidence": 59.0}  # the service filters words only
    found = detect(monkeypatch, {"analyses": ["text"]}, {"TextDetections": [line, word, faint]}, least_percent=60.0)
    assert found.predictions == [
        Prediction("LOT 4711", 99.0, BOUNDS, kind=Kind.TEXT, attributes={"type": "line", "id": 0}),
        Prediction("LOT", 98.0, BOUNDS, kind=Kind.TEXT, attributes={"type": "word", "id": 1, "parent_id": 0}),
    ]


def test_faces_have_the_attributes_that_the_service_names(monkeypatch: pytest.MonkeyPatch) -> None:
    face = {
        "BoundingBox": BOX,
        "Confidence": 99.9,
        "AgeRange": {"Low": 30, "High": 38},
        "EyesOpen": {"Value": True, "Confidence": 97.0},
        "Emotions": [{"Type": "CALM", "Confidence": 90.0}],
        "Landmarks": [{"Type": "nose", "X": 0.3, "Y": 0.3}],
    }
    answer = {"FaceDetails": [face, face | {"Confidence": 10.0}]}
    found = detect(monkeypatch, {"analyses": ["faces"]}, answer, least_percent=50.0)
    attributes = {
        "age_range": {"low": 30, "high": 38},
        "eyes_open": {"value": True, "confidence": 97.0},
        "emotions": [{"type": "CALM", "confidence": 90.0}],
    }
    assert found.predictions == [Prediction("face", 99.9, BOUNDS, kind=Kind.FACE, attributes=attributes)]
    assert found.raw == answer


def test_moderation_labels_have_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [
        {"Name": "Weapons", "ParentName": "Violence", "Confidence": 88.0, "TaxonomyLevel": 2},
        {"Name": "Violence", "ParentName": "", "Confidence": 88.0, "TaxonomyLevel": 1},
    ]
    found = detect(monkeypatch, {"analyses": ["moderation"]}, {"ModerationLabels": labels})
    assert found.predictions == [
        Prediction("Weapons", 88.0, kind=Kind.MODERATION, parents=("Violence",), attributes={"taxonomy_level": 2}),
        Prediction("Violence", 88.0, kind=Kind.MODERATION, parents=(), attributes={"taxonomy_level": 1}),
    ]


def test_celebrities_have_the_confidence_of_the_match(monkeypatch: pytest.MonkeyPatch) -> None:
    celebrity = {
        "Name": "Ada Example",
        "Id": "1aB2",
        "Urls": ["example.com/ada"],
        "MatchConfidence": 96.0,
        "Face": {"BoundingBox": BOX, "Confidence": 99.9},
        "KnownGender": {"Type": "Female"},
    }
    found = detect(monkeypatch, {"analyses": ["celebrities"]}, {"CelebrityFaces": [celebrity], "UnrecognizedFaces": []})
    attributes = {"id": "1aB2", "urls": ["example.com/ada"], "known_gender": "Female"}
    assert found.predictions == [Prediction("Ada Example", 96.0, BOUNDS, kind=Kind.CELEBRITY, attributes=attributes)]


def test_persons_say_whether_they_wear_what_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    helmet = {
        "Type": "HEAD_COVER",
        "Confidence": 97.0,
        "BoundingBox": BOX,
        "CoversBodyPart": {"Value": True, "Confidence": 99.0},
    }
    parts = [
        {"Name": "HEAD", "Confidence": 99.0, "EquipmentDetections": [helmet]},
        {"Name": "FACE", "Confidence": 99.0, "EquipmentDetections": []},
    ]
    persons = [
        {"Id": 0, "Confidence": 99.5, "BoundingBox": BOX, "BodyParts": parts},
        {"Id": 1, "Confidence": 98.5, "BoundingBox": BOX, "BodyParts": []},
    ]
    summary = {
        "PersonsWithRequiredEquipment": [0],
        "PersonsWithoutRequiredEquipment": [1],
        "PersonsIndeterminate": [],
    }
    settings = {"analyses": ["protective_equipment"], "protective_equipment": {"required_equipment": ["HEAD_COVER"]}}
    found = detect(monkeypatch, settings, {"Persons": persons, "Summary": summary})
    assert [(one.name, one.bounding_box, one.attributes) for one in found.predictions] == [
        ("PERSON", BOUNDS, {"person_id": 0, "required_equipment": "worn"}),
        ("HEAD_COVER", BOUNDS, {"person_id": 0, "body_part": "head", "covers_body_part": True}),
        ("PERSON", BOUNDS, {"person_id": 1, "required_equipment": "missing"}),
    ]
    assert {one.kind for one in found.predictions} == {Kind.EQUIPMENT}


def failing(code: str, analysis: str, image: Any) -> None:
    config = Config(retries={"total_max_attempts": 1})
    client: Any = boto3.client(
        "rekognition", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b", config=config
    )
    cls = rekognition.OPERATIONS[analysis]
    detector = cls(client, {"analyses": [analysis]}, None)
    stub = Stubber(client)
    method = next(name for name, operation in client.meta.method_to_api_mapping.items() if operation == cls.operation)
    stub.add_client_error(method, code, "words", 400)
    with stub:
        detector.detect(image)


@pytest.mark.parametrize("analysis", sorted(rekognition.OPERATIONS))
@pytest.mark.parametrize(
    ("start", "error"),
    [
        (png_header(63, 640), errors.InvalidImageError),
        (png_header(640, 10_001), errors.InvalidImageError),
        (b"GIF89a and so on, and so on", errors.InvalidImageError),
        (png_header(640, 480), errors.UnexplainedRefusalError),
        (png_header(640, 80), errors.UnexplainedRefusalError),
    ],
)
def test_an_invalid_parameter_is_the_images_fault_only_where_its_header_shows_it(
    analysis: str, start: bytes, error: type[Exception]
) -> None:
    """A setting that the service does not take has no image rejected."""
    with pytest.raises(error, match="words"):
        failing("InvalidParameterException", analysis, Image(start=start))


@pytest.mark.parametrize("code", ["ResourceNotReadyException", "ResourceNotFoundException"])
def test_an_adapter_that_cannot_answer_is_no_model_to_wait_for(code: str) -> None:
    """As `ModelNotReadyError`, the message would be sent anew for ever."""
    with pytest.raises(errors.ModelError, match="words") as caught:
        failing(code, "moderation", Image())
    assert "adapter" in caught.value.remedy
