"""Whole models and files: initialized by rules, and reported."""
