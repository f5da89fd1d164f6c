"""examples/deployer-policy.json by itself; tests/local/test_permissions.py holds it to the calls of an apply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local import config
from tests.local import deployer
from tests.local.permissions import Call, Reference, grants

# The longest that the variables take, in a partition and a Region with long names.
LONGEST = {
    "partition": "aws-us-gov",
    "region": "us-gov-west-1",
    "account_id": "111122223333",
    "name_prefix": "a" * 27,
    "role_path": "/apps/vision/",
    "kms_key_arn": "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
}


def test_it_fits_into_a_managed_policy() -> None:
    """IAM quotas: 6,144 characters, without white space."""
    assert len(json.dumps(deployer.rendered(**LONGEST), separators=(",", ":"))) <= 6144


def test_what_passes_roles_or_makes_mappings_is_for_the_deployment_only() -> None:
    found = {each["Sid"]: each["Condition"] for each in deployer.rendered()["Statement"] if "Condition" in each}
    assert found == deployer.CONDITIONS


def test_it_reads_and_deletes_no_image() -> None:
    """Its S3 actions are on buckets, and only on those objects in them that Terraform writes: package and settings."""
    on_s3 = [grant for grant in grants(deployer.without_conditions(deployer.rendered())) if ":s3:::" in grant.resource]
    assert on_s3
    final = f"arn:aws:s3:::e2e-final-{config.ACCOUNT_ID}-{config.REGION}"
    assert {grant.resource.removeprefix(final) for grant in on_s3 if "/" in grant.resource} == {
        "/functions/*",
        "/settings/*",
    }


def test_aws_knows_each_action_and_each_resource() -> None:
    reference = Reference()
    found = [
        problem
        for grant in grants(deployer.without_conditions(deployer.rendered()))
        # The copy of the reference is older than tags of buckets; patterns are no actions of their own.
        if grant.action not in {"s3:ListTagsForResource", "s3:TagResource", "s3:UntagResource"}
        and "*" not in grant.action
        if (problem := reference.problem_of(grant))
    ]
    assert found == []


def call(operation: str, **parameters: Any) -> Call:
    return Call(0.0, "terraform", "aws", "us-east-1", "000000000000", operation, parameters, 200)


@pytest.mark.parametrize(
    ("made", "permission"),
    [
        (
            call("sqs:CreateQueue", QueueName="other-images"),
            "sqs:CreateQueue on arn:aws:sqs:us-east-1:000000000000:other-images",
        ),
        (
            call("lambda:CreateFunction", FunctionName="e2e-a", Role="arn:aws:iam::000000000000:role/admin"),
            "iam:PassRole on arn:aws:iam::000000000000:role/admin",
        ),
        (call("s3:DeleteObjects", Bucket="e2e-source-000000000000-us-east-1"), "s3:DeleteObjects"),
        (
            call("lambda:Invoke", FunctionName="e2e-analyze-images", Qualifier="$LATEST"),
            "lambda:InvokeFunction on arn:aws:lambda:us-east-1:000000000000:function:e2e-analyze-images:$LATEST",
        ),
    ],
)
def test_a_call_that_it_does_not_allow_is_refused(made: Call, permission: str) -> None:
    verdict = deployer.judge([made], deployer.without_conditions(deployer.rendered()))
    (problem,) = verdict.problems(with_unneeded=False)
    assert permission in problem
