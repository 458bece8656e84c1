"""Transferability scores of encoders, and the baselines to set beside them; all in float64, higher is better, inputs are never changed."""

from umsrep.zoo.transferability.baselines import knn_accuracy, linear_probe
from umsrep.zoo.transferability.cc_fv import LevelTerms, cc_fv, cc_fv_terms
from umsrep.zoo.transferability.denoising import denoising_gain
from umsrep.zoo.transferability.gbc import gbc
from umsrep.zoo.transferability.h_scores import h_score, regularized_h_score
from umsrep.zoo.transferability.leep import leep, n_leep, nce
from umsrep.zoo.transferability.log_me import log_me
from umsrep.zoo.transferability.ranking import FEATURE_SCORES, SOURCE_SCORES, Ranking, rank_encoders

__all__ = [
    # classification
    "h_score",
    "regularized_h_score",
    "nce",
    "leep",
    "n_leep",
    "log_me",
    "gbc",
    # dense tasks
    "cc_fv",
    "cc_fv_terms",
    "LevelTerms",
    "denoising_gain",
    # baselines
    "knn_accuracy",
    "linear_probe",
    # rankings
    "FEATURE_SCORES",
    "SOURCE_SCORES",
    "Ranking",
    "rank_encoders",
]
