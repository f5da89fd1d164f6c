"""The local environment: LocalStack, the emulator and the applied stack, started and stopped together."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from local import config
from local.docker import are_containers_up, check_docker, start_containers, stop_containers
from local.emulator.client import EmulatorClient
from local.emulator.models import HOSTED_MODELS, MODELS
from local.errors import LocalError
from local.images_bucket import ImagesBucket, make_bucket
from local.localstack import check_port, find_localstack, start_localstack
from local.package import (
    LOCAL_CONVERTING_PACKAGE,
    PackageError,
    container_platform,
    make_converting_package,
    make_package,
)
from local.processes import find_background, start_background, tail
from local.terraform import Terraform, check_version
from local.tfvars import merged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batch_vision.operator.display import Display
    from local.tfvars import Tfvars

OUTPUTS_FILE = config.LOCAL_BUILD / "outputs.json"
ENV_FILE = config.LOCAL_BUILD / "env"
EMULATOR_PID_FILE = config.LOCAL_BUILD / "emulator.pid"
EMULATOR_LOG_FILE = config.LOGS / "emulator.log"

_DEV_PYTHON = config.BUILD / "venvs" / "dev" / "bin" / "python"
_EMULATOR_MODULE = "local.emulator"
_EMULATOR_READY_SECONDS = 240.0
_EMULATOR_POLL_SECONDS = 0.1
_EMULATOR_STOP_SECONDS = 5.0

# Where clients find the services that the emulator stands for.
EMULATED_ENDPOINTS = {endpoint: config.EMULATOR_URL for model in MODELS.values() for endpoint in model.endpoints}

CLIENT_ENVIRONMENT = {
    "AWS_ENDPOINT_URL": config.LOCALSTACK_URL,
    **EMULATED_ENDPOINTS,
    "AWS_REGION": config.REGION,
    "AWS_DEFAULT_REGION": config.REGION,
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "EMULATOR_URL": config.EMULATOR_URL,
    **config.without_proxy(),
}

# Of each service of which Terraform asks several things at once: a request that changes nothing.
_FIRST_REQUESTS = {
    "cloudwatch": "describe_alarms",
    "events": "list_rules",
    "iam": "list_roles",
    "lambda": "list_functions",
    "logs": "describe_log_groups",
    "s3": "list_buckets",
    "sns": "list_topics",
    "sqs": "list_queues",
    "stepfunctions": "list_state_machines",
}

# Times of the emulated model: seconds here, minutes at the service.
EMULATOR_SETTINGS = {"start_seconds": 5, "stop_seconds": 3, "transactions_per_second_per_unit": 5, "latency_ms": 100}

# The module's own variables, with `timings` that fit these times. Nothing in the module knows of local running.
MODULE_ARGUMENTS: dict[str, Any] = {
    "model_poll_seconds": 1,
    "start_timeout_seconds": 120,
    "stop_timeout_seconds": 120,
    "mapping_poll_seconds": 1,
    "mapping_timeout_seconds": 60,
    "drain_poll_seconds": 2,
    "drain_timeout_seconds": 1200,
    # Twice what the emulated model does: LocalStack's one poller has to do the work of two, and each has half the pace.
    "images_per_second_per_unit": 10,
    "force_destroy": True,
    # LocalStack cannot save queries of logs.
    "monitoring": {"log_queries": False},
    # The one package that is not the deployed one: its libraries are those of this machine.
    "converting_package_path": str(LOCAL_CONVERTING_PACKAGE),
}

# What counts whatever a user's own file of variables says.
LOCAL_ARGUMENTS: dict[str, Any] = {
    "lambda_package_path": None,
    "converting_package_path": MODULE_ARGUMENTS["converting_package_path"],
    "monitoring": MODULE_ARGUMENTS["monitoring"],
}


# Statuses in which a model costs nothing, of every service.
OFF_STATUSES = tuple(status for model in MODELS.values() for status in model.off_statuses)


def choose(backend: str | None, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the module's arguments that choose a backend and its emulated model.

    Parameters
    ----------
    backend
        None for a deployment of videos only.
    given
        The user's own values of the module's variables. What they say of a managed model counts, but for its adapter.
    """
    if backend is None:
        return {"backend": None}
    argument = MODELS[backend].argument
    own = (given or {}).get(backend)
    if isinstance(own, dict) and not MODELS[backend].is_hosted:
        moderation = own.get("moderation")
        argument = own
        if isinstance(moderation, dict) and moderation.get("adapter_arn"):
            argument = own | {"moderation": moderation | {"adapter_arn": config.ADAPTER_ARN}}
    return {"backend": backend, backend: argument}


