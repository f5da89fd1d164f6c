"""What each analysis of a video is: the image API that looks at its frames, and the form that the answer has then.

Answers are those of `image_operations` about the frames, so labels and moderation are computed from the pixels, and
text, faces and celebrities come from the annotation of a drawn video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.emulator.image_operations import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from local.emulator.image_operations import ImageOperations
    from local.emulator.video_files import Sample

MIN_CONFIDENCE_PERCENT = 50.0
SEGMENTS = "SEGMENTS"

type Detection = dict[str, Any]


@dataclass(frozen=True)
class VideoAnalysis:
    """One pair of a Start and a Get.

    Attributes
    ----------
    name
        What follows `Start` and `Get`.
    image_operation
        The image API that looks at the frames.
    result
        The member of an answer that holds the detections.
    found
        The member of a detection that holds what was found.
    image_request
        The request of the image API, from that of the Start.
    things
        What was found, from the answer of the image API.
    model_version
        The member of an answer that names the version of the service's model, and the version.
    is_aggregated
        Whether detections can be put together to segments.
    """

    name: str
    image_operation: str
    result: str
    found: str
    image_request: Callable[[Mapping[str, Any]], dict[str, Any]]
    things: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
    model_version: tuple[str, str] | None = None
    is_aggregated: bool = False

    @property
    def start(self) -> str:
        """The operation that starts a job."""
        return f"Start{self.name}"

    @property
    def get(self) -> str:
        """The operation that returns its results."""
        return f"Get{self.name}"

    def detections(
        self, samples: Iterable[Sample], request: Mapping[str, Any], images: ImageOperations
    ) -> list[Detection]:
        """Return what is found in the samples of a video, in their order."""
        asked = self.image_request(request)
        detections: list[Detection] = []
        for sample in samples:
            seen = Seen(sample.picture, sample.annotation, is_frame=True)
            found = self.things(images.look_at(self.image_operation, asked, seen))
            detections += [{"Timestamp": at, self.found: thing} for at in sample.times_ms for thing in found]
        return detections

    def arranged(
        self, detections: list[Detection], sort_by: str, aggregate_by: str | None, gap_ms: float
    ) -> list[Detection]:
        """Return detections in the order and the form that a Get asks for.

        Parameters
        ----------
        detections
            Those of the whole video, by time.
        sort_by, aggregate_by
            As in the request.
        gap_ms
            Longest time between two detections of one segment, in milliseconds.
        """
        arranged = self._segments(detections, gap_ms) if aggregate_by == SEGMENTS else detections
        if sort_by == "NAME":
            arranged = sorted(arranged, key=lambda one: (one[self.found]["Name"], -one[self.found]["Confidence"]))
        elif sort_by == "ID":
            arranged = sorted(arranged, key=lambda one: str(one[self.found]["Id"]))
        return arranged

    def _segments(self, detections: list[Detection], gap_ms: float) -> list[Detection]:
        segments: list[Detection] = []
        latest: dict[str, Detection] = {}
        for detection in detections:
            at, thing = detection["Timestamp"], detection[self.found]
            segment = latest.get(thing["Name"])
            if segment is None or at - segment["EndTimestampMillis"] > gap_ms:
                # Where it is may differ from frame to frame, so that a segment does not say it.
                whole = {name: value for name, value in thing.items() if name != "Instances"}
                segment = {self.found: whole, "StartTimestampMillis": at}
                segments.append(segment)
                latest[thing["Name"]] = segment
            segment[self.found]["Confidence"] = max(segment[self.found]["Confidence"], thing["Confidence"])
            segment["EndTimestampMillis"] = at
            segment["DurationMillis"] = at - segment["StartTimestampMillis"]
        return segments


def _least(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"MinConfidence": request.get("MinConfidence", MIN_CONFIDENCE_PERCENT)}


def _celebrity(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `CelebrityDetail` of a video for the `Celebrity` of an image."""
    kept = {name: found[name] for name in ("Urls", "Name", "Id", "Face", "KnownGender") if name in found}
    return kept | {"Confidence": found["MatchConfidence"], "BoundingBox": found["Face"]["BoundingBox"]}


ANALYSES = (
    VideoAnalysis(
        "LabelDetection",
        "DetectLabels",
        "Labels",
        "Label",
        lambda request: _least(request) | {"Settings": request.get("Settings", {})},
        lambda answer: answer["Labels"],
        ("LabelModelVersion", "3.0"),
        is_aggregated=True,
    ),
    VideoAnalysis(
        "ContentModeration",
        "DetectModerationLabels",
        "ModerationLabels",
        "ModerationLabel",
        _least,
        lambda answer: answer["ModerationLabels"],
        ("ModerationModelVersion", "7.0"),
        is_aggregated=True,
    ),
    VideoAnalysis(
        "FaceDetection",
        "DetectFaces",
        "Faces",
        "Face",
        lambda request: {"Attributes": [request.get("FaceAttributes", "DEFAULT")]},
        lambda answer: answer["FaceDetails"],
    ),
    VideoAnalysis(
        "CelebrityRecognition",
        "RecognizeCelebrities",
        "Celebrities",
        "Celebrity",
        lambda _: {},
        lambda answer: [_celebrity(found) for found in answer["CelebrityFaces"]],
    ),
    VideoAnalysis(
        "TextDetection",
        "DetectText",
        "TextDetections",
        "TextDetection",
        lambda request: {"Filters": request.get("Filters", {})},
        lambda answer: answer["TextDetections"],
        ("TextModelVersion", "3.0"),
    ),
)
VIDEO_OPERATIONS = tuple(name for analysis in ANALYSES for name in (analysis.start, analysis.get))
