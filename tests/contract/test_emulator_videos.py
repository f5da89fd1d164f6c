"""What the emulated stored-video APIs of Rekognition promise to a client, asked through the real boto3."""

from __future__ import annotations

import io
import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError, HTTPClientError
from moto import mock_aws

from local.config import REPOSITORY
from local.emulator.errors import TopicError
from local.emulator.hosting import SettingsHolder, Timing
from local.emulator.settings import Settings
from local.emulator.topics import NoTopics, SnsTopics
from local.emulator.video_analyses import ANALYSES
from local.emulator.video_files import look, read_details
from local.emulator.video_operations import VideoOperations
from local.samples import draw_videos
from tests.contract.world import BUCKET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_s3 import S3Client

    from local.emulator.client import EmulatorClient
    from tests.contract.conftest import Published

KEY = "line 3/été+50%.mp4"
TOPIC_ARN = "arn:aws:sns:us-east-1:000000000000:jobs"
CHANNEL = {"SNSTopicArn": TOPIC_ARN, "RoleArn": "arn:aws:iam::000000000000:role/publish"}
HOUR_SECONDS = 3600
NAMES = [analysis.name for analysis in ANALYSES]
STARTS = [analysis.start for analysis in ANALYSES]
SAMPLE_TIMES_MS = list(range(0, 8000, 500))


class Videos:
    """The service, and a bucket with the sample video."""

    def __init__(self, client: RekognitionClient, emulator: EmulatorClient, s3: S3Client) -> None:
        self.client, self.emulator, self.s3 = client, emulator, s3

    def put(self, content: bytes, key: str = KEY) -> str:
        return self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)["VersionId"]

    def done(self, analysis: str = "LabelDetection", key: str = KEY, **options: Any) -> str:
        """Start a job whose results are computed when this returns, however busy the machine is."""
        job = self.start(analysis, key, **options)
        self.jobs()
        return job

    def start(self, analysis: str = "LabelDetection", key: str = KEY, version: str = "", **options: Any) -> str:
        named = {"Bucket": BUCKET, "Name": key} | ({"Version": version} if version else {})
        asked = {"Video": {"S3Object": named}, "NotificationChannel": CHANNEL} | options
        return str(getattr(self.client, xform_name(f"Start{analysis}"))(**asked)["JobId"])

    def get(self, job_id: str, analysis: str = "LabelDetection", **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self.client, xform_name(f"Get{analysis}"))(JobId=job_id, **options)
        return answer

    def pages(self, job_id: str, **options: Any) -> Iterator[dict[str, Any]]:
        page = self.get(job_id, **options)
        yield page
        while "NextToken" in page:
            page = self.get(job_id, NextToken=page["NextToken"], **options)
            yield page

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.emulator.videos()["jobs"]
        return found


@pytest.fixture
def videos(rekognition: RekognitionClient, emulator: EmulatorClient, s3: S3Client, video: bytes) -> Videos:
    made = Videos(rekognition, emulator, s3)
    made.put(video)
    return made


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def times_ms(detections: list[dict[str, Any]], kind: str, name: str) -> list[int]:
    return [one["Timestamp"] for one in detections if one[kind]["Name"] == name]


def test_labels_are_those_of_the_frames_at_their_times(videos: Videos) -> None:
    answer = videos.get(videos.done(JobTag="a:1"))
    assert (answer["JobStatus"], answer["JobTag"], answer["LabelModelVersion"]) == ("SUCCEEDED", "a:1", "3.0")
    assert answer["Video"] == {"S3Object": {"Bucket": BUCKET, "Name": KEY}}
    assert answer["VideoMetadata"] == {
        "Codec": "h264",
        "DurationMillis": 8000,
        "Format": "QuickTime / MOV",
        "FrameRate": 4.0,
        "FrameHeight": 180,
        "FrameWidth": 240,
    }
    found = answer["Labels"]
    assert times_ms(found, "Label", "normal") == SAMPLE_TIMES_MS[4:8]
    assert times_ms(found, "Label", "crack") == SAMPLE_TIMES_MS[8:12]
    assert times_ms(found, "Label", "stain") == SAMPLE_TIMES_MS[:4] + SAMPLE_TIMES_MS[12:]
    assert [one["Timestamp"] for one in found] == sorted(one["Timestamp"] for one in found)
    crack = next(one["Label"] for one in found if one["Label"]["Name"] == "crack")
    assert crack["Parents"] == [{"Name": "Defect"}]
    assert crack["Instances"][0]["BoundingBox"]["Width"] > 0


