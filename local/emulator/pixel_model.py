"""A small model that learns labels from example pictures and finds where a picture differs from the normal.

It expects what inspection cameras give: one kind of object, in roughly the same place. A picture is scaled
down, moved onto the learned normal, evened out in colour, and compared patch by patch with the normal
examples, each patch with its surroundings there. How far the worst patches are off decides between normal and
not; the colour and shape of what is off decide between the other labels. Every score that the decision is
learned from is of an example that the comparison left out, so that confidences hold for new pictures too.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

type Floats = npt.NDArray[np.float32]
type Mask = npt.NDArray[np.bool_]

WORKING_WIDTH_PX = 128
MIN_WORKING_HEIGHT_PX = 16
MAX_WORKING_HEIGHT_PX = 160
NORMAL_NAMES = ("normal", "good", "ok")
MIN_EXAMPLES = 2
# The time of one analysis and the memory of the model grow with it.
MAX_NORMAL_EXAMPLES = 12
# How far a patch may lie from its place and still count as found, and the half side of a patch.
SEARCH_RADIUS_PX = 2
PATCH_RADIUS_PX = 2
# Highlights come and go with the light: brightness says less than colour.
BRIGHTNESS_WEIGHT = 0.1
# Shares of the picture whose mean deviation is a score: a small spot shows in the first, a missing part in all.
WORST_SHARES = (0.0025, 0.01, 0.05)
# A deviation of this many times the usual one of the place is part of a defect.
DEFECT_LEVEL = 2.0
# A place that deviates by less than this share of the worst one is not part of the same defect.
DEFECT_SHARE_OF_WORST = 0.3
# A box that covers more than this share of the picture does not say where anything is.
MAX_BOX_SHARE = 0.85


@dataclasses.dataclass(frozen=True)
class BoundingBox:
    """A place in a picture, as shares (0 to 1) of its width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclasses.dataclass(frozen=True)
