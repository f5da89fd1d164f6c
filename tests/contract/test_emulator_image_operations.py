"""What the emulated image APIs of Rekognition promise to a client, asked through the real boto3.

What they have in common with the other operations, injected errors above all, is in `test_emulator_rekognition.py`.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from local.config import ADAPTER_ARN, PROJECT_VERSION_ARN, REPOSITORY
from local.emulator.annotations import KEYWORD, write_annotation
from local.emulator.image_operations import IMAGE_OPERATIONS
from tests.contract.world import BUCKET, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_s3 import S3Client

    from local.emulator.client import EmulatorClient

PPE = "DetectProtectiveEquipment"
SCENES = REPOSITORY / "local" / "samples" / "scenes"
MIB_BYTES = 1024 * 1024
UNKNOWN_ADAPTER_ARN = ADAPTER_ARN.replace("moderation.1", "moderation.9")


def ask(client: RekognitionClient, operation: str, image: bytes | dict[str, str], **options: Any) -> dict[str, Any]:
    given = {"Bytes": image} if isinstance(image, bytes) else {"S3Object": image}
    answer: dict[str, Any] = getattr(client, xform_name(operation))(Image=given, **options)
    return answer


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def refused(client: RekognitionClient, operation: str, image: bytes | dict[str, str], **options: Any) -> str:
    return code_of(lambda: ask(client, operation, image, **options))


def names(labels: list[dict[str, Any]]) -> list[str]:
    return [label["Name"] for label in labels]


def padded(jpeg: bytes, size_bytes: int) -> bytes:
    """What follows the end marker of a JPEG is ignored."""
    return jpeg + bytes(size_bytes - len(jpeg))


def halves() -> bytes:
    """A picture whose upper half is a pure red and whose lower half is black."""
    picture = Image.new("RGB", (200, 100), "black")
    ImageDraw.Draw(picture).rectangle((0, 0, 199, 49), "red")
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def box(left: float, top: float, width: float, height: float) -> dict[str, float]:
    return {"Left": left, "Top": top, "Width": width, "Height": height}


def word(text: str, left: float, height: float = 0.1, confidence: float = 99.0) -> dict[str, Any]:
    return {"Text": text, "Confidence": confidence, "BoundingBox": box(left, 0.2, 0.1, height)}


def part(name: str, *equipment: str, confidence: float = 99.0, covers: bool = True) -> dict[str, Any]:
    return {
        "Name": name,
        "Confidence": confidence,
        "EquipmentDetections": [
            {
                "Type": kind,
                "Confidence": confidence,
                "BoundingBox": box(0.1, 0.1, 0.1, 0.1),
                "CoversBodyPart": {"Value": covers, "Confidence": confidence},
            }
            for kind in equipment
        ],
    }


def person(*parts: dict[str, Any], width: float = 0.2) -> dict[str, Any]:
    return {"BoundingBox": box(0.1, 0.1, width, 0.5), "Confidence": 99.0, "BodyParts": list(parts)}


def face(width: float, **members: Any) -> dict[str, Any]:
    members.setdefault("Smile", {"Value": True, "Confidence": 95.0})
    members.setdefault("AgeRange", {"Low": 30, "High": 40})
    return {
        "BoundingBox": box(0.2, 0.2, width, 0.3),
        "Confidence": 99.5,
        "Landmarks": [{"Type": "nose", "X": 0.3, "Y": 0.3}],
        "Pose": {"Roll": 0.0, "Yaw": 1.5, "Pitch": -2.0},
        **members,
    }


CELEBRITY = {"Name": "Ada Example", "Id": "1aB2", "Urls": ["example.com/ada"], "MatchConfidence": 98.0}


def annotated(image_format: str = "PNG", **annotation: Any) -> bytes:
    content, text = io.BytesIO(), write_annotation(annotation)
    picture = Image.new("RGB", (320, 240), (200, 180, 160))
    if image_format == "PNG":
        chunks = PngInfo()
        chunks.add_text(KEYWORD, text)
        picture.save(content, "PNG", pnginfo=chunks)
    else:
        picture.save(content, "JPEG", comment=f"{KEYWORD}\0{text}".encode())
    return content.getvalue()


@pytest.mark.parametrize("label", ["crack", "stain"])
def test_a_defect_is_a_label_with_its_parent_and_its_place(
    rekognition: RekognitionClient, sample: dict[str, bytes], label: str
) -> None:
    answer = ask(rekognition, "DetectLabels", sample[label])
    parent, found = answer["Labels"]
    assert (parent["Name"], parent["Parents"], found["Name"]) == ("Defect", [], label)
    assert found["Parents"] == [{"Name": "Defect"}]
    assert found["Categories"] == [{"Name": "Damage Detection"}]
    assert 55 <= found["Confidence"] <= parent["Confidence"] <= 100
    ((instance,),) = (found["Instances"],)
    place = instance["BoundingBox"]
    assert 0 <= place["Left"] < place["Left"] + place["Width"] <= 1
    assert answer["LabelModelVersion"]
    assert "ImageProperties" not in answer


def test_a_normal_picture_has_no_defect(rekognition: RekognitionClient, sample: dict[str, bytes]) -> None:
    (found,) = ask(rekognition, "DetectLabels", sample["normal"])["Labels"]
    assert (found["Name"], found["Parents"], found["Instances"]) == ("normal", [], [])
    assert ask(rekognition, "DetectModerationLabels", sample["normal"])["ModerationLabels"] == []


def test_confidence_and_number_of_labels(rekognition: RekognitionClient, sample: dict[str, bytes]) -> None:
    everything = ask(rekognition, "DetectLabels", sample["crack"], MinConfidence=0)["Labels"]
    assert names(everything)[:2] == ["Defect", "crack"]
    assert len(everything) == 4
    confidences = [label["Confidence"] for label in everything]
    assert confidences == sorted(confidences, reverse=True)
    assert ask(rekognition, "DetectLabels", sample["crack"], MinConfidence=0, MaxLabels=1)["Labels"] == everything[:1]
    assert ask(rekognition, "DetectLabels", sample["crack"], MinConfidence=100)["Labels"] == []


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({"LabelInclusionFilters": ["crack"]}, {"crack"}),
        ({"LabelExclusionFilters": ["Defect"]}, {"crack", "stain", "normal"}),
        ({"LabelCategoryInclusionFilters": ["Damage Detection"]}, {"Defect", "crack", "stain"}),
        ({"LabelCategoryExclusionFilters": ["Damage Detection"]}, {"normal"}),
        (
            {"LabelInclusionFilters": ["normal"], "LabelCategoryInclusionFilters": ["Damage Detection"]},
            {"Defect", "crack", "stain", "normal"},
        ),
        (
            {"LabelCategoryInclusionFilters": ["Damage Detection"], "LabelExclusionFilters": ["stain"]},
            {"Defect", "crack"},
        ),
        ({"LabelInclusionFilters": ["Crack"]}, set()),
    ],
)
def test_filters_of_labels(
    rekognition: RekognitionClient, sample: dict[str, bytes], filters: dict[str, list[str]], left: set[str]
) -> None:
    answer = ask(rekognition, "DetectLabels", sample["crack"], MinConfidence=0, Settings={"GeneralLabels": filters})
    assert set(names(answer["Labels"])) == left


def test_colours_come_from_the_pixels(rekognition: RekognitionClient) -> None:
    answer = ask(rekognition, "DetectLabels", halves(), Features=["IMAGE_PROPERTIES"])
    assert answer["Labels"] == []
    found = answer["ImageProperties"]
    colours = {colour["CSSColor"]: colour for colour in found["DominantColors"]}
    assert colours["red"]["HexCode"] == "#ff0000"
    assert (colours["red"]["Red"], colours["red"]["Green"], colours["red"]["Blue"]) == (255, 0, 0)
    assert (colours["red"]["SimplifiedColor"], colours["black"]["SimplifiedColor"]) == ("red", "black")
    assert colours["red"]["PixelPercent"] == pytest.approx(50, abs=2)
    for ground in (found, found["Foreground"], found["Background"]):
        assert sum(colour["PixelPercent"] for colour in ground["DominantColors"]) == pytest.approx(100, abs=0.1)
        assert set(ground["Quality"]) == {"Brightness", "Sharpness", "Contrast"}


def test_quality_comes_from_the_pixels(rekognition: RekognitionClient, sample: dict[str, bytes]) -> None:
    def measured(content: bytes) -> dict[str, float]:
        answer = ask(rekognition, "DetectLabels", content, Features=["GENERAL_LABELS", "IMAGE_PROPERTIES"])
        return dict(answer["ImageProperties"]["Quality"])

    def encoded_again(picture: Image.Image) -> bytes:
        content = io.BytesIO()
        picture.save(content, "PNG")
        return content.getvalue()

    sharp = Image.open(io.BytesIO(sample["crack"])).convert("RGB")
    as_it_is = measured(sample["crack"])
    blurred = measured(encoded_again(sharp.resize((40, 30)).resize(sharp.size)))
    darker = measured(encoded_again(sharp.point(lambda value: value // 2)))
    assert blurred["Sharpness"] < as_it_is["Sharpness"]
    assert blurred["Brightness"] == pytest.approx(as_it_is["Brightness"], abs=2)
    assert darker["Brightness"] == pytest.approx(as_it_is["Brightness"] / 2, abs=1)
    assert darker["Contrast"] == pytest.approx(as_it_is["Contrast"] / 2, abs=1)
    assert measured(encoded(100, 100))["Contrast"] == 0


def test_number_of_colours(rekognition: RekognitionClient, sample: dict[str, bytes]) -> None:
    def number(**settings: Any) -> int:
        answer = ask(rekognition, "DetectLabels", sample["stain"], Features=["IMAGE_PROPERTIES"], **settings)
        return len(answer["ImageProperties"]["DominantColors"])

    assert number() == 10
    assert number(Settings={"ImageProperties": {"MaxDominantColors": 3}}) == 3
    assert number(Settings={"ImageProperties": {"MaxDominantColors": 0}}) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"Features": ["IMAGE_PROPERTIES"], "MinConfidence": 60},
        {"Features": ["IMAGE_PROPERTIES"], "MaxLabels": 5},
        {"Features": ["IMAGE_PROPERTIES"], "Settings": {"GeneralLabels": {"LabelInclusionFilters": ["a"]}}},
        {"Settings": {"ImageProperties": {"MaxDominantColors": 3}}},
    ],
)
def test_settings_of_a_feature_that_is_not_asked_for(rekognition: RekognitionClient, options: dict[str, Any]) -> None:
    assert refused(rekognition, "DetectLabels", encoded(80, 80), **options) == "InvalidParameterException"


@pytest.mark.parametrize(
    ("operation", "options"),
    [
        ("DetectLabels", {"MinConfidence": 101}),
        ("DetectLabels", {"Features": ["LABELS"]}),
        ("DetectLabels", {"Settings": {"GeneralLabels": {"LabelInclusionFilters": ["a"] * 101}}}),
        ("DetectLabels", {"Settings": {"GeneralLabels": {"LabelExclusionFilters": ["a" * 51]}}}),
        (
            "DetectLabels",
            {"Features": ["IMAGE_PROPERTIES"], "Settings": {"ImageProperties": {"MaxDominantColors": 21}}},
        ),
        ("DetectText", {"Filters": {"WordFilter": {"MinBoundingBoxHeight": 2}}}),
        ("DetectFaces", {"Attributes": ["AGE"]}),
        ("DetectModerationLabels", {"ProjectVersion": "moderation.1"}),
        (PPE, {"SummarizationAttributes": {"MinConfidence": 80}}),
        (PPE, {"SummarizationAttributes": {"MinConfidence": 80, "RequiredEquipmentTypes": ["HELMET"]}}),
    ],
)
def test_constraints_of_the_service_model(
    rekognition: RekognitionClient, operation: str, options: dict[str, Any]
) -> None:
    assert refused(rekognition, operation, encoded(80, 80), **options) == "ValidationException"


def test_moderation_has_levels(rekognition: RekognitionClient, sample: dict[str, bytes]) -> None:
    answer = ask(rekognition, "DetectModerationLabels", sample["crack"])
    found = [(label["Name"], label["ParentName"], label["TaxonomyLevel"]) for label in answer["ModerationLabels"]]
    assert found == [("Defect", "", 1), ("crack", "Defect", 2)]
    assert answer["ModerationModelVersion"]
    assert "ProjectVersion" not in answer
    everything = ask(rekognition, "DetectModerationLabels", sample["crack"], MinConfidence=0)["ModerationLabels"]
    assert set(names(everything)) == {"Defect", "crack", "stain"}


def test_adapter_of_moderation(
    emulator: EmulatorClient, rekognition: RekognitionClient, sample: dict[str, bytes]
) -> None:
    answer = ask(rekognition, "DetectModerationLabels", sample["crack"], ProjectVersion=ADAPTER_ARN)
    assert answer["ProjectVersion"] == ADAPTER_ARN
    for arn in (UNKNOWN_ADAPTER_ARN, PROJECT_VERSION_ARN):
        asked = {"ProjectVersion": arn}
        assert refused(rekognition, "DetectModerationLabels", encoded(80, 80), **asked) == "ResourceNotFoundException"
    emulator.inject("DetectModerationLabels", "ResourceNotReadyException")
    asked = {"ProjectVersion": ADAPTER_ARN}
    assert refused(rekognition, "DetectModerationLabels", encoded(80, 80), **asked) == "ResourceNotReadyException"
    assert ask(rekognition, "DetectModerationLabels", encoded(80, 80), **asked)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_text_is_what_was_drawn(rekognition: RekognitionClient, image_format: str) -> None:
    lines = [
        {"Text": "KEEP CLEAR", "Confidence": 98.0, "Words": [word("KEEP", 0.1), word("CLEAR", 0.3)]},
        {"Text": "Größe", "Confidence": 97.0, "Words": [word("Größe", 0.1)]},
    ]
    found = ask(rekognition, "DetectText", annotated(image_format, Lines=lines))["TextDetections"]
    assert [(text["Type"], text["DetectedText"], text["Id"], text.get("ParentId")) for text in found] == [
        ("LINE", "KEEP CLEAR", 0, None),
        ("LINE", "Größe", 1, None),
        ("WORD", "KEEP", 2, 0),
        ("WORD", "CLEAR", 3, 0),
        ("WORD", "Größe", 4, 1),
    ]
    assert found[0]["Geometry"]["BoundingBox"] == pytest.approx(box(0.1, 0.2, 0.3, 0.1))
    assert len(found[0]["Geometry"]["Polygon"]) == 4


def test_filter_of_words(rekognition: RekognitionClient) -> None:
    words = [word("sure", 0.1), word("unsure", 0.3, confidence=70.0), word("low", 0.5, height=0.01)]
    content = annotated(Lines=[{"Text": "sure unsure low", "Confidence": 90.0, "Words": words}])

    def texts(**word_filter: float) -> list[str]:
        options = {"Filters": {"WordFilter": word_filter}} if word_filter else {}
        found = ask(rekognition, "DetectText", content, **options)["TextDetections"]
        return [text["DetectedText"] for text in found]

    assert texts() == ["sure low", "sure", "low"]
    assert texts(MinConfidence=0) == ["sure unsure low", "sure", "unsure", "low"]
    assert texts(MinBoundingBoxHeight=0.05) == ["sure", "sure"]
    assert texts(MinBoundingBoxWidth=0.2) == []


def test_a_hundred_words(rekognition: RekognitionClient) -> None:
    lines = [{"Text": "a b", "Confidence": 90.0, "Words": [word("a", 0.1), word("b", 0.3)]} for _ in range(60)]
    found = ask(rekognition, "DetectText", annotated(Lines=lines))["TextDetections"]
    assert sum(text["Type"] == "WORD" for text in found) == 100


def test_attributes_of_faces(rekognition: RekognitionClient) -> None:
    content = annotated(Faces=[face(0.1), face(0.4)])
    default = {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}

    def members(**options: Any) -> set[str]:
        return set(ask(rekognition, "DetectFaces", content, **options)["FaceDetails"][0])

    assert members() == members(Attributes=["DEFAULT"]) == default
    assert members(Attributes=["SMILE"]) == default | {"Smile"}
    assert members(Attributes=["ALL", "DEFAULT"]) == default | {"Smile", "AgeRange"}
    larger, smaller = ask(rekognition, "DetectFaces", content)["FaceDetails"]
    assert (larger["BoundingBox"]["Width"], smaller["BoundingBox"]["Width"]) == (0.4, 0.1)
    assert larger["Quality"]["Brightness"] == pytest.approx(72, abs=3)


def test_faces_of_the_famous_and_of_others(rekognition: RekognitionClient) -> None:
    content = annotated(Faces=[face(0.1), face(0.4, Celebrity=CELEBRITY)])
    answer = ask(rekognition, "RecognizeCelebrities", content)
    (famous,) = answer["CelebrityFaces"]
    assert (famous["Name"], famous["Id"], famous["MatchConfidence"]) == ("Ada Example", "1aB2", 98.0)
    assert famous["Face"]["BoundingBox"]["Width"] == 0.4
    (other,) = answer["UnrecognizedFaces"]
    assert other["BoundingBox"]["Width"] == 0.1
    assert "AgeRange" not in other
    assert len(ask(rekognition, "DetectFaces", content)["FaceDetails"]) == 2


@pytest.mark.parametrize(
    ("parts", "required", "ends"),
    [
        ([part("HEAD", "HEAD_COVER")], ["HEAD_COVER"], "PersonsWithRequiredEquipment"),
        ([part("HEAD")], ["HEAD_COVER"], "PersonsWithoutRequiredEquipment"),
        ([part("HEAD", "HEAD_COVER", covers=False)], ["HEAD_COVER"], "PersonsWithoutRequiredEquipment"),
        ([part("FACE")], ["HEAD_COVER"], "PersonsIndeterminate"),
        ([part("HEAD", "HEAD_COVER", confidence=60.0)], ["HEAD_COVER"], "PersonsIndeterminate"),
        ([part("LEFT_HAND", "HAND_COVER")], ["HAND_COVER"], "PersonsIndeterminate"),
        ([part("LEFT_HAND", "HAND_COVER"), part("RIGHT_HAND")], ["HAND_COVER"], "PersonsWithoutRequiredEquipment"),
        ([part("HEAD", "HEAD_COVER"), part("FACE")], ["HEAD_COVER", "FACE_COVER"], "PersonsWithoutRequiredEquipment"),
        ([part("FACE")], ["HEAD_COVER", "FACE_COVER"], "PersonsWithoutRequiredEquipment"),
    ],
)
def test_summary_of_equipment(
    rekognition: RekognitionClient, parts: list[dict[str, Any]], required: list[str], ends: str
) -> None:
    content = annotated(Persons=[person(*parts)])
    wanted = {"MinConfidence": 80, "RequiredEquipmentTypes": required}
    answer = ask(rekognition, PPE, content, SummarizationAttributes=wanted)
    assert {name: ids for name, ids in answer["Summary"].items() if ids} == {ends: [0]}
    assert "Summary" not in ask(rekognition, PPE, content)


def test_the_fifteen_largest_persons(rekognition: RekognitionClient) -> None:
    persons = [person(part("HEAD"), width=number / 100) for number in range(1, 21)]
    found = ask(rekognition, PPE, annotated(Persons=persons))["Persons"]
    assert [one["Id"] for one in found] == list(range(15))
    assert found[0]["BoundingBox"]["Width"] == 0.2


@pytest.mark.parametrize("rest", [b"", b"{", b"[1]", b"\xff\xfe", b'"text"'])
def test_a_picture_without_an_annotation_shows_nobody(rekognition: RekognitionClient, rest: bytes) -> None:
    content = encoded(100, 100, "JPEG") + KEYWORD.encode() + b"\0" + rest
    assert ask(rekognition, "DetectText", content)["TextDetections"] == []
    assert ask(rekognition, "DetectFaces", content)["FaceDetails"] == []
    celebrities = ask(rekognition, "RecognizeCelebrities", content)
    assert (celebrities["CelebrityFaces"], celebrities["UnrecognizedFaces"]) == ([], [])
    assert ask(rekognition, PPE, content)["Persons"] == []


def test_scenes_of_the_samples(rekognition: RekognitionClient) -> None:
    """What is drawn in them is found, and what the pixels say."""

    def scene(name: str) -> bytes:
        return (SCENES / name).read_bytes()

    def lines(name: str) -> list[str]:
        found = ask(rekognition, "DetectText", scene(name))["TextDetections"]
        return [text["DetectedText"] for text in found if text["Type"] == "LINE"]

    assert lines("keep-clear.jpg") == ["KEEP CLEAR", "Fire door 12"]
    assert lines("lot 4711.jpg") == ["LOT 4711"]
    assert "crack" in names(ask(rekognition, "DetectLabels", scene("lot 4711.jpg"))["Labels"])

    sign = ask(rekognition, "DetectLabels", scene("keep-clear.jpg"), Features=["IMAGE_PROPERTIES"])
    assert "gold" in {colour["CSSColor"] for colour in sign["ImageProperties"]["DominantColors"]}

    faces = ask(rekognition, "DetectFaces", scene("portrait.jpg"), Attributes=["ALL"])["FaceDetails"]
    assert [(one["Smile"]["Value"], one["Eyeglasses"]["Value"]) for one in faces] == [(True, True), (False, False)]
    celebrities = ask(rekognition, "RecognizeCelebrities", scene("portrait.jpg"))
    assert names(celebrities["CelebrityFaces"]) == ["Ada Example"]
    assert len(celebrities["UnrecognizedFaces"]) == 1

    wanted = {"MinConfidence": 80, "RequiredEquipmentTypes": ["HEAD_COVER"]}
    summary = ask(rekognition, PPE, scene("workers-one-without-helmet.png"), SummarizationAttributes=wanted)["Summary"]
    assert (summary["PersonsWithRequiredEquipment"], summary["PersonsWithoutRequiredEquipment"]) == ([0], [1])
    wanted = {"MinConfidence": 80, "RequiredEquipmentTypes": ["HEAD_COVER", "FACE_COVER", "HAND_COVER"]}
    summary = ask(rekognition, PPE, scene("worker-equipped.jpg"), SummarizationAttributes=wanted)["Summary"]
    assert summary["PersonsWithRequiredEquipment"] == [0]


LIMITS = [
    (operation, side, is_taken, error)
    for operation in IMAGE_OPERATIONS
    for side, is_taken, error in (
        [
            ((64, 64), True, ""),
            ((63, 64), False, "InvalidParameterException"),
            ((4096, 64), True, ""),
            ((4097, 64), False, "ImageTooLargeException"),
        ]
        if operation == PPE
        else [
            ((80, 80), True, ""),
            ((79, 80), False, "InvalidParameterException"),
            ((10_000, 80), True, ""),
            ((80, 10_001), False, "InvalidParameterException"),
        ]
    )
]


@pytest.mark.parametrize(("operation", "side", "is_taken", "error"), LIMITS)
def test_limits_of_pixels(
    rekognition: RekognitionClient, operation: str, side: tuple[int, int], is_taken: bool, error: str
) -> None:
    content = encoded(*side, image_format="JPEG")
    if is_taken:
        assert ask(rekognition, operation, content)
    else:
        assert refused(rekognition, operation, content) == error


@pytest.mark.parametrize("operation", IMAGE_OPERATIONS)
def test_limits_of_bytes(rekognition: RekognitionClient, s3: S3Client, operation: str) -> None:
    jpeg = encoded(100, 100, "JPEG")
    most_bytes = (4 if operation == PPE else 5) * MIB_BYTES
    assert ask(rekognition, operation, padded(jpeg, most_bytes))
    error = "ImageTooLargeException" if operation == PPE else "ValidationException"
    assert refused(rekognition, operation, padded(jpeg, most_bytes + 1)) == error
    named = {"Bucket": BUCKET, "Name": "large.jpg"}
    s3.put_object(Bucket=BUCKET, Key="large.jpg", Body=padded(jpeg, 15 * MIB_BYTES))
    assert ask(rekognition, operation, named)
    s3.put_object(Bucket=BUCKET, Key="large.jpg", Body=padded(jpeg, 15 * MIB_BYTES + 1))
    assert refused(rekognition, operation, named) == "ImageTooLargeException"


@pytest.mark.parametrize("operation", IMAGE_OPERATIONS)
def test_images_that_are_none_or_of_other_colours(rekognition: RekognitionClient, s3: S3Client, operation: str) -> None:
    none = (b"no image", encoded(100, 100, "GIF"), encoded(500, 500, "JPEG")[:-400])
    of_other_colours = (encoded(100, 100, "JPEG", "CMYK"), encoded(100, 100, "PNG", "I;16"))
    for content in (*none, *of_other_colours):
        assert refused(rekognition, operation, content) == "InvalidImageFormatException"
    s3.put_object(Bucket=BUCKET, Key="empty.jpg", Body=b"")
    named = {"Bucket": BUCKET, "Name": "empty.jpg"}
    assert refused(rekognition, operation, named) == "InvalidImageFormatException"
    assert refused(rekognition, operation, {**named, "Name": "nothing.jpg"}) == "InvalidS3ObjectException"
    assert refused(rekognition, operation, {"Bucket": BUCKET}) == "InvalidS3ObjectException"
    asked = getattr(rekognition, xform_name(operation))
    assert code_of(lambda: asked(Image={})) == "InvalidParameterException"


def test_named_version_is_the_one_that_is_read(
    rekognition: RekognitionClient, s3: S3Client, sample: dict[str, bytes]
) -> None:
    key = "été/a+b 50%.jpg"
    older = s3.put_object(Bucket=BUCKET, Key=key, Body=sample["crack"])["VersionId"]
    s3.put_object(Bucket=BUCKET, Key=key, Body=sample["stain"])
    named = {"Bucket": BUCKET, "Name": key}
    assert names(ask(rekognition, "DetectLabels", named)["Labels"]) == ["Defect", "stain"]
    assert names(ask(rekognition, "DetectLabels", {**named, "Version": older})["Labels"]) == ["Defect", "crack"]


@pytest.mark.parametrize("operation", IMAGE_OPERATIONS)
def test_each_operation_has_a_quota_and_counters_of_its_own(
    emulator: EmulatorClient, rekognition: RekognitionClient, operation: str
) -> None:
    emulator.set(calls_per_second={operation: 0.001})
    assert ask(rekognition, operation, encoded(100, 100))
    for content in (encoded(100, 100), b"no image"):
        assert refused(rekognition, operation, content) == "ProvisionedThroughputExceededException"
    counted = emulator.state()["operations"]
    assert [counted[operation][name] for name in ("calls", "throttled", "images")] == [1, 2, 1]
    others = {name: one for name, one in counted.items() if name != operation}
    assert all((one["calls"], one["throttled"], one["images"]) == (0, 0, 0) for one in others.values())
    other = next(iter(others))
    assert ask(rekognition, other, encoded(100, 100))
    assert emulator.operation(other)["calls"] == 1


def test_a_change_of_one_quota_leaves_the_others(emulator: EmulatorClient) -> None:
    before = emulator.state()["settings"]["calls_per_second"]
    assert emulator.set(calls_per_second={"DetectText": 2})["calls_per_second"] == {**before, "DetectText": 2}


def test_features_of_labels_are_counted_apart(emulator: EmulatorClient, rekognition: RekognitionClient) -> None:
    ask(rekognition, "DetectLabels", encoded(100, 100))
    ask(rekognition, "DetectLabels", encoded(100, 100), Features=["GENERAL_LABELS", "IMAGE_PROPERTIES"])
    refused(rekognition, "DetectLabels", b"no image")
    counted = emulator.operation("DetectLabels")
    assert (counted["calls"], counted["images"]) == (3, 2)
    assert counted["images_by_feature"] == {"GENERAL_LABELS": 2, "IMAGE_PROPERTIES": 1}
