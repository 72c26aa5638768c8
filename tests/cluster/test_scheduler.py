"""The queue: whatever becomes of the workers, every task is done or has failed, and told once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_cli.cluster import scheduler as queue
from hyseg_cli.cluster.pool import Advanced, Done, Lost, Ready, Unfit
from hyseg_cli.cluster.scheduler import ATTEMPTS, START_ATTEMPTS, Scheduler
from hyseg_cli.errors import HysegError

GONE = HysegError("a worker is gone", hint="x")
SICK = HysegError("no model here", hint="x")
BAD = HysegError("a bad scene", hint="x")


@dataclass(frozen=True)
class Task:
    name: int
    parts: frozenset[int]

    @property
    def size(self):
        return len(self.parts)


class WorkerPool:
    """Workers that do one part of their task at a time; `fate` says what happens instead.

    Args:
        fate: Told of a worker and, if it has one, its task; gives work, die, sick or fail.
    """

    def __init__(self, fate):
        self.fate = fate
        self.done = Counter()
        self.started = 0
        self.most = 0
        self.starting, self.tasks = [], {}

    def start(self):
        self.started += 1
        self.starting.append(self.started)
        return self.started

    def submit(self, worker, task):
        assert worker not in self.starting, "work was given before the worker had answered"
        assert worker not in self.tasks, "work was given to a worker who has some"
        self.tasks[worker] = [task, set(task.parts)]
        self.most = max(self.most, len(self.tasks))

    def wait(self, _):
        events = [self._start(worker) for worker in self.starting]
        self.starting = []
        return events + [self._work(worker) for worker in list(self.tasks)]

    def _start(self, worker):
        fate = self.fate(worker, None)
        if fate == "sick":
            return Unfit(worker, SICK)
        return Lost(worker, GONE) if fate == "die" else Ready(worker)

    def _work(self, worker):
        task, left = self.tasks[worker]
        fate = self.fate(worker, task)
        if fate == "die":
            del self.tasks[worker]
            return Lost(worker, GONE)
        if fate == "fail" or not left:
            del self.tasks[worker]
            return Done(worker, BAD if fate == "fail" else None)
        self.done[task.name, left.pop()] += 1
        return Advanced(worker, 1)

    def describe(self):
        return "nobody is there"


def run(pool, tasks, workers=3):
    """The outcome of each task and the amount told of it."""
    told, outcomes, warned = Counter(), [], []

    def rest(task):
        left = frozenset(part for part in task.parts if not pool.done[task.name, part])
        return replace(task, parts=left) if left else None

    def advance(task, amount):
        told[task.name] += amount

    shared = Scheduler(pool, workers=workers, rest=rest, advance=advance, warn=warned.append)
    outcomes = [(task.name, error) for task, error in shared.run(iter(tasks))]
    return outcomes, told, warned


def make(sizes):
    return [Task(name, frozenset(range(size))) for name, size in enumerate(sizes)]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), max_size=8),
    workers=st.integers(1, 4),
    deaths=st.lists(st.booleans(), max_size=60),
)
def test_every_part_is_done_once_whoever_dies(sizes, workers, deaths):
    fates = iter(deaths)
    idle = Counter()

    def fate(worker, task):
        # Nobody dies so often that nothing gets done: that is another test.
        if task is None or idle[task.name] >= ATTEMPTS - 1 or not next(fates, False):
            idle[task.name if task else None] = 0
            return "work"
        idle[task.name] += 1
        return "die"

    pool = WorkerPool(fate)
    outcomes, told, _ = run(pool, make(sizes), workers)
    assert sorted(outcomes) == [(name, None) for name in range(len(sizes))]
    assert told == dict(enumerate(sizes))
    assert set(pool.done.values()) <= {1}
    assert sum(pool.done.values()) == sum(sizes)
    assert pool.most <= workers


def test_nobody_is_hired_for_nothing():
    pool = WorkerPool(lambda *_: "work")
    assert run(pool, [])[0] == []
    assert pool.started == 0
    run(pool, make([1, 1]), workers=8)
    assert pool.started == 2


def test_a_task_that_kills_its_workers_fails_and_the_others_are_done():
    pool = WorkerPool(lambda _, task: "die" if task and task.name == 1 else "work")
    outcomes, told, warned = run(pool, make([2, 2, 2]))
    assert dict(outcomes) == {0: None, 1: GONE, 2: None}
    assert told == {0: 2, 2: 2}
    assert len(warned) == ATTEMPTS - 1
    assert "another worker takes over" in warned[0]


def test_a_task_may_lose_many_workers_while_it_gets_on():
    lives = Counter()

    def fate(worker, task):
        lives[worker] += task is not None
        return "die" if lives[worker] == 2 else "work"

    outcomes, told, _ = run(WorkerPool(fate), make([3 * ATTEMPTS]), workers=1)
    assert outcomes == [(0, None)]
    assert told[0] == 3 * ATTEMPTS


def test_a_task_that_fails_is_not_tried_again():
    pool = WorkerPool(lambda _, task: "fail" if task and task.name == 0 else "work")
    outcomes, _, warned = run(pool, make([3, 3]), workers=1)
    assert outcomes == [(0, BAD), (1, None)]
    assert not warned
    assert pool.started == 1


def test_workers_that_cannot_work_are_left_out_and_the_last_one_is_an_error():
    pool = WorkerPool(lambda worker, _: "sick" if worker == 1 else "work")
    outcomes, _, warned = run(pool, make([1, 1, 1]))
    assert len(outcomes) == 3
    assert warned == ["a worker is left out: no model here. x"]
    with pytest.raises(HysegError, match="no model here"):
        run(WorkerPool(lambda *_: "sick"), make([1, 1, 1]))


def test_workers_that_die_before_they_are_ready_are_an_error():
    pool = WorkerPool(lambda *_: "die")
    with pytest.raises(HysegError, match="a worker is gone"):
        run(pool, make([1]))
    assert pool.started == START_ATTEMPTS


def test_when_nobody_answers_the_run_ends(monkeypatch):
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(queue.time, "monotonic", lambda: float(next(clock)))
    pool = WorkerPool(lambda *_: "work")
    monkeypatch.setattr(pool, "wait", lambda _: [])
    warned = []
    shared = Scheduler(
        pool, workers=1, rest=lambda task: task, advance=lambda *_: None, warn=warned.append
    )
    with pytest.raises(HysegError, match=r"no worker has answered for \d+ s; nobody is there"):
        list(shared.run(iter(make([1]))))
    assert len(warned) == 1


def test_tasks_are_taken_as_they_are_needed():
    taken = []

    def tasks():
        for task in make([1] * 20):
            taken.append(task)
            yield task

    pool = WorkerPool(lambda *_: "work")
    shared = Scheduler(
        pool, workers=2, rest=lambda task: task, advance=lambda *_: None, warn=taken.append
    )
    for count, _ in enumerate(shared.run(tasks())):
        assert len(taken) <= count + 5
    assert len(taken) == 20
