"""A server whose first kernel answers at once, as it was started before anybody asked for it.

`jupyter_server_config.py` turns this on. A warm kernel is none of the server's until it is handed out: no list shows
it, no activity is counted, and nothing culls it. From then on it is like any other, which the server's own code sees
to. What a kernel reads as it starts, such as IPython's startup files, a warm one has read before the request.
"""
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# (Only the image has Jupyter Server.)

import json
import os
from pathlib import Path
from typing import Any

from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager
from jupyter_server.base.handlers import APIHandler
from jupyter_server.services.kernels.kernelmanager import (
    AsyncMappingKernelManager,
    ServerKernelManager,
    emit_kernel_action_event,
)
from jupyter_server.utils import ApiPath, url_path_join
from tornado.ioloop import IOLoop
from tornado.web import authenticated
from traitlets import Integer, default
from warm_pool import WarmPool, late_variables, placing_code

PLACING_TIMEOUT_SECONDS = 5.0
"""For a kernel that waits for work to change its folder; it takes milliseconds."""


class WarmableKernelManager(ServerKernelManager):
    """One kernel, which may be started before it is asked for."""

    _warm = False

    async def warm_up(self, timeout_seconds: float, **launch: Any) -> None:
        """Start the kernel without telling anybody, and return when it answers.

        Args:
            timeout_seconds: how long it may take to answer.
            launch: what `start_kernel` takes.

        Raises:
            RuntimeError: it died, or does not answer in time.
        """
        self._warm = True
        await AsyncIOLoopKernelManager.start_kernel(self, **launch)
        client: Any = self.client(context=self.context)
        client.start_channels(stdin=False, hb=False, control=False)
        try:
            await client.wait_for_ready(timeout=timeout_seconds)
        finally:
            client.stop_channels()

    async def place(self, folder: str, variables: dict[str, str]) -> None:
        """Move the warm kernel to `folder` and add environment variables, silently.

        Raises:
            RuntimeError: it cannot enter the folder.
            TimeoutError: it does not answer.
        """
        client: Any = self.client(context=self.context)
        client.start_channels(iopub=False, stdin=False, hb=False, control=False)
        try:
            code = placing_code(folder, variables)
            reply = await client.execute(
                code, silent=True, store_history=False, reply=True, timeout=PLACING_TIMEOUT_SECONDS
            )
        finally:
            client.stop_channels()
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"].get("evalue"))

    async def end_warm(self) -> None:
        """End the kernel without telling anybody; it may be dead, or not quite started."""
        await AsyncIOLoopKernelManager.shutdown_kernel(self, now=True)

    @emit_kernel_action_event(success_msg="Kernel {kernel_id} was started.")
    async def start_kernel(self, *args: Any, **kwargs: Any) -> None:
        """Start the kernel; a warm one, which was placed, becomes one that was started with these arguments."""
        if not self._warm:
            await AsyncIOLoopKernelManager.start_kernel(self, *args, **kwargs)
            return
        self._warm = False
        # A restart launches it with these.
        self._launch_args = {
            name: value for name, value in kwargs.items() if name not in {"kernel_id", "transport_encryption"}
        }
        provisioner: Any = self.provisioner
        provisioner.cwd = kwargs.get("cwd", Path.cwd())
        self.start_restarter()

    def start_restarter(self) -> None:
        """Have the kernel restarted if it dies, but for a warm one, which the pool replaces."""
        if not self._warm:
            super().start_restarter()


class WarmKernelsHandler(APIHandler):
    """Tells how many kernels are kept ahead and how many of them answer: whoever keeps a server for a visitor asks."""

    def initialize(self, pool: WarmPool[WarmableKernelManager]) -> None:
        """Tell of this pool."""
        self._pool = pool

    @authenticated
    def get(self) -> None:
        """`{"wanted": 1, "ready": 1}`."""
        self.finish(json.dumps({"wanted": self._pool.size, "ready": self._pool.ready}))


