output "alarms" {
  description = "What is set on the alarms, by their names without prefix, for the tests of the whole module"
  value = {
    for name, alarm in aws_cloudwatch_metric_alarm.this : name => {
      description = alarm.alarm_description
      metric      = try("${alarm.namespace} ${alarm.metric_name}", "BatchVision ${local.alarms[name].expression}")
      dimensions  = alarm.dimensions
      threshold   = alarm.threshold
      seconds     = coalesce(alarm.period, 3600) * alarm.evaluation_periods
      missing     = alarm.treat_missing_data
      actions     = alarm.alarm_actions
      tags        = alarm.tags
    }
  }
}

output "dashboard" {
  description = "The body of the dashboard, null without one, for the tests of the whole module"
  value       = one([for dashboard in aws_cloudwatch_dashboard.this : jsondecode(dashboard.dashboard_body)])
}

output "queries" {
  description = "Log groups and text of the saved queries, by their names, for the tests of the whole module"
  value = {
    for query in aws_cloudwatch_query_definition.this : query.name => { logs = query.log_group_names, query = query.query_string }
  }
}
