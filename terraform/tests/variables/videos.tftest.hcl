# Each value of videos that a variable refuses, and a deployment without images.
# The provider is mocked; see tests/mocks.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"
  backend             = null
}

run "refuses_nothing_to_analyze" {
  command = plan

  expect_failures = [var.backend]
}

run "refuses_a_model_without_its_backend" {
  command = plan

  variables {
    videos      = { analyses = ["labels"] }
    rekognition = { analyses = ["labels"] }
  }

  expect_failures = [var.backend]
}

run "refuses_the_bucket_of_images_that_are_not_analyzed" {
  command = plan

  variables {
    videos             = { analyses = ["labels"] }
    images_bucket_name = "catalog-images"
  }

  expect_failures = [var.backend]
}

run "refuses_an_analysis_of_images" {
  command = plan

  variables {
    videos = { analyses = ["protective_equipment"] }
  }

  expect_failures = [var.videos]
}

run "refuses_no_analysis" {
  command = plan

  variables {
    videos = { analyses = [] }
  }

  expect_failures = [var.videos]
}

run "refuses_an_analysis_twice" {
  command = plan

  variables {
    videos = { analyses = ["text", "text"] }
  }

  expect_failures = [var.videos]
}

run "refuses_settings_of_an_analysis_that_is_not_chosen" {
  command = plan

  variables {
    videos = { analyses = ["text"], faces = { attributes = "ALL" } }
  }

  expect_failures = [var.videos]
}

run "refuses_a_confidence_over_100" {
  command = plan

  variables {
    videos = { analyses = ["text"], text = { min_confidence_percent = 101 } }
  }

  expect_failures = [var.videos]
}

run "refuses_a_filter_with_a_character_that_the_service_refuses" {
  command = plan

  variables {
    videos = { analyses = ["labels"], labels = { include = ["Nature & Outdoors"] } }
  }

  expect_failures = [var.videos]
}

run "refuses_filters_that_fill_the_environment" {
  command = plan

  variables {
    videos = { analyses = ["labels"], labels = { include = [for number in range(30) : format("%045d", number)] } }
  }

  expect_failures = [var.videos]
}

run "refuses_attributes_of_images" {
  command = plan

  variables {
    videos = { analyses = ["faces"], faces = { attributes = "SMILE" } }
  }

  expect_failures = [var.videos]
}

run "refuses_an_arn_of_a_bucket" {
  command = plan

  variables {
    videos = { analyses = ["text"], bucket_name = "arn:aws:s3:::clips" }
  }

  expect_failures = [var.videos]
}

run "refuses_the_final_bucket" {
  command = plan

  variables {
    videos = { analyses = ["text"], bucket_name = "batch-vision-final-111122223333-us-east-1" }
  }

  expect_failures = [var.videos]
}

run "refuses_the_drop_off_bucket_of_images" {
  command = plan

  variables {
    videos = { analyses = ["text"], bucket_name = "batch-vision-source-111122223333-us-east-1" }
  }

  expect_failures = [var.videos]
}

run "refuses_its_own_drop_off_bucket" {
  command = plan

  variables {
    videos = { analyses = ["text"], bucket_name = "batch-vision-videos-111122223333-us-east-1" }
  }

  expect_failures = [var.videos]
}

run "refuses_more_of_a_bucket_that_is_not_named" {
  command = plan

  variables {
    videos = { analyses = ["text"], bucket_account_id = "444455556666" }
  }

  expect_failures = [var.videos]
}

run "refuses_an_account_that_is_none" {
  command = plan

  variables {
    videos = { analyses = ["text"], bucket_name = "clips", bucket_account_id = "4444" }
  }

  expect_failures = [var.videos]
}

run "refuses_the_key_of_another_region" {
  command = plan

  variables {
    videos = { analyses = ["text"], bucket_name = "clips", bucket_kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/clips" }
  }

  expect_failures = [var.videos]
}

run "refuses_a_prefix_with_a_pattern" {
  command = plan

  variables {
    videos = { analyses = ["text"], prefix = "clips*" }
  }

  expect_failures = [var.videos]
}

run "refuses_half_a_job" {
  command = plan

  variables {
    videos = { analyses = ["text"], max_concurrent_jobs = 0.5 }
  }

  expect_failures = [var.videos]
}

run "refuses_a_day_without_minutes" {
  command = plan

  variables {
    videos = { analyses = ["text"], max_minutes_per_day = 0 }
  }

  expect_failures = [var.videos]
}

run "refuses_former_prefixes_that_never_were" {
  command = plan

  variables {
    videos          = { analyses = ["text"], bucket_name = "clips" }
    former_settings = { video_prefixes = ["/incoming/"] }
  }

  expect_failures = [var.former_settings]
}

run "refuses_more_former_prefixes_than_a_policy_holds" {
  command = plan

  variables {
    videos          = { analyses = ["text"], bucket_name = "clips" }
    former_settings = { video_prefixes = [for number in range(11) : "${number}/"] }
  }

  expect_failures = [var.former_settings]
}