def test_labels_that_are_asked_for(videos: Videos) -> None:
    filters = {"GeneralLabels": {"LabelInclusionFilters": ["crack"]}}
    everything = videos.get(videos.done(MinConfidence=0, Settings=filters))["Labels"]
    assert times_ms(everything, "Label", "crack") == SAMPLE_TIMES_MS
    assert len(everything) == len(SAMPLE_TIMES_MS)


def test_moderation_faces_celebrities_and_text_have_their_times(videos: Videos) -> None:
    moderated = videos.get(videos.done("ContentModeration"), "ContentModeration")["ModerationLabels"]
    assert times_ms(moderated, "ModerationLabel", "crack") == SAMPLE_TIMES_MS[8:12]
    faces = videos.get(videos.done("FaceDetection"), "FaceDetection")["Faces"]
    assert [one["Timestamp"] for one in faces] == [at for at in SAMPLE_TIMES_MS[:4] for _ in range(2)]
    assert "Smile" not in faces[0]["Face"]
    faces = videos.get(videos.done("FaceDetection", FaceAttributes="ALL"), "FaceDetection")["Faces"]
    assert faces[0]["Face"]["Smile"]["Confidence"] > 90
    famous = videos.get(videos.done("CelebrityRecognition"), "CelebrityRecognition")["Celebrities"]
    assert times_ms(famous, "Celebrity", "Ada Example") == SAMPLE_TIMES_MS[:4]
    assert famous[0]["Celebrity"]["Confidence"] == 98.0
    texts = videos.get(videos.done("TextDetection"), "TextDetection")["TextDetections"]
    lines = [(one["Timestamp"], one["TextDetection"]["DetectedText"]) for one in texts if "ParentId" not in one]
    lines = [line for line in lines if line[1] == "LOT 4711"]
    assert lines == [(at, "LOT 4711") for at in SAMPLE_TIMES_MS[8:12]]


def test_segments_and_orders_come_from_one_result(videos: Videos) -> None:
    job = videos.done()
    answer = videos.get(job, AggregateBy="SEGMENTS")
    assert answer["GetRequestMetadata"] == {"SortBy": "TIMESTAMP", "AggregateBy": "SEGMENTS"}
    spans = {
        (one["Label"]["Name"], one["StartTimestampMillis"], one["EndTimestampMillis"], one["DurationMillis"])
        for one in answer["Labels"]
    }
    assert spans == {
        ("stain", 0, 1500, 1500),
        ("Defect", 0, 1500, 1500),
        ("normal", 2000, 3500, 1500),
        ("crack", 4000, 5500, 1500),
        ("Defect", 4000, 7500, 3500),
        ("stain", 6000, 7500, 1500),
    }
    assert all("Instances" not in one["Label"] and "Timestamp" not in one for one in answer["Labels"])
    detections = videos.get(job)["Labels"]
    best = max(one["Label"]["Confidence"] for one in detections if one["Label"]["Name"] == "crack")
    (crack,) = [one["Label"] for one in answer["Labels"] if one["Label"]["Name"] == "crack"]
    assert crack["Confidence"] == best
    by_name = [one["Label"]["Name"] for one in videos.get(job, SortBy="NAME")["Labels"]]
    assert by_name == sorted(by_name)
    assert len(by_name) == len(detections)


