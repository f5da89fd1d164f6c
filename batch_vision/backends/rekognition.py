"""The image operations of Amazon Rekognition, whose models nobody starts or stops.

Requests, answers and errors: botocore's service model `rekognition` 2016-06-27. Limits: developer guide, "Guidelines
and quotas in Amazon Rekognition". Each operation is a detector: its calls are counted, priced and refused apart.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import boto3
from botocore import xform_name
from botocore.config import Config

from batch_vision.aws.clients import MAX_CONNECTIONS, NOT_RETRYING
from batch_vision.backends.contracts import Detection, Detector, Instance, Kind, Prediction
from batch_vision.backends.rekognition_requests import DETECT_ERRORS, MOST_STORED_BYTES, ask, bounding_box
from batch_vision.core import errors
from batch_vision.core.image_limits import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_rekognition import RekognitionClient

    from batch_vision.backends.contracts import ReadableImage

NAME = "rekognition"

# A moderation adapter is no model that is started: one that is not ready must be looked at.
_ERRORS = DETECT_ERRORS | {"ResourceNotReadyException": errors.ModelUnavailableError}

# The longest side is documented for labels, moderation and equipment only. It explains a refusal and causes none, so an
# operation that is silent about it is taken to have the same.
_LIMITS = ImageLimits(5 * 1024**2, MOST_STORED_BYTES, min_side_px=80, max_side_px=10_000)
# Of the summary of protective equipment, which has no default; the value of the developer guide's examples.
_SUMMARY_CONFIDENCE_PERCENT = 80.0


def make_detectors(settings: Mapping[str, Any], min_confidence_percent: float | None) -> dict[str, Detector]:
    """Make a detector for each operation that the analyses need.

    Parameters
    ----------
    settings
        ``analyses``, and an object for each of them that has settings.
    min_confidence_percent
        For each analysis that names none of its own; None uses the service's defaults.

    Raises
    ------
    SettingsError
        There are no analyses, or one that there is not.
    """
    analyses = settings.get("analyses")
    if not isinstance(analyses, list) or not analyses or any(one not in [*OPERATIONS] for one in analyses):
        raise errors.SettingsError(
            f"Environment variable BACKEND_SETTINGS has the analyses {analyses!r}; they must be some of"
            f" {', '.join(OPERATIONS)}. Set rekognition.analyses and apply the module again."
        )
    operations = dict.fromkeys(OPERATIONS[analysis] for analysis in analyses)
    # An image is taken to all of them at once.
    connections = Config(max_pool_connections=MAX_CONNECTIONS * len(operations))
    client = boto3.client("rekognition", config=NOT_RETRYING.merge(connections))
    return {cls.operation: cls(client, settings, min_confidence_percent) for cls in operations}


class ImageOperation(Detector):
    """An operation of the service.

    Parameters
    ----------
    client
        Without retries: the caller knows how much time there is.
    settings
        Of all analyses.
    min_confidence_percent
        For an analysis that names none of its own.
    """

    operation: ClassVar[str]
    analysis: ClassVar[str]
    limits = _LIMITS

    def __init__(
        self, client: RekognitionClient, settings: Mapping[str, Any], min_confidence_percent: float | None
    ) -> None:
        self._call = getattr(client, xform_name(self.operation))
        self._settings = settings
        self._own: Mapping[str, Any] = settings.get(self.analysis, {})
        self._least_percent: float | None = self._own.get("min_confidence_percent", min_confidence_percent)
        self._request = self.request()

    @property
    def model_id(self) -> str:
        """The operation: which version of its model has answered, the answer says."""
        return self.operation

    def detect(self, image: ReadableImage) -> Detection:
        """Have the service analyze the image; see `rekognition_requests.ask`.

        Not every operation takes a least confidence, so what is below it is left out here too.
        """
        answer = ask(self._call, image, self.limits, _ERRORS, self._request)
        least_percent = self._least_percent or 0.0
        predictions = [
            prediction
            for prediction in self.predictions(answer)
            if prediction.kind is Kind.COLOR or prediction.confidence_percent >= least_percent
        ]
        return Detection(predictions, raw=answer)

    def request(self) -> dict[str, Any]:
        """Return what the operation is asked besides the image."""
        return {}

    @abstractmethod
    def predictions(self, answer: Mapping[str, Any]) -> Iterator[Prediction]:
        """Return what the answer says, in the common form."""

    def _least_confidence(self) -> dict[str, float]:
        return {} if self._least_percent is None else {"MinConfidence": self._least_percent}


class DetectLabels(ImageOperation):
    """Labels and properties of the image: one call for both."""

    operation = "DetectLabels"
    analysis = "labels"

    def request(self) -> dict[str, Any]:
        """Ask for what is chosen; number and confidence of labels go with labels only."""
        request: dict[str, Any] = {"Features": []}
        settings = {}
        if "labels" in self._settings["analyses"]:
            request["Features"].append("GENERAL_LABELS")
            request |= self._least_confidence()
            if "max_labels" in self._own:
                request["MaxLabels"] = self._own["max_labels"]
            filters = {
                "LabelInclusionFilters": self._own.get("include"),
                "LabelExclusionFilters": self._own.get("exclude"),
                "LabelCategoryInclusionFilters": self._own.get("include_categories"),
                "LabelCategoryExclusionFilters": self._own.get("exclude_categories"),
            }
            if given := {name: values for name, values in filters.items() if values}:
                settings["GeneralLabels"] = given
        if "image_properties" in self._settings["analyses"]:
            request["Features"].append("IMAGE_PROPERTIES")
            properties = self._settings.get("image_properties", {})
            if "max_dominant_colors" in properties:
                settings["ImageProperties"] = {"MaxDominantColors": properties["max_dominant_colors"]}
        return request | ({"Settings": settings} if settings else {})

    def predictions(self, answer: Mapping[str, Any]) -> Iterator[Prediction]:
        """Labels, then the dominant colors of the whole image; its sharpness and the like are in the answer."""
        for label in answer.get("Labels", []):
            yield Prediction(
                label["Name"],
                label["Confidence"],
                kind=Kind.LABEL,
                parents=_names(label, "Parents"),
                instances=tuple(
                    Instance(instance["Confidence"], box)
                    for instance in label.get("Instances", [])
                    if (box := bounding_box(instance.get("BoundingBox")))
                ),
                attributes={"aliases": [*_names(label, "Aliases")], "categories": [*_names(label, "Categories")]},
            )
        for color in answer.get("ImageProperties", {}).get("DominantColors", []):
            yield Prediction(
                color["CSSColor"],
                color["PixelPercent"],
                kind=Kind.COLOR,
                attributes={
                    "hex": color["HexCode"],
                    "red": color["Red"],
                    "green": color["Green"],
                    "blue": color["Blue"],
                    "simplified": color["SimplifiedColor"],
                },
            )


class DetectText(ImageOperation):
    """Lines and words."""

    operation = "DetectText"
    analysis = "text"

    def request(self) -> dict[str, Any]:
        """The service filters words; lines are filtered by `detect`."""
        return {"Filters": {"WordFilter": least}} if (least := self._least_confidence()) else {}

    def predictions(self, answer: Mapping[str, Any]) -> Iterator[Prediction]:
        """Each line, and each of its words, which name their line."""
        for text in answer.get("TextDetections", []):
            of_line = {"parent_id": text["ParentId"]} if "ParentId" in text else {}
            yield Prediction(
                text["DetectedText"],
                text["Confidence"],
                bounding_box(text.get("Geometry", {}).get("BoundingBox")),
                kind=Kind.TEXT,
                attributes={"type": text["Type"].lower(), "id": text["Id"]} | of_line,
            )


class DetectFaces(ImageOperation):
    """Faces, with the attributes that are chosen."""

    operation = "DetectFaces"
    analysis = "faces"

    def request(self) -> dict[str, Any]:
        """Without a choice, the service returns its default attributes."""
        return {"Attributes": attributes} if (attributes := self._own.get("attributes")) else {}

    def predictions(self, answer: Mapping[str, Any]) -> Iterator[Prediction]:
        """Each face; its landmarks are in the answer."""
        elsewhere = {"BoundingBox", "Confidence", "Landmarks"}
        for face in answer.get("FaceDetails", []):
            yield Prediction(
                "face",
                face["Confidence"],
                bounding_box(face.get("BoundingBox")),
                kind=Kind.FACE,
                attributes=_snake({name: value for name, value in face.items() if name not in elsewhere}),
            )


class DetectModerationLabels(ImageOperation):
    """What a reader should not see unasked, by the service's taxonomy or with an adapter to it."""

    operation = "DetectModerationLabels"
    analysis = "moderation"

    @property
    def model_id(self) -> str:
        """The operation, and its adapter if it has one."""
        adapter_arn = self._own.get("adapter_arn")
        return f"{self.operation}:{adapter_arn}" if adapter_arn else self.operation

    def request(self) -> dict[str, Any]:
        """The adapter is a project version."""
        adapter_arn = self._own.get("adapter_arn")
        return self._least_confidence() | ({"ProjectVersion": adapter_arn} if adapter_arn else {})

    def predictions(self, answer: Mapping[str, Any]) -> Iterator[Prediction]:
        """Each label with its parent, which the service lists as a label of its own too."""
        for label in answer.get("ModerationLabels", []):
            parent = label.get("ParentName")
            yield Prediction(
                label["Name"],
                label["Confidence"],
                kind=Kind.MODERATION,
                parents=(parent,) if parent else (),
                attributes={"taxonomy_level": label["TaxonomyLevel"]} if "TaxonomyLevel" in label else None,
            )


