"""Every forward of every gpudash on this machine: where it leads, whether it is up, who holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from gpudash.fleet.changes import ChangeSet
from gpudash.model.instance import InstanceKey
from gpudash.model.tunnel import Tunnel, TunnelState
from gpudash.ui import format as fmt
from gpudash.ui.actions import READ_ONLY, again, bindings
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.listing import ListScreen

_TOKEN = {TunnelState.UP: "tone-good", TunnelState.CONNECTING: "tone-warn", TunnelState.NO_SERVICE: "tone-warn"}
_GLYPH = {TunnelState.UP: "●", TunnelState.CONNECTING: "◌", TunnelState.NO_SERVICE: "◐"}


def _state(tunnel: Tunnel, scene: Scene, width: int) -> Line:
    token = _TOKEN.get(tunnel.state, "tone-bad")
    return ((f"{_GLYPH.get(tunnel.state, '✖')} {tunnel.state.value}", token),)


def _since(tunnel: Tunnel, scene: Scene, width: int) -> Line:
    return ((fmt.NOTHING if tunnel.since is None else fmt.length(scene.now - tunnel.since), "text"),)


class TunnelsScreen(ListScreen[Tunnel]):
    """One row a forward."""

    title_text = "Tunnels"
    row_name = "tunnel"
    first_sort = "name"
    kind = "tunnels"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tunnels"), again("tunnels")]
    columns: ClassVar[Sequence[Column[Any]]] = (
        Column("state", "STATE", 12, _state, lambda t: t.state.value, weight=1),
        Column("name", "INSTANCE", 14, lambda t, s, w: ((t.name, "value"),), lambda t: t.name, weight=1, grow=16),
        Column(
            "local", "HERE", 22, lambda t, s, w: ((f"http://127.0.0.1:{t.local}", "link"),), lambda t: t.local, weight=1
        ),
        Column(
            "remote", "THERE", 6, lambda t, s, w: ((str(t.remote), "text"),), lambda t: t.remote, weight=1, right=True
        ),
        Column("since", "UP FOR", 6, _since, lambda t: t.since.timestamp() if t.since else None, weight=2, right=True),
        Column(
            "by",
            "HELD BY",
            18,
            lambda t, s, w: ((f"{t.owner}, pid {t.owner_pid}", "muted"),),
            lambda t: t.owner,
            weight=3,
        ),
        Column("account", "ACCOUNT", 9, lambda t, s, w: ((t.account, "text"),), lambda t: t.account, weight=4),
        Column("detail", "DETAIL", 10, lambda t, s, w: ((t.detail, "muted"),), None, weight=5, grow=60),
    )

    async def fetch(self) -> Iterable[tuple[tuple[str, str, int, int], Tunnel]]:
        return [
            ((tunnel.account, tunnel.instance_id, tunnel.remote, tunnel.local), tunnel)
            for record in self.fleet.store.records.values()
            for tunnel in record.tunnels
        ]

    def changed(self, changes: ChangeSet) -> None:
        self.load()

    def nothing(self) -> str:
        return "No tunnel. t on an instance opens those of its services."

    def right(self, scene: Scene) -> Line:
        up = sum(row.record.state is TunnelState.UP for row in self.view.rows.values())
        if not self.view.rows:
            return ()
        return ((f"{up} of {len(self.view.rows)} up", "tone-good" if up == len(self.view.rows) else "tone-warn"),)

    def action_close_tunnel(self) -> None:
        tunnel = self.chosen()
        if tunnel is None:
            return
        if self.fleet.session.read_only:
            self.gpudash.say(READ_ONLY, "tone-warn")
            return
        key = self._key_of(tunnel)
        if key is not None:
            self.gpudash.carry_out(self._close(key, tunnel))

    def _key_of(self, tunnel: Tunnel) -> InstanceKey | None:
        keys = self.fleet.store.records
        return next((key for key in keys if (key.account, key.id) == (tunnel.account, tunnel.instance_id)), None)

    def opened(self) -> None:
        tunnel = self.chosen()
        if tunnel is not None:
            self.open_instance(self._key_of(tunnel), tunnel.name)

    async def _close(self, key: InstanceKey, tunnel: Tunnel) -> None:
        await self.fleet.close_tunnel(key, tunnel.remote)
        self.gpudash.say(f"Closed {tunnel.name}:{tunnel.remote}; port {tunnel.local} is free.", "tone-good")
        self.load()

    def action_copy_url(self) -> None:
        tunnel = self.chosen()
        if tunnel is None:
            return
        self.copy(f"http://127.0.0.1:{tunnel.local}")
