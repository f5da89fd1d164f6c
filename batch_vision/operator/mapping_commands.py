"""The command that shows what the mapping of a SageMaker endpoint makes of an answer of its container."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from batch_vision.backends import sagemaker_endpoint
from batch_vision.backends.sagemaker_endpoint import PRESETS, AnswerMapping
from batch_vision.core.image_header import HEADER_BYTES, sides_px
from batch_vision.operator.command_line import finding_stack, json_option
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.parameters import FilePath, Number, Text
from batch_vision.operator.text import good, print_json, say, shown_number, visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch_vision.backends.contracts import BoundingBox, Prediction
    from batch_vision.operator.stack import Stack


@click.command()
@click.argument("sample", type=FilePath(exists=True, dir_okay=False))
@click.option(
    "--mapping",
    type=Text(),
    help=f"A JMESPath expression, or a preset: {', '.join(PRESETS)} [default: that of the stack].",
)
@click.option("--anomaly-mapping", type=Text(), help="The expression of the verdict; with --mapping.")
@click.option(
    "--image",
    type=FilePath(exists=True, dir_okay=False),
    help="The image that was asked about: boxes in pixels need its sides.",
)
@click.option("--min-confidence", type=Number(0, 100), default=0, help="In percent [default: 0].")
@finding_stack
@json_option
def check_mapping(
    find: Callable[[], Stack],
    *,
    sample: Path,
    mapping: str | None,
    anomaly_mapping: str | None,
    image: Path | None,
    min_confidence: float,
    as_json: bool,
) -> None:
    """Show what a mapping makes of SAMPLE, a file with an answer of the container, in JSON.

    Without --mapping it is that of the stack, whose backend is sagemaker_endpoint.
    """
    if mapping is None and anomaly_mapping is not None:
        raise WrongInputError(
            "--anomaly-mapping is given without --mapping. Give both, or none for those of the stack."
        )
    if mapping is None:
        mapping, anomaly_mapping = _of_stack(find())
    compiled = AnswerMapping.compiled(mapping, anomaly_mapping or "")
    sides = None
    if image:
        with image.open("rb") as file:
            sides = sides_px(file.read(HEADER_BYTES))
        if sides is None:
            raise WrongInputError(f"--image {image} is no PNG or JPEG whose header tells its sides. Give another one.")
    answer = sagemaker_endpoint.parse_answer(sample.read_bytes())
    predictions, anomaly = compiled.read(answer, sides, min_confidence)
    if as_json:
        print_json(
            {
                "predictions": [
                    {
                        "name": one.name,
                        "confidence": one.confidence_percent,
                        "bounding_box": one.bounding_box and asdict(one.bounding_box),
                    }
                    for one in predictions
                ],
                "anomaly": anomaly and {"is_anomalous": anomaly.is_anomalous, "confidence": anomaly.confidence_percent},
            }
        )
        return
    good(f"the answer is understood: {shown_number(len(predictions), 'prediction')}")
    for one in predictions:
        say(f"  {_shown(one)}")
    if anomaly:
        say(f"  verdict: {'anomalous' if anomaly.is_anomalous else 'normal'}, {anomaly.confidence_percent:.2f}%")
    if not sides and "box_px" in PRESETS.get(mapping, mapping):
        say("  Boxes in pixels are left out: give the image with --image to see them.")


def _of_stack(stack: Stack) -> tuple[str, str]:
    backend = stack.model.backend
    if backend != sagemaker_endpoint.NAME:
        raise WrongInputError(
            f"The backend of stack {stack.name} is {backend or 'null'}, which has no mapping. Give --mapping."
        )
    settings = sagemaker_endpoint.Settings.read(json.loads(stack.model.settings))
    return settings.mapping, settings.anomaly_mapping


def _shown(prediction: Prediction) -> str:
    return f"{visible(prediction.name)} {prediction.confidence_percent:.2f}%{_shown_box(prediction.bounding_box)}"


def _shown_box(box: BoundingBox | None) -> str:
    if box is None:
        return ""
    return f", left {box.left:.4f}, top {box.top:.4f}, width {box.width:.4f}, height {box.height:.4f}"
