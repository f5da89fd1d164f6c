"""Names and places of the local environment: the one module that says where things are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD = REPOSITORY / "build"
# Tests run several environments side by side, each under a name and ports of its own.
LOCAL_NAME = os.environ.get("LOCAL_NAME") or "local"
LOCAL_BUILD = BUILD / LOCAL_NAME
LOGS = LOCAL_BUILD / "logs"

REGION = "us-east-1"
ACCOUNT_ID = "000000000000"


LOOPBACK = ("127.0.0.1", "localhost")


def without_proxy(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that keep calls to this machine from a proxy, with what they exempt already.

    Both spellings: where there are both, programs differ in which one counts.
    """
    named = f"{environment.get('NO_PROXY', '')},{environment.get('no_proxy', '')}".split(",")
    # An asterisk means every host, and is only understood alone.
    exempt = "*" if "*" in named else ",".join(dict.fromkeys(filter(None, [*named, *LOOPBACK])))
    return {"NO_PROXY": exempt, "no_proxy": exempt}


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1024 <= int(text) <= 65535):
        sys.exit(f"batch-vision: {name} is {text!r}; it must be a port number from 1024 to 65535, such as {default}.")
    return int(text)


LOCALSTACK_PORT = _port("LOCALSTACK_PORT", 4566)
EMULATOR_PORT = _port("EMULATOR_PORT", 4599)
LOCALSTACK_URL = f"http://127.0.0.1:{LOCALSTACK_PORT}"
EMULATOR_URL = f"http://127.0.0.1:{EMULATOR_PORT}"

PROJECT_ARN = f"arn:aws:rekognition:{REGION}:{ACCOUNT_ID}:project/batch-vision/1700000000000"
PROJECT_VERSION_ARN = (
    f"arn:aws:rekognition:{REGION}:{ACCOUNT_ID}:project/batch-vision/version/batch-vision.1/1700000000001"
)
# An adapter of content moderation.
ADAPTER_ARN = f"arn:aws:rekognition:{REGION}:{ACCOUNT_ID}:project/moderation/version/moderation.1/1700000000002"

# What the pipeline of the emulated container does is the end of the model's name.
SAGEMAKER_MODEL_NAME = "batch-vision-object-detection"
SAGEMAKER_MODEL_ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:model/{SAGEMAKER_MODEL_NAME}"
SAGEMAKER_ROLE_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role/{SAGEMAKER_MODEL_NAME}"

LOOKOUT_PROJECT_NAME = "batch-vision"
LOOKOUT_MODEL_VERSION = "1"
LOOKOUT_MODEL_ARN = f"arn:aws:lookoutvision:{REGION}:{ACCOUNT_ID}:model/{LOOKOUT_PROJECT_NAME}/{LOOKOUT_MODEL_VERSION}"
