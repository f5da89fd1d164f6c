"""Terraform's AWS provider, started once for many commands.

Terraform starts its providers anew for each command, and for each run of a test file: the AWS provider then makes its
schemas, 450 MB of them, and Terraform reads them. Most of the time of a short command is that. A provider that was
started for debugging serves any number of commands instead (Terraform's documentation, Plugin Development, Debugging
Providers). It has the settings of the last command that configured it, so it is of one environment, or of tests whose
provider is mocked and configures nothing.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local import config
from local.errors import LocalError
from local.processes import start_background, tail
from local.terraform import MODULE, Terraform, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PID_FILE = config.LOCAL_BUILD / "provider.pid"
VARIABLE = "TF_REATTACH_PROVIDERS"
# It would write each request to its log.
_QUIET = dict.fromkeys(("TF_LOG", "TF_LOG_PROVIDER", "TF_LOG_PROVIDER_AWS", "TF_LOG_SDK", "TF_LOG_SDK_PROTO"), "ERROR")
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.1
_SAID = re.compile(rf"{VARIABLE}='(.*)'")


@contextmanager
def running_provider() -> Iterator[None]:
    """Start the provider, let the commands of this process and of its children use it, and stop it at the end.

    Raises
    ------
    LocalError
        Terraform cannot install the provider, or it does not start.
    """
    if os.environ.get(VARIABLE):
        yield
        return
    directory = config.LOCAL_BUILD / "terraform-provider"
    Terraform(MODULE, data_directory=directory).init()
    (program,) = directory.glob("providers/registry.terraform.io/hashicorp/aws/*/*/terraform-provider-aws*")
    log_file = config.LOGS / "provider.log"
    log_file.unlink(missing_ok=True)
    provider = start_background(
        [program, "-debug"],
        environment=environment() | _QUIET,
        # It reads the package, whose path is relative to where Terraform works.
        directory=config.LOCAL_BUILD / "terraform",
        log_file=log_file,
        pid_file=PID_FILE,
        dies_with_parent=True,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (said := _SAID.search(tail(log_file))):
            if not provider.is_running() or time.monotonic() > deadline:
                raise LocalError(f"{program} -debug did not say how to reach it:\n{tail(log_file)}")
            time.sleep(_POLL_SECONDS)
        os.environ[VARIABLE] = said[1]
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        provider.stop(_STOP_SECONDS)
