"""The supervisor's decisions, under a clock that moves when it is told to."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.isolation.supervisor import STRATEGIES, Deed, Kill, Policy, Start, Strategy, Supervisor, Tell

NAMES = ("a", "b", "c")


class Stage:
    """A supervisor whose workers do what a test says; a virtual clock, and what was decided so far."""

    def __init__(self, *names: str, seed: int = 0, **policy: Any) -> None:
        self.now = 100.0
        self.machine = Supervisor(Policy(**policy), random.Random(seed))
        self.deeds: list[Deed] = []
        self.lives: dict[str, int] = {}
        self.mark = 0
        for name in names:
            self.take(self.machine.add(name, self.now))
            self.ready(name)
        self.mark = len(self.deeds)

    def take(self, deeds: list[Deed]) -> list[Deed]:
        self.deeds += deeds
        for deed in deeds:
            if isinstance(deed, Start):
                self.lives[deed.name] = deed.life
        return deeds

    def ready(self, name: str) -> list[Deed]:
        return self.take(self.machine.ready(name, self.lives[name], self.now))

    def exit(self, name: str, how: str = "exited with status 1") -> list[Deed]:
        return self.take(self.machine.exited(name, self.lives[name], how, self.now))

    def stop(self) -> list[Deed]:
        return self.take(self.machine.stop(self.now))

    def pass_(self, seconds: float) -> list[Deed]:
        self.now += seconds
        return self.take(self.machine.tick(self.now))

    def until_due(self) -> list[Deed]:
        return self.pass_(max(0.0, self.machine.due() - self.now))

    @property
    def acts(self) -> list[str]:
        """What was to be done since the setup."""
        acts = [deed for deed in self.deeds[self.mark :] if not isinstance(deed, Tell)]
        return [f"{type(deed).__name__.lower()} {deed.name}" for deed in acts]

    @property
    def told(self) -> list[tuple[str, str | None]]:
        return [(deed.what, deed.name) for deed in self.deeds[self.mark :] if isinstance(deed, Tell)]

    def restart_all(self) -> list[str]:
        """Let everybody who is asked to stop, and start everybody as it is decided; the acts it took."""
        before = len(self.acts)
        for _ in range(20):
            moving = [name for name in self.lives if self.machine.worker_state(name) in ("stopping", "starting")]
            for name in moving:
                (self.exit if self.machine.worker_state(name) == "stopping" else self.ready)(name)
            if not moving:
                if self.machine.due() == math.inf:
                    break
                self.until_due()
        return self.acts[before:]


def delay_of(deeds: list[Deed]) -> float:
    (told,) = [deed for deed in deeds if isinstance(deed, Tell) and deed.what == "restarting"]
    return float(told.detail.split()[1])


# --- starting ---------------------------------------------------------------------------------------------------


def test_a_worker_that_is_added_is_started_at_once() -> None:
    stage = Stage()

    deeds = stage.machine.add("a", 0)

    assert deeds == [Start("a", 1), Tell("starting", "a", 1)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_next_worker_is_started_when_the_one_before_is_ready(strategy: Strategy) -> None:
    stage = Stage(strategy=strategy)
    stage.take(stage.machine.add("a", 0))

    early = stage.machine.add("b", 0)
    deeds = stage.ready("a")

    assert (early, deeds) == ([], [Tell("ready", "a", 1), Start("b", 1), Tell("starting", "b", 1)])


def test_one_for_one_a_worker_that_fails_to_start_does_not_keep_those_after_it_for_ever() -> None:
    stage = Stage(strategy="one_for_one")
    stage.take(stage.machine.add("a", 0))
    stage.take(stage.machine.add("b", 0))

    stage.exit("a")

    assert stage.acts == ["start a", "start b"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_else_a_worker_that_fails_to_start_is_waited_for(strategy: Strategy) -> None:
    stage = Stage(strategy=strategy)
    stage.take(stage.machine.add("a", 0))
    stage.take(stage.machine.add("b", 0))

    stage.exit("a")

    assert stage.acts == ["start a"]


def test_two_workers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="a worker 'a' already"):
        Stage("a").machine.add("a", 0)


def test_nobody_is_added_once_it_stops() -> None:
    stage = Stage("a")
    stage.stop()

    with pytest.raises(ValueError, match="is stopping: it starts nobody"):
        stage.machine.add("b", 0)


def test_a_worker_that_is_never_ready_is_killed_when_its_time_is_up() -> None:
    stage = Stage(start_s=3)
    stage.take(stage.machine.add("a", stage.now))

    assert (stage.pass_(2.99), stage.pass_(0.02)) == ([], [Kill("a", 1)])


def test_a_worker_killed_for_not_being_ready_counts_as_failed() -> None:
    stage = Stage(start_s=3)
    stage.take(stage.machine.add("a", stage.now))
    stage.pass_(3)

    deeds = stage.exit("a", "was killed by SIGKILL")

    assert deeds[0] == Tell("exited", "a", 1, "was killed by SIGKILL: killed, for it was not ready within 3 s")
    assert isinstance(deeds[1], Tell)
    assert deeds[1].what == "restarting"


def test_that_it_was_killed_is_not_told_of_its_next_life() -> None:
    stage = Stage(start_s=3)
    stage.take(stage.machine.add("a", stage.now))
    stage.pass_(3)
    stage.exit("a", "was killed by SIGKILL")
    stage.until_due()

    assert stage.exit("a", "exited with status 1")[0] == Tell("exited", "a", 2, "exited with status 1")


def test_a_worker_that_is_ready_is_not_killed_for_its_start() -> None:
    stage = Stage("a", start_s=3)

    assert stage.pass_(10) == []


# --- whom it restarts, and in what order ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "acts"),
    [
        ("one_for_one", ["start b"]),
        ("one_for_all", ["stop c", "stop a", "start a", "start b", "start c"]),
        ("rest_for_one", ["stop c", "start b", "start c"]),
    ],
)
def test_those_that_a_strategy_names_are_stopped_in_reverse_and_started_in_order(
    strategy: Strategy, acts: list[str]
) -> None:
    stage = Stage(*NAMES, strategy=strategy)

    stage.exit("b")
    stage.restart_all()

    assert stage.acts == acts


def test_one_is_stopped_after_the_other() -> None:
    stage = Stage(*NAMES, strategy="one_for_all")

    stage.exit("a")
    before = list(stage.acts)
    stage.exit("c")

    assert (before, stage.acts) == (["stop c"], ["stop c", "stop b"])


def test_nobody_is_started_while_somebody_is_being_stopped() -> None:
    stage = Stage(*NAMES, strategy="one_for_all", stop_s=100)
    stage.exit("a")

    stage.pass_(50)

    assert stage.acts == ["stop c"]


def test_one_is_started_after_the_other_is_ready() -> None:
    stage = Stage(*NAMES, strategy="rest_for_one")
    stage.exit("b")
    stage.exit("c")
    stage.until_due()
    before = stage.acts[-1]

    stage.ready("b")

    assert (before, stage.acts[-1]) == ("start b", "start c")


def test_one_for_one_two_failures_are_met_each_by_itself() -> None:
    stage = Stage(*NAMES, strategy="one_for_one")
    stage.exit("c")
    stage.exit("a")

    assert sorted(stage.restart_all()) == ["start a", "start c"]


def test_a_worker_that_dies_while_the_others_are_being_stopped_for_a_restart_is_no_second_failure() -> None:
    stage = Stage(*NAMES, strategy="one_for_all", max_restarts=1)
    stage.exit("a")

    stage.exit("b")

    assert stage.told[-1] == ("exited", "b")
    assert stage.machine.state == "running"


def test_it_is_restarted_all_the_same() -> None:
    stage = Stage(*NAMES, strategy="one_for_all", max_restarts=1)
    stage.exit("a")
    stage.exit("b")

    assert stage.restart_all() == ["start a", "start b", "start c"]


def test_a_worker_that_fails_while_all_are_restarted_has_all_of_them_restarted_again() -> None:
    stage = Stage(*NAMES, strategy="one_for_all")
    stage.exit("c")
    stage.exit("b")
    stage.exit("a")
    stage.until_due()
    stage.ready("a")

    stage.exit("b")

    assert stage.restart_all() == ["start a", "start b", "start c"]
    assert stage.acts.count("stop a") == 2


def test_rest_for_one_an_earlier_failure_meanwhile_widens_the_restart() -> None:
    stage = Stage(*NAMES, strategy="rest_for_one")
    stage.exit("c")

    stage.exit("a")

    assert stage.restart_all() == ["start a", "start b", "start c"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_life_has_a_number_of_its_own(strategy: Strategy) -> None:
    stage = Stage(*NAMES, strategy=strategy)

    stage.exit("b")
    stage.restart_all()

    assert stage.lives["b"] == 2


@pytest.mark.parametrize("what", ["ready", "exited"])
def test_what_a_former_life_is_told_of_changes_nothing(what: str) -> None:
    stage = Stage("a")
    stage.exit("a")
    stage.until_due()

    deeds = stage.machine.ready("a", 1, 0) if what == "ready" else stage.machine.exited("a", 1, "", 0)

    assert deeds == []
    assert stage.machine.worker_state("a") == "starting"


def test_an_end_that_is_told_twice_counts_once() -> None:
    stage = Stage("a")
    stage.exit("a")

    assert stage.exit("a") == []


# --- after which delay ------------------------------------------------------------------------------------------


def test_nothing_is_restarted_before_its_delay_is_over() -> None:
    stage = Stage("a", backoff_s=1)
    stage.exit("a")
    due = stage.machine.due() - stage.now

    assert 0.5 <= due <= 1
    assert (stage.pass_(due - 0.001), stage.pass_(0.001)) == ([], [Start("a", 2), Tell("starting", "a", 2)])


def test_the_delay_doubles_with_each_failure_in_a_row_up_to_its_maximum() -> None:
    stage = Stage("a", backoff_s=1, max_backoff_s=5, max_restarts=100)
    seen = []
    for _ in range(5):
        seen.append(delay_of(stage.exit("a")))
        stage.until_due()
        stage.ready("a")

    assert all(full / 2 <= delay <= full for delay, full in zip(seen, (1, 2, 4, 5, 5), strict=True)), seen


def test_the_delay_is_jittered() -> None:
    assert len({delay_of(Stage("a", backoff_s=1, seed=seed).exit("a")) for seed in range(10)}) == 10


def test_the_same_seed_gives_the_same_delay() -> None:
    assert len({delay_of(Stage("a", backoff_s=1, seed=7).exit("a")) for _ in range(3)}) == 1


def test_a_thousand_failures_in_a_row_overflow_nothing() -> None:
    stage = Stage("a", backoff_s=1, max_backoff_s=4, max_restarts=10_000)
    for _ in range(1500):
        last = stage.exit("a")
        stage.until_due()

    assert 2 <= delay_of(last) <= 4


def test_a_worker_that_was_ready_for_long_starts_anew_at_the_first_delay() -> None:
    stage = Stage("a", backoff_s=1, max_backoff_s=100, within_s=50, max_restarts=9)
    for _ in range(3):
        stage.exit("a")
        stage.until_due()
        stage.ready("a")
    stage.pass_(50.1)

    assert delay_of(stage.exit("a")) <= 1


def test_a_worker_that_was_ready_for_a_while_only_does_not() -> None:
    stage = Stage("a", backoff_s=1, max_backoff_s=100, within_s=50, max_restarts=9)
    for _ in range(3):
        stage.exit("a")
        stage.until_due()
        stage.ready("a")
    stage.pass_(49)

    assert delay_of(stage.exit("a")) >= 4


def test_one_for_one_each_worker_has_a_delay_of_its_own() -> None:
    stage = Stage("a", "b", backoff_s=1, max_backoff_s=100, max_restarts=9)
    for _ in range(3):
        stage.exit("a")
        stage.until_due()
        stage.ready("a")

    assert delay_of(stage.exit("b")) <= 1


def test_a_delay_of_none_restarts_at_once() -> None:
    stage = Stage("a", backoff_s=0, max_backoff_s=0)
    deeds = stage.exit("a")

    assert Start("a", 2) in deeds


def test_those_restarted_along_wait_for_the_same_delay() -> None:
    stage = Stage(*NAMES, strategy="one_for_all", backoff_s=10, max_backoff_s=10)
    stage.exit("c")
    stage.exit("b")
    stage.exit("a")

    assert stage.pass_(4.9) == []


def test_one_for_one_a_slow_restart_delays_no_other() -> None:
    stage = Stage(*NAMES, backoff_s=0, max_backoff_s=0)
    stage.exit("a")

    stage.exit("c")

    assert stage.acts == ["start a", "start c"]


def test_while_somebody_is_being_stopped_only_that_is_waited_for() -> None:
    stage = Stage(*NAMES, strategy="one_for_all", backoff_s=0, max_backoff_s=0, stop_s=30)
    stage.exit("a")

    assert stage.machine.due() - stage.now == 30


# --- when it gives up -------------------------------------------------------------------------------------------


def test_so_many_failures_as_are_allowed_are_met_with_a_restart() -> None:
    stage = Stage("a", max_restarts=2, backoff_s=0, max_backoff_s=0)
    stage.exit("a")
    stage.exit("a")

    assert (stage.acts, stage.machine.state) == (["start a", "start a"], "running")


def test_one_more_and_it_gives_up() -> None:
    stage = Stage("a", max_restarts=2, backoff_s=0, max_backoff_s=0, within_s=5)
    stage.exit("a")
    stage.exit("a")

    deeds = stage.exit("a", "exited with status 3")

    assert stage.machine.state == "gave-up"
    assert deeds == [
        Tell("exited", "a", 3, "exited with status 3"),
        Tell("gave-up", detail="3 failures within 5 s, the last of a: more than max_restarts = 2"),
        Tell("gone"),
    ]


def test_failures_that_are_further_apart_are_not_added_up() -> None:
    stage = Stage("a", max_restarts=1, backoff_s=0, max_backoff_s=0, within_s=5)
    stage.exit("a")
    stage.pass_(5.01)
    stage.exit("a")

    assert stage.machine.state == "running"


def test_a_failure_at_the_very_end_of_the_time_still_counts() -> None:
    stage = Stage("a", max_restarts=1, backoff_s=0, max_backoff_s=0, within_s=5)
    stage.exit("a")
    stage.pass_(5)
    stage.exit("a")

    assert stage.machine.state == "gave-up"


def test_with_no_restart_allowed_the_first_failure_is_the_last() -> None:
    stage = Stage("a", max_restarts=0)
    stage.exit("a")

    assert stage.machine.state == "gave-up"


def test_failures_of_different_workers_add_up() -> None:
    stage = Stage(*NAMES, max_restarts=2)
    for name in NAMES:
        stage.exit(name)

    assert stage.machine.state == "gave-up"


def test_when_it_gives_up_all_are_stopped_the_last_first() -> None:
    stage = Stage(*NAMES, max_restarts=0)
    stage.exit("b")
    stage.exit("c")
    stage.exit("a")

    assert stage.acts == ["stop c", "stop a"]


def test_it_is_over_only_when_the_last_is_gone() -> None:
    stage = Stage(*NAMES, max_restarts=0)
    stage.exit("b")
    stage.exit("c")
    before = stage.machine.is_over
    stage.exit("a")

    assert (before, stage.machine.is_over) == (False, True)


def test_a_restart_that_was_due_does_not_come_when_it_has_given_up() -> None:
    stage = Stage(*NAMES, max_restarts=1)
    stage.exit("a")
    stage.exit("b")
    stage.exit("c")

    stage.pass_(100)

    assert stage.acts == ["stop c"]


# --- how it stops -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_stops_all_in_reverse_one_after_the_other(strategy: Strategy) -> None:
    stage = Stage(*NAMES, strategy=strategy)
    stage.stop()
    for name in reversed(NAMES):
        assert stage.acts[-1] == f"stop {name}"
        stage.exit(name, "was killed by SIGTERM")

    assert stage.told[-1] == ("gone", None)
    assert stage.machine.state == "stopped"


def test_who_does_not_stop_in_time_is_killed() -> None:
    stage = Stage("a", stop_s=2)
    stage.stop()

    assert (stage.pass_(1.9), stage.pass_(0.2)) == ([], [Kill("a", 1)])


def test_it_is_killed_once() -> None:
    stage = Stage("a", stop_s=2)
    stage.stop()
    stage.pass_(2)

    assert stage.pass_(100) == []


def test_that_it_was_killed_is_told_with_its_end() -> None:
    stage = Stage("a", stop_s=2)
    stage.stop()
    stage.pass_(2)

    deeds = stage.exit("a", "was killed by SIGKILL")

    assert deeds[0] == Tell("gone", "a", 1, "was killed by SIGKILL: killed, for it did not stop within 2 s")


def test_an_end_that_was_asked_for_is_no_failure() -> None:
    stage = Stage("a", max_restarts=0)
    stage.stop()
    stage.exit("a", "exited with status 1")

    assert stage.machine.state == "stopped"


def test_a_worker_that_is_starting_is_stopped_too() -> None:
    stage = Stage()
    stage.take(stage.machine.add("a", 0))

    stage.stop()

    assert stage.acts == ["start a", "stop a"]


def test_a_worker_that_dies_before_its_turn_to_stop_is_not_restarted() -> None:
    stage = Stage(*NAMES)
    stage.stop()
    stage.exit("a")
    stage.pass_(0.5)
    stage.exit("c")
    stage.exit("b")

    assert stage.acts == ["stop c", "stop b"]
    assert stage.machine.is_over


def test_a_second_stop_changes_nothing() -> None:
    stage = Stage("a")
    stage.stop()

    assert stage.stop() == []


def test_without_workers_it_is_over_at_once() -> None:
    stage = Stage()

    assert stage.stop() == [Tell("stopping"), Tell("gone")]


def test_it_stops_with_a_restart_pending() -> None:
    stage = Stage("a", backoff_s=10, max_backoff_s=10)
    stage.exit("a")

    stage.stop()

    assert (stage.machine.is_over, stage.machine.due()) == (True, math.inf)


# --- one that is stopped for good -------------------------------------------------------------------------------


def test_a_worker_that_is_halted_is_not_restarted() -> None:
    stage = Stage("a", "b")
    stage.take(stage.machine.halt("a", stage.now))
    stage.exit("a")
    stage.pass_(100)

    assert stage.acts == ["stop a"]
    assert stage.machine.worker_state("a") == "gone"


def test_nor_is_it_when_its_restart_was_due() -> None:
    stage = Stage("a", backoff_s=10, max_backoff_s=10)
    stage.exit("a")
    stage.take(stage.machine.halt("a", stage.now))
    stage.pass_(100)

    assert stage.acts == []


def test_to_halt_one_that_came_too_late_to_be_added_changes_nothing() -> None:
    stage = Stage("a")
    stage.stop()

    assert (stage.machine.halt("late", stage.now), stage.machine.worker_state("late")) == ([], "gone")


def test_nor_is_it_along_with_others() -> None:
    stage = Stage(*NAMES, strategy="one_for_all")
    stage.take(stage.machine.halt("a", stage.now))
    stage.exit("a")
    deeds = stage.exit("b")

    assert stage.restart_all() == ["start b", "start c"]
    (restarting,) = [deed for deed in deeds if isinstance(deed, Tell) and deed.what == "restarting"]
    assert restarting.detail.endswith(" s, with c")


# --- what makes no sense ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"strategy": "all_for_none"}, "strategy = 'all_for_none': expected one of one_for_one"),
        ({"backoff_s": -1}, "backoff_s = -1: expected a time of 0 or more"),
        ({"max_backoff_s": "1"}, "max_backoff_s = '1': expected a time of 0 or more"),
        ({"max_backoff_s": 0.01}, "max_backoff_s = 0.01: expected no less than backoff_s = 0.05"),
        ({"within_s": 0}, "within_s = 0: expected a time above 0"),
        ({"start_s": math.inf}, "start_s = inf: expected a time above 0"),
        ({"stop_s": math.nan}, "stop_s = nan: expected a time above 0"),
        ({"max_restarts": -1}, "max_restarts = -1: expected a number of 0 or more"),
        ({"max_restarts": 1.5}, "max_restarts = 1.5: expected a number of 0 or more"),
        ({"max_restarts": True}, "max_restarts = True: expected a number of 0 or more"),
    ],
)
def test_a_policy_that_makes_no_sense_is_told_of(policy: dict[str, Any], told: str) -> None:
    (problem,) = Policy(**policy).problems()

    assert problem.startswith(told)


def test_all_that_is_wrong_is_told_at_once() -> None:
    make: Callable[..., Policy] = Policy

    assert len(make(strategy="x", within_s=-1, stop_s=None, max_restarts=None).problems()) == 4


def test_a_policy_left_as_it_is_makes_sense() -> None:
    assert Policy().problems() == []
