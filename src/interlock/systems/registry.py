"""All Systems of a plan: one stack of layers each, and what lanes, runtime and console ask of them.

From the outside in: deadline, authorization, gate (pause, breaker, limiter), judge, for HTTP the fields, transport. The
attempt's `Scope` is before them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from interlock.call.breaker import Published, decode, encode
from interlock.call.effect import Scope
from interlock.call.gate import Gate, GatePorts, GateState, GateTerms
from interlock.call.judge import judged
from interlock.call.timeout import deadline
from interlock.core import limits
from interlock.core.controls import Control
from interlock.core.errors import SpecError
from interlock.core.handler import Handler
from interlock.core.ports import Clock, Emit, Net, Offload, Random, Secrets
from interlock.spec.database import url_secret
from interlock.spec.plan import HttpBinding, Plan, SystemSpec
from interlock.spec.uses import systems_used
from interlock.systems.authorization import FIELD, Authorization, ContextFor
from interlock.systems.databases import database_of
from interlock.systems.fields import Fields, active_texts, prepared
from interlock.systems.http import HttpClient, HttpOutlet, http_transport
from interlock.systems.sql import Database, SqlClient, SqlFault, SqlOutlet, sql_transport
from interlock.systems.target import Address, address
from interlock.wire.outgoing import Origin, PoolLimits
from interlock.wire.pool import Pool

BREAKER_CELLS: Final = "breaker/"
"""The prefix of the cells in which processes tell each other what their breakers found."""
SLOW_DIVISOR: Final = 2
"""A call that takes half of its System's deadline is slow: the other half is what is left before calls fail."""

Transport = Callable[[str], Handler]
"""For a System's name, the handler that carries its calls: instead of HTTP, in tests."""


class Ports(Protocol):
    """What Systems need of the world."""

    @property
    def net(self) -> Net: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def random(self) -> Random: ...
    @property
    def emit(self) -> Emit: ...
    @property
    def offload(self) -> Offload: ...
    @property
    def secrets(self) -> Secrets: ...


class _System(NamedTuple):
    gate: Gate
    outlet: HttpOutlet | SqlOutlet
    ways: Pool | Database | None
    """Its connections; None where a test carries its calls."""


