"""Jupyter Server's configuration: HUBSTACK_WARM_KERNELS (a whole number, default 0) kernels are started ahead."""

import os

c = get_config()  # noqa: F821  # pyright: ignore[reportUndefinedVariable]  (Jupyter Server puts it here)

# Without any, the server keeps its own class.
if warm_kernels := int(os.environ.get("HUBSTACK_WARM_KERNELS", "0")):
    c.ServerApp.kernel_manager_class = "warm_kernels.WarmKernelManager"
    c.WarmKernelManager.warm_kernels = warm_kernels
