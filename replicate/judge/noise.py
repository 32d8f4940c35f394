"""How much another seed moves a number: what the specs state and what the seeds of a table show, pooled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import sqrt
from typing import NamedTuple

import numpy as np

from replicate.judge.statistics import Error, pooled
from replicate.judge.student import satterthwaite
from replicate.judge.values import CellValue, Design
from replicate.specs.noise import Noise, Of


class Estimate(NamedTuple):
    """The standard deviation of one training, and where it is from: what shares a ``source`` is known together."""

    error: Error
    source: Hashable


class Part(NamedTuple):
    """What one reading of a network adds to a sum: ``weight`` times its number.

    network: whose training moves it. chain: of the networks that start from each other, the first. seed: whose draws of
    images it learned from; None of a network that is one for all seeds. reading: the same number read twice is one.
    """

    weight: float
    network: str
    chain: str
    seed: int | None
    shared: Estimate
    """Of what the training does to all heads."""
    own: Estimate
    """Of what is the head's own."""
    reading: Hashable


class SeedNoise:
    """What is known of the numbers of one table.

    stated: entries of the specs. values: numbers of the table, whose seeds show how they vary; the variance is pooled
    over the networks that an entry, or where none fits the design of the number, has in common. A network counts once,
    with the mean variance of its numbers, since these move together.
    """

    def __init__(
        self, stated: Sequence[Noise], values: Iterable[CellValue] = (), chains: Mapping[str, str] | None = None
    ) -> None:
        self._stated = stated
        self._chains = chains or {}
        self._sources: dict[tuple[Of, Design], Hashable] = {}
        self._known: dict[tuple[Of, Hashable], Error | None] = {}
        self._shown: dict[tuple[Of, Hashable], list[tuple[float, int]]] = defaultdict(list)
        several = [value for value in values if value.hits and value.design and len(value.values) > 1]
        # A number that a table prints twice is one.
        several = list(
            {(value.design, *value.networks.values(), *value.values.values()): value for value in several}.values()
        )
        of_network: dict[tuple[Of, Hashable, tuple[tuple[str, ...], ...]], list[list[float]]] = defaultdict(list)
        by_network: dict[tuple[tuple[str, ...], ...], list[CellValue]] = defaultdict(list)
        for value in several:
            networks = tuple(value.networks[seed] for seed in value.values)
            of_network["training", self._source("training", value), networks].append(_numbers(value))
            by_network[networks].append(value)
        for networks, readings in by_network.items():
            for one, other in combinations(readings, 2):
                source = self._source("heads", one)
                if one.scale == other.scale and source == self._source("heads", other):
                    apart = [a - b for a, b in zip(_numbers(one), _numbers(other), strict=True)]
                    of_network["heads", source, networks].append(apart)
        for (of, source, _), numbers in of_network.items():
            variance = float(np.mean([np.var(each, ddof=1) for each in numbers]))
            self._shown[of, source].append((variance, len(numbers[0]) - 1))

    def shown(self) -> Iterator[tuple[Of, Hashable, Error, int]]:
        """What the seeds show by themselves: of what, the entry or design, how much, and on how many networks."""
        for (of, source), variances in self._shown.items():
            error = pooled(None, variances)
            assert error is not None
            yield of, source, error, len(variances)

    def of(self, value: CellValue) -> Error | None:
        """Standard deviation of one training's number, in the unit of its metric; None where nobody knows it."""
        if estimate := self._estimate("training", value):
            return estimate.error
        # Of what is no count, the seeds of the number itself are all there is.
        numbers = _numbers(value)
        return pooled(None, [(float(np.var(numbers, ddof=1)), len(numbers) - 1)]) if len(numbers) > 1 else None

    def part(self, weight: float, value: CellValue, seed: int | None, networks: tuple[str, ...]) -> Part | None:
        """``weight`` times the number ``value`` in a sum; None where nobody knows how it varies.

        seed: at which ``networks`` were trained that decide it.
        """
        training = self._estimate("training", value)
        if training is None:
            return None
        # Not stated: the whole variance of a training, which is on the safe side.
        heads = self._estimate("heads", value) or training
        own = heads.error.scaled(sqrt(0.5))
        own = own if own.standard < training.error.standard else Error(training.error.standard, own.freedom)
        shared = Error(sqrt(training.error.standard**2 - own.standard**2), training.error.freedom)
        # Two networks that are compared with each other vary together, as one.
        name = " + ".join(networks)
        chain = self._chains.get(networks[0], networks[0])
        reading = (name, value.design, value.reading)
        return Part(weight, name, chain, seed, Estimate(shared, training.source), Estimate(own, heads.source), reading)

    def _source(self, of: Of, value: CellValue) -> Hashable:
        """The entry that says how ``value`` varies, by its place; the design where none does."""
        assert value.design is not None
        design = value.design
        if (of, design) not in self._sources:
            fitting = (
                index
                for index, entry in enumerate(self._stated)
                if entry.fits(of, design.metric, design.model, design.resolution, design.data)
            )
            self._sources[of, design] = next(fitting, design)
        return self._sources[of, design]

    def _estimate(self, of: Of, value: CellValue) -> Estimate | None:
        if value.design is None:
            return None
        source = self._source(of, value)
        if (of, source) not in self._known:
            stated = None
            if isinstance(source, int) and (sd := self._stated[source].sd) != "unknown":
                stated = Error(sd, self._stated[source].freedom)
            self._known[of, source] = pooled(stated, self._shown[of, source])
        error = self._known[of, source]
        return None if error is None else Estimate(error, (of, source))