class LabelScore:
    """How sure the model is of one label.

    Attributes
    ----------
    name
        The label.
    confidence_percent
        0 to 100; the scores of all labels add up to 100.
    bounding_box
        Where the defect is, or None for the normal label and when no place stands out.
    """

    name: str
    confidence_percent: float
    bounding_box: BoundingBox | None = None


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What the model says about one picture.

    Attributes
    ----------
    scores
        One for each label, the surest first.
    anomaly_percent
        How sure the model is that the picture is not normal, 0 to 100.
    anomaly_map
        Deviation from the normal at a reduced resolution, as a multiple of what is usual at each place;
        its sides cover the whole picture.
    defect_level
        From this deviation on, a place of the map is part of a defect.
    """

    scores: tuple[LabelScore, ...]
    anomaly_percent: float
    anomaly_map: Floats
    defect_level: float

    @property
    def defect_area(self) -> Mask:
        """The places of the map that are part of a defect; none where nothing stands out."""
        return _defect_area(self.anomaly_map, self.defect_level)


class PixelModel:
    """A model that was learned from labelled pictures; safe for use by several threads at once.

    Attributes
    ----------
    labels
        All labels, the normal one first.
    thresholds_percent
        For each label, the confidence that the label must reach by default.
    sizes_px
        Width and height of every picture that it was learned from.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        thresholds_percent: Mapping[str, float],
        sizes_px: frozenset[tuple[int, int]],
        reference: _NormalReference,
        detector: _LogisticRegression,
        classifier: _DefectClassifier,
    ) -> None:
        self.labels = labels
        self.thresholds_percent = dict(thresholds_percent)
        self.sizes_px = sizes_px
        self._reference = reference
        self._detector = detector
        self._classifier = classifier

    @classmethod
    def learn(
        cls, examples: Mapping[str, Sequence[Image.Image]], sizes_px: Iterable[tuple[int, int]] | None = None
    ) -> PixelModel:
        """Learn from at least two labels with at least two pictures each.

        The label named normal, good or ok (in any case) is the normal one; without such a name it is the
        one with the most pictures, and the first of those.

        Parameters
        ----------
        examples
            The pictures of each label.
        sizes_px
            Width and height of the originals, if the pictures were scaled down.

        Raises
        ------
        ValueError
            If there are too few labels or pictures.
        """
        if len(examples) < 2 or any(len(pictures) < MIN_EXAMPLES for pictures in examples.values()):
            raise ValueError(f"a model needs two labels with {MIN_EXAMPLES} pictures each, or more")
        normal = _normal_label(examples)
        labels = (normal, *sorted(label for label in examples if label != normal))
        height = _working_height(picture for label in labels for picture in examples[label])
        pixels = {label: [_scaled(picture, height) for picture in examples[label]] for label in labels}

        reference = _NormalReference(pixels[normal][:MAX_NORMAL_EXAMPLES])
        normal_maps = list(reference.left_out_maps)
        normal_maps += [reference.compare(p).deviation for p in pixels[normal][MAX_NORMAL_EXAMPLES:]]
        compared = {label: [reference.compare(p) for p in pixels[label]] for label in labels[1:]}
        defect_maps = [c.deviation for label in labels[1:] for c in compared[label]]

        scores = np.stack([_scores(m) for m in normal_maps + defect_maps])
        truth = np.array([0.0] * len(normal_maps) + [1.0] * len(defect_maps))
        detector = _LogisticRegression(scores, truth)
        described = {label: np.stack([_describe(c) for c in compared[label]]) for label in labels[1:]}
        classifier = _DefectClassifier(described)

        thresholds = {normal: 50.0} | {label: _threshold_percent(label, described, classifier) for label in labels[1:]}
        if sizes_px is None:
            sizes_px = (picture.size for pictures in examples.values() for picture in pictures)
        return cls(labels, thresholds, frozenset(sizes_px), reference, detector, classifier)

    def analyse(self, picture: Image.Image) -> Analysis:
        """Say which label a picture has, how sure that is, and where it differs from the normal."""
        comparison = self._reference.compare(_scaled(picture, self._reference.height))
        anomaly = self._detector.probability(_scores(comparison.deviation))
        shares = self._classifier.probabilities(_describe(comparison))
        anomaly_map = comparison.in_picture()
        box = _box_of_worst(anomaly_map)
        scores = [LabelScore(self.labels[0], 100.0 * (1.0 - anomaly))]
        scores += [LabelScore(name, 100.0 * anomaly * share, box) for name, share in shares.items()]
        scores.sort(key=lambda score: -score.confidence_percent)
        return Analysis(tuple(scores), 100.0 * anomaly, anomaly_map, DEFECT_LEVEL)


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """A picture on the place of the normal: its deviation there, its colour difference, and its displacement."""

    deviation: Floats
    difference: Floats
    moved_px: tuple[int, int]

    def in_picture(self) -> Floats:
        """Return the deviation at the places of the picture itself."""
        down, right = self.moved_px
        return _displaced(self.deviation, -down, -right, fill=0.0)


