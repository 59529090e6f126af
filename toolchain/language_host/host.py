"""A language host: answers the Pulumi engine for Python programs, policy packs and plugins (gRPC `LanguageRuntime`)."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import IO

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

RUN_PROGRAM = Path(__file__).with_name("run_program.py")
ALREADY_SHOWN = 32
MAX_MESSAGE_BYTES = 400 * 2**20

# Asks the environment that will run the program, not this host's own.
LIST_PACKAGES = """
import importlib.metadata as m, json
found = []
for d in m.distributions():
    plugin = next((f for f in d.files or [] if f.name == "pulumi-plugin.json"), None)
    about = json.loads(plugin.locate().read_text()) if plugin else None
    found.append({"name": d.metadata["Name"], "version": d.version, "plugin": about})
print(json.dumps(found))
"""


def environment_folder(options: Mapping[str, object], root: str) -> Path | None:
    """The virtual environment that the runtime options name, relative to the project's root, or None."""
    named = options.get("virtualenv") or (".venv" if options.get("toolchain") == "uv" else None)
    return Path(root, str(named)) if named else None


def python_for(options: Mapping[str, object], root: str) -> str:
    """The interpreter of the project's environment; without one, the `python3` on the path."""
    folder = environment_folder(options, root)
    if folder is not None and (folder / "bin" / "python").exists():
        return str(folder / "bin" / "python")
    return shutil.which("python3") or sys.executable


