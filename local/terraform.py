"""Applies the module to LocalStack with the real Terraform and its real AWS provider."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from local import config
from local.errors import LocalError
from local.lifeline import kill_session
from local.package import PACKAGE, PackageError, make_package
from local.processes import start_tied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MODULE = config.REPOSITORY / "terraform"
EXAMPLES = config.REPOSITORY / "examples"
ROOT = config.REPOSITORY / "local" / "terraform"  # provider, outputs and lock file; the module call is generated

# The native tests whose resources the unit tests look at, one by one: to run them twice would take half a minute.
RUN_BY_UNIT_TESTS = ("static_limits", "shapes")

_VARIABLE = re.compile(r'^variable "(\w+)"', re.MULTILINE)
_TIMINGS = re.compile(r'^variable "timings" \{$.*?^\}$', re.DOTALL | re.MULTILINE)
_ATTRIBUTE = re.compile(r"^    (\w+)\s*= optional\(", re.MULTILINE)
_PROVIDER = Path("registry.terraform.io") / "hashicorp" / "aws"
_LEAST_VERSION = (1, 9)
_LEAST_VERSION_OF_TESTS = (
    1,
    11,
)  # the first whose mocks can answer during a plan, which takes half as long as an apply
# Where packages and administrators put an unpacked mirror; Terraform looks into the user's own places by itself.
_MIRROR_ROOTS = (
    "/opt",
    "/srv",
    "/usr/local/share",
    "/usr/local/lib",
    "/usr/share",
    "/usr/lib",
    "/var/lib",
    "/var/cache",
)
_MIRROR_DEPTH = 3
_INTERRUPT_SECONDS = 20


class Terraform:
    """A working directory of Terraform that applies the module.

    Parameters
    ----------
    directory
        Where the configuration and its state are.
    data_directory
        Where Terraform keeps providers and modules, when not in that directory.
    """

    def __init__(self, directory: Path = config.LOCAL_BUILD / "terraform", data_directory: Path | None = None) -> None:
        self.directory = directory
        self._data_directory = data_directory

    def write_root(self, arguments: Mapping[str, Any]) -> None:
        """Write the root configuration: provider, outputs, and the module with each variable passed through.

        The arguments go into a file of variables, so that `-var-file` and `-var` change them as everywhere.

        Parameters
        ----------
        arguments
            The module's, and those of local/terraform. An attribute of `timings` may stand by itself.

        Raises
        ------
        LocalError
            An argument is none of these: Terraform would only warn of it, and go on without it.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in (*ROOT.glob("*.tf"), ROOT / ".terraform.lock.hcl"):
            shutil.copy2(path, self.directory / path.name)
        declared = (MODULE / "variables.tf").read_text()
        names = variable_names()
        arguments = _with_timings(arguments, _ATTRIBUTE.findall(_TIMINGS.findall(declared)[0]))
        known = {*names, *_VARIABLE.findall((ROOT / "variables.tf").read_text())}
        if unknown := sorted(set(arguments) - known):
            raise LocalError(
                f"The module has no variable {', '.join(unknown)}. Its variables are in {MODULE / 'variables.tf'}."
            )
        module = {"source": os.path.relpath(MODULE, self.directory)} | {name: f"${{var.{name}}}" for name in names}
        # A null leaves the module its own default.
        variables = {name: {"default": None} for name in names}
        write_json(self.directory / "module.tf.json", {"module": {"batch_vision": module}, "variable": variables})
        write_json(self.directory / "terraform.tfvars.json", {"region": config.REGION} | dict(arguments))

    def init(self) -> None:
        """Install the provider: from an unpacked mirror found by search, otherwise from its registry.

        Raises
        ------
        LocalError
            Terraform is missing or too old, or the provider cannot be installed.
        """
        check_version()
        problems = []
        for options in _init_options():
            finished = self.run("init", "-input=false", "-no-color", "-lockfile=readonly", *options)
            if finished.returncode == 0:
                return
            problems.append((finished.stderr or finished.stdout).strip())
        raise LocalError(
            "terraform init could not install the AWS provider, neither from a mirror on this machine nor from its"
            " registry. Connect to the network, or unpack a mirror (`terraform providers mirror DIR` makes one) and"
            f" set TF_CLI_ARGS_init=-plugin-dir=DIR.\n{problems[-1]}"
        )

    def apply(self, progress: Callable[[int, int, str], None] | None = None, options: Sequence[str] = ()) -> None:
        """Apply without asking for approval.

        Parameters
        ----------
        progress
            Called with the number of finished resources, their total, and the address of the last one.
        options
            More options of `terraform apply`.

        Raises
        ------
        LocalError
            Terraform's own messages.
        """
        done = total = 0
        problems: list[str] = []
        for event in self.events("apply", "-auto-approve", "-input=false", "-json", *options):
            kind = event.get("type")
            address = event.get("hook", event.get("change", {})).get("resource", {}).get("addr", "")
            if ".data." in address:
                continue
            if kind == "planned_change":
                total += 1
            elif kind == "apply_complete":
                done += 1
            elif problem := problem_of(event):
                problems.append(problem)
            if progress and kind in ("planned_change", "apply_complete"):
                progress(done, total, address.removeprefix("module.batch_vision."))
        if problems:
            raise LocalError("terraform apply failed:\n" + "\n".join(problems))

    def check_values(self, region: str, account_id: str) -> None:
        """Plan without AWS or LocalStack, as if in a Region of an account, to see whether the module takes its values.

        Raises
        ------
        LocalError
            Terraform's own messages, such as those of the module's validations.
        """
        mock = {
            "source": os.path.relpath(MODULE / "tests" / "mocks", self.directory),
            "mock_data": {
                "aws_region": {"defaults": {"id": region, "name": region}},
                "aws_s3_bucket": {"defaults": {"region": region}},
                "aws_caller_identity": {"defaults": {"account_id": account_id}},
            },
        }
        test = self.directory / "values.tftest.json"
        write_json(test, {"mock_provider": {"aws": mock}, "run": {"values": {"command": "plan"}}})
        try:
            problems = [problem for event in self.events("test", "-json") if (problem := problem_of(event))]
        finally:
            test.unlink()
        if problems:
            raise LocalError("\n".join(problems))

    def plan(self) -> tuple[int, str]:
        """Plan, and return the detailed exit status (0: no changes, 1: error, 2: changes) and the output."""
        finished = self.run("plan", "-input=false", "-no-color", "-detailed-exitcode")
        return finished.returncode, finished.stdout + finished.stderr

    def outputs(self) -> dict[str, Any]:
        """Return what `terraform output -json` prints."""
        finished = self.run("output", "-json")
        if finished.returncode != 0:
            raise LocalError(f"terraform output failed:\n{finished.stderr.strip()}")
        return cast("dict[str, Any]", json.loads(finished.stdout))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Terraform in the directory, and return its exit status and output."""
        with self._running(arguments, subprocess.PIPE) as process:
            output, problems = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, problems)

    def events(self, *arguments: str) -> Iterator[dict[str, Any]]:
        """Run a command that prints JSON and yield its events; a `failed` one if it failed without saying why."""
        plain, has_said_why = [], False
        with self._running(arguments, subprocess.STDOUT) as process:
            for line in process.stdout or ():
                if line.startswith("{"):
                    event = json.loads(line)
                    has_said_why = has_said_why or bool(problem_of(event))
                    yield event
                else:
                    plain.append(line)
            if process.wait() != 0 and not has_said_why:
                yield {"type": "failed", "text": "".join(plain).strip()}

    @contextmanager
    def _running(self, arguments: Sequence[str], problems: int) -> Iterator[subprocess.Popen[str]]:
        """Run Terraform apart from the terminal, which would send it a Ctrl-C of its own."""
        process, lifeline = start_tied(
            ["terraform", *arguments],
            cwd=self.directory,
            env=environment() | ({"TF_DATA_DIR": str(self._data_directory)} if self._data_directory else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=problems,
            text=True,
        )
        try:
            yield process
        except BaseException:
            _interrupt(process)
            raise
        finally:
            os.close(lifeline)


def variable_names() -> list[str]:
    """Return the names of the module's variables."""
    return _VARIABLE.findall((MODULE / "variables.tf").read_text())


