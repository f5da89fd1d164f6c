"""The image APIs of Amazon Rekognition, which need no model of one's own.

Answers are computed from the image, and where that cannot be done here, read from it:

================================  =====================================================================================
labels                            what the emulator has learned: the normal label, each other one as a child of
                                  `Defect`, with the place where the picture differs from the normal as its instance
moderation                        the same, as if every defect were to be moderated: `Defect` and, below it, its kind
colours, brightness, sharpness    from the pixels, see `colours`
text, faces, celebrities, PPE     from the annotation of a drawn picture, see `annotations`; nothing in any other
================================  =====================================================================================

Guesses, where the service's documentation is silent: CMYK and 16 bits in a channel are an
InvalidImageFormatException, of DetectCustomLabels too; too few or too many pixels are an InvalidParameterException, but
for DetectProtectiveEquipment, whose ImageTooLargeException is said to cover the resolution; operations without a
documented upper limit of pixels have that of DetectLabels; settings of a feature that is not asked for are refused.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.backends.rekognition import OPERATIONS
from local.emulator.annotations import read_annotation
from local.emulator.colours import properties, quality
from local.emulator.errors import ImageDimensionsError, ImageSidesTooLongError, ThroughputExceededError
from local.emulator.hosting import CONCURRENT_ANALYSES, DECODED_SIDE_PX, wait_out
from local.emulator.images import decode
from local.emulator.rekognition_requests import ServiceError, check_image, read_image, service_errors
from local.emulator.settings import CALLS_PER_SECOND
from local.emulator.throttle import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from PIL import Image

    from local.emulator.hosting import SettingsHolder, Timing
    from local.emulator.objects import ObjectReader
    from local.emulator.pixel_model import Analysis, BoundingBox, PixelModel

IMAGE_OPERATIONS = tuple(CALLS_PER_SECOND)
LIMITS = {one.operation: one.limits for one in OPERATIONS.values()}
_PPE = "DetectProtectiveEquipment"
DEFECT = "Defect"
# Categories of the service's own list of labels.
_DEFECT_CATEGORY, _NORMAL_CATEGORY = "Damage Detection", "Everyday Objects"

_MIN_LABEL_PERCENT = 55.0
_MIN_MODERATION_PERCENT = 50.0
_MIN_WORD_PERCENT = 80.0
_MIN_EQUIPMENT_PERCENT = 50.0
_MAX_COLOURS = 10
_MAX_WORDS, _MAX_FACES, _MAX_CELEBRITY_FACES, _MAX_PERSONS = 100, 100, 64, 15

_FACE_MEMBERS = ("BoundingBox", "Confidence", "Landmarks", "Pose", "Quality")
_FACE_ATTRIBUTES = {
    "AGE_RANGE": "AgeRange",
    "BEARD": "Beard",
    "EMOTIONS": "Emotions",
    "EYE_DIRECTION": "EyeDirection",
    "EYEGLASSES": "Eyeglasses",
    "EYES_OPEN": "EyesOpen",
    "GENDER": "Gender",
    "MOUTH_OPEN": "MouthOpen",
    "MUSTACHE": "Mustache",
    "FACE_OCCLUDED": "FaceOccluded",
    "SMILE": "Smile",
    "SUNGLASSES": "Sunglasses",
}
_COMPARED_MEMBERS = (*_FACE_MEMBERS, "Emotions", "Smile")
_BODY_PARTS = {
    "FACE_COVER": ("FACE",),
    "HAND_COVER": ("LEFT_HAND", "RIGHT_HAND"),
    "HEAD_COVER": ("HEAD",),
}
_KNOWN_FRAMES = 256
_LABELS, _PROPERTIES = "GENERAL_LABELS", "IMAGE_PROPERTIES"


@dataclass(frozen=True)
class Seen:
    """An image or a frame of a video: its picture, and what was drawn if it says so."""

    picture: Image.Image
    annotation: dict[str, Any]
    is_frame: bool = False


class ImageOperations:
    """Answers requests about an image, each operation at the rate of its quota.

    Parameters
    ----------
    pixel_model
        What was learned from labelled pictures.
    objects
        Where images in S3 are read from.
    settings
        The quotas and the latency.
    timing
        The clock and sleep to go by.
    adapter_arns
        The adapters of moderation that exist.
    """

    def __init__(
        self,
        pixel_model: PixelModel,
        objects: ObjectReader,
        settings: SettingsHolder,
        timing: Timing,
        adapter_arns: Iterable[str],
    ) -> None:
        self._pixel_model = pixel_model
        self._objects = objects
        self._settings = settings
        self._timing = timing
        self._adapter_arns = frozenset(adapter_arns)
        self._slots = threading.BoundedSemaphore(CONCURRENT_ANALYSES)
        self._known_frames: dict[bytes, Analysis] = {}
        self._lock = threading.Lock()
        self._buckets = {name: TokenBucket(timing.clock) for name in IMAGE_OPERATIONS}
        self._counters: dict[str, Counter[str]] = {name: Counter() for name in IMAGE_OPERATIONS}
        self._operations: dict[str, tuple[Callable[[dict[str, Any]], None], _Answer]] = {
            "DetectLabels": (_check_features, self._labels),
            "DetectText": (_check_text_filters, _texts),
            "DetectFaces": (_nothing, _faces),
            "DetectModerationLabels": (self._check_adapter, self._moderation),
            "RecognizeCelebrities": (_nothing, _celebrities),
            _PPE: (_nothing, _equipment),
        }

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request that fits the service's model.

        Raises
        ------
        ServiceError
            The request or its image is refused, or the operation is over its quota.
        """
        _, answer = self._operations[operation]
        check_image(request["Image"])
        self.check(operation, request)
        with service_errors():
            admitted_at_seconds = self._admit(operation)
            try:
                content = read_image(request["Image"], self._objects, LIMITS[operation])
                with self._slots:
                    result = answer(request, self._seen(operation, content))
                self._count(operation, "images")
                for feature in request.get("Features") or ([_LABELS] if operation == "DetectLabels" else []):
                    self._count(operation, feature)
                return result
            finally:
                wait_out(self._timing, admitted_at_seconds, self._settings.current.latency_ms)

    def check(self, operation: str, request: dict[str, Any]) -> None:
        """Check what the service's model says nothing about; raises `ServiceError`."""
        self._operations[operation][0](request)

    def look_at(self, operation: str, request: dict[str, Any], seen: Seen) -> dict[str, Any]:
        """Return what an operation answers about a picture, without a quota or a counter."""
        return self._operations[operation][1](request, seen)

    def reset(self) -> None:
        """Go back to full quotas and counters of zero."""
        for name in IMAGE_OPERATIONS:
            self._buckets[name].refill()
            self._counters[name].clear()

    def describe(self) -> dict[str, Any]:
        """Return the counters of each operation as plain data.

        `calls` were let in and `throttled` were refused for the quota; no call counts twice. `images` were answered;
        those of DetectLabels are counted by feature too, each of which has a price of its own.
        """
        with self._lock:
            return {
                name: {
                    "calls": counted["calls"],
                    "throttled": counted["throttled"],
                    "images": counted["images"],
                    **(
                        {"images_by_feature": {feature: counted[feature] for feature in (_LABELS, _PROPERTIES)}}
                        if name == "DetectLabels"
                        else {}
                    ),
                }
                for name, counted in self._counters.items()
            }

    def _admit(self, operation: str) -> float:
        if not self._buckets[operation].try_take(self._settings.current.calls_per_second[operation]):
            self._count(operation, "throttled")
            raise ThroughputExceededError(f"the quota of {operation} cannot take more calls now")
        self._count(operation, "calls")
        return self._timing.clock()

    def _count(self, operation: str, what: str) -> None:
        with self._lock:
            self._counters[operation][what] += 1

    def _seen(self, operation: str, content: bytes) -> Seen:
        try:
            picture = decode(content, LIMITS[operation], scaled_to_px=DECODED_SIDE_PX)
        except ImageSidesTooLongError as error:
            if operation == _PPE:
                raise
            raise ImageDimensionsError(str(error)) from error
        return Seen(picture, read_annotation(content))

    def _labels(self, request: dict[str, Any], seen: Seen) -> dict[str, Any]:
        features = request.get("Features") or [_LABELS]
        settings = request.get("Settings", {})
        answer: dict[str, Any] = {"Labels": [], "LabelModelVersion": "3.0"}
        if _LABELS in features:
            analysis = self._analysis(seen)
            found = self._found_labels(analysis)
            least = request.get("MinConfidence", _MIN_LABEL_PERCENT)
            passing = _filtered(found, settings.get("GeneralLabels", {}))
            passing = [label for label in passing if label["Confidence"] >= least]
            passing.sort(key=lambda label: -label["Confidence"])
            answer["Labels"] = passing[: request.get("MaxLabels", len(passing))]
        if _PROPERTIES in features:
            max_colours = settings.get("ImageProperties", {}).get("MaxDominantColors", _MAX_COLOURS)
            answer["ImageProperties"] = properties(seen.picture, max_colours)
        return answer

    def _analysis(self, seen: Seen) -> Analysis:
        if not seen.is_frame:
            return self._pixel_model.analyse(seen.picture)
        # A scene that stands still is the same picture again and again, in every analysis of its video.
        pixels = hashlib.sha256(seen.picture.tobytes()).digest()
        analysis = self._known_frames.get(pixels)
        if analysis is None:
            if len(self._known_frames) >= _KNOWN_FRAMES:
                self._known_frames.clear()
            analysis = self._known_frames[pixels] = self._pixel_model.analyse(seen.picture)
        return analysis

    def _found_labels(self, analysis: Analysis) -> list[dict[str, Any]]:
        normal = self._pixel_model.labels[0]
        labels = [_label(DEFECT, analysis.anomaly_percent, [], _DEFECT_CATEGORY)]
        for score in analysis.scores:
            is_normal = score.name == normal
            label = _label(
                score.name,
                score.confidence_percent,
                [] if is_normal else [DEFECT],
                _NORMAL_CATEGORY if is_normal else _DEFECT_CATEGORY,
            )
            if score.bounding_box is not None:
                label["Instances"] = [
                    {"BoundingBox": _box(score.bounding_box), "Confidence": label["Confidence"]},
                ]
            labels.append(label)
        return labels

    def _check_adapter(self, request: dict[str, Any]) -> None:
        arn = request.get("ProjectVersion")
        if arn is not None and arn not in self._adapter_arns:
            raise ServiceError("ResourceNotFoundException", f"The adapter {arn} was not found.")
        if "HumanLoopConfig" in request:
            raise ServiceError("InvalidParameterException", "The emulator has no human reviews.")

    def _moderation(self, request: dict[str, Any], seen: Seen) -> dict[str, Any]:
        analysis = self._analysis(seen)
        least = request.get("MinConfidence", _MIN_MODERATION_PERCENT)
        normal = self._pixel_model.labels[0]
        scores = [(DEFECT, analysis.anomaly_percent, "", 1)]
        scores += [
            (score.name, score.confidence_percent, DEFECT, 2) for score in analysis.scores if score.name != normal
        ]
        return {
            "ModerationLabels": [
                {"Name": name, "Confidence": round(percent, 4), "ParentName": parent, "TaxonomyLevel": level}
                for name, percent, parent, level in scores
                if percent >= least
            ],
            "ModerationModelVersion": "7.0",
            "ContentTypes": [],
            "ProjectVersion": request.get("ProjectVersion"),
        }


