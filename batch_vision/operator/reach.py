"""Why AWS could not be reached, in a sentence with a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore import exceptions

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

_LOCAL = "For the local stack: source build/local/env"
_WRONG_CREDENTIALS = {
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_OLD_CREDENTIALS = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_FORBIDDEN = {"AccessDenied", "AccessDeniedException", "403", "AuthorizationError", "KMS.AccessDeniedException"}
_NO_CREDENTIALS = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)
_NO_NETWORK = (exceptions.ConnectionError, exceptions.HTTPClientError)
_NO_LOGIN = (
    exceptions.CredentialRetrievalError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
    exceptions.UnauthorizedSSOTokenError,
)


def explain_file(error: OSError) -> str:
    """Say what is wrong with a file, or with the network, and what to do about it."""
    what = f"{error.filename} cannot be used" if error.filename else "A file cannot be used"
    return f"{what} ({error.strerror or error}). Look at its path, its permissions, and the room on the disk."


def is_wrong_endpoint(error: Exception) -> bool:
    """Return whether botocore found an endpoint that is no URL, in a profile, say."""
    return isinstance(error, ValueError) and str(error).startswith("Invalid endpoint")


def explain_endpoint(error: Exception) -> str:
    """Say what is wrong with an endpoint, and what to do about it."""
    return f"{error}. Write it with its scheme, such as http://127.0.0.1:4566, in your AWS profile (endpoint_url)."


def explain(error: BotoCoreError | ClientError) -> str:
    """Say what is wrong and what to do about it."""
    if isinstance(error, exceptions.ClientError):
        return _explain_answer(error)
    if isinstance(error, _NO_CREDENTIALS):
        return f"There are no AWS credentials ({error}). Set AWS_PROFILE, or log in (aws sso login). {_LOCAL}"
    if isinstance(error, _NO_LOGIN):
        return f"AWS credentials could not be had: {error}. Log in again (aws sso login)."
    if isinstance(error, exceptions.ProfileNotFound):
        return f"{error}. Set AWS_PROFILE to one that `aws configure list-profiles` shows."
    if isinstance(error, exceptions.NoRegionError):
        return "No AWS Region is set. Set AWS_REGION, or a profile with a Region as AWS_PROFILE."
    if isinstance(error, _NO_NETWORK):
        return f"AWS does not answer: {error}. Look at the network, AWS_REGION and AWS_ENDPOINT_URL. {_LOCAL}"
    return f"AWS could not be asked: {error}"


def _explain_answer(error: ClientError) -> str:
    code = error.response.get("Error", {}).get("Code", "")
    if code in _WRONG_CREDENTIALS:
        return f"AWS does not know your credentials ({code}). Set AWS_PROFILE, or log in again. {_LOCAL}"
    if code in _OLD_CREDENTIALS:
        return f"Your AWS credentials have expired ({code}). Log in again (aws sso login)."
    if code in _FORBIDDEN:
        return f"You lack a permission: {error}. docs/operations.md lists what each command needs."
    return f"AWS refused: {error}"
