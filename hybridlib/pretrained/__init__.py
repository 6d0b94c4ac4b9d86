"""Public weights for our models.

    loaded = pretrained.load("deit_tiny_distilled_patch16_224.fb_in1k")
    logits = loaded.model(loaded.preparation("cat.jpg"))

`PUBLIC` lists what there is. Files are safetensors, or PyTorch's read as weights only.
"""

from hybridlib.pretrained.catalogue import IMAGENET_CLASSES, PUBLIC, Public
from hybridlib.pretrained.loading import Pretrained, Seen, load, load_file

__all__ = ["IMAGENET_CLASSES", "PUBLIC", "Pretrained", "Public", "Seen", "load", "load_file"]
