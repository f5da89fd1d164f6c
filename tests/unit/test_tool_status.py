from __future__ import annotations

import json

import pytest

from tests.unit.tool_stack import FINAL, NAME, SOURCE, SUMMARY, Deployed


def problems(deployed: Deployed) -> list[str]:
    result = deployed.call("status", "--json")
    found = [entry["problem"] for entry in json.loads(result.stdout)["problems"]]
    assert result.exit_code == (1 if found else 0)
    return found


def test_an_idle_stack_is_well(deployed: Deployed) -> None:
    result = deployed.call("status")
    assert result.exit_code == 0, result.output
    for text in (NAME, "TRAINING_COMPLETED", "Disabled", "rate(1 hour)", "0 images", "none yet", "all is well"):
        assert text in result.stdout, result.output


def test_everything_is_in_the_document(deployed: Deployed) -> None:
    deployed.put("a.png")
    deployed.sqs.send_message(QueueUrl=deployed.queue_url, MessageBody="m")
    found = deployed.json("status")
    assert found["model"]["state"] == "stopped"
    assert found["mapping"] == {"uuid": deployed.mapping_uuid, "state": "Disabled"}
    assert found["schedule"] == {"rule": f"{NAME}-schedule", "expression": "rate(1 hour)", "is_enabled": True}
    assert found["messages"] == {"visible": 1, "in_flight": 0, "delayed": 0}
    assert (found["dead_letters"], found["waiting"]) == (0, {"images": 1, "is_at_least": False})
    assert (found["runs"], found["problems"]) == ([], [])


def test_only_what_is_under_the_source_prefix_waits(deployed: Deployed) -> None:
    deployed.configure(SOURCE_PREFIXES='["in/"]')
    deployed.put("elsewhere.png")
    deployed.put("in/a.png")
    assert deployed.json("status")["waiting"]["images"] == 1


def test_many_objects_are_counted_so_far_only(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_vision.operator.backlog._MOST", 1000)
    for number in range(1001):
        deployed.put(f"{number}.png", b"")
    assert deployed.json("status")["waiting"] == {"images": 1000, "is_at_least": True}
    assert "1,000 or more images" in deployed.call("status").stdout


def test_dead_letters_are_a_problem(deployed: Deployed) -> None:
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue_url, MessageBody="m")
    assert problems(deployed) == ["dead letters: 1 message failed max_receive_count times"]
    assert "batch-vision retry" in deployed.call("status").stdout


def test_what_is_on_without_a_run_is_a_problem(deployed: Deployed) -> None:
    deployed.start_model()
    deployed.functions.update_event_source_mapping(UUID=deployed.mapping_uuid, Enabled=True)
    model, mapping = problems(deployed)
    assert "the model is RUNNING, and no run is under way" in model
    assert "the event source mapping is Enabled, and no run is under way" in mapping
    assert "batch-vision stop" in deployed.call("status").stdout
    deployed.execution()
    assert problems(deployed) == []
    result = deployed.call("status")
    assert "a run is under way" in result.stdout
    assert "RUNNING, 2 inference units" in result.stdout


def test_a_mapping_that_is_not_there_is_a_problem(deployed: Deployed) -> None:
    deployed.functions.delete_event_source_mapping(UUID=deployed.mapping_uuid)
    assert problems(deployed) == [f"the event source mapping {deployed.mapping_uuid} is missing: no image is analyzed"]
    result = deployed.call("status")
    assert "apply the module again" in result.stdout
    assert "terraform output -json" in result.stdout


def test_a_model_that_cannot_be_asked_hides_nothing_else(deployed: Deployed) -> None:
    deployed.emulator.inject("DescribeProjectVersions", "ResourceNotFoundException", count=2)
    (problem,) = problems(deployed)
    assert problem.startswith("the model's state is not known (ModelNotFoundError")
    result = deployed.call("status")
    assert (result.exit_code, "all" in result.stdout, "rate(1 hour)" in result.stdout) == (1, True, True)


