"""What the emulator has for each backend, by the name that the module's variable `backend` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local import config


@dataclass(frozen=True, slots=True)
class EmulatedModel:
    """A model of the emulator.

    Attributes
    ----------
    arn
        Its name in the control interface; empty for a managed model, which has none.
    argument
        The argument of the module that names it, whose own name is that of the backend.
    endpoints
        The environment variables by which clients of its services find the emulator.
    off_statuses
        The statuses of the service in which it costs nothing; none for a managed model.
    samples
        The folder of the samples that show what it does.
    start_takes
        How long a start takes on AWS.
    """

    arn: str
    argument: dict[str, Any]
    endpoints: tuple[str, ...]
    off_statuses: tuple[str, ...]
    samples: str = "pile"
    start_takes: str = "10 to 30 minutes"

    @property
    def is_hosted(self) -> bool:
        """Whether it is started and stopped."""
        return bool(self.arn)


MODELS = {
    "rekognition_custom_labels": EmulatedModel(
        config.PROJECT_VERSION_ARN,
        {"project_arn": config.PROJECT_ARN, "project_version_arn": config.PROJECT_VERSION_ARN},
        ("AWS_ENDPOINT_URL_REKOGNITION",),
        ("TRAINING_COMPLETED", "STOPPED", "FAILED"),
    ),
    "lookout_for_vision": EmulatedModel(
        config.LOOKOUT_MODEL_ARN,
        {"project_name": config.LOOKOUT_PROJECT_NAME, "model_version": config.LOOKOUT_MODEL_VERSION},
        ("AWS_ENDPOINT_URL_LOOKOUTVISION",),
        ("TRAINED", "HOSTING_FAILED"),
    ),
    "sagemaker_endpoint": EmulatedModel(
        config.SAGEMAKER_MODEL_ARN,
        {
            "model_name": config.SAGEMAKER_MODEL_NAME,
            "execution_role_arn": config.SAGEMAKER_ROLE_ARN,
            "instance_type": "ml.m5.xlarge",
            "mapping": "huggingface-object-detection",
        },
        ("AWS_ENDPOINT_URL_SAGEMAKER", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"),
        ("NotDeployed", "Failed"),
        start_takes="some minutes",
    ),
    "rekognition": EmulatedModel(
        "",
        {
            "analyses": [
                "labels",
                "image_properties",
                "text",
                "faces",
                "moderation",
                "celebrities",
                "protective_equipment",
            ]
        },
        ("AWS_ENDPOINT_URL_REKOGNITION",),
        (),
        samples="scenes",
    ),
}
# Those that are started and stopped.
HOSTED_MODELS = {name: model for name, model in MODELS.items() if model.is_hosted}