class _NormalReference:
    """The normal examples, and how far each place of them usually is from the others."""

    def __init__(self, pictures: Sequence[Floats]) -> None:
        self.height, self.width = pictures[0].shape[:2]
        self._spectrum = _spectrum(pictures[0])
        for _ in range(2):  # first onto the first example, then onto the mean of all
            aligned = [_displaced(p, *self._displacement(p)) for p in pictures]
            self._spectrum = _spectrum(np.mean(aligned, axis=0, dtype=np.float32))
        self._usual = np.median(np.stack(aligned), axis=0).astype(np.float32)
        self._bank = np.stack([_colour_planes(_evened(p, self._usual)) for p in aligned])
        self._usual_planes = _colour_planes(self._usual)

        left_out = np.stack(
            [_nearest_patch_distance(self._bank[i], np.delete(self._bank, i, axis=0)) for i in range(len(pictures))]
        )
        spread = _box_mean(left_out.mean(axis=0) + left_out.std(axis=0), 2)
        self._scale = spread + 0.5 * np.median(spread) + np.float32(0.02)
        self.left_out_maps = left_out / self._scale

    def compare(self, picture: Floats) -> _Comparison:
        moved = self._displacement(picture)
        planes = _colour_planes(_evened(_displaced(picture, *moved), self._usual))
        deviation = _nearest_patch_distance(planes, self._bank) / self._scale
        # What moved in over the edge was never photographed.
        seen = _displaced(np.ones((self.height, self.width), np.float32), *moved, fill=0.0)
        return _Comparison(deviation * seen, planes - self._usual_planes, moved)

    def _displacement(self, picture: Floats) -> tuple[int, int]:
        """Return by how many rows and columns a picture is off, from the peak of its cross-correlation."""
        spectrum = _spectrum(picture)
        correlation = np.fft.irfft2(np.conj(self._spectrum) * spectrum, s=(self.height, self.width))
        reach = (self.height // 8, self.width // 8)
        rows, columns = (np.r_[0 : r + 1, n - r : n] for r, n in zip(reach, correlation.shape, strict=True))
        part = correlation[np.ix_(rows, columns)]
        row, column = np.unravel_index(int(part.argmax()), part.shape)
        down, right = int(rows[row]), int(columns[column])
        return (
            down - self.height if down > self.height // 2 else down,
            right - self.width if right > self.width // 2 else right,
        )


class _LogisticRegression:
    """Normal or not, from the scores of a deviation map; both sides weigh the same, whatever their numbers."""

    PENALTY = 0.003
    STEPS = 50

    def __init__(self, scores: Floats, truth: npt.NDArray[np.float64]) -> None:
        self._mean = scores.mean(axis=0)
        self._spread = scores.std(axis=0) + 1e-3
        rows = self._rows(scores)
        weights = np.where(truth == 1.0, 0.5 / truth.sum(), 0.5 / (1.0 - truth).sum())
        penalty = np.full(rows.shape[1], self.PENALTY)
        penalty[-1] = 0.0
        self._coefficients = np.zeros(rows.shape[1])
        for _ in range(self.STEPS):
            predicted = self._sigmoid(rows @ self._coefficients)
            gradient = rows.T @ (weights * (predicted - truth)) + penalty * self._coefficients
            curvature = weights * predicted * (1.0 - predicted)
            hessian = (rows.T * curvature) @ rows + np.diag(penalty + 1e-6)
            # A full step may overshoot where the curve is flat.
            step = np.linalg.solve(hessian, gradient)
            self._coefficients -= step * min(1.0, 2.0 / float(np.linalg.norm(step) + 1e-12))

    def probability(self, scores: Floats) -> float:
        return float(self._sigmoid(self._rows(scores[None]) @ self._coefficients)[0])

    def _rows(self, scores: Floats) -> npt.NDArray[np.float64]:
        scaled = (scores - self._mean) / self._spread
        return np.hstack([scaled, np.ones((len(scaled), 1))]).astype(np.float64)

    @staticmethod
    def _sigmoid(margin: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margin, -7.0, 7.0))))


class _DefectClassifier:
    """Which defect, from a description of what deviates: the nearest centre under a shared, shrunk covariance."""

    SHRINKAGE = 0.3
    # Distances in many correlated dimensions overstate how sure one is.
    TEMPERATURE = 2.0

    def __init__(self, described: Mapping[str, Floats]) -> None:
        everything = np.concatenate(list(described.values()))
        self._mean = everything.mean(axis=0)
        self._spread = everything.std(axis=0) + 1e-2
        scaled = {label: (rows - self._mean) / self._spread for label, rows in described.items()}
        self._centres = {label: rows.mean(axis=0) for label, rows in scaled.items()}
        inside = np.concatenate([rows - self._centres[label] for label, rows in scaled.items()])
        covariance = inside.T @ inside / len(inside)
        covariance += self.SHRINKAGE * np.eye(len(covariance))
        self._precision = np.linalg.inv(covariance)

    def probabilities(self, description: Floats) -> dict[str, float]:
        row = (description - self._mean) / self._spread
        distances = {
            label: float((row - centre) @ self._precision @ (row - centre)) for label, centre in self._centres.items()
        }
        nearest = min(distances.values())
        weights = {
            label: float(np.exp(-(distance - nearest) / (2.0 * self.TEMPERATURE)))
            for label, distance in distances.items()
        }
        total = sum(weights.values())
        return {label: weight / total for label, weight in weights.items()}


