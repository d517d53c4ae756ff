"""Numbers read back from a device are those that were sent."""

from __future__ import annotations

import pytest
import torch

from vitrail.training.readback import Readback, ToHost


def test_what_is_read_is_what_was_sent_whatever_its_precision() -> None:
    values = [torch.tensor(3.5), torch.tensor(2.0, dtype=torch.bfloat16), torch.tensor(float("inf")), torch.tensor(1.0)]
    assert Readback(values).read() == [3.5, 2.0, float("inf"), 1.0]


def test_what_is_sent_does_not_change_with_its_source() -> None:
    value = torch.tensor(1.0)
    sent = Readback([value])
    value.fill_(2.0)
    assert sent.read() == [1.0]


def test_a_tensor_arrives_as_it_is() -> None:
    sent = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    assert torch.equal(ToHost(sent).get(), sent)
    assert ToHost(sent).get().dtype is torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: that the host does not wait shows only there")
def test_the_host_does_not_wait_for_a_gpu_when_numbers_set_out() -> None:
    value = torch.ones((), device="cuda")
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sent = Readback([value * 2, value * 3])
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert sent.read() == [2.0, 3.0]
