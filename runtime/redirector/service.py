"""The redirector's parts together, and what happens when the settings change under them."""

import logging
from typing import Self

from runtime.redirector.asking import load_trust
from runtime.redirector.fleet import Fleet
from runtime.redirector.metrics import Metrics
from runtime.redirector.polling import Polling
from runtime.redirector.settings import Settings, SettingsError, SettingsFile
from runtime.redirector.web import Redirector

log = logging.getLogger("hubstack-redirector")


class Service:
    """Fleet, polling and handler, under settings that may change; entered while it runs."""

    def __init__(self, file: SettingsFile) -> None:
        """Start with what the file says.

        Raises:
            SettingsError: it cannot be used.
        """
        self._file = file
        self.settings = file.read()
        self._trust = load_trust(self.settings.ca_file)
        self.fleet = Fleet(self.settings.nodes)
        self.metrics = Metrics(self.fleet)
        self.polling = Polling(self.fleet, self.metrics)
        self.redirector = Redirector(self.fleet, self.metrics, self.settings, self.polling.lives)

    async def __aenter__(self) -> Self:
        """Begin to ask the nodes."""
        await self.polling.__aenter__()
        self.polling.follow(self.settings, self._trust)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask no more."""
        await self.polling.__aexit__()

    def reload(self, *, again: bool = False) -> None:
        """Put the file's settings in force if they changed and can be used; else the old ones stay.

        Args:
            again: whether to read them even if the file is the same, for the certificates that it names.
        """
        try:
            settings = self._file.read() if again else self._file.changed()
            if settings is None:
                return
            trust = load_trust(settings.ca_file)
        except SettingsError as error:
            self.metrics.refused_reloads.inc()
            log.warning("the new settings are refused and the old ones stay in force: %s", error)
            return
        log.info("%s", _change_sentence(self.settings, settings))
        self.settings = settings
        self.fleet.replace(settings.nodes)
        self.polling.follow(settings, trust)
        self.redirector.apply(settings)
        self.metrics.reloads.inc()


def _change_sentence(before: Settings, after: Settings) -> str:
    came = sorted(node.name for node in set(after.nodes) - set(before.nodes))
    went = sorted(node.name for node in set(before.nodes) - set(after.nodes))
    changes = [f"{what} {', '.join(names)}" for what, names in (("new:", came), ("gone:", went)) if names]
    return "; ".join([f"new settings are in force, with {len(after.nodes)} nodes", *changes])
