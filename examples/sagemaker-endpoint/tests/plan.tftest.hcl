# Plans the example with the values of terraform.tfvars.example, which the check gives to it. The provider is mocked.

mock_provider "aws" {
  source = "../../terraform/tests/mocks"
}

run "plans" {
  command = plan

  assert {
    condition     = module.batch_vision.analyze_images_function_name == "weld-seams-analyze-images"
    error_message = "The function is named ${module.batch_vision.analyze_images_function_name}."
  }
}
