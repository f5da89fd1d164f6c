# The image APIs of Rekognition, and existing buckets: what their variables mean, and what is refused. The provider is
# mocked, so nothing is made; see tests/mocks: Region us-east-1 of account 111122223333.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"
  backend             = "rekognition"
  rekognition         = { analyses = ["labels"] }
}

run "read_example" {
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

run "refuses_a_filter_with_a_character_that_the_service_refuses" {
  command = plan

  variables {
    max_concurrency = 5

    rekognition = {
      analyses = ["labels", "image_properties", "text", "faces", "moderation", "celebrities", "protective_equipment"]
      labels = {
        min_confidence_percent = 55.5
        max_labels             = 10
        include                = ["Car"]
        exclude                = ["Person"]
        include_categories     = ["Vehicles and Automotive"]
        exclude_categories     = ["Nature & Outdoors"]
      }
      image_properties     = { max_dominant_colors = 5 }
      text                 = { min_confidence_percent = 0 }
      faces                = { attributes = ["AGE_RANGE", "SMILE"] }
      moderation           = { min_confidence_percent = 100, adapter_arn = "arn:aws:rekognition:us-east-1:111122223333:project/adapter/version/adapter.1/1732190000000" }
      protective_equipment = { required_equipment = ["HEAD_COVER"], min_confidence_percent = 80 }
      quotas               = { DetectProtectiveEquipment = 8 }
      quota_share_percent  = 50
    }
  }

  expect_failures = [var.rekognition]
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
    target = data.aws_region.current
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

run "refuses_an_analysis_that_does_not_exist" {
  command = plan

  variables {
    rekognition = { analyses = ["labels", "colours"] }
  }

  expect_failures = [var.rekognition]
}

run "refuses_no_analysis" {
  command = plan

  variables {
    rekognition = { analyses = [] }
  }

  expect_failures = [var.rekognition]
}

run "refuses_an_analysis_twice" {
  command = plan

  variables {
    rekognition = { analyses = ["text", "text"] }
  }

  expect_failures = [var.rekognition]
}

run "refuses_settings_of_an_analysis_that_is_not_chosen" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], faces = { attributes = ["ALL"] } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_a_confidence_over_100" {
  command = plan

  variables {
    rekognition = { analyses = ["text"], text = { min_confidence_percent = 101 } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_half_a_label" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], labels = { max_labels = 0.5 } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_more_than_100_filters" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], labels = { exclude = [for number in range(101) : "n${number}"] } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_a_long_filter" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], labels = { include_categories = [format("%051d", 0)] } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_filters_that_fill_the_environment" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], labels = { include = [for number in range(100) : format("%050d", number)] } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_21_colors" {
  command = plan

  variables {
    rekognition = { analyses = ["image_properties"], image_properties = { max_dominant_colors = 21 } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_unknown_face_attributes" {
  command = plan

  variables {
    rekognition = { analyses = ["faces"], faces = { attributes = ["AGE"] } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_unknown_equipment" {
  command = plan

  variables {
    rekognition = { analyses = ["protective_equipment"], protective_equipment = { required_equipment = ["HELMET"] } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_an_adapter_that_is_a_project" {
  command = plan

  variables {
    rekognition = { analyses = ["moderation"], moderation = { adapter_arn = "arn:aws:rekognition:us-east-1:111122223333:project/adapter/1732190000000" } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_the_adapter_of_another_account" {
  command = plan

  variables {
    rekognition = { analyses = ["moderation"], moderation = { adapter_arn = "arn:aws:rekognition:us-east-1:444455556666:project/adapter/version/adapter.1/1732190000000" } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_the_adapter_of_another_region" {
  command = plan

  variables {
    rekognition = { analyses = ["moderation"], moderation = { adapter_arn = "arn:aws:rekognition:us-west-2:111122223333:project/adapter/version/adapter.1/1732190000000" } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_an_adapter_without_moderation" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], moderation = { adapter_arn = "arn:aws:rekognition:us-east-1:111122223333:project/adapter/version/adapter.1/1732190000000" } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_the_quota_of_an_analysis" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], quotas = { labels = 100 } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_a_quota_of_nothing" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], quotas = { DetectText = 0 } }
  }

  expect_failures = [var.rekognition]
}

run "refuses_a_share_of_more_than_all" {
  command = plan

  variables {
    rekognition = { analyses = ["labels"], quota_share_percent = 101 }
  }

  expect_failures = [var.rekognition]
}

run "refuses_a_share_that_an_image_does_not_fit_into" {
  command = plan

  variables {
    rekognition = { analyses = ["protective_equipment"], quota_share_percent = 2 }
  }

  expect_failures = [var.rekognition]
}

# ---------------------------------------------------------------------------------------------------------------------
# Existing buckets
# ---------------------------------------------------------------------------------------------------------------------

run "refuses_the_final_bucket" {
  command = plan

  variables {
    images_bucket_name = "batch-vision-final-111122223333-us-east-1"
  }

  expect_failures = [var.images_bucket_name]
}

run "refuses_its_own_drop_off_bucket" {
  command = plan

  variables {
    images_bucket_name = "batch-vision-source-111122223333-us-east-1"
  }

  expect_failures = [var.images_bucket_name]
}

run "refuses_an_arn" {
  command = plan

  variables {
    images_bucket_name = "arn:aws:s3:::catalog-images"
  }

  expect_failures = [var.images_bucket_name]
}

run "refuses_a_bucket_of_another_region" {
  command = plan

  variables {
    images_bucket_name = "catalog-images"
  }

  override_data {
    target = data.aws_s3_bucket.images
    values = {
      region = "eu-west-1"
    }
  }

  expect_failures = [data.aws_s3_bucket.images]
}

run "refuses_more_of_a_bucket_that_is_not_named" {
  command = plan

  variables {
    images_bucket = { account_id = "444455556666" }
  }

  expect_failures = [var.images_bucket]
}

run "refuses_an_account_and_a_key_that_are_none" {
  command = plan

  variables {
    images_bucket_name = "catalog-images"
    images_bucket      = { account_id = "4444-5555-6666", kms_key_arn = "arn:aws:kms:us-east-1:111122223333:alias/images" }
  }

  expect_failures = [var.images_bucket]
}

run "refuses_the_key_of_another_region" {
  command = plan

  variables {
    images_bucket_name = "catalog-images"
    images_bucket      = { kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/images" }
  }

  expect_failures = [var.images_bucket]
}

run "refuses_an_empty_suffix_and_no_history" {
  command = plan

  variables {
    images_bucket_name  = "catalog-images"
    image_suffixes      = [".jpg", ""]
    result_history_days = 0
  }

  expect_failures = [var.image_suffixes, var.result_history_days]
}
