"""Bleeds of heads that look like scans, drawn into voxels of any head, synthetic or real.

noise         smooth random fields in space
blood         density of blood: age, haematocrit, clots, levels
ages          random blood
bleed         what all shapes have in common; sizing to a volume
extra_axial   epidural, subdural
parenchymal   haematomas, contusions
fluid_blood   subarachnoid, intraventricular
sites         where bleeds are found
drawing       random bleeds of each kind
sampling      random bleeds of a head, which join each other as in patients
volumes       random volumes of leading bleeds
flow          slow flow of the brain on a coarse lattice
mass_effect   how bleeds push the brain
bleeds        all of a head's bleeds: displacement, paint, truth
"""

from ich_tf.phantom.full.bleeds.bleeds import Bleeds
from ich_tf.phantom.full.bleeds.sampling import draw_bleeds
from ich_tf.phantom.full.bleeds.volumes import draw_volume

__all__ = ["Bleeds", "draw_bleeds", "draw_volume"]