def _normal_label(examples: Mapping[str, Sequence[Image.Image]]) -> str:
    for name in NORMAL_NAMES:
        for label in examples:
            if label.lower() == name:
                return label
    return max(examples, key=lambda label: len(examples[label]))


def _threshold_percent(label: str, described: Mapping[str, Floats], classifier: _DefectClassifier) -> float:
    """Return half of the confidence that is usual for the label, so that one winner normally passes alone."""
    usual = np.median([classifier.probabilities(row)[label] for row in described[label]])
    return float(np.clip(50.0 * usual, 25.0, 50.0))


def _working_height(pictures: Iterable[Image.Image]) -> int:
    ratio = float(np.median([picture.height / picture.width for picture in pictures]))
    return int(np.clip(round(WORKING_WIDTH_PX * ratio), MIN_WORKING_HEIGHT_PX, MAX_WORKING_HEIGHT_PX))


def _scaled(picture: Image.Image, height: int) -> Floats:
    """Return the picture at the working size, rows × columns × RGB from 0 to 1."""
    colours = picture if picture.mode == "RGB" else picture.convert("RGB")
    small = colours.resize((WORKING_WIDTH_PX, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(small, dtype=np.float32) / np.float32(255.0)


def _spectrum(picture: Floats) -> npt.NDArray[np.complexfloating]:
    grey = picture.mean(axis=2)
    return np.asarray(np.fft.rfft2(grey - grey.mean()))


def _displaced(plane: Floats, down: int, right: int, fill: float | None = None) -> Floats:
    """Return what lies `down` rows and `right` columns further; beyond the edge, `fill` or the edge itself."""
    height, width = plane.shape[:2]
    rows, columns = np.arange(height) + down, np.arange(width) + right
    moved = plane[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)[None, :]]
    if fill is not None:
        moved[(rows < 0) | (rows >= height)] = fill
        moved[:, (columns < 0) | (columns >= width)] = fill
    return moved


def _evened(picture: Floats, usual: Floats) -> Floats:
    """Return the picture with each colour scaled and shifted to the usual, judged by the places that agree best."""
    evened = np.empty_like(picture)
    for channel in range(3):
        x, y = picture[..., channel].ravel(), usual[..., channel].ravel()
        gain, offset = 1.0, 0.0
        for _ in range(2):
            error = np.abs(gain * x + offset - y)
            agreeing = error <= np.partition(error, int(0.7 * error.size))[int(0.7 * error.size)]
            x_mean, y_mean = float(x[agreeing].mean()), float(y[agreeing].mean())
            x_centred, y_centred = x[agreeing] - x_mean, y[agreeing] - y_mean
            # The small constant holds the gain at 1 where a colour is all of one value.
            gain = float(((x_centred * y_centred).mean() + 1e-3) / ((x_centred**2).mean() + 1e-3))
            gain = min(max(gain, 0.7), 1.4)
            offset = y_mean - gain * x_mean
        evened[..., channel] = gain * picture[..., channel] + offset
    return evened


def _colour_planes(picture: Floats) -> Floats:
    """Return brightness, red against green, and yellow against blue, each rows × columns."""
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    brightness = np.float32(BRIGHTNESS_WEIGHT) * (red + green + blue)
    return np.stack([brightness, red - green, (red + green) / 2 - blue]).astype(np.float32)


def _nearest_patch_distance(planes: Floats, bank: Floats) -> Floats:
    """Return, for each place, the colour distance of its patch to the most similar one nearby in any example."""
    height, width = planes.shape[1:]
    around = [(0, 0), (0, 0), (SEARCH_RADIUS_PX, SEARCH_RADIUS_PX), (SEARCH_RADIUS_PX, SEARCH_RADIUS_PX)]
    padded = np.pad(bank, around, mode="edge")
    nearest = np.full((height, width), np.inf, np.float32)
    for down in range(2 * SEARCH_RADIUS_PX + 1):
        for right in range(2 * SEARCH_RADIUS_PX + 1):
            difference = padded[:, :, down : down + height, right : right + width] - planes
            difference *= difference
            squared = difference[:, 0] + difference[:, 1] + difference[:, 2]
            np.minimum(nearest, _box_mean(squared, PATCH_RADIUS_PX).min(axis=0), out=nearest)
    return _box_mean(np.sqrt(nearest), 1)


def _box_mean(plane: Floats, radius: int) -> Floats:
    """Return the mean of the square around each place of the last two axes; the edge goes on beyond itself."""
    side = 2 * radius + 1
    height, width = plane.shape[-2:]
    padded = np.pad(plane, [(0, 0)] * (plane.ndim - 2) + [(radius, radius)] * 2, mode="edge")
    rows = padded[..., :height, :].copy()
    for i in range(1, side):
        rows += padded[..., i : i + height, :]
    square = rows[..., :width].copy()
    for i in range(1, side):
        square += rows[..., i : i + width]
    square /= np.float32(side * side)
    return square


def _scores(deviation: Floats) -> Floats:
    """Return the logarithms of the mean deviation of the worst shares of a map."""
    falling = np.sort(deviation, axis=None)[::-1]
    counts = [max(1, int(share * falling.size)) for share in WORST_SHARES]
    return np.log([falling[:count].mean() + 1e-3 for count in counts]).astype(np.float32)


def _describe(comparison: _Comparison) -> Floats:
    """Describe what deviates: its colour against the normal, extent, length against breadth, and patchiness."""
    deviation = comparison.deviation
    height, width = deviation.shape
    level = max(DEFECT_LEVEL, 0.3 * float(deviation.max()))
    weight = np.maximum(deviation - level, 0.0) + 1e-6
    weight /= weight.sum()
    colour = (comparison.difference * weight).sum(axis=(1, 2))
    contrast = np.sqrt(((comparison.difference - colour[:, None, None]) ** 2 * weight).sum(axis=(1, 2)))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    row, column = (rows * weight).sum(), (columns * weight).sum()
    row_variance = ((rows - row) ** 2 * weight).sum()
    column_variance = ((columns - column) ** 2 * weight).sum()
    shared = ((rows - row) * (columns - column) * weight).sum()
    half, root = (row_variance + column_variance) / 2, np.hypot((row_variance - column_variance) / 2, shared)
    area = float((deviation > level).sum())
    return np.array(
        [
            *(colour * 3.0),
            *(contrast * 3.0),
            np.log1p(area),
            np.log(np.sqrt(half + root) + 1.0) - np.log(np.sqrt(max(half - root, 0.0)) + 1.0),
            np.log((half + 1.0) / (area / 6.0 + 1.0)),
        ],
        dtype=np.float32,
    )


def _defect_area(anomaly_map: Floats, defect_level: float) -> Mask:
    return np.asarray(anomaly_map >= max(defect_level, DEFECT_SHARE_OF_WORST * float(anomaly_map.max())))


def _box_of_worst(anomaly_map: Floats) -> BoundingBox | None:
    """Return the box around the connected region that holds the greatest deviation, if that stands out."""
    if float(anomaly_map.max()) < DEFECT_LEVEL:
        return None
    high = _defect_area(anomaly_map, DEFECT_LEVEL)
    # Gaps of a few pixels do not part a region.
    bridged = _box_mean(high.astype(np.float32), 2) > 0
    region = np.zeros_like(high)
    region[np.unravel_index(int(anomaly_map.argmax()), high.shape)] = True
    size = 0
    while size != (size := int(region.sum())):
        region = (_box_mean(region.astype(np.float32), 1) > 0) & bridged
    rows, columns = np.flatnonzero((region & high).any(axis=1)), np.flatnonzero((region & high).any(axis=0))
    height, width = high.shape
    box = BoundingBox(
        left=float(columns[0] / width),
        top=float(rows[0] / height),
        width=float((columns[-1] + 1 - columns[0]) / width),
        height=float((rows[-1] + 1 - rows[0]) / height),
    )
    return box if box.width * box.height <= MAX_BOX_SHARE else None
