"""The catalog: every encoder with what was measured of it, on one page to choose by."""