type _Answer = Callable[[dict[str, Any], Seen], dict[str, Any]]


def _nothing(_request: dict[str, Any]) -> None:
    """Check nothing beyond the service's model."""


def _check_features(request: dict[str, Any]) -> None:
    """Refuse settings of a feature that is not asked for: the API reference calls them "only valid" with it."""
    features = request.get("Features") or [_LABELS]
    settings = request.get("Settings", {})
    given = {
        "MaxLabels": "MaxLabels" in request,
        "MinConfidence": "MinConfidence" in request,
        "Settings.GeneralLabels": "GeneralLabels" in settings,
    }
    for name, is_given in given.items():
        if is_given and _LABELS not in features:
            raise ServiceError("InvalidParameterException", f"{name} is only valid with the feature {_LABELS}.")
    if "ImageProperties" in settings and _PROPERTIES not in features:
        raise ServiceError(
            "InvalidParameterException", f"Settings.ImageProperties is only valid with the feature {_PROPERTIES}."
        )


def _check_text_filters(request: dict[str, Any]) -> None:
    if request.get("Filters", {}).get("RegionsOfInterest"):
        raise ServiceError("InvalidParameterException", "The emulator does not know RegionsOfInterest.")


def _label(name: str, percent: float, parents: Sequence[str], category: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Confidence": round(percent, 4),
        "Instances": [],
        "Parents": [{"Name": parent} for parent in parents],
        "Aliases": [],
        "Categories": [{"Name": category}],
    }


