"""Distribution shifts: StrongAugment's operations, MedMNIST-C's corruptions and changes of acquisition, at five severities each."""

from umsrep.tasks.shift.apply import apply_shift, apply_shift_batch, apply_shift_with_mask
from umsrep.tasks.shift.draws import row_seed
from umsrep.tasks.shift.registry import SHIFTS, choose_shifts
from umsrep.tasks.shift.shift import Shift

__all__ = ["SHIFTS", "Shift", "apply_shift", "apply_shift_batch", "apply_shift_with_mask", "choose_shifts", "row_seed"]
