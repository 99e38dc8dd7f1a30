import pytest
import torch

from snugnet import device, memory
from snugnet.memory import Memory
from snugnet.train.config import TrainConfig
from specs import spec

PARAMS = 318
STAGE = {"block": "single", "blocks": 1, "channels": 4, "shortcut": {"kind": "none"}}


def predicted(precision="fp32", stage=("single", 1, 4), **train):
    return memory.predict(spec(stage, image_size=8), TrainConfig.parse({"epochs": 1, **train}), precision)


@pytest.mark.parametrize(
    ("train", "copies"),
    [
        ({"optimizer": {"momentum": 0.0}}, 2),
        ({"optimizer": {"momentum": 0.9}}, 3),
        ({"optimizer": {"name": "adamw"}}, 4),
        ({"optimizer": {"name": "adamw"}, "ema": {}}, 5),
    ],
)
def test_what_is_held_whatever_the_batch(train, copies):
    assert predicted(**train).fixed == 4 * copies * PARAMS


def test_what_backward_keeps_by_hand():
    image, plane = 4 * 3 * 64, 4 * 4 * 64
    maps = image + 4 * plane  # image; stem conv, stem ReLU; block conv, block ReLU
    statistics = 2 * (4 * 4 * 2) // 2  # mean and deviation of two norms, shared by two images
    pooled = 4 * 4  # the classifier's input
    assert predicted(stage=STAGE).per_image == maps + statistics + pooled
    assert predicted("fp16", stage=STAGE) == predicted("bf16", stage=STAGE)
    assert predicted("bf16", stage=STAGE).per_image == (maps + statistics + pooled) // 2


def test_a_batch_and_the_largest_batch_agree():
    found = Memory(fixed=1000, per_image=10)
    assert found.of_batch(7) == 1070
    assert found.largest_batch(1070) == 7
    assert found.largest_batch(1069) == 6
    assert found.largest_batch(5) == 0


@pytest.mark.parametrize(
    ("batch", "free", "words"),
    [
        (4096, 10_000_000,
         "train.batch_size = 4096 takes about 41 MB of memory, and 10 MB are free; "
         "set train.accumulate=8, or train.batch_size=512"),
        (4096, 11_000,
         "train.batch_size = 4096 takes about 41 MB of memory, and 11 kB are free; choose a narrower net"),
        (128, 10**9,
         "train.batch_size = 128 takes about 1.28 MB of memory, and 1 GB are free; "
         "set train.accumulate=2, or train.batch_size=64"),
        (2, 10**9, "train.batch_size = 2 takes about 21 kB of memory, and 1 GB are free; choose a narrower net"),
    ],
)  # fmt: skip
def test_the_remedy_is_a_smaller_batch(batch, free, words):
    assert memory.too_large(Memory(1000, 10_000), batch, free) == words


def test_a_batch_in_parts_is_told_and_parted_further():
    words = (
        "train.batch_size = 4096 in 2 parts takes about 20.5 MB of memory, and 10 MB are free; "
        "set train.accumulate=8, or train.batch_size=1024"
    )
    assert memory.too_large(Memory(1000, 10_000), 4096, 10_000_000, accumulate=2) == words


def test_words_of_torch_that_mean_memory():
    assert memory.is_out_of_memory(torch.OutOfMemoryError())
    assert memory.is_out_of_memory(MemoryError())
    assert memory.is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not memory.is_out_of_memory(RuntimeError("shapes"))
    assert device.available_bytes(torch.device("cpu")) > 0


def test_a_real_failed_allocation_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, dtype=torch.uint8).fill_(0)
    assert memory.is_out_of_memory(caught.value)