class Systems:
    """The other sides of one process. `context` is what a System's `refresh` is called with.

    Raises:
        SpecError: `system.unbound`, `system.url-invalid`, `system.header-invalid`, `system.rate-invalid`,
            `system.driver-missing`.
    """

    def __init__(
        self, plan: Plan, ports: Ports, transport: Transport | None = None, context: ContextFor | None = None
    ) -> None:
        self._ports = ports
        self._context = context
        self._transport = transport
        self._tls: ssl.SSLContext | None = None
        self._watchers: list[Callable[[str], None]] = []
        self._turned: list[Callable[[str, bytes], None]] = []
        self._gone: list[Callable[[str, str], None]] = []
        self._gate_ports = GatePorts(
            ports.clock, ports.random, ports.emit, changed=self._tell, turned=self._tell_turned, gone=self._tell_gone
        )
        self._bindings = plan.bindings
        self._specs = plan.systems
        self._refreshed_by = {
            name: systems_used(spec.refresh) for name, spec in plan.systems.items() if spec.refresh is not None
        }
        self._systems = {name: self._build(name, plan.bindings.get(name)) for name in plan.systems}

    def client(self, name: str, scope: Scope) -> HttpClient | SqlClient:
        """Calls to a System within one attempt.

        Raises:
            SpecError: `system.unknown`.
        """
        outlet = self._find(name).outlet
        return SqlClient(outlet, scope) if isinstance(outlet, SqlOutlet) else HttpClient(outlet, scope)

    def available(self, name: str, event: str | None = None) -> int | None:
        """None if work that uses the System may start now, else how many µs to wait before asking again.

        With an event, a part of what is scarce (the probe's slot, the rate) is kept for it for a second.
        """
        return self._find(name).gate.offer(event or "")

    def release(self, name: str, event: str) -> None:
        """The work for this event has ended: what `available` kept for it is free."""
        self._find(name).gate.release(event)

    def is_down(self, name: str) -> bool:
        """Whether the breaker is open, or half open until its probes have succeeded.

        So is a System whose `Authorization` comes from one that is.
        """
        names = (name, *self._refreshed_by.get(name, ()))
        return any(self._find(each).gate.breaker.state in ("open", "half_open", "forced_open") for each in names)

    def is_paused(self, name: str) -> bool:
        """Whether nothing is sent to it until somebody resumes it; one that the plan has no more is not paused."""
        found = self._systems.get(name)
        return found is not None and found.gate.paused

    def watch(self, callback: Callable[[str], None]) -> None:
        """Call back with the name of a System for which work may have become possible. It may only take note."""
        self._watchers.append(callback)

    def on_turn(self, callback: Callable[[str, bytes], None]) -> None:
        """Call back when a breaker here has found something: the value of its cell, for the other processes."""
        self._turned.append(callback)

    def on_gone(self, callback: Callable[[str, str], None]) -> None:
        """Call back when a System takes nothing any more, and why. It is paused here already; a person resumes it."""
        self._gone.append(callback)

    def adopt(self, name: str, value: bytes) -> None:
        """Take over what another process's breaker found: the value of its cell."""
        found = decode(value)
        if found is not None:
            self._find(name).gate.adopt(found)

    def control(self, name: str, control: Control) -> None:
        """Apply the control state that a person has set."""
        gate = self._find(name).gate
        if control.paused and not gate.paused:
            gate.pause()
        elif gate.paused and not control.paused:
            gate.resume()
        self.force(name, control.forced)

    def pause(self, name: str) -> None:
        """Send nothing to the System until `resume`. Calls under way end as they end."""
        self._find(name).gate.pause()

    def resume(self, name: str) -> None:
        """End a pause."""
        self._find(name).gate.resume()

    def force(self, name: str, how: Literal["open", "closed"] | None) -> None:
        """Hold the breaker open or closed; None lets it judge again."""
        gate = self._find(name).gate
        if gate.breaker.state != (f"forced_{how}" if how else gate.breaker.state) or how is None:
            gate.force(how)

    def state(self, name: str) -> GateState:
        """How a System stands, for `systems ls`."""
        return self._find(name).gate.state()

    def rebind(self, bindings: Mapping[str, HttpBinding]) -> Sequence[str]:
        """Reach Systems as these bindings say, from the next call on; the names of those for which that is news.

        Calls under way end as they began, beside those to come: for that long, limits hold for each of them alone.

        Raises:
            SpecError: as at the start; nothing has changed then.
        """
        news = [name for name in self._systems if bindings.get(name) != self._bindings.get(name)]
        built = {name: self._build(name, bindings.get(name)) for name in news}
        for name, system in built.items():
            former, self._systems[name] = self._systems[name], system
            system.gate.follow(former.gate, same_place=bindings[name].url == self._bindings[name].url)
            if former.ways is not None:
                former.ways.close()
        self._bindings = bindings
        for name in news:
            self._tell(name)
        return news

    async def close(self) -> None:
        """Close the connections. Calls under way end; what comes later is not sent."""
        for system in self._systems.values():
            if system.ways is not None:
                system.ways.close()

    async def forget_receipts(self, before: int) -> None:
        """Remove the receipts of SQL Systems from before an instant, in small slices.

        A database whose gate is not open is left for another time.
        """
        clock, emit = self._ports.clock, self._ports.emit
        for name, (gate, _, database) in list(self._systems.items()):
            count = 0
            if database is None or isinstance(database, Pool) or gate.paused or not gate.breaker.passing:
                continue
            try:
                for _ in range(limits.RECEIPT_SLICES_MAX):
                    async with clock.deadline(clock.monotonic() + self._bindings[name].deadline_us):
                        gone = await database.forget(before, limits.RECEIPT_SLICE_ROWS)
                    count += gone
                    if gone < limits.RECEIPT_SLICE_ROWS:
                        break
            except (SqlFault, TimeoutError) as error:
                emit("receipts.failed", system=name, error=str(error))
            if count:
                emit("receipts.forgotten", system=name, count=count)

    def _find(self, name: str) -> _System:
        try:
            return self._systems[name]
        except KeyError:
            raise SpecError(
                "system.unknown",
                f"{name!r} is no System of this plan",
                "hand its integration to the plan, or use the handle of one that is in it",
            ) from None

    def _build(self, name: str, binding: HttpBinding | None) -> _System:
        if binding is None:
            raise SpecError("system.unbound", f"{name} has no address", f'add [systems."{name}"] url = "..."')
        terms = GateTerms(
            name, binding.concurrency, binding.deadline_us // SLOW_DIVISOR, binding.rate_per_second, binding.burst
        )
        gate = Gate(terms, self._gate_ports)
        build = self._build_sql if self._specs[name].kind == "sql" else self._build_http
        return build(name, binding, gate)

    def _build_sql(self, name: str, binding: HttpBinding, gate: Gate) -> _System:
        ports, secret = self._ports, url_secret(binding.url)
        database = None
        if self._transport is not None:
            innermost = self._transport(name)
        else:
            database = database_of(name, binding, ports)
            innermost = sql_transport(database, ports.clock, ports.emit)
        handler = deadline(ports.clock, binding.deadline_us)(gate.layer(innermost))
        names = [secret] if secret else []
        outlet = SqlOutlet(name, handler, ports.clock, ports.random, lambda: active_texts(ports.secrets, names))
        return _System(gate, outlet, database)

    def _build_http(self, name: str, binding: HttpBinding, gate: Gate) -> _System:
        clock, spec = self._ports.clock, self._specs[name]
        where = address(name, binding.url)
        authorization = self._authorization(spec, binding)
        fields = Fields(name, binding.headers, self._ports.secrets, authorization)
        pool = None
        if self._transport is not None:
            innermost = self._transport(name)
        else:
            pool = self._pool(where, binding)
            innermost = http_transport(pool, clock)
        inner = prepared(fields, clock, self._ports.emit, innermost)
        if spec.success_when is not None:
            inner = judged(spec.success_when, inner)
        inner = gate.layer(inner)
        if authorization is not None:
            inner = authorization.layer(inner)
        handler = deadline(clock, binding.deadline_us)(inner)
        outlet = HttpOutlet(name, handler, clock, self._ports.random, fields.hidden, where.prefix, fields.reserved)
        return _System(gate, outlet, pool)

    def _authorization(self, spec: SystemSpec, binding: HttpBinding) -> Authorization | None:
        if spec.refresh is None or self._context is None:
            return None
        is_bound = any(name.lower() == FIELD for name in binding.headers)
        ports = (self._ports.clock, self._ports.emit)
        return Authorization(spec.name, spec.refresh, ports, self._context, is_bound=is_bound)

    def _pool(self, where: Address, binding: HttpBinding) -> Pool:
        tls = None
        if where.is_tls:
            # One for all: reading the certificates of the authorities takes tens of milliseconds.
            tls = self._tls = self._tls or ssl.create_default_context()
        limits = PoolLimits(
            connections_max=binding.concurrency,
            connect_timeout_us=binding.connect_us,
            answer_bytes_max=binding.answer_bytes_max,
        )
        return Pool(Origin(where.host, where.port, tls), self._ports.net, self._ports.clock, limits)

    def _tell(self, name: str) -> None:
        for callback in self._watchers:
            callback(name)

    def _tell_turned(self, name: str, published: Published) -> None:
        for callback in self._turned:
            callback(name, encode(published))

    def _tell_gone(self, name: str, why: str) -> None:
        for callback in self._gone:
            callback(name, why)
