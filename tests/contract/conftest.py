"""Fixtures of the contract tests: one emulator for the session, new for every test, over moto's S3."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from moto import mock_aws

from local.config import LOOKOUT_MODEL_ARN, PROJECT_VERSION_ARN, REGION, REPOSITORY, SAGEMAKER_MODEL_ARN
from local.emulator.errors import TopicError
from local.emulator.labelled import learn_folder
from local.emulator.lookout_for_vision import SERVICE_MODELS
from local.emulator.models import MODELS
from local.emulator.objects import S3ObjectReader
from local.emulator.server import Emulator, EmulatorServer
from local.emulator.settings import CALLS_PER_SECOND, Settings
from local.samples.draw_videos import SHOTS, draw_video
from tests.contract.world import BUCKET, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_s3 import S3Client

    from local.emulator.client import EmulatorClient
    from local.emulator.pixel_model import PixelModel

LABELLED = REPOSITORY / "local" / "samples" / "labelled"
PILE = REPOSITORY / "local" / "samples" / "pile"
# A second version of the same project, so that listing and mixing up can be seen.
SECOND_VERSION_ARN = PROJECT_VERSION_ARN.replace("batch-vision.1", "batch-vision.2")
SECOND_LOOKOUT_ARN = LOOKOUT_MODEL_ARN.removesuffix("/1") + "/2"
# A container that says which label an image has, and not where.
CLASSIFIER_ARN = SAGEMAKER_MODEL_ARN.replace("object-detection", "image-classification")
# Nothing takes time and nothing is throttled, unless a test asks for it.
FAST = Settings(
    start_seconds=0,
    stop_seconds=0,
    transactions_per_second_per_unit=1000,
    latency_ms=0,
    calls_per_second=dict.fromkeys(CALLS_PER_SECOND, 1000.0),
    video_base_seconds=0,
    video_seconds_per_minute=0,
)


class BorrowedReader:
    """Reads through whichever S3 client the running test has."""

    def __init__(self) -> None:
        self.reader: S3ObjectReader | None = None

    def read(self, bucket: str, key: str, version: str | None, max_bytes: int) -> bytes:
        assert self.reader is not None, "a test that reads from S3 needs the s3 fixture"
        return self.reader.read(bucket, key, version, max_bytes)

    def copy(self, bucket: str, key: str, version: str | None, file: IO[bytes], max_bytes: int) -> None:
        assert self.reader is not None, "a test that reads from S3 needs the s3 fixture"
        self.reader.copy(bucket, key, version, file, max_bytes)


class Published:
    """Topics that keep what is published: the topic and the message of each."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.error: TopicError | None = None
        self.came = threading.Event()

    def publish(self, topic_arn: str, message: str) -> None:
        if self.error is not None:
            raise self.error
        self.messages.append((topic_arn, message))
        self.came.set()


@pytest.fixture(scope="session")
def pixel_model() -> PixelModel:
    return learn_folder(LABELLED)


@pytest.fixture(scope="session")
def borrowed_reader() -> BorrowedReader:
    return BorrowedReader()


@pytest.fixture(scope="session")
def topics() -> Published:
    return Published()


@pytest.fixture
def published(emulator: EmulatorClient, topics: Published) -> Published:
    """What the emulator publishes during the test."""
    topics.messages.clear()
    topics.error = None
    topics.came.clear()
    return topics


@pytest.fixture(scope="session")
def running_emulator(
    pixel_model: PixelModel, borrowed_reader: BorrowedReader, topics: Published
) -> Iterator[EmulatorClient]:
    emulator = Emulator(
        pixel_model,
        borrowed_reader,
        settings=FAST,
        project_version_arns=[PROJECT_VERSION_ARN, SECOND_VERSION_ARN],
        lookout_model_arns=[LOOKOUT_MODEL_ARN, SECOND_LOOKOUT_ARN],
        sagemaker_model_arns=[SAGEMAKER_MODEL_ARN, CLASSIFIER_ARN],
        topics=topics,
    )
    with EmulatorServer(emulator) as client:
        yield client


@pytest.fixture
def emulator(running_emulator: EmulatorClient) -> EmulatorClient:
    """The control client of the emulator, which is as it was at its start-up."""
    running_emulator.reset()
    return running_emulator


@pytest.fixture
def rekognition(emulator: EmulatorClient) -> RekognitionClient:
    """A client that does not retry, so that each error of the emulator is seen."""
    return boto3.client(
        "rekognition",
        endpoint_url=emulator.url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


@pytest.fixture(scope="session")
def lookout_session() -> boto3.Session:
    """A session that knows the service, which boto3 itself no longer does."""
    core = botocore.session.get_session()
    core.get_component("data_loader").search_paths.append(str(SERVICE_MODELS))
    return boto3.Session(botocore_session=core)


@pytest.fixture
def lookout(emulator: EmulatorClient, lookout_session: boto3.Session) -> Any:
    """A client that does not retry, so that each error of the emulator is seen."""
    return lookout_session.client(
        "lookoutvision",
        endpoint_url=emulator.url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


@pytest.fixture
def s3(borrowed_reader: BorrowedReader) -> Iterator[S3Client]:
    """An S3 with one versioned bucket, from which the emulator reads."""
    with mock_aws():
        client = boto3.client("s3", region_name=REGION)
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        borrowed_reader.reader = S3ObjectReader(client)
        yield client
        borrowed_reader.reader = None


@pytest.fixture
def make_world(emulator: EmulatorClient, s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Makes the world of a backend, whose clients find the emulator."""

    def make(name: str, operation: str = "") -> World:
        for endpoint in MODELS[name].endpoints:
            monkeypatch.setenv(endpoint, emulator.url)
        # botocore's pauses between attempts are not what is tested here.
        monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
        return World(name, emulator, s3, operation)

    return make


@pytest.fixture(scope="session")
def sample() -> dict[str, bytes]:
    """One image of the pile for each label."""
    return {
        "normal": (PILE / "part-01.jpg").read_bytes(),
        "crack": (PILE / "part-02.png").read_bytes(),
        "stain": (PILE / "part-03.jpg").read_bytes(),
    }


@pytest.fixture(scope="session")
def video() -> bytes:
    """The sample video, drawn anew."""
    return draw_video(SHOTS)
