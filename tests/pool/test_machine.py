"""The state machine and the algorithms under chance: any order of events, and the law holds after every one.

Hypothesis looks for a short story that breaks it; a plain random walk makes many more steps in the same time.
``RESPOOL_SOAK_STEPS=10000000`` lets the walk go on for as long as you like.
"""

from __future__ import annotations

import asyncio
import os
import random
from math import inf
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from respool.pool.core.entries import CloseReason
from tests.pool.simulation import OUTAGE, REFUSAL, Simulation

SOAK_STEPS = int(os.environ.get("RESPOOL_SOAK_STEPS", "0"))
STEPS = max(SOAK_STEPS, 240_000)
SEEDS = 6

#: What each setting is taken from.
SETTINGS: dict[str, list[Any]] = {
    "max_size": [1, 2, 3, 8],
    "min_size": [0, 0, 1],
    "max_connecting": [1, 2, 5],
    "max_waiting": [None, None, 0, 3],
    "max_idle": [None, 5.0, 300.0],
    "max_lifetime": [None, 20.0, 3600.0],
    "check_after": [None, 0.0, 1.0],
    "connect_timeout": [None, 2.0, 10.0],
    "leak_after": [None, None, 3.0],
    "look_every": [inf, 0.5, 2.0],
}
TIMES = [0.0, 0.004, 0.3, 1.0, 3.0, 12.0, 100.0]
REASONS = [CloseReason.BROKEN, CloseReason.DETACHED]

pick = st.integers(0, 30)  # whom of those whom it may concern
some_time = st.sampled_from(TIMES)


def one_of(candidates: list[Any], number: int) -> Any:
    return candidates[number % len(candidates)]


class PoolMachine(RuleBasedStateMachine):
    """The simulation, driven by Hypothesis."""

    world: Simulation

    @initialize(
        given=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in SETTINGS.items()}),
        seed=st.integers(0, 3),
    )
    def begin(self, given: dict[str, Any], seed: int) -> None:
        self.world = Simulation(random.Random(seed).random, **given)

    @rule(timeout=some_time)
    def ask(self, timeout: float) -> None:
        self.world.ask(timeout)

    @precondition(lambda self: self.world.holders)
    @rule(number=pick)
    def release(self, number: int) -> None:
        self.world.release(one_of(self.world.holders, number))

    @precondition(lambda self: self.world.holders)
    @rule(number=pick, reason=st.sampled_from(REASONS))
    def throw_away(self, number: int, reason: CloseReason) -> None:
        self.world.release(one_of(self.world.holders, number), reason)

    @precondition(lambda self: self.world.holders)
    @rule(number=pick)
    def give_back(self, number: int) -> None:
        self.world.give_back(one_of(self.world.holders, number))

    @precondition(lambda self: self.world.ready)
    @rule(number=pick)
    def wake_or_time_out(self, number: int) -> None:
        self.world.go_on(one_of(self.world.ready, number))

    @precondition(lambda self: self.world.at_work)
    @rule(number=pick, error=st.sampled_from([None, ConnectionError("dead"), TimeoutError()]))
    def check_or_reset_ends(self, number: int, error: Exception | None) -> None:
        self.world.go_on(one_of(self.world.at_work, number), error)

    @precondition(lambda self: self.world.inside)
    @rule(number=pick)
    def cancel(self, number: int) -> None:
        self.world.go_on(one_of(self.world.inside, number), asyncio.CancelledError())

    @precondition(lambda self: self.world.connects)
    @rule(number=pick)
    def connect_succeeds(self, number: int) -> None:
        self.world.connected(one_of(self.world.connects, number))

    @precondition(lambda self: self.world.connects)
    @rule(number=pick, error=st.sampled_from([OUTAGE, REFUSAL]))
    def connect_fails(self, number: int, error: Exception) -> None:
        self.world.refused(one_of(self.world.connects, number), error)

    @precondition(lambda self: self.world.connects)
    @rule(number=pick)
    def connect_is_cancelled(self, number: int) -> None:
        self.world.cancelled(one_of(self.world.connects, number))

    @precondition(lambda self: self.world.looks)
    @rule(number=pick, gone=st.sampled_from([0, 1, 8]))
    def a_look_is_over(self, number: int, gone: int) -> None:
        look = one_of(self.world.looks, number)
        self.world.looked(look, look[:gone])

    @rule(seconds=some_time, late=st.booleans())
    def time_passes(self, seconds: float, late: bool) -> None:
        self.world.pass_time(seconds, late=late)

    @rule()
    def evict(self) -> None:
        self.world.evict()

    @rule(step=st.sampled_from(["doubt", "suspend", "resume"]))
    def operate(self, step: str) -> None:
        self.world.operate(getattr(self.world.state, step))

    @rule(spread=some_time)
    def evict_softly(self, spread: float) -> None:
        self.world.operate(self.world.state.evict_softly, spread)

    @rule(size=st.integers(0, 8))
    def warm_up(self, size: int) -> None:
        self.world.operate(self.world.state.warm_up, size)

    @rule(least=st.integers(0, 2), more=st.integers(0, 4))
    def resize(self, least: int, more: int) -> None:
        self.world.resize(least, max(1, least + more))

    @rule(really=st.integers(0, 9))
    def close(self, really: int) -> None:
        if really == 9:
            self.world.close()

    @invariant()
    def the_law_holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.finish()