def of_sum(parts: Sequence[Part]) -> Error:
    """How sure a sum is over other seeds.

    A network that is read twice moves both readings at once. Trainings that start from each other share what moves
    them, and so do those of one seed, which draw the same images; how much is not known, from nothing to all. The
    variance is largest at one of these ends, which is taken: of each chain first, then of each seed.

    Degrees of freedom by Welch and Satterthwaite; what rests on one estimate is one part.
    """
    known = _Known()
    for of_seed in _grouped(parts, lambda part: part.seed):
        chains = [_chain(of_chain) for of_chain in _grouped(of_seed, lambda part: part.chain)]
        apart = _Known()
        for variance, _ in chains:
            apart.add(variance)
        known.add(_larger(apart, _together([amount for _, amount in chains])))
    for of_reading in _grouped(parts, lambda part: part.reading):
        own = of_reading[0].own
        known[own.source, own.error.freedom] += (sum(part.weight for part in of_reading) * own.error.standard) ** 2
    total = sum(known.values())
    return Error(sqrt(total), satterthwaite([(variance, freedom) for (_, freedom), variance in known.items()]))


class _Known(defaultdict[tuple[Hashable, float], float]):
    """A variance, or an amount, as a sum over the estimates (and their degrees of freedom) that it rests on."""

    def __init__(self) -> None:
        super().__init__(float)

    def add(self, other: _Known) -> None:
        for source, value in other.items():
            self[source] += value

    @property
    def total(self) -> float:
        return sum(self.values())


def _chain(parts: Sequence[Part]) -> tuple[_Known, _Known]:
    """The variance of networks that start from each other, and by how much all move where they move together."""
    networks = []
    for of_network in _grouped(parts, lambda part: part.network):
        amount = _Known()
        for part in of_network:
            amount[part.shared.source, part.shared.error.freedom] += part.weight * part.shared.error.standard
        networks.append(amount)
    apart, all_of_them = _Known(), _Known()
    for amount in networks:
        apart.add(_together([amount]))
        all_of_them.add(amount)
    return _larger(apart, _together(networks)), all_of_them


def _together(amounts: Sequence[_Known]) -> _Known:
    """The variance of what moves as one: the square of the sum."""
    total = sum(amount.total for amount in amounts)
    variance = _Known()
    for amount in amounts:
        for source, value in amount.items():
            variance[source] += total * value
    return variance


def _larger(one: _Known, other: _Known) -> _Known:
    return one if one.total >= other.total else other


def _grouped(parts: Sequence[Part], by: Callable[[Part], object]) -> Iterator[list[Part]]:
    groups: dict[object, list[Part]] = defaultdict(list)
    for part in parts:
        groups[by(part)].append(part)
    yield from groups.values()


def _numbers(value: CellValue) -> list[float]:
    return [float(number) for number in value.values.values()]
