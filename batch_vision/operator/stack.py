"""A deployed stack: found by Terraform's outputs or by its name, on AWS or wherever the AWS environment points."""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from batch_vision.aws.clients import RETRYING
from batch_vision.backends.registry import BACKENDS, make_lifecycle
from batch_vision.core.capacity import CapacitySettings
from batch_vision.core.models import Model
from batch_vision.core.scope import Scope
from batch_vision.core.settings import BucketSettings, read_settings
from batch_vision.operator.errors import UnreachableError, WrongInputError
from batch_vision.operator.prices import INFERENCE_UNIT_HOUR_DOLLARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

    from batch_vision.backends.contracts import Lifecycle

MISSING_MAPPING = "missing"  # in the place of a state that Lambda has

# Those of every deployment, those of one whose model is started, and the one or the other bucket of images.
_OUTPUTS = (
    "final_bucket_name",
    "queue_url",
    "dead_letter_queue_url",
    "event_source_mapping_uuid",
    "analyze_images_function_name",
)
_OUTPUTS_OF_RUNS = ("state_machine_arn", "schedule_rule_name")
_OUTPUTS_OF_BUCKETS = ("source_bucket_name", "images_bucket_name")
_OUTPUT_OF_BACKFILLS = "backfill_state_machine_arn"
OUTPUT_NAMES = (*_OUTPUTS, *_OUTPUTS_OF_RUNS, *_OUTPUTS_OF_BUCKETS, _OUTPUT_OF_BACKFILLS)

# As terraform/variables.tf says of name_prefix.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 27
NO_MODEL = Model.named("", {})  # of a stack that has videos only
# As terraform/locals.tf names it.
_FINAL_BUCKET = re.compile(r".+-final-(?P<account_id>[0-9]{12})-(?P<region>[a-z]{2}(-[a-z]+)+-[0-9]+)")


@dataclass(frozen=True, slots=True)
class Videos:
    """The videos of a stack.

    Attributes
    ----------
    bucket_name
        The drop-off bucket of the stack's own, which videos leave when they are done, or an existing bucket.
    scope
        Which of its objects are videos.
    analyses
        What each video is asked for, and the settings of it.
    mapping_uuid, mapping_state
        Of the event source mapping between the queue of keys to look at and the function that looks; empty for none.
    max_concurrent_jobs, max_minutes_per_day
        How many jobs the stack has at a time, and how many minutes of video it starts in a day; None where the stack
        does not say.
    """

    bucket_name: str
    is_drop_off: bool
    scope: Scope
    analyses: dict[str, Any]
    queue_url: str
    dead_letter_queue_url: str
    mapping_uuid: str
    mapping_state: str
    max_concurrent_jobs: int | None
    max_minutes_per_day: int | None


