"""How a training is watched: when it counts as suspicious, and who is told. The table ``[watch]`` of a scale.

A file by itself, since jobs carry it and scales are read without jobs.
"""

from __future__ import annotations

from typing import Literal

from replicate.specs.recipe import Count, NonNegative, Positive, Strict

TrackerName = Literal["tensorboard", "wandb", "trackio"]
"""Each is also the name of the package that has it."""


class Watch(Strict):
    """The numbers of the rules in `replicate.store.suspicion`, which says what each rule looks at."""

    chance_epochs: Count = 10
    """After the warm-up and so many epochs, a network answers better than chance."""
    chance_errors: NonNegative = 3.0
    """Better than chance is more than so many standard errors of the validation images above it."""
    band_points: Positive = 10.0
    """Below the band: so many points of top-1 below the lowest of the finished trainings of the same recipe."""
    band_epochs: Count = 5
    """In each of the last so many epochs."""
    spike_ratio: Positive = 1.3
    """A spike: a loss so many times the lowest so far."""
    spike_share: NonNegative = 0.5
    """It has also lost this share of what the loss had come down since the first epoch."""
    spike_epochs: Count = 3
    """It does not come back: in each of the last so many epochs."""
    tracker: TrackerName | None = None
    """Who is handed the numbers of each epoch, as with ``--tracker``."""
    stop: bool = False
    """Whether what is suspicious is stopped, as with ``--stop-suspicious``."""
