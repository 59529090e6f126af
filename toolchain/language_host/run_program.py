"""Run one Pulumi program for the language host, in the program's own environment.

What to run comes as JSON on standard input. Exit code 32: the error has been shown already.
"""

import asyncio
import json
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pulumi
from pulumi import runtime

ALREADY_SHOWN = 32


def user_frames(error: BaseException, root: str) -> str:
    """The error's trace without the frames above the program: this file, the SDK's start and the import machinery."""
    frames = traceback.extract_tb(error.__traceback__)
    above = [
        n
        for n, frame in enumerate(frames)
        if frame.filename in (__file__, "<frozen runpy>", "<frozen importlib._bootstrap>")
    ]
    own = [
        n for n, frame in enumerate(frames) if frame.filename.startswith(root) and "site-packages" not in frame.filename
    ]
    # An error from a callback has no frame of this file: it starts where the program's own code does.
    first = above[-1] + 1 if above else next(iter(own), 0)
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames[first:])]
    return "".join([*lines, *traceback.format_exception_only(type(error), error)])


def main() -> int:
    """Run the program and return the exit code."""
    run = json.load(sys.stdin)
    runtime.set_all_config(run["config"], run["secret_keys"])
    runtime.configure(
        runtime.Settings(
            project=run["project"],
            stack=run["stack"],
            parallel=run["parallel"],
            dry_run=run["dry_run"],
            monitor=run["monitor"],
            engine=run["engine"],
            organization=run["organization"],
            root_directory=run["root"],
        )
    )
    os.chdir(run["pwd"])
    program = Path(run["program"])
    sys.path.insert(0, str(program if program.is_dir() else program.parent))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(max_workers=4 * max(run["parallel"], 1)))

    def program_main() -> None:
        runpy.run_path(run["program"], run_name="__main__")

    try:
        loop.run_until_complete(runtime.run_in_stack(program_main))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
    except (pulumi.InputPropertiesError, pulumi.InputPropertyError) as error:
        details = getattr(error, "errors", None) or [
            {"property_path": getattr(error, "property_path", ""), "reason": getattr(error, "reason", str(error))}
        ]
        lines = [f"  - {detail['property_path']}: {detail['reason']}" for detail in details]
        pulumi.log.error("\n".join([str(error), *lines]))
    except KeyboardInterrupt:
        # The engine stops programs this way; it says why itself. Threads that still wait for it would hold the exit up.
        os._exit(ALREADY_SHOWN)
    except SystemExit as error:
        return int(error.code or 0) if not isinstance(error.code, str) else 1
    except BaseException as error:  # noqa: BLE001  (whatever a user's program raises is shown to the user)
        pulumi.log.error("Program failed with an unhandled exception:\n" + user_frames(error, run["root"]))
    else:
        return 0
    return ALREADY_SHOWN


if __name__ == "__main__":
    exit_code = main()
    signal.signal(signal.SIGINT, lambda *_: os._exit(exit_code or ALREADY_SHOWN))
    sys.exit(exit_code)
