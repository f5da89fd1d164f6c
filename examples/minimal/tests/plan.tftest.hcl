# Plans the example with the values of terraform.tfvars.example, which the check gives to it. The provider is mocked.

mock_provider "aws" {
  source = "../../terraform/tests/mocks"
}

run "plans" {
  command = plan

  assert {
    condition     = module.batch_vision.analyze_images_function_name == "batch-vision-analyze-images"
    error_message = "The function is named ${module.batch_vision.analyze_images_function_name}."
  }
}

run "refuses_an_arn_without_a_region" {
  command = plan

  variables {
    project_version_arn = "weld-seams.2026-11-01"
  }

  # Not planned any further: there is no Region to plan for.
  expect_failures = [var.project_version_arn]
}
