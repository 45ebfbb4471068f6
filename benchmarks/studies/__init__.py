"""Studies that answer one question each, run by hand from a checkout; not in the wheel."""
