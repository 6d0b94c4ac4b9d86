"""ConViT: d'Ascoli et al., "ConViT: Improving Vision Transformers with Soft Convolutional Inductive
Biases", ICML 2021 (arXiv:2103.10697), figures 2 and 4.

    image b c h w -> patches b n d -> + positions
                  -> blocks with gated positional self-attention (GPSA), all but the last two
                  -> class token first b (1+n) d -> plain pre-norm blocks -> LayerNorm
                  -> class token b d -> linear b k

    GPSA, equations 6 and 7, by head:  A = (1 - s) softmax(Q K^T / sqrt(d)) + s softmax(v . r)
    r = (|delta|^2, delta_1, delta_2), delta = key - query;  v is learned;  s = sigmoid(lambda)

v starts as -alpha (1, -2 Delta_1, -2 Delta_2): head h looks at the patch at shift Delta_h, as in
the attention that is a convolution (cordonnier.py). lambda starts at 1, so that s = 0.73.

Trained weights exist, so we follow the public code (the authors' and timm's) where it differs from
the paper: the scores have the 1/sqrt(d) that equation 7 leaves out; the centres Delta are one
patch apart, so that four heads stand at (+-0.5, +-0.5), each between four patches, and not at
(+-1, +-1) as in figure 3; the projection of r has a bias, which cancels in the softmax. Where we
differ from the code, with equal results: its division of A's rows by their sum is left out, for
they sum to 1; and `forward` never builds the n x n positional matrix. v . r is a sum over the two
axes, so that its softmax is the product of one along the rows and one along the columns.
"""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from hybridlib.checks import (
    check_divides,
    check_fits,
    check_image,
    check_positive,
    check_whole,
    checked,
)
from hybridlib.layers.attention import attend, attention_weights
from hybridlib.layers.position import LearnedPositions, quadratic_encoding, relative_offsets
from hybridlib.layers.sized import SizedModel
from hybridlib.layers.trace import AttentionMap, Trace, trace_blocks
from hybridlib.layers.transformer import (
    LAYER_NORM_EPS,
    MLP,
    ResidualBlock,
    TransformerBlock,
    drop_path_schedule,
)
from hybridlib.models.vit import PatchEmbedding, init_linear

# size: table 1 of the paper; ten of twelve blocks are local (section 3). The nanos are ours: 4
# heads stand between patches, 9 on the cells of a 3x3 kernel. 63 = 9 x 7 is the next width to 64.
SIZES: dict[str, dict] = {
    "nano": dict(image_size=32, patch_size=4, dim=64, depth=4, num_heads=4, local_depth=3),
    "nano 9 heads": dict(image_size=32, patch_size=4, dim=63, depth=4, num_heads=9, local_depth=3),
    "Ti": dict(image_size=224, patch_size=16, dim=192, depth=12, num_heads=4, local_depth=10),
    "Ti+": dict(image_size=224, patch_size=16, dim=256, depth=12, num_heads=4, local_depth=10),
    "S": dict(image_size=224, patch_size=16, dim=432, depth=12, num_heads=9, local_depth=10),
    "S+": dict(image_size=224, patch_size=16, dim=576, depth=12, num_heads=9, local_depth=10),
    "B": dict(image_size=224, patch_size=16, dim=768, depth=12, num_heads=16, local_depth=10),
    "B+": dict(image_size=224, patch_size=16, dim=1024, depth=12, num_heads=16, local_depth=10),
}


class PositionScores(nn.Linear):
    """A linear map whose weights are read one by one; arguments as in `torch.nn.Linear`. Its own
    class keeps it out of dynamic quantisation, which replaces that one alone."""


