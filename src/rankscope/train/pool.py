"""Jobs spread over processes of their own, with the events of all of them in one stream."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from rankscope.base.errors import RankscopeError

Job = TypeVar("Job")
Event = TypeVar("Event")

_STOP_S = 5.0


class WorkerDied(RankscopeError, RuntimeError):
    """A worker process ended without saying why."""


def pool_events(
    build: Callable[[], Callable[[Job], Iterator[Event]]], jobs: Sequence[Job], n_workers: int
) -> Iterator[Event]:
    """Runs every job and yields its events as they come; jobs start in order, the next one where a worker is free.

    Each worker calls `build` once and the result on each of its jobs; `build` must be importable by name.
    An error in a worker stops all of them and is raised here as it was; so does closing the iterator. Workers
    end when this process does, however it ends. Processes are spawned, so a script that calls this needs the
    usual `if __name__ == "__main__":`.
    """
    context = multiprocessing.get_context("spawn")
    waiting = iter(jobs)
    workers: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(min(n_workers, len(jobs))):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_work, args=(build, theirs), daemon=True)
            worker.start()
            theirs.close()
            workers[ours] = worker
        busy: dict[Connection, BaseProcess] = dict(workers)
        while busy:
            for ready in cast("list[Connection]", wait(list(busy))):
                kind, content = _receive(ready, busy[ready])
                if kind == "error":
                    raise content
                if kind == "event":
                    yield content
                elif (job := next(waiting, None)) is not None:
                    ready.send(job)
                else:
                    del busy[ready]
    finally:
        for process in workers.values():
            process.kill()
        for connection, process in workers.items():
            process.join(_STOP_S)
            connection.close()


def _receive(connection: Connection, worker: BaseProcess) -> tuple[str, Any]:
    try:
        kind, content = connection.recv()
    except (EOFError, ConnectionResetError):
        worker.join(_STOP_S)
        raise WorkerDied(
            f"A training process ended without a word (exit code {worker.exitcode}); often that is too little memory. "
            "Run the same command again, with fewer workers: finished cells are kept, the others resume."
        ) from None
    return kind, content


def _work(build: Callable[[], Callable[[Job], Iterator[Event]]], connection: Connection) -> None:
    """A worker's whole life: asks for jobs and reports until it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        run = build()
        while True:
            connection.send(("free", None))
            for event in run(connection.recv()):
                connection.send(("event", event))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except BaseException as error:  # noqa: BLE001  raised again in the parent
        _send_error(connection, error)


def _send_error(connection: Connection, error: BaseException) -> None:
    try:
        connection.send(("error", error))
    except (TypeError, AttributeError, ValueError):
        connection.send(("error", RuntimeError(f"{type(error).__name__}: {error}")))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
