"""The built-in models: small Llamas (RMSNorm, RoPE, SwiGLU, few KV heads), written for fast training.

Module names are those of transformers' LlamaForCausalLM, so a state dict is a checkpoint.
"""

import json
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 1
    head_dim: int = 64
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5

    @staticmethod
    def of(size):
        """4M is the built-in model; 24M is as large as 24 MiB allow; toy is for tests."""
        return {
            "4M": Config(),
            "24M": Config(8192, 512, 1408, 7, 8, 2, 64, 2048),
            "toy": Config(4096, 64, 128, 2, 4, 2, 32, 256),
        }[size]

    def to_hf(self):
        """config.json as transformers reads it."""
        fixed = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": 0,
            "eos_token_id": None,
            "torch_dtype": "float32",
        }
        return json.dumps(asdict(self) | fixed, indent=2, sort_keys=True) + "\n"


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


def rope_tables(config, length):
    """cos and sin, [length, head_dim], in the rotate-half convention."""
    half = torch.arange(0, config.head_dim, 2).double() / config.head_dim
    angle = torch.outer(torch.arange(length).double(), config.rope_theta**-half)
    angle = torch.cat([angle, angle], -1)
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


class Attention(nn.Module):
    """Causal attention. With one KV head, all heads' queries are one matrix: on a CPU plain products
    are then faster than the fused operator, which knows nothing of shared keys. Queries go in
    blocks that see no more keys than they must.

    `sliding` W > 0: position p attends to the last W positions, p among them, and to position 0, the
    attention sink. Keys keep the rotation of their position. From p = W on the query meets the sink as if it
    stood at position W - 1.
    """

    BLOCK = 256
    SLIDING_BLOCK = 128  # a query meets W + 127 keys or fewer; 64 and 256 are 5 to 10 % slower

    def __init__(self, c, sliding=0):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.sliding = sliding
        self.block = min(self.SLIDING_BLOCK, sliding) if sliding else self.BLOCK
        assert sliding % self.block == 0  # so that a block's queries all meet the sink in the same way
        self.q_proj = nn.Linear(c.hidden_size, self.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * c.head_dim, c.hidden_size, bias=False)

    def attend(self, q, k, v, sink=None):
        """q [rows, n, heads, d], over sqrt(d), the last n positions of k, v [rows, pos, d].

        sink: scores [rows, n, heads, 1] and value [rows, 1, d] of the attention sink, when it is not in k, v.
        """
        rows, n, heads, dim = q.shape
        pos = k.shape[1]
        scores = (q.reshape(rows, n * heads, dim) @ k.mT).view(rows, n, heads, pos)
        hidden = torch.ones(n, pos, dtype=torch.bool, device=q.device).triu(pos - n + 1)  # the future
        if sink is not None:
            hidden = hidden | ~torch.ones_like(hidden).triu(pos - n + 1 - self.sliding)
        scores.masked_fill_(hidden[:, None], float("-inf"))
        if sink is not None:
            scores, v = torch.cat([sink[0], scores], -1), torch.cat([sink[1], v], 1)
        p = scores.softmax(-1, dtype=q.dtype)
        return (p.view(rows, n * heads, -1) @ v).view(rows, n, heads * dim)

    def in_blocks(self, q, k, v, sink):
        """sink(i, end): the scores of queries [i, end) with the attention sink, as attend() takes them."""
        parts = []
        for i in range(0, q.shape[1], self.block):
            end = min(i + self.block, q.shape[1])
            if not self.sliding or i < self.sliding:
                parts.append(self.attend(q[:, i:end], k[:, :end], v[:, :end]))
            else:
                start = i + 1 - self.sliding
                met = sink(i, end), v[:, :1]
                parts.append(self.attend(q[:, i:end], k[:, start:end], v[:, start:end], met))
        return torch.cat(parts, 1)

    def fused(self, q, k, v):
        """q [rows, n, heads, d], over sqrt(d), k, v [rows, n, KV heads, d]."""
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 2) for t in (k, v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0).transpose(1, 2).flatten(2)

    def forward(self, x, cos, sin):
        plain, k, v = (
            proj(x).unflatten(-1, (-1, self.head_dim)) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        plain = plain * self.head_dim**-0.5
        q, k = rotate(plain, cos[:, None], sin[:, None]), rotate(k, cos[:, None], sin[:, None])
        if self.kv_heads == 1 and (self.sliding or not x.is_cuda):
            # Turning the sink's key back by W - 1 positions is the same as turning every query on by them.
            sink = lambda i, end: plain[:, i:end] @ rotate(
                k[:, :1], cos[self.sliding - 1], -sin[self.sliding - 1]
            ).mT
            return self.o_proj(self.in_blocks(q, k.squeeze(2), v.squeeze(2), sink))
        assert not self.sliding  # with several KV heads
        return self.o_proj(self.fused(q, k, v))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c, sliding):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c, sliding)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = MLP(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, c, sliding):
        super().__init__()
        self.config = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, sliding) for _ in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.place(c.max_position_embeddings)

    def place(self, positions):
        """Makes room for rows of `positions` tokens."""
        cos, sin = rope_tables(self.config, positions)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids, dtype=torch.float32):
        """ids [rows, length] -> normed hidden states [rows, length, hidden] in `dtype`."""
        x = self.embed_tokens(ids).to(dtype)
        cos, sin = self.cos[: ids.shape[1]].to(dtype), self.sin[: ids.shape[1]].to(dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


def head_part(x, weight, target):
    """x [n, hidden], target [n, 1] -> summed loss and the sum's gradients by x and weight."""
    logits = (x @ weight.T).float().log_softmax(-1)
    loss = -logits.gather(1, target).sum()
    grad = logits.exp_()
    grad.scatter_add_(1, target, torch.full_like(target, -1.0, dtype=torch.float32))
    grad = grad.to(x.dtype)
    return loss, grad @ weight, grad.T @ x


class HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of the tied head, with both gradients made on the way.

    Chunks keep the logits (rows * vocab floats) in the cache, or out of memory.
    """

    chunk = 1024
    part = staticmethod(head_part)

    @staticmethod
    def forward(ctx, x, weight, targets):
        dx, dw = torch.empty_like(x), torch.zeros_like(weight, dtype=torch.float32)
        low = weight.to(x.dtype)
        total = torch.zeros((), device=x.device)
        for i in range(0, len(x), HeadLoss.chunk):
            j = i + HeadLoss.chunk
            loss, dx[i:j], grad = HeadLoss.part(x[i:j], low, targets[i:j, None])
            total += loss
            dw += grad
        ctx.save_for_backward(dx / len(x), dw / len(x))
        return total / len(x)

    @staticmethod
    def backward(ctx, grad):
        dx, dw = ctx.saved_tensors
        return dx * grad, dw * grad, None


class Model(nn.Module):
    """`sliding`: see Attention."""

    def __init__(self, config, sliding=0):
        super().__init__()
        self.config = config
        self.model = Decoder(config, sliding)
        # Residual branches start small (GPT-2's rule), embeddings at the scale of a tied head.
        deep = (2 * config.num_hidden_layers) ** -0.5
        for name, p in self.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                nn.init.normal_(p, std=deep * p.shape[1] ** -0.5)
            elif p.ndim == 2 and "embed" not in name:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
            elif p.ndim == 2:
                nn.init.normal_(p, std=0.04)

    def loss(self, ids, targets, dtype=torch.float32):
        x = self.model(ids, dtype)
        return HeadLoss.apply(x.flatten(0, 1), self.model.embed_tokens.weight, targets.flatten())

    def parameters_count(self):
        return sum(p.numel() for p in self.parameters())
