# The model services that this module can drive: one entry each. Nothing else in Terraform knows which there are.
#
# An entry is null until the variable of the same name is set. Otherwise it says
#   settings   what the Python backend of that name reads: texts, handed to every function as BACKEND_SETTINGS
#   detect     the permission to ask the model about an image
#   describe   the permission to read the state of the model
#   start      the permission to start it
#   stop       the permission to stop it

locals {
  backends = {
    rekognition_custom_labels = var.rekognition_custom_labels == null ? null : {
      settings = tomap({
        project_arn         = var.rekognition_custom_labels.project_arn
        project_version_arn = var.rekognition_custom_labels.project_version_arn
      })
      detect = {
        actions   = ["rekognition:DetectCustomLabels"]
        resources = [var.rekognition_custom_labels.project_version_arn]
      }
      # Versions are described through their project: IAM knows this action on project ARNs only.
      describe = {
        actions   = ["rekognition:DescribeProjectVersions"]
        resources = [var.rekognition_custom_labels.project_arn]
      }
      start = {
        actions   = ["rekognition:StartProjectVersion"]
        resources = [var.rekognition_custom_labels.project_version_arn]
      }
      stop = {
        actions   = ["rekognition:StopProjectVersion"]
        resources = [var.rekognition_custom_labels.project_version_arn]
      }
    }
  }

  backend = local.backends[var.backend]
}
