"""Serve the provider on a free loopback port, printed on standard output for the engine."""

import signal
import sys
from concurrent import futures

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from tests.engine.kubernetes_provider.server import Servicer

MAX_MESSAGE_BYTES = 400 * 1024 * 1024
THREADS = 128
"""As many resources as the engine handles at once may be waited for."""


def main() -> None:
    """Serve until the engine says that it is done."""
    engine = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    servicer = Servicer(engine)
    size = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=THREADS), options=size)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")

    def stop(*_: object) -> None:
        server.stop(0)

    # The engine sends it when it is done; a provider that ignores it holds every command up by 10 s.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()
    servicer.close()


if __name__ == "__main__":
    main()