@dataclass(frozen=True)
class Environment:
    """The running environment, as a client sees it.

    Attributes
    ----------
    backend
        None for a deployment of videos only.
    images_bucket
        The existing bucket of images, or of videos where there are no images; None for a drop-off bucket.
    videos_prefix
        What the keys of videos begin with.
    """

    outputs: Mapping[str, Any]
    backend: str | None
    source_prefix: str = ""
    images_bucket: ImagesBucket | None = None
    videos_prefix: str = ""

    @cached_property
    def emulator(self) -> EmulatorClient:
        """The emulator's control interface."""
        return EmulatorClient(config.EMULATOR_URL)

    @property
    def is_hosted(self) -> bool:
        """Whether the model is started and stopped, by runs."""
        return self.backend is not None and MODELS[self.backend].is_hosted

    @property
    def bucket_name(self) -> str:
        """The bucket that images are uploaded to, or videos where there are no images."""
        if self.backend is None:
            return self.output("videos_bucket_name")
        return self.images_bucket.name if self.images_bucket else self.output("source_bucket_name")

    def model(self) -> dict[str, Any]:
        """Return the state, counters and billed time of the model that the stack uses."""
        if self.backend is None:
            raise LocalError("A deployment of videos only has no model.")
        return self.emulator.model(MODELS[self.backend].arn)

    def unit_hour_dollars(self) -> float:
        """Return what an hour of an inference unit costs, as the stack sums up its runs with."""
        name = self.output("analyze_images_function_name").replace("-analyze-images", "-summarize-run")
        described = self.client("lambda").get_function_configuration(FunctionName=name)
        return float(described["Environment"]["Variables"]["INFERENCE_UNIT_HOUR_DOLLARS"])

    def output(self, name: str) -> str:
        """Return one output of Terraform."""
        return str(self.outputs[name]["value"])

    def has(self, name: str) -> bool:
        """Return whether the stack has what an output names."""
        return self.outputs.get(name, {}).get("value") is not None

    def client(self, service: str) -> Any:
        """Return a client of an AWS service on LocalStack."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=config.LOCALSTACK_URL,
            region_name=config.REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - LocalStack takes any
            # No proxy, whatever the environment says: LocalStack is on this machine.
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=16, proxies={}),
        )


def check_nothing_runs() -> None:
    """Check that no environment runs and that the ports are free.

    Raises
    ------
    LocalError
        Naming the port, what answers there, and the remedy. Nothing was started.
    """
    if find_localstack() or find_background(EMULATOR_PID_FILE) or are_containers_up():
        raise LocalError("The local environment is running already. Stop it with `make local-down` first.")
    check_port(config.LOCALSTACK_PORT)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", config.EMULATOR_PORT))
        except OSError as error:
            raise LocalError(
                f"Port {config.EMULATOR_PORT}, for the emulator, is in use by another program."
                " End that program, or choose another port: make ... EMULATOR_PORT=4600"
            ) from error


def up(
    display: Display,
    labelled: Path,
    *,
    backend: str | None,
    dies_with_parent: bool,
    in_docker: bool = False,
    arguments: Mapping[str, Any] | None = None,
    emulator_settings: Mapping[str, Any] | None = None,
    localstack_settings: Mapping[str, str] | None = None,
    emulator_options: Sequence[str] = (),
    tfvars: Tfvars | None = None,
    images_bucket: ImagesBucket | None = None,
) -> Environment:
    """Start LocalStack and the emulator and apply the stack.

    Parameters
    ----------
    labelled
        The folder that the emulator's model learns from.
    backend
        The model service to use; None for a deployment of videos only.
    dies_with_parent
        Whether everything ends with this process, even when that is killed; containers do not.
    in_docker
        Whether LocalStack and the emulator run in containers, by docker-compose.localstack.yml.
    arguments, emulator_settings
        What to change in `MODULE_ARGUMENTS`, whatever `tfvars` says, and in `EMULATOR_SETTINGS`.
    localstack_settings, emulator_options
        Variables of LocalStack and options of the emulator, which tests add; not in Docker.
    tfvars
        The user's own values of the module's variables, on top of `MODULE_ARGUMENTS`.
    images_bucket
        The existing bucket whose images are analyzed where they are, which is made; None for a drop-off bucket. The
        bucket that `videos` names is made as well: this one, if it has the name.

    Raises
    ------
    LocalError
        What is wrong and what to do; whatever had been started was stopped.
    """
    check_version()
    if in_docker:
        check_docker()
    check_nothing_runs()
    try:
        return _up(
            display,
            labelled,
            backend,
            dies_with_parent,
            in_docker,
            arguments or {},
            emulator_settings or {},
            localstack_settings or {},
            emulator_options,
            tfvars,
            images_bucket,
        )
    except BaseException:
        down()
        raise


def _up(
    display: Display,
    labelled: Path,
    backend: str | None,
    dies_with_parent: bool,
    in_docker: bool,
    arguments: Mapping[str, Any],
    emulator_settings: Mapping[str, Any],
    localstack_settings: Mapping[str, str],
    emulator_options: Sequence[str],
    tfvars: Tfvars | None,
    images_bucket: ImagesBucket | None,
) -> Environment:
    settings = EMULATOR_SETTINGS | dict(emulator_settings)
    converts = (dict(tfvars.values if tfvars else {}) | dict(arguments)).get("convert_images")
    with display.step("Packaging the Lambdas") as step:
        try:
            packages = [make_package()]
            if converts:
                of_platform = container_platform() if in_docker else None
                packages.append(make_converting_package(LOCAL_CONVERTING_PACKAGE, of_platform))
        except PackageError as error:
            raise LocalError(str(error)) from error
        shown = (f"{path.relative_to(config.REPOSITORY)}, {path.stat().st_size / 1e6:.1f} MB" for path in packages)
        step.done("; ".join(shown))
    terraform = Terraform()
    shutil.rmtree(terraform.directory, ignore_errors=True)  # the state of a LocalStack that is no more
    in_bucket: dict[str, Any] = {}
    if images_bucket and backend:
        in_bucket = {"images_bucket_name": images_bucket.name, "images_bucket": None}
    wanted = MODULE_ARGUMENTS | choose(backend) | in_bucket | dict(arguments)
    if tfvars is not None:
        with display.step("Checking the values of TFVARS") as step:
            _check(terraform, tfvars, backend)
            step.done(f"{len(tfvars.values)} variables")
        chosen = choose(backend, tfvars.values) | in_bucket
        wanted = merged(merged(MODULE_ARGUMENTS, tfvars.values) | chosen, LOCAL_ARGUMENTS) | dict(arguments)
        for line in differences(tfvars, wanted):
            display.say(f"  {line}")
    if in_docker:
        with display.step("Starting LocalStack and the vision emulator in Docker") as step:
            start_containers(labelled, settings)
            step.done(f"{config.LOCALSTACK_URL}, labels {', '.join(_labels())}, learned from {_shown(labelled)}")
    else:
        with display.step("Starting the vision emulator") as step:
            _start_emulator(labelled, settings, dies_with_parent, emulator_options)
            step.done(f"labels {', '.join(_labels())}, learned from {_shown(labelled)}")
        with display.step("Starting LocalStack") as step:
            start_localstack(
                config.LOCALSTACK_PORT,
                lambda_environment=EMULATED_ENDPOINTS,
                settings=localstack_settings,
                dies_with_parent=dies_with_parent,
            )
            step.done(config.LOCALSTACK_URL)
    for bucket in existing_buckets(images_bucket, wanted.get("videos")):
        with display.step("Making the existing bucket") as step:
            make_bucket(Environment({}, "").client("s3"), bucket)
            step.done(f"{bucket.name}, {'' if bucket.is_versioned else 'not '}versioned")
    with display.step("Applying the stack with Terraform") as step:
        if wanted.get("kms_key_arn"):
            wanted["kms_key_arn"] = _make_key()
        terraform.write_root(wanted)
        terraform.init()
        _load_services()
        resources = 0

        def progress(done: int, total: int, address: str) -> None:
            nonlocal resources
            resources = total
            step.progress(done, total, address)

        terraform.apply(progress)
        step.done(f"{resources} resources")
    environment = Environment(
        terraform.outputs(),
        backend,
        str(wanted.get("source_prefix") or ""),
        images_bucket,
        str((wanted.get("videos") or {}).get("prefix") or ""),
    )
    write_outputs(environment.outputs)
    ENV_FILE.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in CLIENT_ENVIRONMENT.items()))
    return environment


def write_outputs(outputs: Mapping[str, Any]) -> None:
    """Write down what Terraform returned, for the tool."""
    OUTPUTS_FILE.write_text(json.dumps(outputs, indent=2) + "\n")


def existing_buckets(images_bucket: ImagesBucket | None, videos: Any) -> list[ImagesBucket]:
    """Return the buckets that local running makes as their owner: that of the images, and that of the videos."""
    name = videos.get("bucket_name") if isinstance(videos, dict) else None
    of_images = [images_bucket] if images_bucket else []
    return of_images + ([ImagesBucket(name)] if name and (not images_bucket or images_bucket.name != name) else [])


def _check(terraform: Terraform, tfvars: Tfvars, backend: str | None) -> None:
    """Check a user's values as a plan on AWS would: without local ones, in the Region and account of their model."""
    paths = {name: LOCAL_ARGUMENTS[name] for name in ("lambda_package_path", "converting_package_path")}
    given = choose(backend) | dict(tfvars.values) | paths
    model = given[backend] if backend else None
    arn = _model_arn(model) if isinstance(model, dict) else ""
    # arn:<partition>:<service>:<region>:<account>:…; what is no ARN is for the module to refuse.
    region, account_id = [*arn.split(":"), "", "", "", ""][3:5]
    terraform.write_root(given)
    terraform.init()
    try:
        terraform.check_values(region or config.REGION, account_id or config.ACCOUNT_ID)
    except LocalError as error:
        raise LocalError(f"TFVARS={tfvars.path} is refused, as by a plan on AWS:\n{error}") from error


