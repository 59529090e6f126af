"""The parts that look after a node's servers together."""

from dataclasses import dataclass

from runtime.tmpnb_node.engine import Engine
from runtime.tmpnb_node.journal import Journal
from runtime.tmpnb_node.pool import Pool
from runtime.tmpnb_node.routes import Routes
from runtime.tmpnb_node.starts import Starter
from runtime.tmpnb_node.state import StateFolder
from runtime.tmpnb_node.troubles import Troubles


@dataclass(frozen=True)
class Parts:
    """What the loop works with."""

    pool: Pool
    engine: Engine
    routes: Routes
    journal: Journal
    state: StateFolder
    starter: Starter
    troubles: Troubles
