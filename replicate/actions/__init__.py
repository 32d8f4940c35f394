"""Actions: what commands and notebooks do with specs and a store."""
