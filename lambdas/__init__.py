"""The Lambdas of batch-vision. The import path is the same in the repository, in the zip and in the tests."""
