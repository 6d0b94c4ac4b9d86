"""Trained weights for our models: public ones, by timm's names, small ones that come with the
package, and the reader's own.

    model = pretrained.load("vit_nano_digits").model
    seen = pretrained.load("deit_tiny_patch16_224.fb_in1k").see("cat.jpg")
    mine = pretrained.load_trained("runs/mine/weights.safetensors")

`PUBLIC` and `shipped()` list what there is. Files are safetensors, or PyTorch's read as weights
only. The shipped ones are in half precision and loaded into float32.
"""

from hybridlib.pretrained.catalogue import (
    IMAGENET_CLASSES,
    PUBLIC,
    SHIPPED_FOLDER,
    Entry,
    card,
    find,
    header,
    shipped,
    shipped_file,
)
from hybridlib.pretrained.loading import Pretrained, Seen, load, load_file
from hybridlib.pretrained.trained import load_trained

__all__ = [
    "IMAGENET_CLASSES",
    "PUBLIC",
    "SHIPPED_FOLDER",
    "Entry",
    "Pretrained",
    "Seen",
    "card",
    "find",
    "header",
    "load",
    "load_file",
    "load_trained",
    "shipped",
    "shipped_file",
]
