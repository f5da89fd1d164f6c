"""Two models side by side: where they say something else of the same image, and which one is right."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_vision.core.catalog import order
from batch_vision.core.corrections import Verdict, judged_labels, upload_of
from batch_vision.core.times import from_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batch_vision.core.corrections import Correction, Upload

SURE_PERCENT = 50.0  # a prediction that is less confident, and not the best one, is not what the model says
NO_LABEL = "(no label)"
_JUDGED = (Verdict.RIGHT, Verdict.WRONG)


class Score(NamedTuple):
    """How often a model was right about a label, of the images that somebody corrected.

    Attributes
    ----------
    right
        The image has the label, and the model says so.
    missed
        The image has it, and the model does not say so.
    wrong
        The image has it not, and the model says so.
    """

    right: int = 0
    missed: int = 0
    wrong: int = 0


class Flip(NamedTuple):
    """An image of which the models say something else."""

    key: str
    answers: tuple[str, str]
    confidences: tuple[float | None, float | None]
    labels: tuple[str, ...] | None  # that the image has, as somebody said


@dataclass
class Comparison:
    """What two models say of the same images, in the order in which they were named.

    Attributes
    ----------
    compared
        Images, as they are now, that both models analyzed.
    corrected
        Those of them that somebody said of what they show.
    pairs
        How often the models gave a pair of answers that are not the same.
    scores
        By label, for each model.
    """

    models: tuple[str, str]
    compared: int = 0
    corrected: int = 0
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    flips: list[Flip] = field(default_factory=list)
    scores: dict[str, tuple[Score, Score]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        a_and_b = ("a", "b")
        return {
            "models": dict(zip(a_and_b, self.models, strict=True)),
            "compared": self.compared,
            "corrected": self.corrected,
            "flipped": self.pairs.total(),
            "pairs": [{"a": a, "b": b, "images": number} for (a, b), number in self.pairs.most_common()],
            "labels": {
                name: {model: score._asdict() for model, score in zip(a_and_b, scores, strict=True)}
                for name, scores in self.scores.items()
            },
            "flips": [flip._asdict() for flip in self.flips],
        }


def compare(
    keys: Iterable[tuple[dict[str, Any], list[dict[str, Any]]]],
    models: tuple[str, str],
    corrections: Mapping[Upload, Correction],
    most_flips: int | None,
) -> Comparison:
    """Compare what two models say of the images as they are now.

    Parameters
    ----------
    keys
        For each key its current line, and the lines that the models made of it.
    most_flips
        That are kept with their keys; all are counted. None for all.
    """
    answer = Comparison(models)
    counted: defaultdict[str, tuple[Counter[str], Counter[str]]] = defaultdict(lambda: (Counter(), Counter()))
    for current, lines in keys:
        same = [line for line in lines if _content(line) == _content(current)]
        newest = [max((line for line in same if line["model"] == model), key=order, default=None) for model in models]
        a, b = newest
        if a is None or b is None:
            continue
        answer.compared += 1
        labels = _labels((a, b, current), corrections)
        said = answer_of(a), answer_of(b)
        if said[0] != said[1]:
            answer.pairs[said] += 1
            if most_flips is None or len(answer.flips) < most_flips:
                answer.flips.append(Flip(current["key"], said, (_confidence(a), _confidence(b)), labels))
        if labels is None:
            continue
        answer.corrected += 1
        for number, names in enumerate((_names(a), _names(b))):
            for name in names | set(labels):
                outcome = "wrong" if name not in labels else "right" if name in names else "missed"
                counted[name][number][outcome] += 1
    answer.scores = {name: (Score(**a), Score(**b)) for name, (a, b) in sorted(counted.items())}
    return answer


def answer_of(line: Mapping[str, Any]) -> str:
    """Return what a line says of its image in a word: its verdict, its best label, or why there is neither."""
    if line["status"] != "processed":
        return f"({line['status']})"
    names = judged_labels(line["predictions"], line["anomaly"], SURE_PERCENT)
    if line["anomaly"] is not None:
        return names[-1]  # the verdict
    return names[0] if names else NO_LABEL


def _confidence(line: Mapping[str, Any]) -> float | None:
    answer = answer_of(line)
    said = line.get("anomaly") or next((one for one in line["predictions"] if one["name"] == answer), None)
    return float(said["confidence"]) if said else None


def _names(line: Mapping[str, Any]) -> set[str]:
    return set(judged_labels(line["predictions"], line["anomaly"], SURE_PERCENT))


def _content(line: Mapping[str, Any]) -> str | None:
    """Return what tells the bytes of an upload: they may have been uploaded again for the other model."""
    return line.get("etag") or line.get("version_id")


def _labels(lines: Iterable[Mapping[str, Any]], corrections: Mapping[Upload, Correction]) -> tuple[str, ...] | None:
    """Return the labels that somebody last said the image of some lines has; None where nobody is sure."""
    found = [corrections.get(upload_of(line["key"], line.get("version_id"), line.get("etag"))) for line in lines]
    judged = [one for one in found if one and one.verdict in _JUDGED]
    return max(judged, key=lambda one: from_text(one.at)).labels if judged else None
