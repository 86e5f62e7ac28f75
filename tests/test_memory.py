"""The native kernel's memory: used again, never while anyone holds it, and bounded."""

import gc
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

import urgates
from urgates import kernels
from urgates.kernels import native
from urgates.kernels.native import memory
from urgates.kernels.native.memory import Pool

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="needs a C++ compiler")
MB = 2**20


@pytest.fixture
def pool(monkeypatch):
    """An empty pool in place of the process's own."""
    fresh = Pool(1000 * MB)
    monkeypatch.setattr(memory, "pool", fresh)
    return fresh


def idle(pool):
    return [block.numel() for block in pool.idle]


FAULTS = """
import resource, torch, urgates
from torch.func import functional_call, stack_module_state, vmap
from urgates import kernels
from urgates.kernels.native import memory

torch.set_num_threads(1)
models = [urgates.LSTM(3, 64, kernel="native") for _ in range(10)]
parameters, _ = stack_module_state(models)
x, dy = torch.randn(10, 100, 32, 3), torch.ones(10, 100, 32, 64)
run = vmap(lambda p, x: functional_call(models[0], p, (x,))[0])

def faults():  # per training step; the loss's own tensors left out
    counts = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.autograd.grad(run(parameters, x), list(parameters.values()), dy)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return sorted(counts[2:])[1]

reused = faults()
memory.pool.limit = 0
print(reused, faults(), kernels.release_buffers())
memory.pool.limit = 2**30
cycle = [run(parameters, x)]  # alive at the end of the process
cycle.append(cycle)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults as Linux does")
def test_a_step_touches_hardly_any_fresh_page():
    """In a plain process: others may have told the C library to keep what is freed."""
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    reused, fresh, left = map(int, run.stdout.split())
    assert fresh > 41e6 / 2 / os.sysconf("SC_PAGE_SIZE"), "41 MB of activations alone"
    assert reused < 0.1 * fresh and left == 0


def layer_run(seed=0, hidden=64):
    torch.manual_seed(seed)
    layer = urgates.LSTM(3, hidden, kernel="native")
    x = torch.randn(100, 64, 3, requires_grad=True)
    y, (h, c) = layer(x)
    found = torch.autograd.grad([y.square().sum(), c.sum()], [x, *layer.parameters()])
    return [y.detach(), h.detach(), c.detach(), *found]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_results_are_the_same_bits_whatever_lay_in_a_block(pool):
    first = [x.clone() for x in layer_run()]
    assert len(pool.idle) >= 3
    for block in pool.idle:
        block.fill_(0xFF)  # NaN
    blocks = {block.data_ptr() for block in pool.idle}
    again = layer_run()
    assert again[0].data_ptr() in blocks and same(first, again)


def test_what_is_held_is_not_written_to_again(pool):
    held = layer_run(0)
    view, array = held[0][50:60, ::2].view_as(held[0][50:60, ::2]), held[0].numpy()
    copies = [x.clone() for x in held]
    layer_run(1)
    assert same(held, copies)
    del held
    layer_run(2)
    assert torch.equal(view, copies[0][50:60, ::2])
    assert torch.equal(torch.from_numpy(array), copies[0])
    before = sum(idle(pool))
    del view, array
    assert sum(idle(pool)) > before


def test_a_graph_may_be_walked_twice(pool):
    layer = urgates.LSTM(3, 64, kernel="native")
    x = torch.randn(100, 64, 3, requires_grad=True)
    y = layer(x)[0].square().sum()
    (once,) = torch.autograd.grad(y, x, retain_graph=True)
    layer_run()
    (twice,) = torch.autograd.grad(y, x)
    assert torch.equal(once, twice)


def test_idle_blocks_are_bounded_and_the_longest_idle_go_first():
    pool = Pool(10 * MB)
    for size in (4, 5, 3):
        pool.give(torch.empty(size * MB, dtype=torch.uint8))
    assert idle(pool) == [5 * MB, 3 * MB]
    pool.give(torch.empty(11 * MB, dtype=torch.uint8))
    assert idle(pool) == []


def test_a_block_serves_what_it_fits():
    pool = Pool(100 * MB)
    for size in (6, 4, 9):
        pool.give(torch.empty(size * MB, dtype=torch.uint8))
    assert pool.take(4 * MB - 1).numel() == 4 * MB
    assert pool.take(4 * MB - 1).numel() == 6 * MB
    assert pool.take(4 * MB - 1).numel() == 4 * MB - 1  # the last has more than twice of it
    assert idle(pool) == [9 * MB]


def test_release_gives_back_what_lies_idle(pool):
    held = memory.empty(MB)
    memory.empty(2 * MB)
    assert kernels.release_buffers() == 8 * MB and idle(pool) == []
    del held
    assert kernels.release_buffers() == 4 * MB and kernels.release_buffers() == 0


def test_idle_blocks_make_room_before_memory_is_said_to_be_out(pool):
    memory.empty(MB)
    assert idle(pool) == [4 * MB]
    with pytest.raises(RuntimeError, match="allocate"):
        memory.empty(2**58)
    assert idle(pool) == []


def test_a_failed_call_returns_its_blocks(pool, monkeypatch):
    layer_run()
    before = sorted(idle(pool))

    class Failing:
        urgates_forward = staticmethod(lambda args: 1)

    monkeypatch.setattr(native, "library", lambda r, low: Failing)
    with pytest.raises(MemoryError, match="no memory for the native kernel's forward pass"):
        layer_run()
    gc.collect()  # the traceback held them
    assert sorted(idle(pool)) == before


def test_threads_share_the_pool(pool):
    expected = {seed: [x.clone() for x in layer_run(seed)] for seed in range(3)}
    seeds = torch.random.fork_rng  # seeds are the process's: layers are made one at a time
    failures, lock = [], threading.Lock()

    def work(seed):
        for _ in range(4):
            with lock, seeds():
                torch.manual_seed(seed)
                layer = urgates.LSTM(3, 64, kernel="native")
                x = torch.randn(100, 64, 3, requires_grad=True)
            y, (_, c) = layer(x)
            found = torch.autograd.grad([y.square().sum(), c.sum()], [x, *layer.parameters()])
            if not same([y.detach(), *found], [expected[seed][0], *expected[seed][3:]]):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len({block.data_ptr() for block in pool.idle}) == len(pool.idle)


def test_a_block_freed_under_the_lock_waits_without_blocking(pool):
    """As when the garbage collector runs in the middle of `take`."""
    held = memory.empty(MB)
    with pool.lock:
        del held
        assert idle(pool) == []
    assert pool.release() == 4 * MB


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_holds_the_lock_can_go_on():
    with memory.pool.lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends the child if it waits forever
            memory.pool.take(MB)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
