"""Trained weights for our models: public ones, by timm's names, and small ones that come with the
package and know the digits.

    model = pretrained.load("vit_nano_digits").model
    seen = pretrained.load("deit_tiny_patch16_224.fb_in1k").see("cat.jpg")

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
    "shipped",
    "shipped_file",
]
