"""Images of many requests to one run of the net: while one batch is computed, the next gathers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from snugnet_runtime.model import Pixels, Shares

Waiting = tuple[Pixels, "asyncio.Future[Shares]"]

T = TypeVar("T")


class Batcher:
    """`compute` (shares of a batch) runs in one thread, on up to `batch` images. The first of a batch waits `wait_s`
    for others at most. How many may wait is for the caller to bound."""

    def __init__(
        self, compute: Callable[[Pixels], Shares], batch: int, wait_s: float, observe: Callable[[int], None]
    ) -> None:
        self._compute, self._batch, self._wait_s, self._observe = compute, batch, wait_s, observe
        self._waiting: deque[Waiting] = deque()
        self._more = asyncio.Event()
        self._is_stopping = False
        self._thread = ThreadPoolExecutor(1, "net")
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Answers what waits, then ends."""
        self._is_stopping = True
        self._more.set()
        if self._worker:
            await self._worker
        self._thread.shutdown()

    async def ask(self, images: Sequence[Pixels]) -> list[Shares]:
        """Shares (classes,) of each. Raises what computing raised."""
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Shares]] = [loop.create_future() for _ in images]
        self._waiting.extend(zip(images, answers, strict=True))
        self._more.set()
        return await asyncio.gather(*answers)  # of a client that has gone, all are cancelled

    async def run(self, work: Callable[[], T]) -> T:
        """Other work for the net, in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _work(self) -> None:
        while True:
            if not self._waiting:
                if self._is_stopping:
                    return
                self._more.clear()
                await self._more.wait()
                continue
            await self._gather()
            taken = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            if asked := [each for each in taken if not each[1].done()]:
                await self._answer(asked)

    async def _gather(self) -> None:
        """Until a batch is full, or `wait_s` have passed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait_s
        while len(self._waiting) < self._batch and not self._is_stopping and (left := end - loop.time()) > 0:
            self._more.clear()
            try:
                async with asyncio.timeout(left):
                    await self._more.wait()
            except TimeoutError:
                return

    async def _answer(self, asked: Sequence[Waiting]) -> None:
        self._observe(len(asked))
        loop = asyncio.get_running_loop()
        batch = np.stack([images for images, _ in asked])
        try:
            shares = await loop.run_in_executor(self._thread, self._compute, batch)
        except Exception as error:  # whoever asked is told, the next batch is computed
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), own in zip(asked, shares, strict=True):
            if not answer.done():
                answer.set_result(own)
