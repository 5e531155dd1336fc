"""Memory of a model by its size: formulas with every figure named, good to a quarter or so, for choosing a size class.

Bytes a parameter: 2 in use (bfloat16); in LoRA the same, and 16 for each of the few parameters that are trained
(float32 weight, gradient and Adam's two moments); in full tuning 16 for all, beside the loaded model's 2.
Activations without checkpointing: 34 x hidden x layers bytes a token (Korthikanti et al. 2022, eq. 1, without the
attention matrix, which fused kernels do not keep). Logits: two float32 values a vocabulary entry and token.
"""

from __future__ import annotations

from dataclasses import dataclass

BYTES_BFLOAT16 = 2
BYTES_TRAINED = 16
BYTES_ACTIVATION = 34
VOCABULARY = 150_000
RANK = 16
# Tokens that one training step holds at once and that generation keeps in its cache: the harness's own defaults.
TRAIN_TOKENS = 4_096
CACHE_TOKENS = 16_384
# Share of a device's memory that can be used: the rest goes to kernels, fragments and the desktop.
USABLE = 0.9
GB = 1e9


@dataclass(frozen=True, slots=True)
class Shape:
    """A size class, shaped like published decoder models of about that size. kv: key and value heads x width."""

    billions: float
    layers: int
    hidden: int
    kv: int

    @property
    def name(self) -> str:
        """As people call it: 0.5B, 8B."""
        return f"{self.billions:g}B"


# Shapes of published models with grouped-query attention.
SHAPES = (
    Shape(0.5, 24, 896, 128),
    Shape(1.5, 28, 1536, 256),
    Shape(3, 36, 2048, 256),
    Shape(8, 32, 4096, 1024),
    Shape(14, 48, 5120, 1024),
    Shape(32, 64, 5120, 1024),
    Shape(70, 80, 8192, 1024),
)


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of one size class, in GB of 10^9 bytes.

    lora_least: LoRA with gradient checkpointing and one of the longest rows at a time.
    """

    size: str
    billions: float
    use: float
    lora: float
    lora_least: float
    full: float


def needs(context: int) -> tuple[Need, ...]:
    """The memory of every size class. context: tokens of the longest prompt with its answer."""
    return tuple(_need(shape, context) for shape in SHAPES)


def cache_bytes_a_token(shape: Shape) -> int:
    """Keys and values of one token in all layers, bfloat16.

    >>> cache_bytes_a_token(Shape(8, 32, 4096, 1024))
    131072
    """
    return 2 * shape.layers * shape.kv * BYTES_BFLOAT16


def lora_parameters(shape: Shape, rank: int = RANK) -> int:
    """Trained parameters of LoRA on all linear layers of a block: rank x (inputs + outputs) of each.

    Attention has four matrices, the gated feed-forward three with an inner width of about 3.5 x hidden.
    """
    hidden, inner = shape.hidden, round(3.5 * shape.hidden)
    attention = 2 * (hidden + hidden) + 2 * (hidden + shape.kv)
    return shape.layers * rank * (attention + 3 * (hidden + inner))


def _need(shape: Shape, context: int) -> Need:
    weights = BYTES_BFLOAT16 * shape.billions * 1e9
    logits = 2 * 4 * VOCABULARY
    activations = (BYTES_ACTIVATION * shape.hidden * shape.layers + logits) * max(TRAIN_TOKENS, context)
    # One layer at full size, and every layer's input.
    least = ((BYTES_ACTIVATION + BYTES_BFLOAT16 * shape.layers) * shape.hidden + logits) * context
    adapter = BYTES_TRAINED * lora_parameters(shape)
    return Need(
        shape.name,
        shape.billions,
        use=(weights + cache_bytes_a_token(shape) * max(CACHE_TOKENS, context)) / GB,
        lora=(weights + adapter + activations) / GB,
        lora_least=(weights + adapter + least) / GB,
        full=(weights + BYTES_TRAINED * shape.billions * 1e9 + activations) / GB,
    )
