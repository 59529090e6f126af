"""A Pulumi program's registrations as the engine gets them, options included."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from pulumi.runtime import mocks, settings, stack

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]

AWS_ANSWERS: dict[str, Answer] = {
    "aws:index/getAvailabilityZones:getAvailabilityZones": lambda _: {
        "names": ["us-east-1a", "us-east-1b", "us-east-1c"]
    },
    "aws:index/getCallerIdentity:getCallerIdentity": lambda _: {"accountId": "123456789012"},
    "aws:index/getPartition:getPartition": lambda _: {"partition": "aws"},
    "aws:index/getRegion:getRegion": lambda _: {"region": "us-east-1"},
    "aws:ec2/getAmi:getAmi": lambda _: {"id": "ami-0123456789abcdef0"},
    "aws:ec2/getInstanceType:getInstanceType": lambda _: {"defaultVcpus": 2, "memorySize": 16384},
    "aws:route53/getZone:getZone": lambda _: {"zoneId": "Z123"},
    "aws:servicequotas/getServiceQuota:getServiceQuota": lambda _: {"value": 256},
}
"""What an account with enough of everything answers."""


CERTIFICATE_PROOF: dict[str, Any] = {
    "domainValidationOptions": [
        {"resourceRecordName": "_proof", "resourceRecordType": "CNAME", "resourceRecordValue": "_value"}
    ]
}
"""The record by which AWS wants a name proved."""


class _Mocks(mocks.Mocks):
    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = answers

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return f"{args.name}-id", {
            "arn": f"arn:aws:service:us-east-1:123456789012:{args.name}",
            "bucket": f"{args.name}-bucket",
            **args.inputs,
            **CERTIFICATE_PROOF,
            "dnsName": f"{args.name}.example.aws",
            "latestVersion": 7,
            "mountpoint": f"/volumes/{args.name}",
            "imageId": f"sha256:{args.name}",
            "path": f"build/images/{args.name}",
            "result": "generated-secret",
            "hex": "ab" * 32,
            "privateKeyPem": "key",
            "certPem": "certificate",
            # What is read, and not made, is as the test has it.
            **(self.answers.get(args.typ, lambda _given: {})({}) if args.resource_id else {}),
        }

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        return self.answers.get(args.token, lambda _given: {})(args.args)


@dataclass
class Registration:
    """One resource as it was registered."""

    type: str
    name: str
    id: str
    sources: dict[str, list[str]]
    """URNs of the resources that each property comes from."""
    parent: str
    properties: dict[str, Any]
    retain_on_delete: bool
    protect: bool
    ignore_changes: list[str]
    replace_on_changes: list[str]
    urn: str
    dependencies: list[str]
    """URNs of all that it waits for: those of `depends_on` and those whose outputs are among its properties."""
    secret_outputs: list[str]
    """What of its outputs the state holds encrypted, whatever its inputs are."""


@dataclass
class Recorder(mocks.MockMonitor):
    """Keeps every registration."""

    registrations: list[Registration] = field(default_factory=list)
    outputs: dict[str, list[str]] = field(default_factory=dict)

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        super().__init__(_Mocks(answers))
        self.registrations, self.outputs = [], {}

    def RegisterResource(self, request):  # noqa: N802
        answer = super().RegisterResource(request)
        self.registrations.append(
            Registration(
                request.type,
                request.name,
                answer.id,
                {key: list(given.urns) for key, given in request.propertyDependencies.items() if given.urns},
                request.parent,
                json_format.MessageToDict(request.object),
                request.retainOnDelete,
                request.protect,
                list(request.ignoreChanges),
                list(request.replaceOnChanges),
                answer.urn,
                sorted(request.dependencies),
                list(request.additionalSecretOutputs),
            )
        )
        return answer

    def RegisterResourceOutputs(self, request):  # noqa: N802
        self.outputs[request.urn] = sorted(json_format.MessageToDict(request.outputs))
        return super().RegisterResourceOutputs(request)


def record(program: Callable[[], object], answers: Mapping[str, Answer] | None = None) -> Recorder:
    """Run the program under mocks, with `answers` in place of those of a good account, and return what it registered."""
    loop = asyncio.new_event_loop()
    # The first error is raised; those of all that waited for the same say nothing new.
    loop.set_exception_handler(lambda _loop, _context: None)
    asyncio.set_event_loop(loop)
    # What an earlier program left unfinished, because it raised on purpose, belongs to a loop that is closed.
    settings.SETTINGS.outputs.clear()
    rpc_manager = settings._get_rpc_manager()
    rpc_manager.rpcs.clear()
    rpc_manager.unhandled_exception = None
    recorder = Recorder({**AWS_ANSWERS, **(answers or {})})
    try:
        mocks.set_mocks(recorder.mocks, project="hubstack", stack="test", monitor=recorder)

        async def run() -> None:
            # As the engine's own start does: a program that raises while it is asked for would leave half an answer for the next.
            await settings._load_monitor_feature_support()
            program()
            await stack.wait_for_rpcs()

        loop.run_until_complete(run())
    finally:
        # A program that raised on purpose leaves some of its registrations behind.
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
    return recorder
