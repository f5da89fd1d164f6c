# Plans the example with the values of terraform.tfvars.example, which the check gives to it. The provider is mocked.

mock_provider "aws" {
  source = "../../terraform/tests/mocks"
}

run "plans" {
  command = plan

  assert {
    condition     = output.dispatch_videos_function_name == "clips-dispatch-videos" && output.collect_videos_function_name == "clips-collect-videos" && module.batch_vision.analyze_images_function_name == null
    error_message = "The functions are ${output.dispatch_videos_function_name}, ${output.collect_videos_function_name} and ${jsonencode(module.batch_vision.analyze_images_function_name)}."
  }
}

run "plans_for_an_existing_bucket" {
  command = plan

  variables {
    bucket_name = "clips-of-others"
    prefix      = "uploads/"
  }

  assert {
    condition     = output.videos_bucket_name == "clips-of-others"
    error_message = "The videos are in ${output.videos_bucket_name}."
  }
}