def test_pages_hold_a_thousand_and_their_tokens_expire(videos: Videos) -> None:
    videos.emulator.set(video_samples_per_second=2000)
    assert len(videos.get(videos.done(), AggregateBy="SEGMENTS")["Labels"]) == 6
    videos.emulator.set(video_samples_per_second=200)
    job = videos.done()
    pages = list(videos.pages(job, MaxResults=5000))
    assert [len(page["Labels"]) for page in pages[:-1]] == [1000] * (len(pages) - 1)
    assert all(page["VideoMetadata"]["DurationMillis"] == 8000 for page in pages)
    found = [one for page in pages for one in page["Labels"]]
    assert len(times_ms(found, "Label", "crack")) == 400
    assert len(found) == 400 * 7
    assert [one["Timestamp"] for one in found] == sorted(one["Timestamp"] for one in found)
    token = pages[0]["NextToken"]
    assert len(token) <= 255
    assert videos.get(job, NextToken=token, MaxResults=1)["Labels"] == pages[1]["Labels"][:1]
    another = videos.done()
    wrong = (
        lambda: videos.get(another, NextToken=token),
        lambda: videos.get(job, NextToken=token, SortBy="NAME"),
        lambda: videos.get(job, NextToken=token[:-8]),
        lambda: videos.get(job, NextToken="é"),
    )
    assert {code_of(call) for call in wrong} == {"InvalidPaginationTokenException"}
    videos.emulator.set(video_page_token_seconds=0)
    assert code_of(lambda: videos.get(job, NextToken=token)) == "InvalidPaginationTokenException"
    assert videos.get(job)["Labels"] == pages[0]["Labels"]


def test_a_token_is_the_job_that_it_began(videos: Videos, published: Published) -> None:
    asked = {"ClientRequestToken": "abc-1", "JobTag": "abc-1", "MinConfidence": 60.0}
    job = videos.start(**asked)
    assert videos.start(**asked) == job
    # As what it named is no more, or not the same.
    videos.s3.delete_object(Bucket=BUCKET, Key=KEY)
    assert videos.start(**asked) == job
    changed: list[dict[str, Any]] = [
        {**asked, "MinConfidence": 61.0},
        {**asked, "JobTag": "abc-2"},
        {**asked, "NotificationChannel": {**CHANNEL, "SNSTopicArn": f"{TOPIC_ARN}2"}},
        {**asked, "key": "other.mp4"},
    ]
    for options in changed:
        assert code_of(lambda options=options: videos.start(**options)) == "IdempotentParameterMismatchException"
    del asked["MinConfidence"]
    refused = code_of(lambda: videos.start("FaceDetection", **asked))
    assert refused == "IdempotentParameterMismatchException"
    (told,) = videos.jobs()
    assert (told["token"], told["tag"], told["starts"], told["runs"]) == ("abc-1", "abc-1", 3, 1)
    assert (told["minutes"], told["status"], told["messages"]) == (1, "SUCCEEDED", ["published"])
    assert len(published.messages) == 1


def test_an_expired_token_runs_the_job_again(videos: Videos) -> None:
    asked = {"ClientRequestToken": "abc-1"}
    first = videos.start(**asked)
    videos.emulator.set(video_token_seconds=0)
    second = videos.start(**asked)
    assert second != first
    assert [(one["token"], one["runs"], one["starts"]) for one in videos.jobs()] == [("abc-1", 1, 1), ("abc-1", 2, 1)]


def test_an_answer_that_is_lost_leaves_its_job(videos: Videos) -> None:
    videos.emulator.inject("StartLabelDetection", "drop_answer")
    with pytest.raises(HTTPClientError):
        videos.start(ClientRequestToken="abc-1")
    job = videos.start(ClientRequestToken="abc-1")
    assert [one["job_id"] for one in videos.jobs()] == [job]


@pytest.mark.parametrize("token_first", [True, False])
def test_one_limit_for_all_analyses(videos: Videos, token_first: bool) -> None:
    videos.emulator.set(
        video_base_seconds=HOUR_SECONDS, video_job_limit=4, foreign_jobs=2, video_limit_before_token=not token_first
    )
    job = videos.start("TextDetection", ClientRequestToken="abc-1")
    videos.start("FaceDetection")
    with pytest.raises(videos.client.exceptions.LimitExceededException) as caught:
        videos.start("LabelDetection")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert re.fullmatch(r"4  open Jobs for User \S+ Maximum limit: 4", response["Error"]["Message"])
    again = lambda: videos.start("TextDetection", ClientRequestToken="abc-1")  # noqa: E731
    if token_first:
        assert again() == job
    else:
        assert code_of(again) == "LimitExceededException"
    videos.emulator.set(foreign_jobs=1)
    videos.start("LabelDetection")
    assert code_of(lambda: videos.start("LabelDetection")) == "LimitExceededException"
    videos.emulator.set(video_job_limit=5)
    videos.start("LabelDetection")
    told = videos.emulator.videos()
    assert (told["open_jobs"], told["refused_starts"]) == (4, 2 if token_first else 3)