def _model_arn(model: Mapping[str, Any]) -> str:
    """Return the ARN of a hosted model, or of the adapter of a managed one; empty for none."""
    moderation = model.get("moderation")
    adapter_arn = moderation.get("adapter_arn") if isinstance(moderation, dict) else None
    return str(model.get("project_version_arn") or adapter_arn or "")


def differences(tfvars: Tfvars, wanted: Mapping[str, Any]) -> list[str]:
    """Return a line for each variable of a user's file that does not count here, or that the module does not have."""
    own = {
        "lambda_package_path": "the package that was made here",
        "convert_images": "what CONVERT says",
        "converting_package_path": "the package that was made here, with the libraries of this machine",
        "monitoring": "without log_queries, because LocalStack cannot save them",
        "schedule_enabled": "false, so that there is one run",
        "kms_key_arn": "a key on LocalStack",
        "images_bucket": "null, because the bucket is made here, in the same account and without a key",
        **dict.fromkeys(HOSTED_MODELS, "the model of the emulator"),
        "rekognition": "with the adapter of the emulator",
    }
    replaced = [
        name
        for name, value in tfvars.values.items()
        if name in own and value is not None and (value != wanted.get(name) or name == "kms_key_arn")
    ]
    return [
        *(f"{name}: here it is {own[name]}" for name in replaced),
        *(f"{name}: not a variable of the module, so it has no effect" for name in tfvars.unknown),
    ]


