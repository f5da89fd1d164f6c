"""The emulator as a server: routes requests to a service or to the control interface."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from local.config import ADAPTER_ARN, LOOKOUT_MODEL_ARN, PROJECT_ARN, PROJECT_VERSION_ARN, SAGEMAKER_MODEL_ARN
from local.emulator import lookout_for_vision, rekognition, sagemaker_endpoint
from local.emulator.client import EmulatorClient
from local.emulator.errors import ConfigurationError
from local.emulator.faults import FaultPlan
from local.emulator.hosting import HostedModel, SettingsHolder, Timing, change_settings
from local.emulator.image_operations import ImageOperations
from local.emulator.lookout_for_vision import LookoutForVision
from local.emulator.rekognition import Rekognition
from local.emulator.sagemaker_endpoint import SageMakerEndpoint
from local.emulator.settings import Settings
from local.emulator.topics import NoTopics
from local.emulator.video_operations import VideoOperations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIEnvironment

    from local.emulator.lifecycle import StatusNames
    from local.emulator.objects import ObjectReader
    from local.emulator.pixel_model import PixelModel
    from local.emulator.recorder import CallRecorder
    from local.emulator.topics import Topics

CONTROL_PREFIX = "/_emulator/"
# Well above what the services take, so that they refuse too much in their own words.
MAX_BODY_BYTES = 26 * 1024 * 1024


class Emulator:
    """The application: the services, their models, and the control interface.

    Parameters
    ----------
    pixel_model
        What the models have learned.
    objects
        Where images and videos in S3 are read from.
    settings
        The settings at start-up.
    project_arn, project_version_arns
        The project and the models that exist in Rekognition.
    lookout_model_arns
        The models that exist in Lookout for Vision.
    sagemaker_model_arns
        The models that exist in SageMaker.
    adapter_arns
        The adapters of moderation that exist in Rekognition.
    timing
        The clock and sleep to go by.
    topics
        Where the ends of jobs are announced; nowhere if it is None.
    recorder
        What keeps a record of the calls of the services, if anything does.
    """

    def __init__(
        self,
        pixel_model: PixelModel,
        objects: ObjectReader,
        *,
        settings: Settings | None = None,
        project_arn: str = PROJECT_ARN,
        project_version_arns: Sequence[str] = (PROJECT_VERSION_ARN,),
        lookout_model_arns: Sequence[str] = (LOOKOUT_MODEL_ARN,),
        sagemaker_model_arns: Sequence[str] = (SAGEMAKER_MODEL_ARN,),
        adapter_arns: Sequence[str] = (ADAPTER_ARN,),
        timing: Timing | None = None,
        topics: Topics | None = None,
        recorder: CallRecorder | None = None,
    ) -> None:
        timing = timing or Timing()
        self._recorder = recorder
        self.settings = SettingsHolder(settings or Settings())
        labels_service, anomaly_service = rekognition.service_model(), lookout_for_vision.service_model()

        def hosted(arns: Sequence[str], names: StatusNames) -> dict[str, HostedModel]:
            return {arn: HostedModel(names, pixel_model, self.settings, timing) for arn in arns}

        labels_models = hosted(project_version_arns, rekognition.status_names(labels_service))
        anomaly_models = hosted(lookout_model_arns, lookout_for_vision.status_names(anomaly_service))
        endpoint_models = hosted(
            sagemaker_model_arns, sagemaker_endpoint.status_names(sagemaker_endpoint.service_model())
        )
        self.models = labels_models | anomaly_models | endpoint_models
        self.faults = FaultPlan(
            rekognition.injectable_errors(labels_service)
            | lookout_for_vision.injectable_errors(anomaly_service)
            | sagemaker_endpoint.injectable_errors()
        )
        rekognition.check_adapters(labels_service, adapter_arns)
        self.image_operations = ImageOperations(pixel_model, objects, self.settings, timing, adapter_arns)
        self.video_operations = VideoOperations(
            self.image_operations, objects, topics or NoTopics(), self.settings, timing
        )
        self._rekognition = Rekognition(
            project_arn,
            labels_models,
            self.image_operations,
            self.video_operations,
            objects,
            self.faults,
            timing,
        )
        self._lookout = LookoutForVision(anomaly_models, self.faults, timing)
        self._sagemaker = SageMakerEndpoint(endpoint_models, self.faults, timing)
        self._control: dict[tuple[str, str], Callable[[dict[str, Any]], dict[str, Any]]] = {
            ("GET", "health"): lambda _: {"status": "ready"},
            ("GET", "state"): lambda _: self.state(),
            ("PUT", "settings"): self._put_settings,
            ("POST", "faults"): self._post_faults,
            ("DELETE", "faults"): lambda _: self._delete_faults(),
            ("PUT", "models"): self._put_models,
            ("POST", "reset"): lambda _: self._reset(),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        request = Request(environ)
        request.max_content_length = MAX_BODY_BYTES
        if request.path.startswith(CONTROL_PREFIX):
            return self._answer_control(request)(environ, start_response)
        try:
            body = request.get_data()
        except RequestEntityTooLarge as error:
            return error(environ, start_response)
        # What is percent-encoded in a name must not take part in telling the names apart.
        path = str(environ["RAW_URI"]).partition("?")[0]
        target = request.headers.get("X-Amz-Target", "")
        if request.path.startswith(lookout_for_vision.PATH_PREFIX):
            headers = {name.lower(): value for name, value in request.headers.items()}
            call = partial(self._lookout.call, request.method, path)
            answer = self._lookout.answer(request.method, path, headers, body)
        elif path.startswith(sagemaker_endpoint.PATH_PREFIX) or target.startswith(sagemaker_endpoint.TARGET_PREFIX):
            call = partial(self._sagemaker.call, request.method, path, target, body)
            answer = self._sagemaker.answer(request.method, path, target, body)
        else:
            call = partial(self._rekognition.call, target, body)
            answer = self._rekognition.answer(target, body)
        if self._recorder:
            self._recorder.record(request, call(), answer.status)
        if answer.dropped:
            connection: socket.socket = environ["werkzeug.socket"]
            connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        return Response(answer.body, answer.status, dict(answer.headers))(environ, start_response)

    def state(self) -> dict[str, Any]:
        """Return what the emulator has at this moment, as plain data, by the part that has it."""
        return {
            "settings": dataclasses.asdict(self.settings.current),
            "models": {arn: model.describe() for arn, model in self.models.items()},
            "operations": self.image_operations.describe(),
            "videos": self.video_operations.describe(),
            "endpoint_configurations": self._sagemaker.configurations(),
            "faults": self.faults.describe(),
        }

    def _answer_control(self, request: Request) -> Response:
        name = request.path.removeprefix(CONTROL_PREFIX)
        action = self._control.get((request.method, name))
        if action is None:
            known = ", ".join(f"{method} {CONTROL_PREFIX}{path}" for method, path in self._control)
            return _json(404, {"message": f"no {request.method} {request.path} here: use {known}"})
        try:
            content = json.loads(request.get_data() or b"{}")
            if not isinstance(content, dict):
                raise ConfigurationError("the body is not a JSON object: send one")
            return _json(200, action(content))
        except ValueError as error:
            return _json(400, {"message": f"the body is not JSON, {error}: send a JSON object"})
        except ConfigurationError as error:
            return _json(400, {"message": str(error)})

    def _put_settings(self, content: dict[str, Any]) -> dict[str, Any]:
        return dataclasses.asdict(change_settings(self.settings, self.models, content))

    def _post_faults(self, content: dict[str, Any]) -> dict[str, Any]:
        return dataclasses.asdict(self.faults.add(content))

    def _delete_faults(self) -> dict[str, Any]:
        self.faults.clear()
        return {}

    def _put_models(self, content: dict[str, Any]) -> dict[str, Any]:
        arn, status = content.get("model_arn"), content.get("status")
        if arn not in self.models:
            raise ConfigurationError(f"unknown model_arn {arn!r}: use one of {', '.join(self.models)}")
        with self.models[arn].lifecycle() as life:
            if status not in life.names.known:
                raise ConfigurationError(f"unknown status {status!r}: use one of {', '.join(life.names.known)}")
            life.force(status)
        return self.models[arn].describe()

    def _reset(self) -> dict[str, Any]:
        self.faults.reset()
        self.settings.reset()
        self._lookout.reset()
        self._sagemaker.reset()
        self.image_operations.reset()
        self.video_operations.reset()
        for model in self.models.values():
            model.reset()
        return self.state()


class EmulatorServer:
    """Serves an emulator from a thread; a context manager that starts and stops it.

    Parameters
    ----------
    emulator
        What to serve.
    host, port
        Where to listen; port 0 means any free one.
    """

    def __init__(self, emulator: Emulator, host: str = "127.0.0.1", port: int = 0) -> None:
        # Bound here, because werkzeug ends the process when a port is taken.
        with socket.create_server((host, port), backlog=128) as listening:
            self._server = make_server(
                host, port, emulator, threaded=True, request_handler=_QuietRequestHandler, fd=listening.fileno()
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="emulator", daemon=True
        )
        self.url = f"http://{host}:{self._server.port}"

    def __enter__(self) -> EmulatorClient:
        """Start to serve, and return a client of the control interface."""
        self._thread.start()
        return EmulatorClient(self.url)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _QuietRequestHandler(WSGIRequestHandler):
    """Keeps connections open as the service does, and writes no line for each request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def _json(status: int, content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), status, content_type="application/json")
