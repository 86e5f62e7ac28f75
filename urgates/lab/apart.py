"""Calls that may hang, die or spoil a device: made by a process of their own, which is replaced."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

PATIENCE = 240.0  # seconds that a call may take: a GPU's kernels are compiled at their first launch

_GOODBYE = 2.0  # seconds


class Apart:
    """Makes calls in another process, one at a time, until the clock shows `end`.

    RuntimeError says in a line what a call has raised, or that no answer came; the next call is
    made by a new process: an error on a GPU may spoil all that follows it.
    """

    def __init__(self, end: float):
        self.end = end
        self.process, self.pipe = None, None

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_) -> None:
        if self.process:
            self.pipe.close()  # one that waits for a call ends by itself
            self.process.join(_GOODBYE)
            self.process.kill()
            self.process.join()
        self.process = None

    def __call__(self, call: Callable[[], object]) -> object:
        """What the call returns; it and its result must be such as can be pickled."""
        if not self.process:
            here = get_context("spawn")
            self.pipe, other = here.Pipe()
            self.process = here.Process(target=_serve, args=(other,))
            self.process.start()
            other.close()  # or its end would not be seen
        seconds = min(PATIENCE, max(self.end - time.time(), 1.0))
        try:
            self.pipe.send(call)
            if not self.pipe.poll(seconds):
                raise RuntimeError(f"no answer in {seconds:.0f} s")
            fine, answer = self.pipe.recv()
        except (EOFError, ConnectionError):
            fine, answer = False, "its process has died"
        except BaseException:
            self.__exit__()
            raise
        if not fine:
            self.__exit__()
            raise RuntimeError(answer)
        return answer


def _serve(pipe: Connection) -> None:
    """Make the calls that come; Ctrl-C is for the process that asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, call()
        except Exception as error:
            answer = False, f"{type(error).__name__}: {error}".splitlines()[0]
        try:
            pipe.send(answer)
        except ConnectionError:  # nobody waits for it any more
            return