def _make_key() -> str:
    """Make a customer key on LocalStack and return its ARN."""
    kms = Environment({}, "").client("kms")
    return str(kms.create_key(Description="Stands for the key of kms_key_arn")["KeyMetadata"]["Arn"])


def down() -> bool:
    """Stop what runs of the environment, remove its state, and return whether anything ran."""
    localstack = find_localstack()
    emulator = find_background(EMULATOR_PID_FILE)
    if localstack:
        localstack.stop()
    if emulator:
        emulator.stop(_EMULATOR_STOP_SECONDS)
    had_containers = stop_containers()
    for path in (OUTPUTS_FILE, ENV_FILE):
        path.unlink(missing_ok=True)
    shutil.rmtree(config.LOCAL_BUILD / "terraform", ignore_errors=True)
    return bool(localstack or emulator or had_containers)


def _load_services() -> None:
    """Have LocalStack load its services.

    It loads one at its first request, and answers others that come in that instant with a 501, which Terraform's
    provider does not repeat: it makes functions, roles and log groups side by side.
    """
    here = Environment({}, None)
    for service, request in _FIRST_REQUESTS.items():
        getattr(here.client(service), request)()


def _start_emulator(
    labelled: Path, settings: Mapping[str, Any], dies_with_parent: bool, options: Sequence[str]
) -> None:
    EMULATOR_LOG_FILE.unlink(missing_ok=True)
    process = start_background(
        [
            _DEV_PYTHON,
            "-m",
            _EMULATOR_MODULE,
            f"--port={config.EMULATOR_PORT}",
            f"--labelled={labelled}",
            f"--aws-endpoint={config.LOCALSTACK_URL}",
            f"--settings={json.dumps(settings)}",
            *options,
        ],
        environment={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        directory=config.REPOSITORY,
        log_file=EMULATOR_LOG_FILE,
        pid_file=EMULATOR_PID_FILE,
        dies_with_parent=dies_with_parent,
    )
    client = EmulatorClient(config.EMULATOR_URL)
    deadline = time.monotonic() + _EMULATOR_READY_SECONDS
    while not client.is_ready():
        if not process.is_running() or time.monotonic() > deadline:
            raise LocalError(f"The emulator did not start. {tail(EMULATOR_LOG_FILE).strip()}")
        time.sleep(_EMULATOR_POLL_SECONDS)


def _labels() -> list[str]:
    return list(EmulatorClient(config.EMULATOR_URL).model()["labels"])


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(config.REPOSITORY) else str(path)
