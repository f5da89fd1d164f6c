# The image APIs of Rekognition, and existing buckets: what their variables mean, and what is refused. The provider is
# mocked, so nothing is made; see tests/mocks: Region us-east-1 of account 111122223333.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"
  backend             = "rekognition"
  rekognition         = { analyses = ["labels"] }
}

run "read_example" {
  command = plan

  module {
    source = "./tests/fixtures/example"
  }

  variables {
    example = "rekognition-image-apis"
  }
}

run "example_is_planned" {
  command = plan

  variables {
    backend                = run.read_example.values.backend
    rekognition            = run.read_example.values.rekognition
    min_confidence_percent = run.read_example.values.min_confidence_percent
    name_prefix            = run.read_example.values.name_prefix
    tags                   = run.read_example.values.tags
  }

  assert {
    condition     = toset(keys(run.read_example.values)) == toset(["backend", "rekognition", "min_confidence_percent", "name_prefix", "tags"])
    error_message = "The example sets ${join(", ", keys(run.read_example.values))}: give each to this run."
  }

  assert {
    condition     = local.calls_per_second == { DetectLabels = 30, DetectModerationLabels = 30 }
    error_message = "The share of the quotas is ${jsonencode(local.calls_per_second)}."
  }
}

run "settings_without_nulls" {
  command = plan

  variables {
    rekognition = {
      analyses = ["labels", "image_properties", "text", "faces", "moderation", "celebrities", "protective_equipment"]
      labels = {
        min_confidence_percent = 55.5
        include                = ["Car"]
      }
      image_properties     = { max_dominant_colors = 5 }
      faces                = { attributes = ["AGE_RANGE", "SMILE"] }
      moderation           = { adapter_arn = "arn:aws:rekognition:us-east-1:111122223333:project/adapter/version/adapter.1/1732190000000" }
      protective_equipment = { required_equipment = ["HEAD_COVER"] }
      quotas               = { DetectProtectiveEquipment = 20 }
      quota_share_percent  = 50
    }
  }

  assert {
    condition = jsondecode(local.settings.BACKEND_SETTINGS) == {
      analyses             = ["labels", "image_properties", "text", "faces", "moderation", "celebrities", "protective_equipment"]
      labels               = { min_confidence_percent = 55.5, include = ["Car"] }
      image_properties     = { max_dominant_colors = 5 }
      faces                = { attributes = ["AGE_RANGE", "SMILE"] }
      moderation           = { adapter_arn = "arn:aws:rekognition:us-east-1:111122223333:project/adapter/version/adapter.1/1732190000000" }
      protective_equipment = { required_equipment = ["HEAD_COVER"] }
    }
    error_message = "The backend reads ${local.settings.BACKEND_SETTINGS}."
  }

  # An adapter is a resource of IAM; the other operations know none.
  assert {
    condition = jsonencode(local.detect) == jsonencode({
      DetectWithAdapter = {
        actions   = ["rekognition:DetectModerationLabels"]
        resources = ["arn:aws:rekognition:us-east-1:111122223333:project/adapter/version/adapter.1/1732190000000"]
      }
      DetectWithModel = {
        actions = [
          "rekognition:DetectLabels", "rekognition:DetectText", "rekognition:DetectFaces", "rekognition:RecognizeCelebrities",
          "rekognition:DetectProtectiveEquipment",
        ]
        resources = ["*"]
      }
    })
    error_message = "The function may ${jsonencode(local.detect)}."
  }

  # The slowest analysis takes 10 images a second: 10 at once, and as many again for what an invocation waits for.
  assert {
    condition     = local.invocations == 2 && jsondecode(local.settings.PACES).DetectFaces.most_calls_per_second == 25
    error_message = "There are ${local.invocations} invocations at once, with ${local.settings.PACES}."
  }
}

run "elsewhere_quotas_are_smaller" {
  command = plan

  variables {
    rekognition = { analyses = ["labels", "faces"], quota_share_percent = 20 }
  }

  override_data {
    override_during = plan
    target          = data.aws_region.current
    values = {
      id = "eu-central-1"
    }
  }

  # A call a second of two invocations: in half of 36 seconds, 9 images.
  assert {
    condition     = local.calls_per_second == { DetectLabels = 1, DetectFaces = 5 } && local.invocations == 2 && local.batch_size == 9
    error_message = "${jsonencode(local.calls_per_second)} calls a second, ${local.invocations} invocations of ${local.batch_size} images."
  }
}

run "a_small_account_bounds_the_invocations" {
  command = plan

  variables {
    max_concurrency = 5
    rekognition     = { analyses = ["labels"], quotas = { DetectLabels = 500 } }
  }

  assert {
    condition     = local.invocations == 5 && local.paces.DetectLabels.most_calls_per_second == 100
    error_message = "There are ${local.invocations} invocations at once."
  }
}

# Another setting, another fingerprint; another quota is the same setting.
run "fingerprint" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], quota_share_percent = 50 }
  }

  assert {
    condition     = local.settings_fingerprint == sha256(jsonencode({ backend = "rekognition", min_confidence_percent = null, settings = { analyses = ["labels"] } }))
    error_message = "The fingerprint is of ${jsonencode(local.model_of_results)}."
  }
}

run "refuses_a_bucket_of_another_region" {
  command = plan

  variables {
    images_bucket_name = "catalog-images"
  }

  override_data {
    override_during = plan
    target          = data.aws_s3_bucket.images
    values = {
      region = "eu-west-1"
    }
  }

  expect_failures = [data.aws_s3_bucket.images]
}