def problem_of(event: Mapping[str, Any]) -> str:
    """Return what an event of Terraform's JSON says went wrong; empty if nothing did."""
    if event.get("type") == "failed":
        return str(event["text"])
    diagnostic = event.get("diagnostic", {})
    if diagnostic.get("severity") != "error":
        return ""
    return f"{diagnostic['summary']}\n{diagnostic.get('detail', '')}".strip()


def check_module() -> None:
    """Check the module and the examples: format, validity and native tests but `RUN_BY_UNIT_TESTS`.

    Raises
    ------
    LocalError
        Terraform's own messages.
    """
    check_version(_LEAST_VERSION_OF_TESTS)
    module = Terraform(MODULE, data_directory=config.BUILD / "terraform-module")
    for folder in (MODULE, ROOT, EXAMPLES):
        finished = module.run("fmt", "-recursive", "-check", "-diff", str(folder))
        if finished.returncode != 0:
            raise LocalError(f"`make format` would change:\n{finished.stdout}{finished.stderr}")
    module.init()
    tests = {path.name.partition(".")[0] for path in (MODULE / "tests").glob("*.tftest.hcl")}
    filters = [f"-filter=tests/{name}.tftest.hcl" for name in sorted(tests - set(RUN_BY_UNIT_TESTS))]
    _run_checks(module, "terraform", ["validate"], ["test", *filters])
    variables = Terraform(_write_variables_alone())
    variables.init()
    _run_checks(variables, "terraform/variables.tf", ["test"])
    if not PACKAGE.exists():  # the examples deploy it
        try:
            make_package()
        except PackageError as error:
            raise LocalError(str(error)) from error
    for folder in sorted(path.parent for path in EXAMPLES.glob("*/main.tf")):
        check_example(folder)