class RecognizeCelebrities(ImageOperation):
    """Faces that the service knows."""

    operation = "RecognizeCelebrities"
    analysis = "celebrities"

    def predictions(self, answer: Mapping[str, Any]) -> Iterator[Prediction]:
        """Each face that has a name; those without one are in the answer."""
        for celebrity in answer.get("CelebrityFaces", []):
            yield Prediction(
                celebrity["Name"],
                celebrity["MatchConfidence"],
                bounding_box(celebrity.get("Face", {}).get("BoundingBox")),
                kind=Kind.CELEBRITY,
                attributes={
                    "id": celebrity.get("Id"),
                    "urls": celebrity.get("Urls", []),
                    "known_gender": celebrity.get("KnownGender", {}).get("Type"),
                },
            )


class DetectProtectiveEquipment(ImageOperation):
    """Persons, and what they wear on face, head and hands."""

    operation = "DetectProtectiveEquipment"
    analysis = "protective_equipment"
    limits = ImageLimits(4 * 1024**2, MOST_STORED_BYTES, min_side_px=64, max_side_px=4096)

    def request(self) -> dict[str, Any]:
        """Where equipment is required, the service says who wears it; it wants a confidence for that."""
        if not (equipment := self._own.get("required_equipment")):
            return {}
        least_percent = _SUMMARY_CONFIDENCE_PERCENT if self._least_percent is None else self._least_percent
        return {"SummarizationAttributes": {"MinConfidence": least_percent, "RequiredEquipmentTypes": equipment}}

    def predictions(self, answer: Mapping[str, Any]) -> Iterator[Prediction]:
        """Each person, named ``PERSON``, followed by each piece of equipment on a part of that body."""
        summary = answer.get("Summary", {})
        verdicts = {
            person: verdict
            for verdict, name in (
                ("worn", "PersonsWithRequiredEquipment"),
                ("missing", "PersonsWithoutRequiredEquipment"),
                ("indeterminate", "PersonsIndeterminate"),
            )
            for person in summary.get(name, [])
        }
        for person in answer.get("Persons", []):
            about = {"person_id": person["Id"]}
            verdict = {"required_equipment": verdicts[person["Id"]]} if person["Id"] in verdicts else {}
            yield Prediction(
                "PERSON",
                person["Confidence"],
                bounding_box(person.get("BoundingBox")),
                kind=Kind.EQUIPMENT,
                attributes=about | verdict,
            )
            for part in person.get("BodyParts", []):
                for equipment in part.get("EquipmentDetections", []):
                    yield Prediction(
                        equipment["Type"],
                        equipment["Confidence"],
                        bounding_box(equipment.get("BoundingBox")),
                        kind=Kind.EQUIPMENT,
                        attributes=about
                        | {
                            "body_part": part["Name"].lower(),
                            "covers_body_part": equipment.get("CoversBodyPart", {}).get("Value"),
                        },
                    )


# Which operation answers an analysis, by the name that Terraform's variable takes.
OPERATIONS: dict[str, type[ImageOperation]] = {
    "labels": DetectLabels,
    "image_properties": DetectLabels,
    "text": DetectText,
    "faces": DetectFaces,
    "moderation": DetectModerationLabels,
    "celebrities": RecognizeCelebrities,
    "protective_equipment": DetectProtectiveEquipment,
}


def _names(label: Mapping[str, Any], field: str) -> tuple[str, ...]:
    return tuple(entry["Name"] for entry in label.get(field, []))


def _snake(value: Any) -> Any:
    """Return a value of the service with the names of its fields as ours are written."""
    if isinstance(value, dict):
        return {xform_name(name): _snake(entry) for name, entry in value.items()}
    return [_snake(entry) for entry in value] if isinstance(value, list) else value
