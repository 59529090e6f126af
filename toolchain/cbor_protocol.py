"""The protocol in which newer SDKs speak to some of AWS's services, for a simulator that knows these by their older one."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import boto3
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer

PATH = re.compile(r"/service/(\w+)/operation/(\w+)")
SERVICES = {"GraniteServiceVersion20100801": "cloudwatch"}
"""Services by the names that they have in this protocol."""

REGION = re.compile(r"Credential=[^/]+/\d+/([a-z0-9-]+)/")
HEADERS = [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]

Environment = dict[str, Any]
Application = Callable[[Environment, Callable[..., Any]], Iterable[bytes]]


def translated(application: Application, credentials: Mapping[str, str]) -> Application:
    """The simulator's application, which is asked anew in the older protocol where somebody speaks the newer.

    Args:
        application: what answers the older protocol.
        credentials: boto3's arguments for who asks.
    """

    def answer(environment: Environment, start: Callable[..., Any]) -> Iterable[bytes]:
        found = PATH.fullmatch(environment.get("PATH_INFO", ""))
        if found is None or found[1] not in SERVICES:
            return application(environment, start)
        endpoint = f"http://{environment['SERVER_NAME']}:{environment['SERVER_PORT']}"
        region = REGION.search(environment.get("HTTP_AUTHORIZATION", ""))
        client: Any = boto3.client(
            SERVICES[found[1]], region_name=region[1] if region else None, endpoint_url=endpoint, **credentials
        )
        body = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        status, content = _asked(client, found[2], body)
        start(status, [*HEADERS, ("Content-Length", str(len(content)))])
        return [content]

    return answer


def _asked(client: Any, operation: str, body: bytes) -> tuple[str, bytes]:
    """The status and the body of an operation's answer."""
    model = client.meta.service_model.operation_model(operation)
    serializer: Any = RpcV2CBORSerializer()
    parser: Any = RpcV2CBORParser()
    given = parser.parse_data_item(parser.get_peekable_stream_from_bytes(body)) if body else {}
    try:
        told = getattr(client, xform_name(operation))(**given)
    except ClientError as error:
        refusal = {"__type": error.response["Error"]["Code"], "message": error.response["Error"]["Message"]}
        return "400 Bad Request", _as_map(serializer, refusal)
    told.pop("ResponseMetadata", None)
    content = bytearray()
    if model.output_shape:
        serializer._serialize_data_item(content, told, model.output_shape)  # noqa: SLF001
    return "200 OK", bytes(content) or _as_map(serializer, {})


def _as_map(serializer: Any, texts: dict[str, str]) -> bytes:
    """A map of texts, which no shape describes."""
    content = bytearray(serializer._get_initial_byte(serializer.MAP_MAJOR_TYPE, len(texts)))  # noqa: SLF001
    for text in (text for pair in texts.items() for text in pair):
        serializer._serialize_type_string(content, text, None, None)  # noqa: SLF001
    return bytes(content)
