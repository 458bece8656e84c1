"""Studies: small experiments on one's own data whose questions come from a paper."""

from umsrep.tasks.study.config import StudyConfig, load_study
from umsrep.tasks.study.transfusion import run_study

__all__ = ["StudyConfig", "load_study", "run_study"]
