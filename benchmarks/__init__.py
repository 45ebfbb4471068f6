"""Measurements of the product: numbers and how they were made."""
