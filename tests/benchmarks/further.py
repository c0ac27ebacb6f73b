"""The figures that have a module of their own. To add one: write the module, and name its `FIGURE` here."""

from tests.benchmarks import counted, redeem, sampled_verify, status
from tests.benchmarks.figures import Figure

FURTHER: tuple[Figure, ...] = (sampled_verify.FIGURE, status.FIGURE, counted.FIGURE, redeem.FIGURE)
