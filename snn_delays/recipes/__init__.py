"""Recipes: TOML files, validated, and what they build."""
