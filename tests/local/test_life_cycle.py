"""What `terraform destroy` does to a bucket that holds images."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from local.terraform import MODULE, ROOT, Terraform
from tests.local.conftest import LocalStackEndpoint

pytestmark = pytest.mark.local

NAME = "life-cycle-images"


def test_a_bucket_that_holds_images_outlives_a_destroy(localstack: LocalStackEndpoint, tmp_path: Path) -> None:
    for name in ("provider.tf", "variables.tf", "versions.tf", ".terraform.lock.hcl"):
        shutil.copy2(ROOT / name, tmp_path / name)
    part = {
        "source": os.path.relpath(MODULE / "modules" / "storage", tmp_path),
        "name": NAME,
        "force_destroy": False,  # the module's own default
        "kms_key_arn": None,
        "noncurrent_version_retention_days": 365,
        "noncurrent_days_by_prefix": {},
        "current_days_by_prefix": {},
        "tags": {},
    }
    (tmp_path / "main.tf.json").write_text(json.dumps({"module": {"bucket": part}}))
    terraform = Terraform(tmp_path)
    terraform.init()
    # The bucket and its versions, without the rest of the part: the provider waits a minute for that.
    terraform.apply(options=["-target=module.bucket.aws_s3_bucket_versioning.this"])
    s3 = localstack.client("s3")
    s3.put_object(Bucket=NAME, Key="flange.png", Body=b"an image")
    s3.put_object(Bucket=NAME, Key="flange.png", Body=b"a newer one")

    finished = terraform.run("destroy", "-auto-approve", "-input=false", "-no-color")

    assert finished.returncode != 0
    assert "BucketNotEmpty" in finished.stdout + finished.stderr
    assert len(s3.list_object_versions(Bucket=NAME)["Versions"]) == 2
    assert s3.get_object(Bucket=NAME, Key="flange.png")["Body"].read() == b"a newer one"
