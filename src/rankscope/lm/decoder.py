"""A decoder of our own for GPT-2, Llama, Mistral and Qwen2 weights: start anywhere, change any site, keep few rows.

Leading dimensions are free. Tokens are [N, T], or [K, N, T] where each of K rows of a pack brings its own batch. A
residual stays [N, T, D] for as long as the rows agree, and becomes [K, N, T, D] at the first site whose operation gives
every row an output of its own: what lies below is computed once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rankscope.base.precision import FP32, AttentionKernel, PrecisionPlan


@dataclass(frozen=True)
class LinearMap:
    """One linear map of the base: a site, or the head."""

    path: str
    weight: Tensor
    bias_O: Tensor | None
    is_transposed: bool = False
    """True where the weight is stored as [I, O] (Conv1D)."""

    def weight_OI(self, dtype: torch.dtype) -> Float[Tensor, "O I"]:
        """The weight as a linear map's; a view where it has that dtype already."""
        return (self.weight.T if self.is_transposed else self.weight).to(dtype)

    def __call__(self, x: Float[Tensor, "*N I"]) -> Float[Tensor, "*N O"]:
        """The output, x W^T + b, in the dtype of x."""
        return F.linear(x, self.weight_OI(x.dtype), None if self.bias_O is None else self.bias_O.to(x.dtype))

    def cast(self, dtype: torch.dtype) -> "LinearMap":
        """The same map with a copy of its weight in that dtype; one that trains is cast at every use instead."""
        if self.weight.requires_grad or self.weight.dtype == dtype:
            return self
        return replace(self, weight=self.weight.to(dtype))


class SiteOp(Protocol):
    """What runs in place of one linear map."""

    def __call__(self, x: Float[Tensor, "*N I"], frozen: LinearMap) -> Float[Tensor, "*M O"]:
        """The site's output; it may add a leading dimension of pack rows."""
        ...


Tap = Callable[[Tensor, Tensor], Tensor | None]
"""(input, output) of a site -> an output to use instead, or None to leave it."""


