"""Pretraining on images alone: hidden parts of an image are filled in from the rest. `vitrail pretrain DATA`.

The room is not called `pretrain`: a subpackage of that name would, once imported, take the place of the function
`vitrail.pretrain`, which users call.

What a run leaves is a model folder (`model/best`, `model/last`) without a head: in `config.json` the task's name is
`settings.NO_TASK` ("none"), `labels.json` is `{}`, `model.safetensors` holds the backbone alone under the names that it
has in a whole model (`backbone.*`), and `preprocessor.json` is what it was trained with. `artifact.load` refuses such a
folder in words; `artifact.load_backbone` reads it, as it reads the backbone of any other model folder.
"""
