"""What to do when a run ends badly, by the name that it ends with. docs/operations.md has the same, with more words."""

from __future__ import annotations

# The first sentence is what to do. FUNCTION stands for the name of the analyzing function.
REMEDIES = {
    "AccessDeniedError": (
        "Give the role that the message names the permission it lacks (apply the module again if somebody changed it)."
        " Nothing is lost; the next run goes on."
    ),
    "BackendChangedError": (
        "Nothing to do: an apply changed the model during the run, and the next run analyzes the rest with the new one."
        " To have it at once: batch-vision run --watch"
    ),
    "DrainTimeoutError": (
        "Go on with the images that are left: batch-vision run --watch."
        " If runs do not keep up, raise max_inference_units, or timings.drain_timeout_seconds."
    ),
    "MappingError": (
        "Look at the State and LastProcessingResult of the event source mapping"
        " (aws lambda get-event-source-mapping --uuid …), then: batch-vision run --watch"
    ),
    "MappingNotDisabledError": (
        "Disable the event source mapping by hand: batch-vision stop. It did not become Disabled; the model is stopped."
    ),
    "MappingNotEnabledError": (
        "Look at the State and LastProcessingResult of the event source mapping"
        " (aws lambda get-event-source-mapping --uuid …), then: batch-vision run --watch"
    ),
    "MappingNotFoundError": (
        "Make the event source mapping again, which somebody deleted: terraform apply. The images wait;"
        " the model was stopped all the same."
    ),
    "ModelError": "See what the model service says in the message, then look again: batch-vision status",
    "ModelFailedError": (
        "Look at the model in the console of its service; when it can be started there, start a run:"
        " batch-vision run --watch. The service, not the stack, made it fail."
    ),
    "ModelNotFoundError": (
        "Put a model that exists in the Region of the stack into your tfvars (of Custom Labels its ARNs, of SageMaker"
        " its name), and apply. The images wait."
    ),
    "ModelNotTrainedError": "Train the model, or put one that is trained into your tfvars and apply. The images wait.",
    "ModelQuotaError": (
        "Stop another model of this account, or ask AWS for a higher quota of running models or inference units (of"
        " SageMaker: of the instance type for endpoint usage), or lower min_inference_units; then: batch-vision run"
        " --watch"
    ),
    "ModelStartTimeoutError": (
        "Check that the model is off (batch-vision status), then try again: batch-vision run --watch."
        " If the model needs longer to start, raise timings.start_timeout_seconds."
    ),
    "ModelStopTimeoutError": (
        "Stop the model now, because it may be costing money: batch-vision stop."
        " If that does not end well either, stop it in the console of its service."
    ),
    "ModelStoppedError": (
        "Nothing to do if it was you: the images that are left wait for the next run, or for batch-vision run --watch"
    ),
    "ModelUnavailableError": "Put a model that is not expired or deleted into your tfvars and apply. The images wait.",
    "NoProgressError": (
        "See what failed (aws logs tail /aws/lambda/FUNCTION --since 1d --filter-pattern WARNING), mend it, then:"
        " batch-vision run --watch. Nothing is lost."
    ),
    "RequestRefusedError": (
        "See what AWS says in the message, mend that, then: batch-vision run --watch. The images wait."
    ),
    "ServiceUnavailableError": "Try again: batch-vision run --watch. A service did not answer for some minutes.",
    "SettingsError": (
        "Apply the module again: a function's environment is wrong. If the message names a variable of yours, mend that"
        " first."
    ),
    "ThrottledError": (
        "Try again: batch-vision run --watch. If it comes back, look for what else in this account calls the service"
        " so often."
    ),
}

TIMED_OUT = (
    "Make sure that everything is off: batch-vision stop. The run reached the sum of all its bounds without ending by"
    " itself, so it did not clean up."
)
OTHER = (
    "Check that the model is off (batch-vision status), and try again: batch-vision run --watch."
    " The error is one of AWS, not of batch-vision: its message says more."
)


def remedy(error_type: str, function_name: str) -> str:
    """Say what to do about a run that ended with an error."""
    return REMEDIES.get(error_type, OTHER).replace("FUNCTION", function_name)
