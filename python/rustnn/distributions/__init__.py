"""Distributions."""

from . import constraints
