"""The kinds of figures, each registered by the module that has its name."""

from replicate.figures.kinds import curves, differences, heatmap, identity, lines, profile, scatter

__all__ = ["curves", "differences", "heatmap", "identity", "lines", "profile", "scatter"]