class GatedPositionalSelfAttention(nn.Module):
    """Each head mixes what it finds alike (content) with what stands at a learned shift (position).

    `forward` uses PyTorch's fused kernel and the separable positional softmax; `trace` computes
    equation 7 in the open. Both give the same output.

    Args:
        dim: width D of a token.
        num_heads: N_h; must divide `dim`. The largest K x K that fits into N_h heads is placed on a
            grid of shifts; heads beyond it start with a small random v and so see everything.
        locality_strength: alpha; the positional softmax starts with variance 1 / (2 alpha) patches
            along each axis.

    Shapes: tokens `b n d` in and out, n = rows x columns of `grid`; no class token.
    """

    @checked
    def __init__(self, dim: int, *, num_heads: int, locality_strength: float = 1.0) -> None:
        super().__init__()
        check_divides(num_heads, dim, divisor_name="num_heads", value_name="dim")
        check_positive(locality_strength=locality_strength)
        self.num_heads = num_heads
        self.to_qk = nn.Linear(dim, 2 * dim, bias=False)
        self.to_v = nn.Linear(dim, dim, bias=False)
        self.to_position_scores = PositionScores(3, num_heads)  # v of every head
        self.gate_logits = nn.Parameter(torch.ones(num_heads))  # lambda
        self.out = nn.Linear(dim, dim)
        init_linear(self.out)
        self.start_as_convolution(locality_strength)

    @torch.no_grad()
    def start_as_convolution(self, locality_strength: float) -> None:
        """Set v to a kernel's shifts, values to the identity, queries and keys at random."""
        for projection in self.to_qk.weight.chunk(2):
            nn.init.xavier_uniform_(projection)
        nn.init.eye_(self.to_v.weight)
        v = nn.init.trunc_normal_(self.to_position_scores.weight, std=0.02)  # h 3
        nn.init.zeros_(self.to_position_scores.bias)
        centres = kernel_centres(self.num_heads).to(v)
        v[: len(centres)] = torch.cat([-torch.ones_like(centres[:, :1]), 2 * centres], dim=1)
        v *= locality_strength

    @property
    def gates(self) -> Tensor:
        """s = sigmoid(lambda), shape `h`: the share of position in each head."""
        return self.gate_logits.sigmoid()

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens `b n d`, each `b h n d`."""
        q, k = rearrange(self.to_qk(x), "b n (two h d) -> two b h n d", two=2, h=self.num_heads)
        return q, k, rearrange(self.to_v(x), "b n (h d) -> b h n d", h=self.num_heads)

    def join(self, heads: Tensor) -> Tensor:
        """Lay the heads `b h n d` side by side and mix them: `b n (h d)`."""
        return self.out(rearrange(heads, "b h n d -> b n (h d)"))

    def position_weights(self, grid: tuple[int, int]) -> Tensor:
        """softmax(v . r) on a grid of (rows, columns): `h q k`, the same for every image."""
        encoding = quadratic_encoding(relative_offsets(grid)).to(self.to_position_scores.weight)
        scores = self.to_position_scores(encoding)  # q k h
        return rearrange(scores, "q k h -> h q k").softmax(dim=-1)

    def position_factors(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Rows `h y y2` and columns `h x x2` whose product, cell by cell, is `position_weights`."""
        square, row, column = self.to_position_scores.weight.unbind(dim=1)
        factors = []
        for side, slope in zip(grid, (row, column)):
            steps = torch.arange(side, device=slope.device, dtype=slope.dtype)
            delta = steps[None, :] - steps[:, None]  # key - query
            # The bias cancels here too. It stays in, so that every parameter has a gradient.
            terms = [square, slope, self.to_position_scores.bias]
            square_, slope_, bias_ = (rearrange(term, "h -> h 1 1") for term in terms)
            factors.append((square_ * delta**2 + slope_ * delta + bias_).softmax(dim=-1))
        return factors[0], factors[1]

    def forward(self, x: Tensor, *, grid: tuple[int, int]) -> Tensor:
        q, k, v = self.split(x)
        rows, columns = self.position_factors(grid)
        content = attend(q, k, v)
        v = rearrange(v, "b h (y x) d -> b h y x d", y=grid[0])
        v = einsum(columns, v, "h x x2, b h y x2 d -> b h y x d")
        v = einsum(rows, v, "h y y2, b h y2 x d -> b h y x d")
        position = rearrange(v, "b h y x d -> b h (y x) d")
        gates = rearrange(self.gates, "h -> h 1 1").to(content)
        return self.join(torch.lerp(content, position, gates))

    def trace(self, x: Tensor, *, grid: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, and the maps "content", "position" and "gated", each `b h q k`."""
        q, k, v = self.split(x)
        content = attention_weights(q, k)
        position = self.position_weights(grid).expand(x.shape[0], -1, -1, -1)  # b h q k
        gates = rearrange(self.gates, "h -> h 1 1")
        gated = (1 - gates) * content + gates * position
        return self.join(gated @ v), dict(content=content, position=position, gated=gated)


class LocalBlock(ResidualBlock):
    """x <- x + GPSA(LN(x)); x <- x + MLP(LN(x)).

    Args:
        dim, num_heads, mlp_ratio, drop_path: as in TransformerBlock.
        locality_strength: as in GatedPositionalSelfAttention.

    Shapes: tokens `b n d` in and out, without a class token.
    """

    attention: GatedPositionalSelfAttention

    @checked
    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        locality_strength: float = 1.0,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        attention = GatedPositionalSelfAttention(
            dim, num_heads=num_heads, locality_strength=locality_strength
        )
        mlp = MLP(dim, ratio=mlp_ratio).apply(init_linear)
        super().__init__(dim, attention=attention, mlp=mlp, drop_path=drop_path)

    def forward(self, x: Tensor, *, grid: tuple[int, int]) -> Tensor:
        return self.add(x, self.attention(self.norm1(x), grid=grid))

    def trace(self, x: Tensor, *, grid: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, and the three maps of the attention beside the tokens."""
        attended, maps = self.attention.trace(self.norm1(x), grid=grid)
        return self.add(x, attended), maps


class ConViT(SizedModel):
    """A transformer whose first blocks start as convolutions and may leave locality, head by head.

    Args:
        image_size, patch_size, dim, depth: as in ViT.
        num_heads: heads of each block; must divide `dim`. A square number gives a full kernel.
        local_depth: how many of the blocks, from the first, have GPSA; the class token comes after
            them, so that at least one block must follow.
        locality_strength: alpha of every GPSA at the start.
        mlp_ratio, num_classes, in_channels, drop_path: as in ViT.

    Shapes: images `b c h w` in, logits `b k` out. Images of another size work as long as the patch
    size divides both sides; positions are resized bicubically, GPSA needs no change.
    """

    sizes = SIZES

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        dim: int,
        depth: int,
        num_heads: int,
        local_depth: int,
        locality_strength: float = 1.0,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_whole(num_classes=num_classes)
        check_divides(patch_size, image_size, divisor_name="patch_size", value_name="image_size")
        check_divides(num_heads, dim, divisor_name="num_heads", value_name="dim")
        if local_depth < 0:
            raise ValueError(
                f"local_depth={local_depth} must be 0 or more, for example local_depth=0"
            )
        if depth <= local_depth:
            raise ValueError(
                f"depth={depth} must be greater than local_depth={local_depth}: the class token "
                "enters after the local blocks and needs a block that reads the patches, "
                f"for example depth={local_depth + 1}"
            )
        side = image_size // patch_size
        check_fits("image_size", image_size, side, side, dim)
        rates = drop_path_schedule(drop_path, depth)
        self.patch_size, self.in_channels = patch_size, in_channels
        self.patch_embedding = PatchEmbedding(
            patch_size=patch_size, in_channels=in_channels, dim=dim
        )
        self.positions = LearnedPositions((side, side), dim)
        self.local_blocks = nn.ModuleList(
            LocalBlock(
                dim,
                num_heads=num_heads,
                locality_strength=locality_strength,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
            )
            for rate in rates[:local_depth]
        )
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim, num_heads=num_heads, mlp_ratio=mlp_ratio, qkv_bias=False, drop_path=rate
            )
            for rate in rates[local_depth:]
        )
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        self.blocks.apply(init_linear)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens `b n d` that enter the first block, and the patch grid (rows, columns)."""
        check_image(x, channels=self.in_channels, side_multiple=self.patch_size, model=self)
        grid = (x.shape[2] // self.patch_size, x.shape[3] // self.patch_size)
        return self.positions(self.patch_embedding(x), grid=grid), grid

    def add_class_token(self, tokens: Tensor) -> Tensor:
        """`b n d` to `b (1+n) d`; the class token has no position."""
        class_token = self.class_token.expand(tokens.shape[0], -1, -1)  # b 1 d
        return torch.cat([class_token, tokens], dim=1)

    def classify(self, tokens: Tensor) -> Tensor:
        """Logits `b k` from the class token that leaves the last block."""
        return self.head(self.norm(tokens[:, 0]))

    def forward(self, x: Tensor) -> Tensor:
        tokens, grid = self.embed(x)
        for block in self.local_blocks:
            tokens = block(tokens, grid=grid)
        tokens = self.add_class_token(tokens)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        # The head reads the class token alone, so the last block leaves out the patches.
        return self.classify(self.blocks[-1](tokens, keep=1))

    def trace(self, x: Tensor) -> Trace:
        """As `forward`, with three maps of every local block and one of every other."""
        tokens, grid = self.embed(x)
        local, local_weights = trace_blocks(self.local_blocks, tokens, grid=grid)
        outputs, weights = trace_blocks(self.blocks, self.add_class_token(local[-1]))
        maps = [
            AttentionMap(w, grid=grid, block=i, kind=kind)
            for i, kinds in enumerate(local_weights)
            for kind, w in kinds.items()
        ]
        maps += [
            AttentionMap(w, grid=grid, extra=("class",), block=i)
            for i, w in enumerate(weights, start=len(local_weights))
        ]
        return Trace(self.classify(outputs[-1]), tuple(maps))


@checked
def kernel_centres(num_heads: int) -> Tensor:
    """Shifts Delta (rows, columns) of the largest K x K kernel with a head for each cell.

    Shape `(k k) 2`. One patch apart about (0, 0), so that 4 heads stand at +-0.5; column by column,
    as in the public code.

    Args:
        num_heads: heads N_h; the largest K has K^2 <= N_h.
    """
    side = int(num_heads**0.5)
    steps = torch.arange(side) - (side - 1) / 2
    columns, rows = torch.meshgrid(steps, steps, indexing="ij")
    return rearrange([rows, columns], "two x y -> (x y) two")