def test_a_job_that_runs_has_no_result_yet(videos: Videos, published: Published) -> None:
    videos.emulator.set(video_base_seconds=HOUR_SECONDS)
    answer = videos.get(videos.start())
    assert (answer["JobStatus"], answer["Labels"]) == ("IN_PROGRESS", [])
    assert not {"VideoMetadata", "StatusMessage", "NextToken"} & set(answer)
    assert [one["status"] for one in videos.jobs()] == ["IN_PROGRESS"]
    assert published.messages == []


def test_how_long_a_job_takes() -> None:
    """Without a server, by a clock that the test turns."""
    now_seconds = 0.0
    settings = SettingsHolder(Settings(video_base_seconds=10, video_seconds_per_minute=30, video_results_seconds=100))
    content = draw_videos.plain_video(20)
    objects: Any = SimpleNamespace(copy=lambda *_: _[3].write(content))
    images: Any = SimpleNamespace(check=lambda *_: None, look_at=lambda *_: {"FaceDetails": [{"Confidence": 90.0}]})
    told: list[str] = []
    topics: Any = SimpleNamespace(publish=lambda _, message: told.append(message))
    timing = Timing(lambda: now_seconds, lambda _: None)
    service = VideoOperations(images, objects, topics, settings, timing)
    asked = {"Video": {"S3Object": {"Bucket": BUCKET, "Name": KEY}}, "NotificationChannel": CHANNEL}
    job = service.answer("StartFaceDetection", asked, None)["JobId"]

    def status() -> str:
        return str(service.answer("GetFaceDetection", {"JobId": job}, None)["JobStatus"])

    now_seconds = 10 + 20 / 60 * 30 - 0.1
    assert (status(), service.describe()["open_jobs"], told) == ("IN_PROGRESS", 1, [])
    now_seconds += 0.1
    assert (service.describe()["open_jobs"], status(), len(told)) == (0, "SUCCEEDED", 1)
    assert len(service.answer("GetFaceDetection", {"JobId": job}, None)["Faces"]) == 40
    now_seconds += 99.9
    assert status() == "SUCCEEDED"
    now_seconds += 0.1
    with pytest.raises(Exception, match="Could not find JobId"):
        status()
    assert len(told) == 1


def test_the_message_is_the_service_s_own(videos: Videos, published: Published) -> None:
    job = videos.done("ContentModeration", JobTag="abc-1")
    ((topic, text),) = published.messages
    message = json.loads(text)
    assert topic == TOPIC_ARN
    assert re.fullmatch("[0-9a-f]{64}", job)
    assert message.pop("Timestamp") > 1_600_000_000_000
    assert message == {
        "JobId": job,
        "Status": "SUCCEEDED",
        "API": "StartContentModeration",
        "JobTag": "abc-1",
        "Video": {"S3ObjectName": KEY, "S3Bucket": BUCKET},
    }
    videos.done()
    assert "JobTag" not in json.loads(published.messages[1][1])


def test_a_job_ends_although_nobody_asks(videos: Videos, published: Published) -> None:
    videos.emulator.set(video_base_seconds=0.1)
    job = videos.start()
    assert published.came.wait(60)
    assert [json.loads(text)["JobId"] for _, text in published.messages] == [job]


