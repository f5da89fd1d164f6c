# Where the module is applied when it runs on a laptop. Only this provider knows that it is not AWS.
#
# The call of the module is not here: the local commands copy these files to a folder of their own and write
# module.tf.json beside them, with whatever arguments the run or the test at hand needs.

provider "aws" {
  region     = var.region
  access_key = "test"
  secret_key = "test"

  # LocalStack has neither instance metadata nor accounts to ask, and takes any key.
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true

  default_tags {
    tags = var.default_tags
  }

  # A bucket is found by its path: the names of virtual hosts do not resolve on a laptop without network.
  s3_use_path_style = true

  # Where LocalStack answers is in AWS_ENDPOINT_URL, which the local commands set, and build/local/env too: the provider
  # looks at an `endpoints` block for three seconds of processor time at each plan and each apply.
}