@dataclass(frozen=True)
class Stack:
    """Where everything of a stack is, and the settings of its functions.

    What is of images is empty in a stack that has videos only.

    The stack may be older or newer than this tool: of a function's environment is read what is needed, when it is
    needed, and what is missing or unknown hinders nothing else.

    Attributes
    ----------
    source_bucket_name, images_bucket_name
        The drop-off bucket, which images leave when they are done, or the existing bucket, in which they stay; the
        other one is empty.
    state_machine_arn, schedule_rule_name
        The runs of a hosted model; empty for a managed model, which nothing starts or stops.
    backfill_state_machine_arn
        The backfills of an existing bucket; empty with a drop-off bucket.
    model
        The one that images are sent to.
    analyze_timeout_seconds
        No batch of images is worked on for longer than this.
    settings_fingerprint
        Of model and settings, as results in `results/` name it; empty with a drop-off bucket.
    """

    account_id: str
    region: str
    final_bucket_name: str
    queue_url: str
    dead_letter_queue_url: str
    event_source_mapping_uuid: str
    analyze_images_function_name: str
    source_bucket_name: str
    images_bucket_name: str
    state_machine_arn: str
    schedule_rule_name: str
    backfill_state_machine_arn: str
    model: Model
    analyze_timeout_seconds: int
    settings_fingerprint: str = ""

    @property
    def name(self) -> str:
        """The name prefix that it was applied with."""
        return self.final_bucket_name.removesuffix(f"-final-{self.account_id}-{self.region}")

    @property
    def has_images(self) -> bool:
        """Whether it analyzes images; else it has videos only."""
        return bool(self.analyze_images_function_name)

    @property
    def identity(self) -> str:
        """What is another one whenever the stack is made again, under the same name too: the UUID of its mapping."""
        return self.event_source_mapping_uuid or (self.videos.mapping_uuid if self.videos else "")

    @property
    def is_hosted(self) -> bool:
        """Whether its model is started and stopped, by runs."""
        return bool(self.state_machine_arn)

    @property
    def is_drop_off(self) -> bool:
        """Whether images are uploaded to a bucket of the stack's own, and leave it when they are done."""
        return not self.images_bucket_name

    @property
    def collects_changes(self) -> bool:
        """Whether the changes of an existing bucket are looked at first, and wait as chunks for a run."""
        return self.is_hosted and not self.is_drop_off

    @property
    def analyses(self) -> list[str]:
        """What a managed model is asked for; empty for a model that says one thing."""
        return [str(analysis) for analysis in json.loads(self.model.settings).get("analyses") or []]

    @property
    def bucket_name(self) -> str:
        """The bucket in which images are, or wait."""
        return self.images_bucket_name or self.source_bucket_name

    @cached_property
    def videos(self) -> Videos | None:
        """The videos; None for a stack without."""
        name = f"{self.name}-register-videos"
        configuration = _find_function(name, self.region)
        if configuration is None:
            return None
        told = _variables(name, configuration)
        bucket_name = told.get("VIDEOS_BUCKET_NAME", "")
        suffixes = _json(told.get("VIDEO_SUFFIXES"), list) or []
        scope = Scope((told.get("VIDEO_PREFIX", ""),), tuple(str(suffix) for suffix in suffixes))
        limits = self._variables_of("dispatch-videos")
        pages = self.functions.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
        mapping = next((mapping for page in pages for mapping in page["EventSourceMappings"]), None)
        return Videos(
            bucket_name=bucket_name,
            is_drop_off=bucket_name == f"{self.name}-videos-{self.account_id}-{self.region}",
            scope=scope,
            analyses=_json(told.get("VIDEO_ANALYSES"), dict) or {},
            queue_url=self._queue_url("videos"),
            dead_letter_queue_url=self._queue_url("videos-dead-letter"),
            mapping_uuid=mapping["UUID"] if mapping else "",
            mapping_state=mapping["State"] if mapping else MISSING_MAPPING,
            max_concurrent_jobs=_number(limits.get("MAX_CONCURRENT_JOBS")),
            max_minutes_per_day=_number(limits.get("MAX_MINUTES_PER_DAY")),
        )

    @cached_property
    def look_queue_url(self) -> str:
        """The queue whose messages name the keys of an existing bucket to look at."""
        return self._queue_url("images") if self.collects_changes else self.queue_url

    @cached_property
    def queues(self) -> dict[str, tuple[str, str]]:
        """Each dead-letter queue by its name: its URL, and that of the queue that its messages belong to."""
        return self._queues_of_images | self._queues_of_videos

    @property
    def _queues_of_videos(self) -> dict[str, tuple[str, str]]:
        if not self.videos:
            return {}
        queues = {"videos": (self.videos.dead_letter_queue_url, self.videos.queue_url)}
        if not self.videos.is_drop_off:
            queues["videos_rule"] = (self._queue_url("video-rule-dead-letter"), self.videos.queue_url)
        return queues

    @property
    def _queues_of_images(self) -> dict[str, tuple[str, str]]:
        if not self.has_images:
            return {}
        analyzing = (self.dead_letter_queue_url, self.queue_url)
        if self.is_drop_off:
            return {"images": analyzing}
        queues = {"rule": (self._queue_url("rule-dead-letter"), self.look_queue_url)}
        if not self.collects_changes:
            return {"images": analyzing} | queues
        return {"chunks": analyzing, "images": (self._queue_url("images-dead-letter"), self.look_queue_url)} | queues

    def _queue_url(self, role: str) -> str:
        return self.sqs.get_queue_url(QueueName=f"{self.name}-{role}")["QueueUrl"]

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle of the stack's model.

        Raises
        ------
        SettingsError
            This tool does not know the backend, or the stack does not say what that needs.
        """
        return self.lifecycle_of(self.model)

    def lifecycle_of(self, model: Model) -> Lifecycle:
        """Return the lifecycle of a model, which need not be that of the stack any more; raises as `lifecycle`."""
        # The backends make their clients from the environment, and botocore reads this variable only.
        with variables_set(AWS_DEFAULT_REGION=self.region):
            return make_lifecycle(model)

    @cached_property
    def places(self) -> BucketSettings:
        """Where images are, or wait; in a drop-off bucket, new ones go under the first prefix."""
        role = "check-backlog" if self.is_hosted else "requeue-images"
        variables = self._variables_of(role if self.is_drop_off else "analyze-images")
        prefixes = _json(variables.get("SOURCE_PREFIXES"), list) or [variables.get("SOURCE_PREFIX", "")]
        return BucketSettings(
            source_bucket_name=self.bucket_name,
            source_prefixes=tuple(str(prefix) for prefix in prefixes),
            final_bucket_name=self.final_bucket_name,
        )

    @cached_property
    def scope(self) -> Scope:
        """Which objects of an existing bucket are images."""
        suffixes = _json(self._variables_of("analyze-images").get("IMAGE_SUFFIXES"), list) or []
        return Scope(self.places.source_prefixes, tuple(str(suffix) for suffix in suffixes))

    @cached_property
    def converts_images(self) -> bool:
        """Whether images that the model does not take as they are, are converted for it."""
        return self._variables_of("analyze-images").get("CONVERT_IMAGES") == "true"

    @cached_property
    def capacity(self) -> CapacitySettings:
        """What the inference units of a run are chosen by.

        Raises
        ------
        SettingsError
            The stack does not say it.
        """
        return read_settings(CapacitySettings, self._variables_of("start-model"))

    @cached_property
    def backfill_max_concurrency(self) -> int:
        """How many chunks a backfill works on at a time where nobody says otherwise; 1 where its stack says nothing.

        Read from the state machine, which has it as what its input need not say.
        """
        definition = self.workflow.describe_state_machine(stateMachineArn=self.backfill_state_machine_arn)["definition"]
        try:
            told = json.loads(definition)["States"]["Initialize"]["Parameters"]["default"]["max_concurrency"]
        except (KeyError, TypeError, ValueError):
            return 1
        return told if isinstance(told, int) and told >= 1 else 1

    @cached_property
    def backfill_calls_per_second(self) -> float | None:
        """How often one invocation of a backfill asks the slowest analysis; None where the stack does not say."""
        paces = _json(self._variables_of("work-off-chunk").get("PACES"), dict) or {}
        rates = [pace.get("most_calls_per_second") for pace in paces.values() if isinstance(pace, dict)]
        return min((rate for rate in rates if isinstance(rate, int | float) and rate > 0), default=None)

    @cached_property
    def min_inference_units(self) -> int:
        """What a run starts at the least; 1 where the stack does not say."""
        units = self._variables_of("start-model").get("MIN_INFERENCE_UNITS", "")
        return max(1, int(units)) if units.isascii() and units.isdigit() else 1

    @cached_property
    def unit_hour_dollars(self) -> float:
        """What an inference unit costs for an hour; that of Rekognition where the stack does not say."""
        try:
            return float(self._variables_of("summarize-run")["INFERENCE_UNIT_HOUR_DOLLARS"])
        except (KeyError, ValueError):
            return INFERENCE_UNIT_HOUR_DOLLARS

    def _variables_of(self, function: str) -> dict[str, str]:
        name = f"{self.name}-{function}"
        return _variables(name, _function_configuration(name, self.account_id, self.region, self.name))

    @cached_property
    def s3(self) -> S3Client:
        """A client of S3."""
        return boto3.client("s3", region_name=self.region, config=RETRYING)

    @cached_property
    def sqs(self) -> SQSClient:
        """A client of SQS."""
        return boto3.client("sqs", region_name=self.region, config=RETRYING)

    @cached_property
    def functions(self) -> LambdaClient:
        """A client of Lambda."""
        return boto3.client("lambda", region_name=self.region, config=RETRYING)

    @cached_property
    def workflow(self) -> SFNClient:
        """A client of Step Functions."""
        return boto3.client("stepfunctions", region_name=self.region, config=RETRYING)

    @cached_property
    def events(self) -> EventBridgeClient:
        """A client of EventBridge."""
        return boto3.client("events", region_name=self.region, config=RETRYING)


def find_by_outputs(path: Path) -> Stack:
    """Find the stack that a file of ``terraform output -json`` describes.

    Raises
    ------
    WrongInputError
        The file is missing, or is not that.
    UnreachableError
        The stack is not there, or is one of another account.
    """
    outputs = _read_outputs(path)
    name = outputs["final_bucket_name"]
    if not (found := _FINAL_BUCKET.fullmatch(name)):
        raise WrongInputError(
            f"{path}: final_bucket_name is {name!r}, which the module names no bucket. Write the file again:"
            f" terraform output -json > {path}"
        )
    account_id, region = found["account_id"], found["region"]
    caller = _caller(region)
    own_account_id = caller["Account"]
    if account_id != own_account_id:
        raise UnreachableError(
            f"{path} is of a stack in account {account_id}, and your credentials are of account {own_account_id}."
            " Set AWS_PROFILE to a profile of that account; for the local stack: source build/local/env"
        )
    if not outputs.get("analyze_images_function_name"):
        stack_name = name.removesuffix(f"-final-{account_id}-{region}")
        return _with_videos_only(stack_name, account_id, region, str(path))
    name = outputs["analyze_images_function_name"]
    configuration = _function_configuration(name, account_id, region, str(path))
    model, variables = _model(name, configuration)
    # Terraform leaves out an output that is null, as it does one that the root configuration does not pass on.
    wanted = ["images_bucket_name" if variables.get("IMAGES_BUCKET_NAME") else "source_bucket_name"]
    if not is_managed(model):
        wanted += _OUTPUTS_OF_RUNS
    _check_complete(path, outputs, wanted)
    if outputs.get("images_bucket_name") and not outputs.get(_OUTPUT_OF_BACKFILLS):  # of a root that passes on no more
        stack_name = name.removesuffix("-analyze-images")
        outputs[_OUTPUT_OF_BACKFILLS] = _state_machine_arn(f"{stack_name}-backfill", caller, region)
    return _deployed(outputs, account_id, region, configuration)


def find_by_name(name: str) -> Stack:
    """Find the stack that was applied with a name prefix; the names of its parts follow from that.

    Raises
    ------
    WrongInputError
        No stack can have that name.
    UnreachableError
        There is none of that name in this account and Region, or no Region is set.
    """
    if not _NAME.fullmatch(name) or not 2 <= len(name) <= _LONGEST_NAME:
        raise WrongInputError(
            f"--stack is {name!r}, which no stack can be called. Give the name_prefix that it was applied with:"
            f" 2 to {_LONGEST_NAME} lower-case letters, digits and single hyphens."
        )
    # As the AWS CLI and Terraform have it; boto3 reads AWS_DEFAULT_REGION and the profile only.
    region = os.environ.get("AWS_REGION") or boto3.Session().region_name
    if not region:
        raise UnreachableError(
            "No AWS Region is set, and a stack's name alone does not tell it. Set AWS_REGION, or a profile with a"
            " Region as AWS_PROFILE."
        )
    caller = _caller(region)
    account_id = caller["Account"]
    function_name = f"{name}-analyze-images"
    told_by = f"--stack {name}"
    configuration = _find_function(function_name, region)
    if configuration is None and _find_function(f"{name}-register-videos", region):
        return _with_videos_only(name, account_id, region, told_by)
    configuration = configuration or _function_configuration(function_name, account_id, region, told_by)
    functions = boto3.client("lambda", region_name=region, config=RETRYING)
    pages = functions.get_paginator("list_event_source_mappings").paginate(FunctionName=function_name)
    mappings = [mapping for page in pages for mapping in page["EventSourceMappings"]]
    model, variables = _model(function_name, configuration)
    images_bucket_name = variables.get("IMAGES_BUCKET_NAME", "")
    queue_name = f"{name}-{'images' if is_managed(model) or not images_bucket_name else 'chunks'}"
    of_queue = [mapping for mapping in mappings if mapping["EventSourceArn"].endswith(f":{queue_name}")]
    if len(of_queue) != 1:
        raise UnreachableError(
            f"Function {function_name} has {len(of_queue)} event source mappings with the queue {queue_name}; a stack"
            " has one. Give --outputs with what `terraform output -json` prints, or apply the module again."
        )
    outputs = {
        "source_bucket_name": "" if images_bucket_name else f"{name}-source-{account_id}-{region}",
        "images_bucket_name": images_bucket_name,
        "final_bucket_name": f"{name}-final-{account_id}-{region}",
        "queue_url": _queue_url(queue_name, region),
        "dead_letter_queue_url": _queue_url(f"{queue_name}-dead-letter", region),
        "event_source_mapping_uuid": of_queue[0]["UUID"],
        "analyze_images_function_name": function_name,
    }
    if not is_managed(model):
        outputs["state_machine_arn"] = _state_machine_arn(name, caller, region)
        outputs["schedule_rule_name"] = f"{name}-schedule"
    if images_bucket_name:
        outputs[_OUTPUT_OF_BACKFILLS] = _state_machine_arn(f"{name}-backfill", caller, region)
    return _deployed(outputs, account_id, region, configuration)


def _read_outputs(path: Path) -> dict[str, str]:
    again = "Write it with: terraform output -json > FILE"
    try:
        # As bytes: then UTF-16, as `>` of Windows PowerShell writes it, and byte-order marks are recognized.
        read = json.loads(path.read_bytes())
    except OSError as error:
        raise WrongInputError(f"--outputs {path} cannot be read ({error.strerror}). {again}") from error
    except (ValueError, RecursionError) as error:
        raise WrongInputError(f"--outputs {path} is not JSON. {again}") from error
    if not isinstance(read, dict):
        raise WrongInputError(f"--outputs {path} is not a JSON object of outputs. {again}")
    values = {name: entry.get("value") for name, entry in read.items() if isinstance(entry, dict)}
    found = {name: value for name in OUTPUT_NAMES if isinstance(value := values.get(name), str)}
    has_images = any(values.get(name) for name in OUTPUT_NAMES if name != "final_bucket_name")
    has_videos = isinstance(values.get("videos_bucket_name"), str)
    _check_complete(path, found, _OUTPUTS if has_images or not has_videos else ("final_bucket_name",))
    return found


def _check_complete(path: Path, outputs: dict[str, str], names: Iterable[str]) -> None:
    if missing := [name for name in names if not outputs.get(name)]:
        raise WrongInputError(
            f"--outputs {path} lacks {', '.join(missing)}. The root configuration must pass on the module's outputs."
            " Write it with: terraform output -json > FILE"
        )


def _json[T](text: str | None, kind: type[T]) -> T | None:
    """Read a variable that holds JSON; None where it holds nothing of that kind."""
    try:
        read = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, kind) else None


@contextmanager
def variables_set(**variables: str) -> Iterator[None]:
    """Have this process's environment have some variables while the block lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _caller(region: str) -> Any:
    return boto3.client("sts", region_name=region, config=RETRYING).get_caller_identity()