def test_messages_reach_a_queue_as_they_are() -> None:
    with mock_aws():
        sns, sqs = boto3.client("sns"), boto3.client("sqs")
        queue_url = sqs.create_queue(QueueName="hints")["QueueUrl"]
        queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic_arn = sns.create_topic(Name="jobs")["TopicArn"]
        raw = {"RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn, Attributes=raw)
        topics = SnsTopics(sns)
        topics.publish(topic_arn, '{"JobId": "é"}')
        (message,) = sqs.receive_message(QueueUrl=queue_url)["Messages"]
        assert message["Body"] == '{"JobId": "é"}'
        with pytest.raises(TopicError, match="NotFound"):
            topics.publish(f"{topic_arn}2", "")
        with pytest.raises(TopicError, match="no SNS"):
            NoTopics().publish(topic_arn, "a")


def test_without_a_channel_nothing_is_published(videos: Videos, published: Published) -> None:
    named: Any = {"S3Object": {"Bucket": BUCKET, "Name": KEY}}
    videos.client.start_label_detection(Video=named)
    assert [one["messages"] for one in videos.jobs()] == [[]]
    assert published.messages == []


def test_a_topic_that_refuses_is_told_in_the_state(videos: Videos, published: Published) -> None:
    published.error = TopicError("Topic does not exist")
    videos.start()
    assert [one["messages"] for one in videos.jobs()] == [["not published: Topic does not exist"]]


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        ("message_lost", []),
        ("message_doubled", ["SUCCEEDED", "SUCCEEDED"]),
        ("message_error", ["ERROR"]),
        ("FAILED:Disk on fire.", ["FAILED"]),
    ],
)
def test_faults_of_messages(videos: Videos, published: Published, fault: str, statuses: list[str]) -> None:
    videos.emulator.inject("StartLabelDetection", fault)
    job = videos.done()
    answer = videos.get(job)
    assert answer["JobStatus"] == ("FAILED" if fault.startswith("FAILED") else "SUCCEEDED")
    assert [json.loads(text)["Status"] for _, text in published.messages] == statuses
    if answer["JobStatus"] == "FAILED":
        assert (answer["StatusMessage"], answer["Labels"]) == ("Disk on fire.", [])
    videos.done()
    assert len(published.messages) == len(statuses) + 1


def test_a_message_before_the_answer(videos: Videos, published: Published) -> None:
    videos.emulator.set(video_base_seconds=HOUR_SECONDS)
    videos.emulator.inject("StartLabelDetection", "message_early")
    job = videos.start()
    assert [json.loads(text)["JobId"] for _, text in published.messages] == [job]
    assert videos.get(job)["JobStatus"] == "SUCCEEDED"


def test_a_job_that_hangs_keeps_its_place(videos: Videos, published: Published) -> None:
    videos.emulator.set(video_job_limit=1, video_results_seconds=0)
    videos.emulator.inject("StartLabelDetection", "hang")
    job = videos.start()
    assert videos.get(job)["JobStatus"] == "IN_PROGRESS"
    assert code_of(videos.start) == "LimitExceededException"
    assert published.messages == []


def test_a_rate_that_is_exceeded_changes_nothing(videos: Videos) -> None:
    videos.emulator.inject("StartLabelDetection", "ThrottlingException")
    assert code_of(lambda: videos.start(ClientRequestToken="abc-1")) == "ThrottlingException"
    job = videos.done(ClientRequestToken="abc-1")
    videos.emulator.inject("GetLabelDetection", "ProvisionedThroughputExceededException", count=1)
    assert code_of(lambda: videos.get(job)) == "ProvisionedThroughputExceededException"
    assert videos.get(job)["JobStatus"] == "SUCCEEDED"
    assert [one["starts"] for one in videos.jobs()] == [1]


def test_what_is_no_video_that_is_supported_fails_its_job(videos: Videos, video: bytes) -> None:
    contents = {
        "codec.mp4": draw_videos.refused_video(1),
        "text.mp4": draw_videos.TEXT,
        "empty.mp4": b"",
        "truncated.mp4": draw_videos.truncated(video),
        "container.mp4": draw_videos.draw_video([draw_videos.Shot(draw_videos.NORMAL, 1)], container="matroska"),
    }
    for key, content in contents.items():
        videos.put(content, key)
        answer = videos.get(videos.done(key=key))
        assert (answer["JobStatus"], answer["StatusMessage"]) == ("FAILED", "Unsupported codec/format."), key
        assert answer["Labels"] == []
    assert [one["minutes"] for one in videos.jobs()] == [1, 0, 0, 0, 1]
    quicktime = draw_videos.draw_video([draw_videos.Shot(draw_videos.CRACK, 1)], container="mov")
    videos.put(quicktime, "a.mov")
    assert videos.get(videos.done(key="a.mov"))["JobStatus"] == "SUCCEEDED"