TestPoolMachine = pytest.mark.timeout(600)(PoolMachine.TestCase)  # a failure is made short, which takes its time
TestPoolMachine.settings = settings(max_examples=4 * settings.default.max_examples, stateful_step_count=60)


def ask(world: Simulation, dice: random.Random) -> None:
    if len(world.callers) < 40:
        world.ask(dice.choice(TIMES))


def end_a_use(world: Simulation, dice: random.Random) -> None:
    if world.holders:
        caller = dice.choice(world.holders)
        roll = dice.random()
        if roll < 0.45:
            world.release(caller)
        elif roll < 0.9:
            world.give_back(caller)
        else:
            world.release(caller, dice.choice(REASONS))


def go_on(world: Simulation, dice: random.Random) -> None:
    if world.ready:
        world.go_on(dice.choice(world.ready))


def end_a_check(world: Simulation, dice: random.Random) -> None:
    if world.at_work:
        world.go_on(dice.choice(world.at_work), dice.choice([None, None, ConnectionError("dead")]))


def cancel(world: Simulation, dice: random.Random) -> None:
    if world.inside:
        world.go_on(dice.choice(world.inside), asyncio.CancelledError())


def connect(world: Simulation, dice: random.Random) -> None:
    if world.connects:
        world.connected(dice.choice(world.connects))


def fail_a_connect(world: Simulation, dice: random.Random) -> None:
    if world.connects:
        world.refused(dice.choice(world.connects), dice.choice([OUTAGE, REFUSAL]))


def cancel_a_connect(world: Simulation, dice: random.Random) -> None:
    if world.connects:
        world.cancelled(dice.choice(world.connects))


def end_a_look(world: Simulation, dice: random.Random) -> None:
    if world.looks:
        look = dice.choice(world.looks)
        world.looked(look, dice.sample(look, dice.randint(0, len(look))))


def pass_time(world: Simulation, dice: random.Random) -> None:
    world.pass_time(dice.choice(TIMES), late=dice.random() < 0.2)


def pass_a_moment(world: Simulation, dice: random.Random) -> None:
    world.pass_time(dice.random() * 0.1)


def operate(world: Simulation, dice: random.Random) -> None:
    state = world.state
    dice.choice(
        [
            world.evict,
            lambda: world.operate(state.doubt),
            lambda: world.operate(state.suspend),
            lambda: world.operate(state.resume),
            lambda: world.operate(state.resume),
            lambda: world.operate(state.evict_softly, dice.choice(TIMES)),
            lambda: world.operate(state.warm_up, dice.randint(0, 8)),
            lambda: world.resize(dice.randint(0, 2), dice.randint(2, 8)),
        ]
    )()


#: What may happen, and how often compared with the others.
ACTIONS = {
    ask: 8.0,
    end_a_use: 6.0,
    go_on: 8.0,
    end_a_check: 4.0,
    cancel: 1.0,
    connect: 4.0,
    fail_a_connect: 0.5,
    cancel_a_connect: 0.1,
    end_a_look: 1.0,
    pass_a_moment: 3.0,
    pass_time: 0.5,
    operate: 0.3,
}


def walk(dice: random.Random, steps: int) -> int:
    """A random life of one pool of so many steps; returns how many it made.

    Each life has its own mood: some things happen more often in it, some less, some hardly at all.
    """
    world = Simulation(dice.random, **{name: dice.choice(values) for name, values in SETTINGS.items()})
    weights = [weight * dice.choice([0.1, 1.0, 1.0, 4.0]) for weight in ACTIONS.values()]
    while world.steps < steps:
        for action in dice.choices(list(ACTIONS), weights, k=50):
            action(world, dice)
    world.finish()
    return world.steps


@pytest.mark.timeout(0 if SOAK_STEPS else 120)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_walk_keeps_the_law(seed: int) -> None:
    dice = random.Random(seed)
    steps = 0
    while steps < STEPS / SEEDS:
        steps += walk(dice, 500)
