# Images that are converted for the model: which functions are told so, and which zip they have. The provider is mocked, so
# nothing is made; see tests/mocks.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  lambda_package_path     = "tests/fixtures/package.zip"
  converting_package_path = "tests/fixtures/converting-package.zip"
  convert_images          = true
}

run "nothing_more_without_it" {
  command = plan

  variables {
    convert_images          = false
    converting_package_path = "tests/fixtures/missing.zip"
    images_bucket_name      = "catalog-images"
    backend                 = "rekognition"
    rekognition             = { analyses = ["labels"] }
  }

  assert {
    condition     = length(aws_s3_object.converting_package) == 0 && toset(values(module.function)[*].settings.package_key) == toset([aws_s3_object.package.key])
    error_message = "The functions have ${jsonencode({ for name, function in module.function : name => function.settings.package_key })}."
  }

  assert {
    condition = { for name, told in local.function_environments : name => told.CONVERT_IMAGES if can(told.CONVERT_IMAGES) } == {
      analyze_images = "false"
      work_off_chunk = "false"
    }
    error_message = "The functions are told ${jsonencode(local.function_environments)}."
  }

  assert {
    condition     = local.settings.IMAGE_SUFFIXES == jsonencode([".jpg", ".jpeg", ".png"])
    error_message = "Images are ${local.settings.IMAGE_SUFFIXES}."
  }
}

run "managed_existing" {
  command = plan

  variables {
    images_bucket_name = "catalog-images"
    backend            = "rekognition"
    rekognition        = { analyses = ["labels"] }
  }

  assert {
    condition     = aws_s3_object.package.key == "functions/${filesha256("tests/fixtures/package.zip")}.zip" && aws_s3_object.converting_package[0].key == "functions/${filesha256("tests/fixtures/converting-package.zip")}-converting.zip"
    error_message = "The zips are ${aws_s3_object.package.key} and ${aws_s3_object.converting_package[0].key}."
  }

  assert {
    condition     = aws_s3_object.converting_package[0].source == "tests/fixtures/converting-package.zip" && local.packages.update_results.sha256_base64 == filebase64sha256("tests/fixtures/converting-package.zip")
    error_message = "The zip is ${aws_s3_object.converting_package[0].source}."
  }

  assert {
    condition = { for name, function in module.function : name => function.settings.package_key } == {
      analyze_images  = aws_s3_object.converting_package[0].key
      compact_catalog = aws_s3_object.package.key
      count_backfill  = aws_s3_object.package.key
      plan_backfill   = aws_s3_object.package.key
      work_off_chunk  = aws_s3_object.converting_package[0].key
    }
    error_message = "The functions have ${jsonencode({ for name, function in module.function : name => function.settings.package_key })}."
  }

  assert {
    condition = { for name, told in local.function_environments : name => told.CONVERT_IMAGES if can(told.CONVERT_IMAGES) } == {
      analyze_images = "true"
      work_off_chunk = "true"
    }
    error_message = "The functions are told ${jsonencode(local.function_environments)}."
  }

  # Whoever looks at a key, for the model or not.
  assert {
    condition     = toset([for told in local.function_environments : told.IMAGE_SUFFIXES if can(told.IMAGE_SUFFIXES)]) == toset([jsonencode([".jpg", ".jpeg", ".png", ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jp2", ".tif", ".tiff", ".webp"])])
    error_message = "Images are ${local.settings.IMAGE_SUFFIXES}."
  }
}

run "hosted_existing" {
  command = plan

  variables {
    images_bucket_name = "catalog-images"
    image_suffixes     = [".HEIC"]

    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  assert {
    condition     = [for name, function in module.function : name if function.settings.package_key != aws_s3_object.package.key] == ["analyze_images"] && module.function["analyze_images"].settings.package_key == aws_s3_object.converting_package[0].key
    error_message = "The functions have ${jsonencode({ for name, function in module.function : name => function.settings.package_key })}."
  }

  assert {
    condition     = toset(values(module.mapping_function)[*].settings.package_key) == toset([aws_s3_object.package.key]) && module.guard_function[0].settings.package_key == aws_s3_object.package.key
    error_message = "The functions of runs have ${jsonencode(values(module.mapping_function)[*].settings.package_key)}."
  }

  assert {
    condition     = local.function_environments.collect_changes.IMAGE_SUFFIXES == jsonencode([".heic"])
    error_message = "Images are ${local.function_environments.collect_changes.IMAGE_SUFFIXES}, whatever image_suffixes says."
  }
}

# Both zips may be one file; each has an object of its own.
run "hosted_drop_off_with_one_file" {
  command = plan

  variables {
    converting_package_path = "tests/fixtures/package.zip"

    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  assert {
    condition     = [for name, function in module.function : name if function.settings.package_key != aws_s3_object.package.key] == ["analyze_images"]
    error_message = "The functions have ${jsonencode({ for name, function in module.function : name => function.settings.package_key })}."
  }
}

run "videos_alone_need_none" {
  command = plan

  variables {
    backend = null
    videos  = { analyses = ["text"] }
  }

  assert {
    condition     = length(aws_s3_object.converting_package) == 0 && toset(values(module.function)[*].settings.package_key) == toset([aws_s3_object.package.key])
    error_message = "A zip is there that no function has."
  }
}