@dataclass(frozen=True)
class Norm:
    """Layer norm, or RMS norm where there is no bias to centre with."""

    kind: Literal["layer", "rms"]
    weight_D: Tensor
    bias_D: Tensor | None
    eps: float

    def __call__(self, x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Normalised over the last dimension."""
        if self.kind == "layer":
            return F.layer_norm(x, self.weight_D.shape, self.weight_D, self.bias_D, self.eps)
        return F.rms_norm(x, self.weight_D.shape, self.weight_D, self.eps)


@dataclass(frozen=True)
class Block:
    """One layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    attention_norm: Norm
    qkv: tuple[LinearMap, ...]
    """One fused map, or q, k and v."""
    attention_out: LinearMap
    attention_scale: float
    window: int | None
    """How many tokens back a token sees, itself included; None for all."""
    mlp_norm: Norm
    mlp_in: tuple[LinearMap, ...]
    """(up,), or (gate, up) where the gate is activated and multiplies."""
    mlp_out: LinearMap

    @property
    def maps(self) -> tuple[LinearMap, ...]:
        """Every linear map, in the order in which a forward pass reaches them."""
        return (*self.qkv, self.attention_out, *self.mlp_in, self.mlp_out)


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: the two halves of a head are rotated against each other."""

    inverse_frequencies: Float[Tensor, " H"]
    scaling: float

    def tables(
        self, positions: Int[Tensor, "*N T"], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "*N T E"], Float[Tensor, "*N T E"]]:
        """Cosine and sine per position, over the whole head."""
        precise = torch.promote_types(dtype, torch.float32)
        angles = positions[..., None].to(precise) * self.inverse_frequencies.to(positions.device, precise)
        angles = torch.cat((angles, angles), dim=-1)
        return (angles.cos() * self.scaling).to(dtype), (angles.sin() * self.scaling).to(dtype)


def rotated(x: Float[Tensor, "*N T E"], cos: Tensor, sin: Tensor) -> Float[Tensor, "*N T E"]:
    """Every position's x, turned by its angles."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


@dataclass(frozen=True)
class Kept:
    """The positions whose logits are wanted, as many columns for every sequence."""

    position_NA: Int[Tensor, "*N A"]
    """Ascending; filled up with positions that are not wanted."""
    is_wanted_NA: Bool[Tensor, "*N A"]

    @classmethod
    def of(cls, wanted_NT: Bool[Tensor, "*N T"]) -> "Kept":
        """From a mask; at least one column."""
        width = max(1, int(wanted_NT.sum(-1).max()))
        position_NA = wanted_NT.logical_not().to(torch.uint8).argsort(dim=-1, stable=True)[..., :width]
        return cls(position_NA, wanted_NT.gather(-1, position_NA))

    def rows_of(self, x: Float[Tensor, "*K T D"]) -> Float[Tensor, "*K A D"]:
        """The kept positions of x, which may have pack rows in front that the positions lack."""
        n_tokens, width = x.shape[-2], self.position_NA.shape[-1]
        index = self.position_NA.expand(*x.shape[:-2], width).reshape(-1, width)
        first = torch.arange(len(index), device=index.device)[:, None] * n_tokens
        rows = x.reshape(-1, x.shape[-1]).index_select(0, (first + index).flatten())
        return rows.view(*x.shape[:-2], width, x.shape[-1])


@dataclass
class KeysAndValues:
    """What generation has read so far, per layer [*, heads, T, E]."""

    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def n_read(self) -> int:
        """Tokens read so far."""
        return self.layers[0][0].shape[-2] if self.layers else 0

    def extended(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values with those of earlier tokens in front; kept for the next call.

        What all rows of a pack shared so far is repeated for each once their tokens differ.
        """
        if layer in self.layers:
            keys, values = (_behind(*pair) for pair in zip(self.layers[layer], (keys, values), strict=True))
        self.layers[layer] = (keys, values)
        return keys, values

    def batch_select_indices(self, rows: Int[Tensor, " L"]) -> None:
        """Keeps some of the sequences; named as transformers' caches name it."""
        self.layers = {i: (k.index_select(-4, rows), v.index_select(-4, rows)) for i, (k, v) in self.layers.items()}


def _behind(before: Float[Tensor, "*N H T E"], new: Float[Tensor, "*M H S E"]) -> Float[Tensor, "*K H U E"]:
    rows = torch.broadcast_shapes(before.shape[:-3], new.shape[:-3])
    return torch.cat([part.expand(*rows, *part.shape[-3:]) for part in (before, new)], dim=-2)


NO_OPS: Mapping[str, SiteOp] = {}
NO_TAPS: Mapping[str, Tap] = {}


@dataclass(frozen=True)
class Decoder:
    """The base as plain tensors and one forward pass. It shares the weights of the model that it was read from."""

    embedding_VD: Tensor
    position_TD: Tensor | None
    """Learned positions, or None with rotary ones."""
    rotary: Rotary | None
    blocks: tuple[Block, ...]
    norm: Norm
    head: LinearMap
    n_heads: int
    n_kv_heads: int
    activation: Callable[[Tensor], Tensor]
    padding_id: int | None = None
    """A token whose embedding gets no gradient."""
    precision: PrecisionPlan = FP32

    def in_precision(self, plan: PrecisionPlan) -> "Decoder":
        """The same decoder computing by that plan; frozen weights are copied once where products are in bf16."""
        dtype = plan.dtype("products", self.embedding_VD.dtype)
        blocks = tuple(
            replace(
                block,
                qkv=tuple(linear.cast(dtype) for linear in block.qkv),
                attention_out=block.attention_out.cast(dtype),
                mlp_in=tuple(linear.cast(dtype) for linear in block.mlp_in),
                mlp_out=block.mlp_out.cast(dtype),
            )
            for block in self.blocks
        )
        return replace(self, blocks=blocks, head=self.head.cast(dtype), precision=plan)

    def logits(self, hidden: Float[Tensor, "*N D"]) -> Float[Tensor, "*N V"]:
        """What the head makes of a normalised residual, in the precision of products."""
        return self.head(hidden.to(self.precision.dtype("products", hidden.dtype)))

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def lowest_layer(self, sites: Iterable[str]) -> int:
        """The first layer that holds any of the sites."""
        wanted = set(sites)
        return next(i for i, b in enumerate(self.blocks) if wanted & {linear.path for linear in b.maps})

    def embed(self, tokens: Int[Tensor, "*N T"], n_read: int = 0) -> Float[Tensor, "*N T D"]:
        """The residual below layer 0; the tokens stand at positions n_read, n_read + 1, ..."""
        x = F.embedding(tokens, self.embedding_VD, self.padding_id)
        if self.position_TD is None:
            return x
        return x + self.position_TD[n_read : n_read + tokens.shape[-1]]

    def forward(
        self,
        tokens: Int[Tensor, "*N T"] | None = None,
        *,
        start_layer: int = 0,
        residual: Float[Tensor, "*N T D"] | None = None,
        site_ops: Mapping[str, SiteOp] = NO_OPS,
        taps: Mapping[str, Tap] = NO_TAPS,
        kept: Kept | None = None,
        cache: KeysAndValues | None = None,
    ) -> Float[Tensor, "*K M D"]:
        """The normalised residual above the last layer, at kept positions only if some are named; `head` makes logits.

        Give tokens, or the residual below `start_layer`. With `kept`, queries and the MLP of the last layer run on
        those positions alone. With `cache`, the tokens follow those that it has read. Gradients follow the mode.
        """
        assert cache is None or kept is None
        n_read = cache.n_read if cache else 0
        if residual is None:
            assert tokens is not None
            assert start_layer == 0
            residual = self.embed(tokens, n_read)
        run = _Run(self, site_ops, taps, cache, residual, n_read)
        for layer in range(start_layer, self.n_layers):
            residual = run.block(layer, residual, kept if layer == self.n_layers - 1 else None)
        if kept is not None and start_layer == self.n_layers:
            residual = kept.rows_of(residual)
        return self.norm(residual)

    def below(
        self,
        tokens: Int[Tensor, "*N T"] | None,
        layer: int,
        *,
        start_layer: int = 0,
        residual: Float[Tensor, "*N T D"] | None = None,
        site_ops: Mapping[str, SiteOp] = NO_OPS,
    ) -> Float[Tensor, "*K T D"]:
        """The residual below a layer, at all positions, from tokens or from the residual below `start_layer`."""
        if residual is None:
            assert tokens is not None
            assert start_layer == 0
            residual = self.embed(tokens)
        run = _Run(self, site_ops, NO_TAPS, None, residual, 0)
        for index in range(start_layer, layer):
            residual = run.block(index, residual, None)
        return residual


class _Run:
    """One forward pass: what its blocks share."""

    def __init__(
        self,
        decoder: Decoder,
        site_ops: Mapping[str, SiteOp],
        taps: Mapping[str, Tap],
        cache: KeysAndValues | None,
        residual: Tensor,
        n_read: int,
    ) -> None:
        self.decoder, self.site_ops, self.taps, self.cache = decoder, site_ops, taps, cache
        n_new = residual.shape[-2]
        self.position_T = torch.arange(n_read, n_read + n_new, device=residual.device)
        self.n_keys = n_read + n_new
        like, plan = decoder.embedding_VD.dtype, decoder.precision
        self.products, self.pointwise = plan.dtype("products", like), plan.dtype("pointwise", like)
        self.in_attention = plan.dtype("attention", like)
        rotary = decoder.rotary
        self.angles = None if rotary is None else rotary.tables(self.position_T, self.in_attention)
        self._masks: dict[tuple[int | None, bool], Tensor | None] = {}

    def site(self, frozen: LinearMap, x: Tensor) -> Tensor:
        x = x.to(self.products)
        op = self.site_ops.get(frozen.path)
        y = frozen(x) if op is None else op(x, frozen)
        tap = self.taps.get(frozen.path)
        replaced = None if tap is None else tap(x, y)
        return y if replaced is None else replaced

    def block(self, layer: int, x: Tensor, kept: Kept | None) -> Tensor:
        block = self.decoder.blocks[layer]
        attended = self.attention(layer, block.attention_norm(x), kept)
        if kept is not None:
            x = kept.rows_of(x)
        x = x + self.site(block.attention_out, attended)
        return x + self.mlp(block, block.mlp_norm(x))

    def mlp(self, block: Block, x: Tensor) -> Tensor:
        inner = self.decoder.activation(self.site(block.mlp_in[0], x).to(self.pointwise))
        if len(block.mlp_in) == 2:
            inner = inner * self.site(block.mlp_in[1], x).to(self.pointwise)
        return self.site(block.mlp_out, inner)

    def attention(self, layer: int, x: Tensor, kept: Kept | None) -> Tensor:
        block = self.decoder.blocks[layer]
        q, k, v = (y.to(self.in_attention) for y in self._queries_keys_values(block, x, kept))
        if self.angles is not None:
            cos, sin = self.angles
            k = rotated(k, cos, sin)
            if kept is not None:
                cos, sin = (table[kept.position_NA][..., None, :, :] for table in (cos, sin))
            q = rotated(q, cos, sin)
        if self.cache is not None:
            k, v = self.cache.extended(layer, k, v)
        n_shared = q.shape[-3] // k.shape[-3]
        if n_shared > 1:
            k, v = k.repeat_interleave(n_shared, dim=-3), v.repeat_interleave(n_shared, dim=-3)
        mask = self._mask(block.window, kept)
        attended = attend(q, k, v, block.attention_scale, mask, self.decoder.precision.kernel)
        return attended.transpose(-2, -3).flatten(-2)

    def _queries_keys_values(self, block: Block, x: Tensor, kept: Kept | None) -> tuple[Tensor, Tensor, Tensor]:
        """[*, heads, T, E] each; queries at kept positions only."""
        heads, kv_heads = self.decoder.n_heads, self.decoder.n_kv_heads
        if len(block.qkv) == 1:
            q, k, v = self.site(block.qkv[0], x).chunk(3, dim=-1)
            q = q if kept is None else kept.rows_of(q)
        else:
            q = self.site(block.qkv[0], x if kept is None else kept.rows_of(x))
            k, v = (self.site(frozen, x) for frozen in block.qkv[1:])
        split = ((q, heads), (k, kv_heads), (v, kv_heads))
        q, k, v = (y.unflatten(-1, (n, -1)).transpose(-2, -3) for y, n in split)
        return q, k, v

    def _mask(self, window: int | None, kept: Kept | None) -> Tensor | None:
        """True where a query sees a key; None where that is plain causal order, or everything."""
        key = (window, kept is None)
        if key not in self._masks:
            self._masks[key] = self._seen(window, kept)
        return self._masks[key]

    def _seen(self, window: int | None, kept: Kept | None) -> Tensor | None:
        inside = window is None or self.n_keys <= window
        n_new = len(self.position_T)
        if kept is None and inside and (n_new == self.n_keys or n_new == 1):
            return None
        query = self.position_T if kept is None else kept.position_NA[..., None, :]
        key_T = torch.arange(self.n_keys, device=query.device)
        seen = key_T <= query[..., None]
        return seen if inside or window is None else seen & (key_T > query[..., None] - window)


def attend(
    q: Float[Tensor, "*N H Q E"],
    k: Float[Tensor, "*M H T E"],
    v: Float[Tensor, "*L H T E"],
    scale: float,
    seen: Bool[Tensor, "*B Q T"] | None,
    kernel: AttentionKernel,
) -> Float[Tensor, "*R H Q E"]:
    """Values averaged with softmax(scale q k^T) over the keys that a query sees.

    `seen` None stands for causal order, or for one query that sees everything.
    """
    rows = torch.broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
    q, k, v = (y.expand(*rows, *y.shape[-3:]).flatten(0, -4) for y in (q, k, v))
    n_queries, n_keys = q.shape[-2], k.shape[-2]
    if seen is not None:
        seen = seen.expand(*rows, *seen.shape[-3:]).flatten(0, -4) if seen.ndim > 2 else seen
    if kernel == "sdpa":
        causal = seen is None and n_queries == n_keys
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=causal, scale=scale)
    else:
        if seen is None and n_queries == n_keys:
            seen = torch.ones(n_queries, n_keys, dtype=torch.bool, device=q.device).tril()
        scores = (q * scale) @ k.transpose(-1, -2)
        if seen is not None:
            scores = scores.masked_fill(~seen, float("-inf"))
        out = scores.softmax(-1) @ v
    return out.unflatten(0, rows)
