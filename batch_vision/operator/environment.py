"""What the tool makes of the variables of its environment before it calls AWS."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batch_vision.operator.errors import WrongInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_ENDPOINTS = "AWS_ENDPOINT_URL"  # and those of a service, such as AWS_ENDPOINT_URL_S3
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")


def check_endpoints(environment: Mapping[str, str]) -> None:
    """Check that each endpoint is a URL.

    Raises
    ------
    WrongInputError
        One has no scheme or no host; botocore's own message names neither the variable nor the remedy.
    """
    for name, value in _endpoints(environment).items():
        if not re.match(r"https?://[^/]", value):
            host = value.rpartition("://")[2] or "127.0.0.1:4566"
            raise WrongInputError(
                f"{name} is {value!r}, which is no URL. Write it with its scheme, such as http://{host}, or unset it."
            )


def bypass_proxies_for_loopback(environment: MutableMapping[str, str]) -> None:
    """Make requests to this machine go past a proxy: no proxy elsewhere can reach them.

    botocore and urllib read ``NO_PROXY`` and ``no_proxy`` at each request, and the latter counts where both are set.
    """
    if not any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in environment):
        return
    said = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in said.split(",") if host.strip()]
    if "*" in hosts:
        return
    wanted = [*_LOOPBACK, *filter(_is_loopback, (urlsplit(url).hostname for url in _endpoints(environment).values()))]
    hosts += [host for host in dict.fromkeys(wanted) if host and host not in hosts]
    environment["NO_PROXY"] = environment["no_proxy"] = ",".join(hosts)


def _endpoints(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_ENDPOINTS) and value}


def _is_loopback(host: str | None) -> bool:
    if host and host.endswith((".localhost", "localhost.localstack.cloud")):
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host or "").is_loopback
    return False
