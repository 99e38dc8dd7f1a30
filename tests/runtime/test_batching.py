"""Images of many requests to few runs of the net."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine

import numpy as np
import pytest

from snugnet_runtime.batching import Batcher
from snugnet_runtime.model import Pixels, Shares


def image(value: int) -> Pixels:
    return np.full((1, 2, 2), value, np.uint8)


def means(images: Pixels) -> Shares:
    return images.mean(axis=(2, 3), dtype=np.float64)


def carried_out(
    work: Callable[[Batcher], Coroutine[None, None, None]],
    compute: Callable[[Pixels], Shares] = means,
    wait_s: float = 0.2,
) -> list[int]:
    """The sizes of the batches."""
    sizes: list[int] = []

    async def main() -> None:
        batcher = Batcher(compute, 4, wait_s, sizes.append)
        await batcher.start()
        await work(batcher)
        await batcher.stop()

    asyncio.run(main())
    return sizes


def test_each_gets_its_own_answer():
    async def work(batcher: Batcher) -> None:
        found = await asyncio.gather(*(batcher.ask([image(k), image(100 + k)]) for k in range(5)))
        assert [[float(own[0]) for own in each] for each in found] == [[k, 100 + k] for k in range(5)]

    assert carried_out(work) == [4, 4, 2]


def test_a_full_batch_waits_for_nobody_and_a_single_image_not_for_ever():
    async def work(batcher: Batcher) -> None:
        async with asyncio.timeout(30):
            await batcher.ask([image(k) for k in range(4)])

    assert carried_out(work, wait_s=1000) == [4]

    async def single(batcher: Batcher) -> None:
        await batcher.ask([image(1)])

    assert carried_out(single, wait_s=0.01) == carried_out(single, wait_s=0) == [1]


def test_what_goes_wrong_is_told_to_those_who_asked_and_the_next_is_answered():
    def fails(images: Pixels) -> Shares:
        if (images == 7).any():
            raise ValueError("seven")
        return means(images)

    async def work(batcher: Batcher) -> None:
        with pytest.raises(ValueError, match="seven"):
            await batcher.ask([image(7), image(1)])
        assert [float(own[0]) for own in await batcher.ask([image(1)])] == [1.0]

    assert carried_out(work, fails, wait_s=0.01) == [2, 1]


def test_images_of_a_client_that_has_gone_are_not_computed():
    async def work(batcher: Batcher) -> None:
        gone = asyncio.create_task(batcher.ask([image(1), image(2)]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        await batcher.ask([image(3)])

    assert carried_out(work) == [1]


def test_stopping_answers_what_waits():
    async def main() -> None:
        batcher = Batcher(means, 4, 1000, lambda _: None)
        await batcher.start()
        asked = asyncio.create_task(batcher.ask([image(9)]))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            await batcher.stop()
        assert float((await asked)[0][0]) == 9

    asyncio.run(main())


def test_the_loop_runs_on_while_the_net_is_computed():
    free = threading.Event()

    def slow(images: Pixels) -> Shares:
        assert free.wait(30), "the event loop was blocked"
        return means(images)

    async def work(batcher: Batcher) -> None:
        asked = asyncio.create_task(batcher.ask([image(k) for k in range(4)]))
        await asyncio.sleep(0.01)
        free.set()
        await asked

    assert carried_out(work, slow) == [4]
