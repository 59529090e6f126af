"""A Pulumi program's registrations as the engine gets them, options included."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from pulumi.runtime import mocks, settings, stack


class _Mocks(mocks.Mocks):
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return f"{args.name}-id", {
            **args.inputs,
            "mountpoint": f"/volumes/{args.name}",
            "imageId": f"sha256:{args.name}",
            "path": f"build/images/{args.name}",
            "result": "generated-secret",
            "hex": "ab" * 32,
            "privateKeyPem": "key",
            "certPem": "certificate",
        }

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        return {}


@dataclass
class Registration:
    """One resource as it was registered."""

    type: str
    name: str
    parent: str
    properties: dict[str, Any]
    retain_on_delete: bool
    protect: bool
    urn: str


@dataclass
class Recorder(mocks.MockMonitor):
    """Keeps every registration."""

    registrations: list[Registration] = field(default_factory=list)
    outputs: dict[str, list[str]] = field(default_factory=dict)

    def __init__(self) -> None:
        super().__init__(_Mocks())
        self.registrations, self.outputs = [], {}

    def RegisterResource(self, request):  # noqa: N802
        answer = super().RegisterResource(request)
        self.registrations.append(
            Registration(
                request.type,
                request.name,
                request.parent,
                json_format.MessageToDict(request.object),
                request.retainOnDelete,
                request.protect,
                answer.urn,
            )
        )
        return answer

    def RegisterResourceOutputs(self, request):  # noqa: N802
        self.outputs[request.urn] = sorted(json_format.MessageToDict(request.outputs))
        return super().RegisterResourceOutputs(request)


def record(program: Callable[[], object]) -> Recorder:
    """Run the program under mocks and return what it registered."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # What an earlier program left unfinished, because it raised on purpose, belongs to a loop that is closed.
    settings.SETTINGS.outputs.clear()
    rpc_manager = settings._get_rpc_manager()
    rpc_manager.rpcs.clear()
    rpc_manager.unhandled_exception = None
    recorder = Recorder()
    try:
        mocks.set_mocks(recorder.mocks, project="hubstack", stack="test", monitor=recorder)

        async def run() -> None:
            program()
            await stack.wait_for_rpcs()

        loop.run_until_complete(run())
    finally:
        loop.close()
    return recorder