def test_objects_that_cannot_be_taken(videos: Videos) -> None:
    assert code_of(lambda: videos.start(key="nothing.mp4")) == "InvalidS3ObjectException"
    assert code_of(lambda: videos.start(Video={"S3Object": {"Bucket": BUCKET}})) == "InvalidS3ObjectException"
    assert code_of(lambda: videos.start(Video={})) == "InvalidParameterException"
    videos.emulator.set(video_max_bytes=1000)
    with pytest.raises(videos.client.exceptions.VideoTooLargeException, match="maximum limit of: 1000 bytes"):
        videos.start(ClientRequestToken="abc-1")
    assert videos.jobs() == []
    videos.emulator.set(video_max_bytes=100_000)
    assert videos.get(videos.done(ClientRequestToken="abc-1"))["JobStatus"] == "SUCCEEDED"


def test_the_named_version_is_the_one_that_is_looked_at(videos: Videos) -> None:
    videos.put(draw_videos.plain_video(1, draw_videos.CRACK), "v.mp4")
    older = videos.put(draw_videos.plain_video(1, draw_videos.STAIN), "v.mp4")
    videos.put(draw_videos.plain_video(1), "v.mp4")
    jobs = [videos.start(key="v.mp4", version=older), videos.start(key="v.mp4")]
    videos.jobs()
    videos.s3.delete_object(Bucket=BUCKET, Key="v.mp4")
    found = [{one["Label"]["Name"] for one in videos.get(job)["Labels"]} for job in jobs]
    assert found == [{"Defect", "stain"}, {"normal"}]
    assert [one["version"] for one in videos.jobs()] == [older, None]


def test_results_are_kept_for_a_time_and_under_their_analysis(videos: Videos) -> None:
    job = videos.done()
    assert code_of(lambda: videos.get(job, "FaceDetection")) == "ResourceNotFoundException"
    assert code_of(lambda: videos.get("0" * 64)) == "ResourceNotFoundException"
    assert videos.get(job)["JobStatus"] == "SUCCEEDED"
    videos.emulator.set(video_results_seconds=0)
    assert code_of(lambda: videos.get(job)) == "ResourceNotFoundException"


@pytest.mark.parametrize("name", NAMES)
def test_constraints_of_the_service_model(videos: Videos, name: str) -> None:
    wrong: list[dict[str, Any]] = [
        {"ClientRequestToken": "a b"},
        {"ClientRequestToken": "a" * 65},
        {"JobTag": "é"},
        {"NotificationChannel": {"SNSTopicArn": TOPIC_ARN}},
        {"Video": {"S3Object": {"Bucket": BUCKET, "Name": "a" * 1025}}},
    ]
    for options in wrong:
        assert code_of(lambda options=options: videos.start(name, **options)) == "ValidationException", options
    for options in ({"MaxResults": 0}, {"NextToken": "a" * 256}):
        assert code_of(lambda options=options: videos.get("1", name, **options)) == "ValidationException"
    assert videos.jobs() == []


def test_a_missing_package_says_so(videos: Videos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ClientError, match=r"package av.*requirements/dev\.txt"):
        videos.start()


def test_the_committed_sample_shows_what_the_script_draws() -> None:
    """By its pictures, because other versions of PyAV write other bytes."""
    content = (REPOSITORY / "local" / "samples" / "videos" / draw_videos.SAMPLE).read_bytes()
    assert len(content) < 10_000
    assert read_details(io.BytesIO(content)).is_supported
    samples = list(look(io.BytesIO(content), 2))
    assert [at for sample in samples for at in sample.times_ms] == SAMPLE_TIMES_MS
    drawn = list(look(io.BytesIO(draw_videos.draw_video(draw_videos.SHOTS)), 2))
    assert [sample.annotation for sample in samples] == [sample.annotation for sample in drawn]
