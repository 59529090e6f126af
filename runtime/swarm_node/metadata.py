"""The host's own metadata service, asked with a token as hosts of a stack require (IMDSv2)."""

import os
import urllib.request
from urllib.error import HTTPError

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
"""As the AWS SDKs name it."""

DEFAULT_ENDPOINT = "http://169.254.169.254"
ANSWER_SECONDS = 5
TOKEN_SECONDS = 60
NOT_FOUND = 404


def metadata(path: str) -> str:
    """What the service says at `path`, such as `local-ipv4`; nothing where it has no such entry.

    Raises:
        OSError: the service does not answer.
    """
    endpoint = os.environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
    token = _asked(urllib.request.Request(f"{endpoint}/latest/api/token", method="PUT", headers=lifetime))  # noqa: S310
    entry = urllib.request.Request(  # noqa: S310  (an address of this host)
        f"{endpoint}/latest/meta-data/{path}", headers={"X-aws-ec2-metadata-token": token}
    )
    try:
        return _asked(entry)
    except HTTPError as error:
        if error.code == NOT_FOUND:
            return ""
        raise


def _asked(request: urllib.request.Request) -> str:
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
        return answer.read().decode()