class WarmKernelManager(AsyncMappingKernelManager):
    """The server's kernels, of which some are started ahead."""

    warm_kernels = Integer(
        0,
        min=0,
        config=True,
        help="How many kernels of the default kind, which must be a Python, are started before they are asked for.",
    )

    @default("kernel_manager_class")
    def _default_kernel_manager_class(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]  (a literal)
        return f"{__name__}.{WarmableKernelManager.__name__}"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._environment = dict(os.environ)
        self._handed_out: dict[str, WarmableKernelManager] = {}
        self._pool = WarmPool(
            self.warm_kernels,
            start=self._start_warm,
            alive=WarmableKernelManager.is_alive,
            end=WarmableKernelManager.end_warm,
            log=self.log,
        )
        # The loop runs when the server is up.
        IOLoop.current().add_callback(self._open)

    def _open(self) -> None:
        self._pool.open()
        address = url_path_join(self.parent.base_url, "/api/warm-kernels")
        self.parent.web_app.add_handlers(".*$", [(address, WarmKernelsHandler, {"pool": self._pool})])

    def __bool__(self) -> bool:
        """True, though its length may be 0: a server that stops asks before it calls `shutdown_all`."""
        return True

    async def start_kernel(self, *, kernel_id: str | None = None, path: ApiPath | None = None, **kwargs: Any) -> str:
        """Hand out a warm kernel if one can serve the request, or start one; return its id.

        Args:
            kernel_id: the id that the kernel must have; an ordinary start, if given.
            path: folder below the server's root, as the API names it. Default: the server's working directory.
            kwargs: `kernel_name` and `env`; anything else takes an ordinary start.
        """
        warm = None if kernel_id else await self._taken(path, **kwargs)
        if warm is not None:
            kernel_id = warm.kernel_id
            self._handed_out[warm.kernel_id] = warm
        started = await super().start_kernel(kernel_id=kernel_id, path=path, **kwargs)
        if warm is not None:
            # It has answered: a client need not wait until it does.
            warm.execution_state = "idle"
        return started

    def pre_start_kernel(self, kernel_name: str | None, kwargs: dict[str, Any]) -> tuple[Any, str, str]:
        """The manager of the kernel to start, its kind and its id: the warm one that has the id, or a new one."""
        warm = self._handed_out.pop(kwargs.get("kernel_id", ""), None)
        if warm is None:
            return super().pre_start_kernel(kernel_name, kwargs)
        return warm, warm.kernel_name, kwargs.pop("kernel_id")

    async def shutdown_all(self, now: bool = False) -> None:  # noqa: FBT001, FBT002  (the overridden signature)
        """End every kernel, warm ones as well."""
        await self._pool.close()
        await super().shutdown_all(now=now)

    async def _taken(
        self, path: ApiPath | None, *, kernel_name: str | None = None, env: dict[str, str] | None = None, **special: Any
    ) -> WarmableKernelManager | None:
        """A warm kernel, placed for the request; None if the request takes an ordinary start."""
        if special or kernel_name not in {None, self.default_kernel_name}:
            return None
        variables = late_variables(os.environ if env is None else env, self._environment)
        if variables is None:
            return None
        folder = os.getcwd() if path is None else self.cwd_for_path(path)  # noqa: PTH109  (text, as from cwd_for_path)
        warm = await self._pool.take()
        if warm is None:
            return None
        try:
            await warm.place(folder, variables)
        except (RuntimeError, TimeoutError) as error:
            self.log.warning("A warm kernel could not be placed in %s: %s", folder, error)
            await self._pool.discard(warm)
            return None
        return warm

    async def _start_warm(self) -> WarmableKernelManager:
        kernel, _, kernel_id = self.pre_start_kernel(None, {})
        launch = self._kernel_start_kwargs(kernel_id=kernel_id, cwd=self.root_dir, env=self._environment)
        try:
            await kernel.warm_up(self.kernel_info_timeout, **launch)
        except BaseException:
            await kernel.end_warm()
            raise
        return kernel
