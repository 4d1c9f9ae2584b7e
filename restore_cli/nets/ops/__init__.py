"""Operators shared by networks, with fast CPU paths."""
