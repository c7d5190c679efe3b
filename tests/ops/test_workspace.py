"""Memory that is used again is never used twice at once."""

import gc
import threading

import pytest
import torch

from snn_delays.ops import workspace
from snn_delays.ops.workspace import empty, scratch

LARGE = (300, 1000)  # floats: more than the least that is kept


@pytest.fixture(autouse=True)
def nothing_held() -> None:
    gc.collect()
    workspace.release()


def test_a_block_is_used_again_once_nobody_holds_it() -> None:
    first = empty(LARGE, torch.float32)
    address = first.data_ptr()
    assert address % 64 == 0
    assert empty(LARGE, torch.float32).data_ptr() != address
    del first
    assert empty(LARGE, torch.float32).data_ptr() == address


@pytest.mark.parametrize("hold", [lambda y: y[3:], lambda y: y.detach(), lambda y: y.numpy(), lambda y: y.view(-1)])
def test_a_view_keeps_the_block(hold) -> None:
    y = empty(LARGE, torch.float32)
    address, view = y.data_ptr(), hold(y)
    del y
    gc.collect()
    assert empty(LARGE, torch.float32).data_ptr() != address
    del view
    assert empty(LARGE, torch.float32).data_ptr() == address


def test_what_autograd_saved_keeps_the_block() -> None:
    y = empty(LARGE, torch.float32).fill_(2).requires_grad_()
    loss = (y * y).sum()
    before = y.data_ptr()
    gradient = torch.autograd.grad(loss, y, retain_graph=True)[0]
    del y
    others = [empty(LARGE, torch.float32).fill_(9) for _ in range(3)]
    assert before not in [other.data_ptr() for other in others]
    assert torch.equal(gradient, torch.full(LARGE, 4.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
@pytest.mark.parametrize("shape", [LARGE, (0, 5), (3,), (1, 1100, 1024)])
def test_shape_and_dtype_are_those_asked_for(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    y = empty(shape, dtype)
    assert y.shape == shape
    assert y.dtype == dtype
    assert y.is_contiguous()
    assert not y._is_view()


def test_blocks_serve_sizes_that_differ_by_a_third_and_none_much_smaller() -> None:
    first = empty((300, 1000), torch.float32)
    address = first.data_ptr()
    del first
    larger = empty((400, 1000), torch.float32)
    assert larger.data_ptr() == address
    del larger
    assert empty((300, 1000), torch.float64).data_ptr() != address, "larger than the block"
    assert empty((150, 1000), torch.float64).data_ptr() == address
    assert empty((500, 2500), torch.uint8).data_ptr() == address


def test_however_many_sizes_are_asked_for_blocks_have_a_few() -> None:
    held = [empty((size,), torch.uint8) for size in range(2**20, 2**21, 9_991)]
    del held
    assert len(workspace._idle) <= 12
    assert all(len(block) >= 2**20 for blocks in workspace._idle.values() for block in blocks)


def test_what_waits_is_bounded_and_the_size_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "MOST_IDLE", 10 * 2**20)
    kept = [empty((n, 2**20), torch.uint8) for n in (4, 5, 6)]
    newest = kept[-1].data_ptr()
    while kept:
        del kept[0]
    assert sum(size * len(blocks) for size, blocks in workspace._idle.items()) <= 10 * 2**20
    assert empty((6, 2**20), torch.uint8).data_ptr() == newest


def test_scratch_is_a_threads_own_and_grows() -> None:
    mine = scratch("test", (10,), torch.float32)
    assert scratch("test", (2, 3), torch.float32).data_ptr() == mine.data_ptr()
    assert scratch("other", (10,), torch.float32).data_ptr() != mine.data_ptr()
    assert scratch("test", (10,), torch.float64).data_ptr() != mine.data_ptr()
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(scratch("test", (10,), torch.float32)))
    thread.start()
    thread.join()
    assert theirs[0].data_ptr() != mine.data_ptr()
    assert scratch("test", (20,), torch.float32).numel() == 20
