"""Where built tools are kept between checkouts, and how they get there whole."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """`$HUBSTACK_CACHE`, or `hubstack` in the user's cache folder; outside every checkout."""
    given = os.environ.get("HUBSTACK_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else Path(base or Path.home() / ".cache") / "hubstack"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, so that two installations do not do the same work at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_whole(target: Path, make: Callable[[Path], None]) -> Path:
    """Return `target`, made by `make` under a temporary name first and renamed when it is complete."""
    if target.exists():
        return target
    with locked(target.with_name(f"{target.name}.lock")):
        if not target.exists():
            unfinished = target.with_name(f"{target.name}.unfinished")
            if unfinished.is_dir():
                shutil.rmtree(unfinished)
            unfinished.unlink(missing_ok=True)
            make(unfinished)
            unfinished.rename(target)
    return target
