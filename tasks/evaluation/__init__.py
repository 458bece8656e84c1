"""Evaluation that a reviewer accepts: intervals over patients, comparisons, calibration, conformal sets, subgroups."""
