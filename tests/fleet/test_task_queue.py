"""Tests whose task runs next on an engine that many exports share, by any sequence of what may happen."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from exporter.fleet.task_queue import FOR_TASKS, Running, Task, TaskQueue
from exporter.schedule.rates import LEAST_RATE

HOSTS = {"a": "https://one", "b": "https://one", "c": "https://two", "d": "https://three"}
CEILINGS = {"https://one": 10.0, "https://two": 40.0, "https://three": None}
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "end", "leave", "slots"]), st.sampled_from("abcd"), st.integers(0, 30)),
    max_size=80,
)


def take_all(queue: TaskQueue) -> list[Running]:
    for origin in queue.origins:
        queue.set_ceiling(origin, CEILINGS[origin])
    return list(iter(queue.take, None))


@given(STEPS)
def test_every_task_runs_once_and_no_host_is_sent_more_than_it_may_be(steps: list[tuple[str, str, int]]) -> None:
    queue, running = TaskQueue(2), list[Running]()
    waiting = {export: deque[int]() for export in HOSTS}
    for number, (what, export, value) in enumerate(steps):
        match what:
            case "add":
                queue.add(Task(export, number, HOSTS[export], value or None), number)
                waiting[export].append(number)
            case "end" if running:
                queue.ended(running.pop(value % len(running)), number)
            case "leave":
                assert queue.leave(export) == [each.task for each in running if each.task.export == export]
                waiting[export].clear()
            case "slots":
                queue.slots = value % 6 + 1
        for begun in take_all(queue):
            # Those of an export begin in its order, and none is lost, or begins again.
            assert begun.task.number == waiting[begun.task.export].popleft()
            running.append(begun)
            assert len(running) <= queue.slots
        for origin, ceiling in CEILINGS.items():
            there = [each for each in running if each.task.origin == origin]
            allowances = [each.allowance for each in there]
            assert queue.lent(origin) == sum(each or 0.0 for each in allowances)
            if ceiling is None:
                assert allowances == [None] * len(there)
            else:
                assert all(each is not None and 0 < each <= (ceiling * FOR_TASKS) for each in allowances)
                assert all(each.allowance <= (each.task.max_rps or ceiling) for each in there if each.allowance)
                assert queue.lent(origin) <= ceiling * FOR_TASKS * (1 + 1e-9)
                # Each may send enough to learn from.
                assert len(there) <= max(1, int(ceiling * FOR_TASKS / LEAST_RATE))
        # Nothing waits beside a free slot, except for a host whose ceiling others use up.
        if len(running) < queue.slots:
            busy = {each.task.origin for each in running}
            assert all(CEILINGS[HOSTS[each]] and HOSTS[each] in busy for each, those in waiting.items() if those)
    while running:
        queue.ended(running.pop(), len(steps))
        begun_now = take_all(queue)
        running += begun_now
        for begun in begun_now:
            assert begun.task.number == waiting[begun.task.export].popleft()
    assert not any(waiting.values())


def filled(queue: TaskQueue, exports: str, each: int = 40) -> None:
    for export in exports:
        for number in range(each):
            queue.add(Task(export, number, "https://three"), 0.0)
    queue.set_ceiling("https://three", None)


@given(st.integers(1, 9), st.permutations("abc"), st.data())
def test_slots_are_shared_fairly_whoever_came_first(slots: int, order: list[str], data: st.DataObject) -> None:
    queue = TaskQueue(slots)
    filled(queue, order[0])
    running = list(iter(queue.take, None))
    assert len(running) == slots
    filled(queue, "".join(order[1:]))
    waited = dict.fromkeys(order, 0)
    for _ in range(3 * slots):
        queue.ended(running.pop(data.draw(st.integers(0, len(running) - 1))), 1.0)
        under_way = {export: sum(each.task.export == export for each in running) for export in order}
        (next_,) = iter(queue.take, None)
        assert under_way[next_.task.export] == min(under_way.values())
        running.append(next_)
        waited = {export: count + 1 for export, count in waited.items()} | {next_.task.export: 0}
        # Of those with as few, none is passed over twice.
        fewest = [export for export in order if under_way[export] == min(under_way.values())]
        assert slots > 1 or all(waited[export] < len(order) for export in fewest)


def test_an_export_is_told_its_part_of_the_slots_and_takes_over_what_others_leave() -> None:
    queue = TaskQueue(8)
    assert queue.share_of("a", 0.0) == 8
    queue.add(Task("a", 1, "https://one"), 0.0)
    assert (queue.share_of("a", 0.0), queue.share_of("b", 0.0)) == (8, 4)
    queue.add(Task("b", 1, "https://one"), 0.0)
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert (queue.share_of("a", 20.0), queue.share_of("c", 20.0)) == (4, 3)
    # An export that commits what a task has brought will soon want another one.
    queue.ended(second, 20.0)
    assert (queue.share_of("a", 29.0), queue.share_of("a", 31.0)) == (4, 8)
    assert queue.leave("a") == [first.task]
    assert queue.share_of("b", 31.0) == 4
    queue.ended(first, 31.0)
    assert queue.share_of("b", 31.0) == 8


def test_tasks_of_one_host_share_its_ceiling_and_what_is_left_of_it_is_used() -> None:
    queue = TaskQueue(4)
    for export in "ab":
        queue.add(Task(export, 1, "https://one", 10.0), 0.0)
    queue.set_ceiling("https://one", 16.0)
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert first.allowance == second.allowance == 7.0
    queue.add(Task("a", 2, "https://one"), 0.0)
    assert queue.take() is None
    queue.ended(second, 1.0)
    again = queue.take()
    assert again is not None
    assert (again.task, again.allowance) == (Task("a", 2, "https://one"), 7.0)
    # A ceiling that is lowered meanwhile holds for whatever begins next.
    queue.add(Task("b", 2, "https://one"), 2.0)
    queue.set_ceiling("https://one", 8.0)
    assert queue.take() is None
    queue.ended(first, 3.0)
    assert queue.take() is None
    queue.ended(again, 3.0)
    assert [each.allowance for each in iter(queue.take, None)] == [7.0]