def _state_machine_arn(name: str, caller: Any, region: str) -> str:
    partition = caller["Arn"].split(":")[1]
    return f"arn:{partition}:states:{region}:{caller['Account']}:stateMachine:{name}"


def _queue_url(name: str, region: str) -> str:
    sqs = boto3.client("sqs", region_name=region, config=RETRYING)
    return sqs.get_queue_url(QueueName=name)["QueueUrl"]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _find_function(name: str, region: str) -> Any:
    """Return the configuration of a function; None where there is none of that name."""
    functions = boto3.client("lambda", region_name=region, config=RETRYING)
    try:
        return functions.get_function_configuration(FunctionName=name)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
            raise
        return None


def _function_configuration(name: str, account_id: str, region: str, told_by: str) -> Any:
    if configuration := _find_function(name, region):
        return configuration
    raise UnreachableError(
        f"There is no such stack ({told_by}) in account {account_id}, Region {region}: it has no function {name}."
        " Look at the name, the account (AWS_PROFILE) and the Region (AWS_REGION); after a destroy, apply again."
    )


def _with_videos_only(name: str, account_id: str, region: str, told_by: str) -> Stack:
    _function_configuration(f"{name}-register-videos", account_id, region, told_by)
    places = dict.fromkeys(OUTPUT_NAMES, "") | {"final_bucket_name": f"{name}-final-{account_id}-{region}"}
    return Stack(account_id=account_id, region=region, model=NO_MODEL, analyze_timeout_seconds=0, **places)


