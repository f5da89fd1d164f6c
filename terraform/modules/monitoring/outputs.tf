output "alarms" {
  description = "What is set on the alarms, by their names without prefix, for the tests of the whole module"
  value = {
    for name, alarm in aws_cloudwatch_metric_alarm.this : name => {
      description = alarm.alarm_description
      metric      = "${alarm.namespace} ${alarm.metric_name}"
      dimensions  = alarm.dimensions
      threshold   = alarm.threshold
      actions     = alarm.alarm_actions
      tags        = alarm.tags
    }
  }
}
