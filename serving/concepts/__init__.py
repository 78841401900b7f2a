"""Concepts: where their packages come from, what is kept of them, what the operator wishes."""
