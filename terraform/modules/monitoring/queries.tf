# Saved queries of Logs Insights, in a folder of the deployment's name. The fields are those that the functions log:
# tests/unit/test_log_queries.py holds the one to the other. All lines of an image and of a run have its run_id.
locals {
  analyze_logs  = [for name in var.analyze_function_name[*] : "/aws/lambda/${name}"]
  function_logs = [for name in var.function_names : "/aws/lambda/${name}"]

  # Those that tell of runs need runs, and those of images need images.
  queries = {
    for name, query in local.all_queries : name => query
    if name == "errors" || var.is_hosted || var.has_images && !contains(["what-happened-in-one-run", "runs", "what-the-watchdog-did"], name)
  }

  all_queries = {
    what-happened-to-one-image = {
      logs  = local.analyze_logs
      query = <<-EOT
        fields @timestamp, run_id, level, message, outcome, error_type, error, attempts, throttles, duration_ms, version_id
        | filter key = "PUT THE KEY HERE"
        | sort @timestamp asc
        | limit 1000
      EOT
    }

    what-happened-in-one-run = {
      logs  = local.function_logs
      query = <<-EOT
        fields @timestamp, level, message, status, state, images, failed, ImagesProcessed, ImagesRejected, outcome, error.message, task, @log
        | filter run_id = "PUT THE ID OF THE RUN HERE" and message != "image"
        | sort @timestamp asc
        | limit 10000
      EOT
    }

    runs = {
      logs  = [for name in var.summarize_function_name[*] : "/aws/lambda/${name}"]
      query = <<-EOT
        fields started_at, ended_at, run_id, end_reason, images_found, images_processed, images_rejected, images_left, images_stuck, retries, throttles, inference_units, start_seconds, drain_seconds, stop_seconds, model_on_seconds, cost_dollars
        | filter message = "run"
        | sort @timestamp desc
        | limit 100
      EOT
    }

    rejected-images-by-reason = {
      logs  = local.analyze_logs
      query = <<-EOT
        filter message = "image" and outcome = "rejected"
        | stats count(*) as images, latest(key) as latest_key by error_type, run_id
        | sort images desc
      EOT
    }

    throttles-and-retries-over-time = {
      logs  = local.analyze_logs
      query = <<-EOT
        filter message = "batch"
        | stats sum(DetectThrottles) as throttled, sum(DetectRetries) as retried, sum(failed) as messages_left, sum(ImagesProcessed) as processed, sum(ImagesRejected) as rejected by bin(1m)
      EOT
    }

    slowest-images = {
      logs  = local.analyze_logs
      query = <<-EOT
        fields duration_ms, attempts, throttles, outcome, key, version_id, run_id, @timestamp
        | filter message = "image"
        | sort duration_ms desc
        | limit 50
      EOT
    }

    # What is no JSON is Lambda's own: an error that a function ended with, its timeout, memory that ran out.
    errors = {
      logs  = local.function_logs
      query = <<-EOT
        fields @timestamp, @log, level, message, run_id, key, error, problem, exception_name, @message
        | filter level in ["WARNING", "ERROR", "CRITICAL"] or @message like /\[ERROR\]|Task timed out|Runtime exited/
        | sort @timestamp desc
        | limit 1000
      EOT
    }

    what-the-watchdog-did = {
      logs  = [for name in var.guard_function_name[*] : "/aws/lambda/${name}"]
      query = <<-EOT
        fields @timestamp, task, run_id, is_model_on, is_model_unowned, is_mapping_disabled, stopped_models.0, stopped_executions.0, left_on.0, refused.0
        | filter message = "guard" and (task != "tick" or ispresent(stopped_models.0) or ispresent(left_on.0) or ispresent(refused.0))
        | sort @timestamp desc
        | limit 100
      EOT
    }
  }
}

resource "aws_cloudwatch_query_definition" "this" {
  for_each = var.parts.log_queries ? local.queries : {}

  name            = "${var.name}/${each.key}"
  log_group_names = each.value.logs
  query_string    = each.value.query
}
