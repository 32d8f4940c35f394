"""Makers of data sources, one module each: what replicate/specs/sources describes, in arrays."""
