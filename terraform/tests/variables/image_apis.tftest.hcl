# Each value of the image APIs and of an existing bucket that a variable refuses.
# The provider is mocked; see tests/mocks.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"
  backend             = "rekognition"
  rekognition         = { analyses = ["labels"] }
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
