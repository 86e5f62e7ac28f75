"""Who makes calls: this process, others beside it, or Ray's, on this machine or on a cluster.

A call returns nothing and may be made again: what it has done is in files (store/). A call whose
process is killed is made again by another, RETRIES times at most, and no other is disturbed.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import Event, Thread

from urgates.checks import choice, refusal, require
from urgates.lab.devices import visible_gpus

Call = Callable[[], None]
Told = Callable[[int, Exception | None], None]

ENGINES = ("processes", "ray")
RETRIES = 3
PATIENCE = 60.0  # seconds that interrupted calls have to save what they did
_ALONE = {"address": "local", "include_dashboard": False, "object_store_memory": 100 * 2**20}


def execute(
    calls: Sequence[Call],
    workers: int = 1,
    told: Told = lambda k, error: None,
    *,
    engine: str = "",
    address: str = "",
    share: float | None = None,
) -> list[Exception | None]:
    """Make all calls; the error of each, or None.

    `told` hears of each as it ends. Ctrl-C lets those that train save, begins no others, and is
    raised.

    Args:
        workers: so many side by side, of one thread each; 1 makes them here. A cluster has its own.
        engine: "processes", or "ray" (not given: "ray" if there is an address, else "processes").
        address: of a Ray cluster, HOST:PORT; not given, Ray runs on this machine alone.
        share: of a GPU for each call (not given: a whole one where there are any).
    Raises:
        ValueError: for an engine that is not here, or a share that no machine has.
    """
    engine = choice("engine", engine or ENGINES[bool(address)], ENGINES)
    require("share", share is None or share > 0, "be a positive part of a GPU, or None", share)
    require("address", not address or engine == "ray", "be left out without Ray", address)
    if engine == "ray":
        return _on_ray(calls, workers, told, address, share)
    if workers == 1 or len(calls) < 2:
        return _here(calls, told)
    return _beside(calls, workers, told, share)


def here_is_ray() -> bool:
    """Whether Ray is installed."""
    return find_spec("ray") is not None


def _here(calls: Sequence[Call], told: Told) -> list[Exception | None]:
    errors: list[Exception | None] = [None] * len(calls)
    for k, call in enumerate(calls):
        try:
            call()
        except Exception as error:
            errors[k] = error
        told(k, errors[k])
    return errors


# ------------------------------------------------------------------ processes


def _beside(calls: Sequence[Call], workers: int, told: Told, share: float | None) -> list:
    """In so many processes, each with a GPU (or a share of one) to itself where there are any."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the new processes when torch starts there
    gpus = [gpu for _ in range(int(1 / min(share or 1, 1))) for gpu in visible_gpus()]
    places: SimpleQueue = SimpleQueue()
    workers = min(workers, len(calls), len(gpus) or workers)
    over, others = Event(), {*active_children()}
    for gpu in (gpus or [""] * workers)[:workers]:
        places.put(_Place(gpu, over))
    errors: list[Exception | None] = [None] * len(calls)
    with ThreadPoolExecutor(workers) as threads:
        futures = {threads.submit(_placed, places, call): k for k, call in enumerate(calls)}
        try:
            for future in as_completed(futures):
                k, error = futures[future], future.exception()
                if isinstance(error, KeyboardInterrupt):
                    raise error
                errors[k] = error
                told(k, error)
        except KeyboardInterrupt:
            over.set()
            threads.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                time.sleep(0.5)  # a terminal has told them already
                _interrupt({*active_children()} - others)
            raise
        finally:
            while not places.empty():
                places.get().close()
    return errors


def _interrupt(processes: Iterable[BaseProcess]) -> None:
    """Tell processes of Ctrl-C, those that are just starting too."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)


def _placed(places: SimpleQueue, call: Call) -> None:
    """Make a call in the next process that is free."""
    place = places.get()
    try:
        place.make(call)
    finally:
        places.put(place)


class _Place:
    """A process that stays for many calls, and is replaced when it is killed, until all is over."""

    def __init__(self, gpu: str, over: Event):
        own = partial(
            ProcessPoolExecutor, 1, get_context("spawn"), initializer=_begin, initargs=(gpu,)
        )
        self.own, self.pool, self.over = own, own(), over

    def make(self, call: Call) -> None:
        for left in reversed(range(RETRIES + 1)):
            try:
                return self.pool.submit(call).result()
            except BrokenProcessPool:
                self.close()
                self.pool = self.own()
                if not left or self.over.is_set():
                    raise

    def close(self) -> None:
        self.pool.shutdown()


def _begin(gpu: str) -> None:
    """A process's first act: take its GPU, and see to it that it does not outlive its parent."""
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)  # files are whole at any moment


# ------------------------------------------------------------------ Ray


def _on_ray(calls: Sequence[Call], workers: int, told: Told, address: str, share) -> list:
    """As tasks of Ray, which makes those again whose process or machine is lost."""
    errors: list[Exception | None] = [None] * len(calls)
    with _connected(workers, address) as ray:
        gpus = ray.cluster_resources().get("GPU", 0)
        share = min(gpus, 1) if share is None else share
        require("share", share <= gpus, f"be at most {gpus:g}, the GPUs that there are", share)
        task = ray.remote(num_cpus=1, num_gpus=share, max_retries=RETRIES)(_made)
        waiting = {}
        try:
            for k, call in enumerate(calls):
                waiting[task.remote(call)] = k
            while waiting:
                (ended, *_), _ = ray.wait(list(waiting))
                k = waiting.pop(ended)
                errors[k] = _error(ray, ended)
                told(k, errors[k])
        except KeyboardInterrupt:
            for left in reversed(waiting):  # first those that have not begun
                ray.cancel(left)  # as Ctrl-C does it: those that train save
            ray.wait(list(waiting), num_returns=len(waiting), timeout=PATIENCE)
            raise
    return errors


def _made(call: Call) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    call()


def _error(ray, ended) -> Exception | None:
    """What a task raised, or why it was lost."""
    try:
        return ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        return error.cause
    except ray.exceptions.RayError as error:
        return error


@contextmanager
def _connected(workers: int, address: str) -> Iterator:
    """Ray, as long as it is needed; as it is where somebody has started it in this process."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("engine ray needs Ray: pip install 'urgates[cluster]'") from None
    if ray.is_initialized():
        yield ray
        return
    where = {"address": address} if address else _ALONE | {"num_cpus": workers}
    for left in reversed(range(RETRIES)):  # it gives a busy machine half a minute to start
        try:
            ray.init(**where, log_to_driver=False, logging_level="error")
            break
        except ConnectionError as error:
            raise refusal("address", "be of a Ray cluster", repr(address), str(error)) from None
        except Exception:
            ray.shutdown()
            if not left:
                raise
    try:
        yield ray
    finally:
        ray.shutdown()
