"""Many processes, one record: rank 0 trains as ever, the others make its calls on their share.

torchrun starts W processes.  Rank 0 runs the ordinary `train` with a `Leader` for its learner, and
that tells the others of every call that all make together; so rank 0 alone reads and writes files,
logs, evaluates, saves and stops.  It tells them through a connection to each, which the system
closes when either end dies: that is noticed at once, whatever the processes are doing.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Client, Connection, Listener, wait

import torch
import torch.distributed as dist
from torch import Tensor

from urgates.checks import require
from urgates.lab.devices import choose_device
from urgates.lab.jobs import Job
from urgates.lab.learners.share import Share
from urgates.lab.learners.streamed import Streamed

_GRACE = 10.0  # seconds in which a call that a lost process has broken should end by itself
_KEPT = ("weights", "exp_avg", "exp_avg_sq", "states")  # of a checkpoint, what a learner takes up


def several() -> bool:
    """Whether torchrun has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def team(device: str = "auto") -> Iterator[Leading | Following]:
    """Meet the other processes, on a GPU each or on CPUs; rank 0 leads, the others follow.

    Raises ValueError for a device that does not leave each process its own.
    """
    own = choose_device(device)
    require("device", ":" not in own, "be auto, cpu or cuda where processes share a batch", device)
    if own == "cuda":
        own = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
        torch.cuda.set_device(own)
    dist.init_process_group("gloo" if own == "cpu" else "cpu:gloo,cuda:nccl")
    share = Share(dist.get_rank(), dist.get_world_size())
    member = (Following if share.rank else Leading)(own, share)
    try:
        yield member
    finally:
        if member.end():
            dist.destroy_process_group()


class Leading:
    """Rank 0 among the others."""

    rank = 0

    def __init__(self, device: str, share: Share):
        self.device, self.share = device, share
        self.why = ""  # the others cannot go on
        self._lost, self._inside = threading.Event(), threading.Event()
        key = secrets.token_bytes(32)
        with Listener((os.environ["MASTER_ADDR"], 0), authkey=key) as listener:
            dist.broadcast_object_list([listener.address, key], device=torch.device("cpu"))
            found = [listener.accept() for _ in range(share.workers - 1)]
        self.links: dict[Connection, int] = {link: link.recv() for link in found}
        self._before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        threading.Thread(target=self._watch, daemon=True).start()

    def learner(self, job: Job, device: str) -> Leader:
        """What `train` is to train."""
        return Leader(job, self)

    @contextmanager
    def together(self, *call) -> Iterator[None]:
        """Tell the others of a call that is made here as well; ConnectionError if one is lost."""
        self._inside.set()
        try:
            for link in self.links:
                link.send(call)
            yield
        except (RuntimeError, OSError):
            if not self._lost.wait(_GRACE / 5):
                raise
            raise ConnectionError(self.why) from None
        finally:
            self._inside.clear()

    def _watch(self) -> None:
        """Note who is lost; should the call that all were making hang, end this process too."""
        words: dict[int, str] = {}
        for link in wait(list(self.links)):
            with suppress(EOFError, OSError):
                words[self.links[link]] = link.recv()
            words.setdefault(self.links[link], "it was killed or has crashed")
        rank, word = next(iter(words.items()))
        self.why = (
            f"rank {rank} of {self.share.workers} processes was lost ({word}), so all stop; what "
            "was saved is whole, and the same command goes on from the last checkpoint"
        )
        self._lost.set()
        while True:
            time.sleep(_GRACE)
            if self._inside.is_set():
                print(f"urgates: {self.why}", file=sys.stderr, flush=True)
                os._exit(2)  # files are whole at any moment

    def end(self) -> bool:
        """Let the others go; whether all were there to the end."""
        whole = not self._lost.is_set()
        for link in self.links:
            with suppress(OSError):
                link.send(None)
        signal.signal(signal.SIGTERM, self._before)
        return whole


class Following:
    """Any other rank: it makes the calls that rank 0 tells of."""

    def __init__(self, device: str, share: Share):
        self.device, self.share, self.rank = device, share, share.rank
        where: list = [None, None]
        dist.broadcast_object_list(where, device=torch.device("cpu"))
        self.link = Client(where[0], authkey=where[1])
        self.link.send(self.rank)

    def follow(self) -> None:
        """Do so until rank 0 has ended; Ctrl-C is its affair.

        Raises ConnectionError if it ends without a word, or any error of a call, which it hears.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        try:
            while (call := self.link.recv()) is not None:
                name, *values = call
                getattr(self, f"_{name}")(*values)
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            if self._abandoned():
                raise ConnectionError(f"rank {self.rank} stops, as rank 0 has ended") from None
            self.link.send(f"{type(error).__name__}: {str(error).splitlines()[0]}")
            raise

    def _abandoned(self) -> bool:
        """Whether it is rank 0 that has ended, so that a call could not succeed."""
        with suppress(EOFError, OSError):
            while self.link.poll(_GRACE / 5):
                if self.link.recv() is None:
                    return True
            return False
        return True

    def _begin(self, job: Job) -> None:
        self.own = Streamed(job, self.device, self.share)
        self.own.join()

    def _advance(self) -> None:
        self.own.advance()

    def _carried(self) -> None:
        self.own.carried()

    def _restore(self, plain: dict, kinds: dict[str, tuple[torch.Size, torch.dtype]]) -> None:
        tensors = {}
        for name, (shape, dtype) in kinds.items():
            tensors[name] = torch.empty(shape, dtype=dtype, device=self.device)
            dist.broadcast(tensors[name], 0)
        self.own.restore(tensors, plain)

    def end(self) -> bool:
        """Nothing is left to tell."""
        return True


class Leader:
    """Rank 0's learner: its own share, and the others told of what is done together.

    A checkpoint is that of the whole batch and resumes on any number of processes.
    """

    def __init__(self, job: Job, team: Leading):
        kind, needed = job.protocol.learner, "be streamed where processes share a batch"
        require("learner", kind == "streamed", needed, kind)
        self.team, self.own = team, Streamed(job, team.device, team.share)
        with team.together("begin", job):
            self.own.join()

    def __getattr__(self, name: str):
        return getattr(self.own, name)  # what rank 0 does alone

    def advance(self) -> dict[str, Tensor]:
        """One update, by all."""
        with self.team.together("advance"):
            return self.own.advance()

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """That of the whole batch."""
        with self.team.together("carried"):
            return self.own.state()

    def restore(self, tensors: dict[str, Tensor], plain: dict) -> None:
        """Take up the own rows of what `state` gave, and let the others take up theirs."""
        self.own.restore(tensors, plain)
        named = {name: x for name, x in tensors.items() if name.partition("/")[0] in _KEPT}
        kinds = {name: (x.shape, x.dtype) for name, x in named.items()}
        with self.team.together("restore", plain, kinds):
            for x in named.values():
                dist.broadcast(x.to(self.own.device), 0)
