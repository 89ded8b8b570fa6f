"""Other libraries in the place of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from interlock.call.classify import answered
from interlock.core.handler import Call, Handler
from interlock.core.outcome import Answer, Later, Outcome
from interlock.systems.registry import Transport


@asynccontextmanager
async def aiohttp_transport(url: str) -> AsyncIterator[Transport]:
    """Carries calls by aiohttp, as it is recommended: one session, keep-alive, as many connections as may be busy."""
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(url, connector=connector, auto_decompress=False) as session:

        async def send(call: Call) -> Outcome:
            fields = [(name, value) for name, value in call.headers if name not in {"host", "content-length"}]
            request = session.request(call.method, call.target, data=call.body, headers=fields, allow_redirects=False)
            try:
                async with request as response:
                    headers = tuple((name.lower(), value) for name, value in response.headers.items())
                    return answered(call, Answer(response.status, headers, await response.read()), 0)
            except aiohttp.ClientError as error:
                return Later("connect", detail=str(error))

        def transport(system: str) -> Handler:
            return send

        yield transport