def _filtered(labels: Iterable[dict[str, Any]], filters: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return the labels that a filter includes, all if none does, and that no filter excludes."""

    def names(label: dict[str, Any]) -> tuple[set[str], set[str]]:
        return {label["Name"]}, {category["Name"] for category in label["Categories"]}

    def is_hit(label: dict[str, Any], kind: str) -> bool:
        by_name, by_category = names(label)
        return bool(
            by_name.intersection(filters.get(f"Label{kind}Filters", ()))
            or by_category.intersection(filters.get(f"LabelCategory{kind}Filters", ()))
        )

    includes = bool(filters.get("LabelInclusionFilters") or filters.get("LabelCategoryInclusionFilters"))
    return [
        label for label in labels if (not includes or is_hit(label, "Inclusion")) and not is_hit(label, "Exclusion")
    ]


def _texts(request: dict[str, Any], seen: Seen) -> dict[str, Any]:
    filters = request.get("Filters", {}).get("WordFilter", {})
    lines: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    left = _MAX_WORDS
    for line in seen.annotation.get("Lines", ()):
        words = [word for word in line["Words"] if _passes(word, filters)][:left]
        left -= len(words)
        if words:
            lines.append((line, words))
    detections = []
    for number, (line, words) in enumerate(lines):
        # A line is what is left of its words.
        text = line["Text"] if len(words) == len(line["Words"]) else " ".join(word["Text"] for word in words)
        box = _around([word["BoundingBox"] for word in words])
        detections.append(_text(text, "LINE", number, line["Confidence"], box))
    number = len(lines)
    for parent, (_, words) in enumerate(lines):
        for word in words:
            found = _text(word["Text"], "WORD", number, word["Confidence"], word["BoundingBox"])
            detections.append(found | {"ParentId": parent})
            number += 1
    return {"TextDetections": detections, "TextModelVersion": "3.0"}


def _passes(word: dict[str, Any], filters: dict[str, float]) -> bool:
    box = word["BoundingBox"]
    return bool(
        word["Confidence"] >= filters.get("MinConfidence", _MIN_WORD_PERCENT)
        and box["Height"] >= filters.get("MinBoundingBoxHeight", 0.0)
        and box["Width"] >= filters.get("MinBoundingBoxWidth", 0.0)
    )


def _text(text: str, kind: str, number: int, percent: float, box: dict[str, float]) -> dict[str, Any]:
    right, bottom = box["Left"] + box["Width"], box["Top"] + box["Height"]
    corners = ((box["Left"], box["Top"]), (right, box["Top"]), (right, bottom), (box["Left"], bottom))
    return {
        "DetectedText": text,
        "Type": kind,
        "Id": number,
        "Confidence": percent,
        "Geometry": {"BoundingBox": box, "Polygon": [{"X": x, "Y": y} for x, y in corners]},
    }


def _around(boxes: Sequence[dict[str, float]]) -> dict[str, float]:
    left, top = min(box["Left"] for box in boxes), min(box["Top"] for box in boxes)
    right = max(box["Left"] + box["Width"] for box in boxes)
    bottom = max(box["Top"] + box["Height"] for box in boxes)
    return {"Left": left, "Top": top, "Width": right - left, "Height": bottom - top}


def _faces(request: dict[str, Any], seen: Seen) -> dict[str, Any]:
    attributes = request.get("Attributes") or ["DEFAULT"]
    members = set(_FACE_MEMBERS)
    members |= (
        set(_FACE_ATTRIBUTES.values())
        if "ALL" in attributes
        else {_FACE_ATTRIBUTES[name] for name in attributes if name != "DEFAULT"}
    )
    found = _largest_faces(seen, _MAX_FACES)
    return {"FaceDetails": [_only(face, members) for face in found]}


def _celebrities(_request: dict[str, Any], seen: Seen) -> dict[str, Any]:
    famous, unknown = [], []
    for face in _largest_faces(seen, _MAX_CELEBRITY_FACES):
        compared = _only(face, _COMPARED_MEMBERS)
        if "Celebrity" in face:
            famous.append(face["Celebrity"] | {"Face": compared})
        else:
            unknown.append(compared)
    return {"CelebrityFaces": famous, "UnrecognizedFaces": unknown}


def _largest_faces(seen: Seen, most: int) -> list[dict[str, Any]]:
    faces = sorted(seen.annotation.get("Faces", ()), key=lambda face: -_area(face["BoundingBox"]))
    return [face | {"Quality": _face_quality(seen.picture, face["BoundingBox"])} for face in faces[:most]]


def _face_quality(picture: Image.Image, box: dict[str, float]) -> dict[str, float]:
    left, top = int(box["Left"] * picture.width), int(box["Top"] * picture.height)
    right = left + max(1, int(box["Width"] * picture.width))
    bottom = top + max(1, int(box["Height"] * picture.height))
    measured = quality(picture.crop((left, top, right, bottom)))
    return {name: measured[name] for name in ("Brightness", "Sharpness")}


def _equipment(request: dict[str, Any], seen: Seen) -> dict[str, Any]:
    found = sorted(seen.annotation.get("Persons", ()), key=lambda person: -_area(person["BoundingBox"]))
    persons = [person | {"Id": number} for number, person in enumerate(found[:_MAX_PERSONS])]
    answer: dict[str, Any] = {"ProtectiveEquipmentModelVersion": "1.0", "Persons": persons}
    if wanted := request.get("SummarizationAttributes"):
        least = max(wanted["MinConfidence"], _MIN_EQUIPMENT_PERCENT)
        summary: dict[str, list[int]] = {
            "PersonsWithRequiredEquipment": [],
            "PersonsWithoutRequiredEquipment": [],
            "PersonsIndeterminate": [],
        }
        for person in persons:
            if person["Confidence"] >= least:
                summary[_summarized(person, wanted["RequiredEquipmentTypes"], least)].append(person["Id"])
        answer["Summary"] = summary
    return answer


def _summarized(person: dict[str, Any], required: Iterable[str], least_percent: float) -> str:
    """Return the list of the summary that a person is in: who lacks something lacks it, whatever else is not seen."""
    parts = {part["Name"]: part for part in person["BodyParts"] if part["Confidence"] >= least_percent}
    is_hidden = False
    for kind in required:
        shown = [parts[name] for name in _BODY_PARTS[kind] if name in parts]
        if any(not _is_covered(part, kind, least_percent) for part in shown):
            return "PersonsWithoutRequiredEquipment"
        is_hidden |= len(shown) < len(_BODY_PARTS[kind])
    return "PersonsIndeterminate" if is_hidden else "PersonsWithRequiredEquipment"


def _is_covered(part: dict[str, Any], kind: str, least_percent: float) -> bool:
    return any(
        found["Type"] == kind
        and found["Confidence"] >= least_percent
        and found["CoversBodyPart"]["Value"]
        and found["CoversBodyPart"]["Confidence"] >= least_percent
        for found in part["EquipmentDetections"]
    )


def _only(members: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: members[name] for name in names if name in members}


def _area(box: dict[str, float]) -> float:
    return box["Width"] * box["Height"]


def _box(box: BoundingBox) -> dict[str, float]:
    return {"Width": box.width, "Height": box.height, "Left": box.left, "Top": box.top}