def is_managed(model: Model) -> bool:
    """Return whether a model is always there; one of a backend that this tool does not know counts as hosted."""
    return model.backend in BACKENDS and BACKENDS[model.backend].lifecycle is None


def _model(function_name: str, configuration: Any) -> tuple[Model, dict[str, str]]:
    """Return the model that an analyzing function sends images to, and the function's variables."""
    variables = _variables(function_name, configuration)
    if not variables.get("BACKEND"):
        raise UnreachableError(
            f"Function {function_name} is none of a batch-vision stack: its environment has no BACKEND. Look at the"
            " name, the account (AWS_PROFILE) and the Region (AWS_REGION)."
        )
    settings = _json(variables.get("BACKEND_SETTINGS"), dict) or {}
    return Model.named(variables["BACKEND"], settings), variables


def _deployed(outputs: dict[str, str], account_id: str, region: str, configuration: Any) -> Stack:
    model, variables = _model(outputs["analyze_images_function_name"], configuration)
    return Stack(
        account_id=account_id,
        region=region,
        model=model,
        analyze_timeout_seconds=configuration.get("Timeout", 900),
        settings_fingerprint=variables.get("SETTINGS_FINGERPRINT", ""),
        **{name: outputs.get(name, "") for name in OUTPUT_NAMES},
    )


def _variables(function_name: str, configuration: Any) -> dict[str, str]:
    environment = configuration.get("Environment", {})
    if problem := environment.get("Error"):
        raise UnreachableError(
            f"The environment of function {function_name} cannot be read ({problem.get('Message')}). You need"
            " kms:Decrypt on the key of the stack (kms_key_arn)."
        )
    variables: dict[str, str] = environment.get("Variables", {})
    return variables