def check_example(folder: Path) -> None:
    """Plan an example with its own `terraform.tfvars.example`, for which Terraform validates it.

    Raises
    ------
    LocalError
        Terraform's own messages.
    """
    example = Terraform(folder, data_directory=config.BUILD / "terraform-examples" / folder.name)
    example.init()
    values = f"-var-file={folder / 'terraform.tfvars.example'}"
    _run_checks(example, f"examples/{folder.name}", ["test", values])


def _run_checks(terraform: Terraform, name: str, *commands: Sequence[str]) -> None:
    for command in commands:
        finished = terraform.run(*command, "-no-color")
        if finished.returncode != 0:
            raise LocalError(f"terraform {command[0]} of {name} failed:\n{finished.stdout}{finished.stderr}")
        print(f"{name} {command[0]}: {finished.stdout.strip().splitlines()[-1]}")


def _write_variables_alone() -> Path:
    """Copy the module's variables, what their validations look at, and their tests to a folder, and return it.

    Terraform works through all that a module makes in each run of a test: more than a second for each refused value.
    """
    folder = config.BUILD / "terraform-variables"
    shutil.rmtree(folder, ignore_errors=True)
    tests = MODULE / "tests"
    for source, target in (("variables", "."), ("mocks", "mocks"), ("fixtures", "fixtures")):
        shutil.copytree(tests / source, folder / "tests" / target, dirs_exist_ok=True)
    for name in ("variables.tf", "locals.tf", "backends.tf", "versions.tf", ".terraform.lock.hcl"):
        shutil.copy2(MODULE / name, folder / name)
    return folder


def check_version(least: tuple[int, int] = _LEAST_VERSION) -> None:
    """Check that Terraform is there and new enough; raises `LocalError` with the remedy."""
    wanted = ".".join(map(str, least))
    if shutil.which("terraform") is None:
        raise LocalError(f"terraform is not on PATH. Install Terraform {wanted} or later.")
    finished = subprocess.run(
        ["terraform", "version", "-json"], env=environment(), check=False, capture_output=True, text=True
    )
    try:
        found = json.loads(finished.stdout)["terraform_version"]
    except (ValueError, KeyError) as error:
        raise LocalError(f"`terraform version` does not work: {finished.stderr.strip()}") from error
    if tuple(int(part) for part in found.split("-")[0].split(".")[:2]) < least:
        raise LocalError(f"Terraform is {found}; install {wanted} or later.")


def find_mirror(roots: Sequence[str] = _MIRROR_ROOTS) -> Path | None:
    """Find a folder that holds the AWS provider, unpacked, for this platform; None when there is none."""
    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    target = f"{platform.system().lower()}_{machine.get(platform.machine().lower(), platform.machine().lower())}"
    for root in roots:
        for depth in range(_MIRROR_DEPTH + 1):
            for provider in sorted(Path(root).glob("*/" * depth + str(_PROVIDER))):
                if any(provider.glob(f"*/{target}/terraform-provider-aws*")):
                    return provider.parents[len(_PROVIDER.parts) - 1]
    return None


def _init_options() -> Iterator[list[str]]:
    chosen_by_user = "TF_CLI_ARGS_init" in os.environ or Path(os.environ.get("TF_CLI_CONFIG_FILE", "")).is_file()
    if not chosen_by_user and (mirror := find_mirror()):
        yield [f"-plugin-dir={mirror}"]
    yield []


def environment() -> dict[str, str]:
    """Return the user's environment with LocalStack's address, without what would lead the provider to an account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_VAR_"))}
    if not Path(kept.get("TF_CLI_CONFIG_FILE", "")).is_file():
        kept.pop("TF_CLI_CONFIG_FILE", None)  # Terraform would warn of it in the middle of what it prints
    # Each command loads the provider's schemas anew, 450 MB of them: collecting garbage meanwhile took a quarter of the
    # processor time (terraform test: 24.6 s with Go's own 100, 18.6 s with 400).
    own = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "AWS_ENDPOINT_URL": config.LOCALSTACK_URL}
    return {"GOGC": "400"} | kept | config.without_proxy() | own


def _interrupt(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_INTERRUPT_SECONDS)
        kill_session(process.pid)
        process.wait()


def _with_timings(arguments: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments with those that are attributes of `timings` in that object, where they do not stand yet."""
    timings = {name: arguments[name] for name in names if name in arguments} | (arguments.get("timings") or {})
    others = {name: value for name, value in arguments.items() if name not in names}
    return others | {"timings": timings}


def write_json(path: Path, content: Any) -> None:
    """Write a file of JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n")
