"""The judge of the roles' policies, on recordings made by hand."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from local import config
from tests.local import permissions
from tests.local.permissions import Demand, Grant, Permission, Policies, Recording

ROLE = "arn:aws:iam::000000000000:role/path/p-requeue-us-east-1"
NAME = "p-requeue-us-east-1"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:p-images"


def statement(sid: str, actions: str | list[str], resources: str | list[str], effect: str = "Allow") -> dict[str, Any]:
    return {"Sid": sid, "Effect": effect, "Action": actions, "Resource": resources}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


SEND = statement("Send", "sqs:SendMessage", QUEUE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recorded-calls.jsonl"


def record(file: Path, at: float, key: str = "LSIA1", **entry: Any) -> None:
    with file.open("a") as output:
        output.write(json.dumps({"at": at, "access_key_id": key} | entry) + "\n")


def call(file: Path, at: float, operation: str = "sqs:SendMessageBatch", status: int = 200, **parameters: Any) -> None:
    service, _, name = operation.partition(":")
    if service == "sqs":
        parameters.setdefault("QueueUrl", "http://127.0.0.1:4566/000000000000/p-images")
    entry = {"service": service, "operation": name, "region": "us-east-1", "account_id": "000000000000"}
    record(file, at, **entry, parameters=parameters, status=status)


def put(file: Path, at: float, document: str) -> None:
    asked = {"RoleName": NAME, "PolicyName": "p", "PolicyDocument": document}
    record(file, at, key="test", service="iam", operation="PutRolePolicy", parameters=asked, status=200)


def assume(file: Path, at: float) -> None:
    record(file, at, assumed_role_arn=ROLE, principal="lambda")


def problems(file: Path, *demands: Demand, **options: Any) -> list[str]:
    (verdict,) = permissions.judge(Recording.read(file), [NAME], demands, **options)
    return verdict.problems()


def test_what_is_called_is_allowed_and_needed(file: Path) -> None:
    put(file, 1, policy(SEND))
    assume(file, 2)
    call(file, 3)
    assert problems(file) == []
    recording = Recording.read(file)
    assert recording.principals == {NAME: {"lambda"}}
    text = permissions.table(permissions.judge(recording, [NAME]))
    assert f"| {NAME} | Send | sqs:SendMessage | {QUEUE} | SendMessageBatch 1x |" in text


def test_what_is_missing_and_what_is_too_much(file: Path) -> None:
    put(file, 1, policy(statement("List", ["s3:ListBucket"], ["arn:aws:s3:::p-source"])))
    assume(file, 2)
    call(file, 3)
    assert problems(file) == [
        f"{NAME} may not sqs:SendMessage on {QUEUE}, needed by SendMessageBatch",
        f"{NAME} may s3:ListBucket on arn:aws:s3:::p-source (List), which nothing needs",
    ]


def test_what_stands_twice_is_found(file: Path) -> None:
    put(file, 1, policy(SEND, statement("SendAll", "sqs:SendMessage", "arn:aws:sqs:us-east-1:000000000000:*")))
    assume(file, 2)
    call(file, 3)
    assert problems(file) == [f"{NAME} may sqs:SendMessage on {QUEUE} (Send) by another statement too"]


def test_a_role_without_a_policy_may_nothing(file: Path) -> None:
    assume(file, 2)
    call(file, 3)
    assert len(problems(file)) == 1


def test_a_denial_counts(file: Path) -> None:
    put(file, 1, policy(SEND, statement("No", "sqs:*", "*", "Deny")))
    assume(file, 2)
    call(file, 3)
    assert problems(file)[0].startswith(f"{NAME} may not sqs:SendMessage")


def test_the_policy_of_the_moment_counts_and_its_neighbour_while_it_settles(file: Path) -> None:
    put(file, 1, policy(statement("Receive", "sqs:ReceiveMessage", QUEUE)))
    assume(file, 2)
    call(file, 95)
    put(file, 100, policy(SEND))
    call(file, 105, "sqs:ReceiveMessage")
    assert len(problems(file)) == 4
    assert problems(file, settling_seconds=10) == []
    assert len(problems(file, settling_seconds=4)) == 4


def test_a_demand_is_a_need(file: Path) -> None:
    put(file, 1, policy(SEND))
    assert problems(file, Demand("p-requeue-*", Permission("sqs:SendMessage", QUEUE), "because")) == []
    assert len(problems(file, Demand("p-other-*", Permission("sqs:SendMessage", QUEUE), "because"))) == 1


def test_an_image_api_is_asked_for_on_everything_but_an_adapter(file: Path) -> None:
    """And S3 only for an image that it reads there."""
    put(file, 1, policy(SEND))
    assume(file, 2)
    image = {"S3Object": {"Bucket": "b", "Name": "a.jpg", "Version": "1"}}
    call(file, 3, "rekognition:DetectText", Image=image)
    call(file, 4, "rekognition:DetectModerationLabels", Image=image, ProjectVersion=config.ADAPTER_ARN)
    call(file, 5, "rekognition:DetectFaces", Image={"Bytes": ""})
    needed = {permission for one in Recording.read(file).calls for permission in permissions.required(one)}
    assert needed == {
        Permission("rekognition:DetectText", "*"),
        Permission("rekognition:DetectFaces", "*"),
        Permission("rekognition:DetectModerationLabels", config.ADAPTER_ARN),
        Permission("s3:GetObject", "arn:aws:s3:::b/a.jpg"),
        Permission("s3:GetObjectVersion", "arn:aws:s3:::b/a.jpg"),
    }
    assert permissions.required(Recording.read(file).calls[-1]) == {Permission("rekognition:DetectFaces", "*")}


def test_a_job_of_a_video_reads_it_and_passes_the_role_that_tells_of_its_end(file: Path) -> None:
    put(file, 1, policy(SEND))
    assume(file, 2)
    video = {"S3Object": {"Bucket": "b", "Name": "a.mp4", "Version": "1"}}
    role_arn = "arn:aws:iam::000000000000:role/tell"
    channel = {"SNSTopicArn": "arn:aws:sns:us-east-1:000000000000:jobs", "RoleArn": role_arn}
    call(file, 3, "rekognition:StartFaceDetection", Video=video, NotificationChannel=channel)
    call(file, 4, "rekognition:StartTextDetection", Video=video)
    call(file, 5, "rekognition:GetFaceDetection", JobId="1")
    started, silent, asked = (permissions.required(one) for one in Recording.read(file).calls)
    read = {Permission(f"s3:{name}", "arn:aws:s3:::b/a.mp4") for name in ("GetObject", "GetObjectVersion")}
    passed = Permission("iam:PassRole", role_arn)
    assert started == {Permission("rekognition:StartFaceDetection", "*"), passed} | read
    assert silent == {Permission("rekognition:StartTextDetection", "*")} | read
    assert asked == {Permission("rekognition:GetFaceDetection", "*")}
    reference = permissions.Reference()
    for one in started | silent | asked:
        assert reference.problem_of(Grant("S", one.action, one.resource)) is None


def test_an_unknown_operation_is_not_passed_over(file: Path) -> None:
    put(file, 1, policy(SEND))
    assume(file, 2)
    call(file, 3, "sqs:TagQueue")
    with pytest.raises(permissions.PermissionsError, match="sqs:TagQueue"):
        problems(file)


def test_a_customer_key_is_asked_for_where_there_is_one(file: Path) -> None:
    key = "arn:aws:kms:us-east-1:000000000000:key/1"
    put(file, 1, policy(SEND))
    assume(file, 2)
    call(file, 3)
    missing = [f"{NAME} may not kms:{action} on {key}" for action in ("Decrypt", "GenerateDataKey")]
    assert [problem.partition(",")[0] for problem in problems(file, kms_key_arn=key)] == missing


def needed(file: Path, operation: str, status: int = 200, **parameters: Any) -> set[str]:
    assume(file, 1)
    call(file, 2, operation, status, **parameters)
    (found,) = Recording.read(file).calls
    arns = {"arn:aws:s3:::b": "bucket", "arn:aws:s3:::b/a key/é.png": "object", "arn:aws:s3:::f/x": "copy"}
    return {
        f"{permission.action.partition(':')[2]} {arns[permission.resource]}"
        for permission in permissions.required(found)
    }


def test_reading_a_version_is_an_action_of_its_own(file: Path) -> None:
    assert needed(file, "s3:GetObject", Bucket="b", Key="a key/é.png", VersionId="1") == {"GetObjectVersion object"}


def test_reading_the_current_version(file: Path) -> None:
    assert needed(file, "s3:GetObject", Bucket="b", Key="a key/é.png") == {"GetObject object"}


def test_a_missing_object_is_told_only_to_whoever_may_list(file: Path) -> None:
    found = needed(file, "s3:HeadObject", 404, Bucket="b", Key="a key/é.png", VersionId="1")
    assert found == {"GetObjectVersion object", "GetObject object", "ListBucket bucket", "ListBucketVersions bucket"}


def test_a_copy_reads_writes_and_takes_tags_along(file: Path) -> None:
    source = "b/a%20key/%C3%A9.png?versionId=1"
    assert needed(file, "s3:CopyObject", Bucket="f", Key="x", CopySource=source) == {
        "GetObjectVersion object",
        "GetObjectVersionTagging object",
        "GetObjectTagging object",
        "PutObject copy",
        "PutObjectTagging copy",
    }


def test_replacing_under_a_condition_reads(file: Path) -> None:
    assert needed(file, "s3:PutObject", Bucket="f", Key="x", IfMatch='"e"') == {"PutObject copy", "GetObject copy"}


def test_the_evaluator_evaluates_as_iam_does() -> None:
    read = statement("Read", ["s3:GetObject"], ["arn:aws:s3:::a.b/x/*"])
    deny = statement("No", "s3:*", "arn:aws:s3:::a.b/x/secret*", "Deny")

    def may(action: str, resource: str, *statements: dict[str, Any]) -> bool:
        policies: Policies = {"p": policy(*statements)}
        return permissions.is_allowed(policies, Permission(action, resource))

    assert may("s3:GetObject", "arn:aws:s3:::a.b/x/y z/é (1)+.png", read)
    assert may("s3:GetObject", "arn:aws:s3:::a.b/x/two\nlines.png", read)
    assert not may("s3:GetObject", "arn:aws:s3:::aXb/x/y", read)
    assert not may("s3:GetObject", "arn:aws:s3:::a.b/X/y", read)
    assert not may("s3:GetObjectVersion", "arn:aws:s3:::a.b/x/y", read)
    assert not may("s3:GetObject", "arn:aws:s3:::a.b/x", read)
    assert may("s3:GetObject", "arn:aws:s3:::a.b/x/y", read, deny)
    assert not may("s3:GetObject", "arn:aws:s3:::a.b/x/secret.png", read, deny)


def test_a_question_mark_is_one_character_and_the_service_of_a_role_is_known() -> None:
    endpoint = SEND | {"Action": "sagemaker:DeleteEndpoint", "Resource": "arn:aws:sagemaker:r:1:endpoint/p-????"}
    policies: Policies = {"p": policy(endpoint)}
    for name, is_allowed in (("p-0123", True), ("p-01234", False), ("p-012", False), ("pX0123", False)):
        permission = Permission("sagemaker:DeleteEndpoint", f"arn:aws:sagemaker:r:1:endpoint/{name}")
        assert permissions.is_allowed(policies, permission) == is_allowed, name
    passing = {"Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/r"}
    for service in ("rekognition", "sagemaker"):
        told = {"Condition": {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}}}
        assert [grant.action for grant in permissions.grants({"p": policy(SEND | passing | told)})] == ["iam:PassRole"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"Condition": {}}, "Condition"),
        ({"Resource": []}, "wants"),
        ({"NotAction": "s3:*"}, "NotAction"),
        ({"Action": "iam:PassRole", "Condition": {"StringEquals": {"iam:PassedToService": "x"}}}, "Condition"),
        ({"Resource": "a$"}, "wildcards"),
    ],
)
def test_what_moto_does_not_evaluate_is_not_passed_over(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(permissions.PermissionsError, match=named):
        permissions.grants({"p": policy(SEND | changed)})


@pytest.mark.parametrize(
    ("action", "resource", "named"),
    [
        ("sqs:SendMessages", QUEUE, "no action"),
        ("sqs:SendMessage", "*", "knows resources: queue"),
        ("s3:GetObject", "arn:aws:s3:::bucket", "none of which"),
        ("rekognition:DescribeProjectVersions", "arn:aws:rekognition:us-east-1:1:collection/c", "none of which"),
        ("logs:CreateLogDelivery", "*", None),
        ("sqs:SendMessage", QUEUE, None),
        ("s3:GetObject", "arn:aws:s3:::bucket/processed/*", None),
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:1:log-group:/aws/lambda/f:*", None),
        ("rekognition:StopProjectVersion", "arn:aws:rekognition:us-east-1:1:project/*", None),
    ],
)
def test_the_reference_knows_actions_and_their_resources(action: str, resource: str, named: str | None) -> None:
    problem = permissions.Reference().problem_of(Grant("S", action, resource))
    assert problem is None if named is None else problem is not None and named in problem


def test_a_statement_on_all_resources_says_why() -> None:
    """In Terraform, right above it: what AWS knows of the actions is for the test above to say."""
    found = 0
    for path in (config.REPOSITORY / "terraform").rglob("*.tf"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.match(r"\s*resources\s*=\s*\[\s*\"\*\"", line):
                begin = max(n for n in range(number) if re.match(r"\s*(statement|\w+ =) \{", lines[n]))
                comment = itertools.takewhile(lambda text: text.lstrip().startswith("#"), reversed(lines[:begin]))
                assert any("All resources: " in text for text in comment), f"{path}:{number + 1}: say why"
                found += 1
    assert found == 5
