"""DeiT in the reader's browser: its class token and its distillation token side by side."""

from .live_desk import HeadAtDesk

TOKENS = ["class", "distillation"]


class LiveTokens(HeadAtDesk):
    """See what a trained DeiT's two tokens look at and answer, and move one onto the other.

    Everything runs in the browser; the model is fetched when the explorable comes into sight.

    `model` has a distillation token; `block` and `head` say whose maps are shown at first. A link
    such as `<a href="#tokens?part=1&swap=yes&block=1&head=2&digit=3">words</a>` sets it, counted
    from 1; `part` is from 0 to 1.
    """

    script = "live_tokens.js"
    about = "A DeiT whose two tokens you compare"
    example = "deit_nano_digits"
    link = "tokens"
    layers = "blocks"

    @classmethod
    def heads_of(cls, name: str, graph: dict) -> list[int]:
        if not graph["maps"] or any(one["extra"] != TOKENS for one in graph["maps"]):
            raise ValueError(
                f"model {name!r} has no distillation token: give a DeiT with"
                f" second_token='distillation', such as {cls.example!r}"
            )
        return [one["at"][2][1] for one in graph["maps"]]