def _options(info: language_pb2.ProgramInfo) -> dict[str, object]:
    return dict(info.options.items()) if info and info.options else {}


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Answers one engine until it says that it is done."""

    def __init__(self, engine: str) -> None:
        """Serve the engine at this address."""
        self._engine = engine
        self._children: set[subprocess.Popen[bytes]] = set()

    def stop_children(self) -> None:
        """Ask every program that runs to stop, as Ctrl-C would."""
        for child in list(self._children):
            if child.poll() is None:
                child.send_signal(signal.SIGINT)

    def Handshake(self, request, context):  # noqa: N802
        return language_pb2.LanguageHandshakeResponse()

    def Cancel(self, request, context):  # noqa: N802
        self.stop_children()
        return empty_pb2.Empty()

    def GetPluginInfo(self, request, context):  # noqa: N802
        return plugin_pb2.PluginInfo(version="3.255.0")

    def GetRequiredPlugins(self, request, context):  # noqa: N802
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request, context):  # noqa: N802
        return language_pb2.GetRequiredPackagesResponse()

    def RuntimeOptionsPrompts(self, request, context):  # noqa: N802
        return language_pb2.RuntimeOptionsResponse()

    def About(self, request, context):  # noqa: N802
        python = python_for(_options(request.info), request.info.root_directory)
        told = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        return language_pb2.AboutResponse(executable=python, version=told.stdout.strip().removeprefix("Python "))

    def GetProgramDependencies(self, request, context):  # noqa: N802
        packages = self._packages(request.info)
        dependencies = [language_pb2.DependencyInfo(name=p["name"], version=p["version"]) for p in packages]
        return language_pb2.GetProgramDependenciesResponse(dependencies=dependencies)

    def InstallDependencies(self, request, context):  # noqa: N802
        folder = environment_folder(_options(request.info), request.info.root_directory) or Path(
            request.directory, ".venv"
        )
        for command in install_commands(Path(request.directory), folder):
            yield language_pb2.InstallDependenciesResponse(stdout=f"{' '.join(command)}\n".encode())
            child = subprocess.Popen(command, cwd=request.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for line in child.stdout or ():
                yield language_pb2.InstallDependenciesResponse(stdout=line)
            if child.wait():
                context.abort(grpc.StatusCode.UNKNOWN, f"{command[0]} ended with exit code {child.returncode}")

    def Run(self, request, context):  # noqa: N802
        entry = request.info.entry_point
        folder = request.info.program_directory
        program = folder if entry in ("", ".") else str(Path(folder, entry))
        what = {
            "config": dict(request.config),
            "secret_keys": list(request.configSecretKeys),
            "project": request.project,
            "stack": request.stack,
            "parallel": request.parallel,
            "dry_run": request.dryRun,
            "monitor": request.monitor_address,
            "engine": request.args[0] if request.args else self._engine,
            "organization": request.organization or "organization",
            "root": request.info.root_directory,
            "pwd": request.pwd,
            "program": program,
        }
        python = python_for(_options(request.info), request.info.root_directory)
        child = subprocess.Popen([python, "-u", str(RUN_PROGRAM)], stdin=subprocess.PIPE, cwd=request.pwd)
        self._children.add(child)
        context.add_callback(child.terminate)
        try:
            child.communicate(json.dumps(what).encode())
        finally:
            self._children.discard(child)
        if child.returncode == 0:
            return language_pb2.RunResponse()
        if child.returncode == ALREADY_SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program ended with exit code {child.returncode}")

    def RunPlugin(self, request, context):  # noqa: N802
        python = python_for(_options(request.info), request.info.root_directory)
        folder = request.info.program_directory
        environment = dict(os.environ)
        environment.update(pair.split("=", 1) for pair in request.env)
        if request.kind == "analyzer":
            command, where = [python, "-u", "-m", "pulumi.policy", *request.args, folder], folder
        else:
            command, where = [python, "-u", folder, *request.args], request.pwd
        child = subprocess.Popen(command, cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._children.add(child)
        context.add_callback(child.terminate)
        try:
            for stream, data in _output(child):
                if stream == "stdout":
                    yield language_pb2.RunPluginResponse(stdout=data)
                else:
                    yield language_pb2.RunPluginResponse(stderr=data)
            yield language_pb2.RunPluginResponse(exitcode=child.wait())
        finally:
            self._children.discard(child)

    def _packages(self, info: language_pb2.ProgramInfo) -> list[dict[str, str]]:
        python = python_for(_options(info), info.root_directory)
        told = subprocess.run([python, "-c", LIST_PACKAGES], capture_output=True, text=True, check=True)
        return json.loads(told.stdout)


def install_commands(project: Path, environment: Path) -> list[list[str]]:
    """What `pulumi install` runs: the environment, then the project's locked or listed packages."""
    lock = next((name for name in ("requirements.lock", "requirements.txt") if (project / name).exists()), None)
    hashes = ["--require-hashes"] if lock == "requirements.lock" else []
    if shutil.which("uv"):
        make = [["uv", "venv", "--quiet", "--allow-existing", str(environment)]]
        install = ["uv", "pip", "install", "--python", str(environment / "bin/python")]
    else:
        make = [["python3", "-m", "venv", str(environment)]]
        install = [str(environment / "bin/python"), "-m", "pip", "install"]
    return make + ([[*install, *hashes, "--requirement", lock]] if lock else [])


def _output(child: subprocess.Popen[bytes]) -> Iterator[tuple[str, bytes]]:
    """The child's output in the order in which it comes, with the stream's name."""
    chunks: queue.Queue[tuple[str, bytes | None]] = queue.Queue()

    def pump(stream: IO[bytes], name: str) -> None:
        while data := os.read(stream.fileno(), 65536):
            chunks.put((name, data))
        chunks.put((name, None))

    streams = [(child.stdout, "stdout"), (child.stderr, "stderr")]
    for stream, name in streams:
        threading.Thread(target=pump, args=(stream, name), daemon=True).start()
    left = len(streams)
    while left:
        name, data = chunks.get()
        if data is None:
            left -= 1
        else:
            yield name, data


def main() -> None:
    """Serve on a free loopback port, printed on standard output for the engine."""
    engine = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    host = LanguageHost(engine)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    )
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")

    def stop(*_: object) -> None:
        # The engine sends it when it is done, and at Ctrl-C; a host that ignores it holds every command up by 10 s.
        host.stop_children()
        server.stop(0)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