def test_the_last_runs(deployed: Deployed) -> None:
    deployed.execution("SUCCEEDED", output=json.dumps({"run": {}, "stop": {"is_stopped": True}}))
    deployed.execution("SUCCEEDED", output=json.dumps({"executions": {"running": 2}, "stop": None}))
    deployed.execution("SUCCEEDED", output=json.dumps(SUMMARY))
    deployed.execution("ABORTED")
    runs = {run["outcome"]: run for run in deployed.json("status")["runs"]}
    assert set(runs) == {"nothing_to_do", "another_run", "succeeded", "aborted"}
    assert runs["succeeded"]["summary"] == SUMMARY
    assert runs["succeeded"]["duration_seconds"] == 0
    shown = deployed.call("status").stdout
    assert "11 processed, 1 rejected" in shown
    assert "nothing to do" in shown
    assert len(deployed.json("status", "--runs", "2")["runs"]) == 2


def test_a_run_that_let_images_wait_says_why(deployed: Deployed) -> None:
    held = "7 images wait, fewer than start_backlog_images = 50. The model is not started for them yet."
    output = {"run": {}, "stop": {"is_stopped": True}, "backlog": {"images": 0, "held": held}}
    deployed.execution("SUCCEEDED", output=json.dumps(output))
    (run,) = deployed.json("status")["runs"]
    assert (run["outcome"], run["held"]) == ("nothing_to_do", held)
    result = deployed.call("status")
    assert "nothing to do  7 images wait, fewer than start_backlog_images = 50" in result.stdout
    assert result.exit_code == 0


def test_the_last_run_failed(deployed: Deployed) -> None:
    cause = json.dumps({"errorMessage": "it did not stop"})
    arn = deployed.execution("FAILED", error="ModelStopTimeoutError", cause=cause)
    deployed.put(f"runs/{arn.rpartition(':')[2]}.json", json.dumps(SUMMARY).encode(), FINAL)
    (problem,) = problems(deployed)
    assert problem.endswith("failed (ModelStopTimeoutError: it did not stop)")
    shown = deployed.call("status").stdout
    assert "Stop the model now, because it may be costing money: batch-vision stop." in shown
    assert "failed  ModelStopTimeoutError  11 processed" in shown
    deployed.execution()
    assert problems(deployed) == []


def test_the_last_run_timed_out(deployed: Deployed) -> None:
    deployed.execution("TIMED_OUT")
    (problem,) = problems(deployed)
    assert problem.endswith("timed out")
    deployed.execution("SUCCEEDED", output=json.dumps(SUMMARY))
    assert problems(deployed) == []


def test_an_error_of_a_service_in_the_middle_is_told(deployed: Deployed) -> None:
    deployed.s3.delete_bucket(Bucket=deployed.outputs["source_bucket_name"])
    result = deployed.call("status")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "NoSuchBucket" in result.stderr


def test_folder_markers_and_what_was_taken_back_do_not_wait(deployed: Deployed) -> None:
    deployed.put("made in the console/", b"")
    deployed.put("taken back.png")
    deployed.s3.delete_object(Bucket=SOURCE, Key="taken back.png")
    assert deployed.json("status")["waiting"]["images"] == 0
    deployed.put("not empty/", b"x")
    assert deployed.json("status")["waiting"]["images"] == 1


def test_a_stack_that_looks_at_several_prefixes(deployed: Deployed) -> None:
    deployed.configure(SOURCE_PREFIXES='["in/", "before/", "in/line 1/"]')
    for key in ("in/a.png", "in/line 1/b.png", "before/c.png", "elsewhere.png"):
        deployed.put(key)
    assert deployed.json("status")["waiting"]["images"] == 3


def test_a_summary_of_an_older_version_lacks_some_counts(deployed: Deployed) -> None:
    summary = {name: value for name, value in SUMMARY.items() if name not in ("rejected_by_reason", "images_rejected")}
    deployed.execution("SUCCEEDED", output=json.dumps(summary))
    assert "  11 processed  " in deployed.call("status").stdout
    deployed.execution("SUCCEEDED", output=json.dumps(SUMMARY | {"images_stuck": 2}))
    assert "11 processed, 1 rejected, 2 stuck" in deployed.call("status").stdout
