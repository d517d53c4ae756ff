"""One training step of a model, traced without memory: allocations and FLOPs, on a laptop, at any size.

The step runs on fake tensors, which have shapes, storages and lifetimes and no content: forward pass, loss and backward
pass by the model's own code and PyTorch's autograd, and `fully_shard` itself where parameters are sharded, over
collectives that only say what they would return. The optimizer works in place and is counted from its state.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from vitrail.assemble import VisionModel
from vitrail.contracts import Backbone
from vitrail.cost.kernels import CudaAutocast, attention_flops, fused_attention
from vitrail.cost.timeline import Span, Timeline
from vitrail.errors import UsageError
from vitrail.layers.attention import ScaledDotProduct
from vitrail.layers.recompute import recompute

Precision = Literal["fp32", "bf16", "pure-bf16"]
Kernels = Literal["cpu", "cuda"]

BATCH = 1_000_003
"""A prime that no size of a model is a multiple of: what is, grows with the batch. Fake images cost nothing."""

CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
CONVOLUTION, CONVOLUTION_BACKWARD = torch.ops.aten.convolution, torch.ops.aten.convolution_backward


@dataclass(frozen=True)
class Step:
    """What a step of one model costs. FLOPs are of one image; of `recomputed` nothing learns more.

    weights, buffers: bytes of what stands on one device.  learned: bytes of the buffers that training may take back.
    gradient_bytes: of all gradients on one device.  image_bytes: of one image and its target.
    """

    timeline: Timeline
    forward_flops: int
    step_flops: int
    """Forward and backward pass, without what is computed again."""
    recomputed_flops: int
    weights: int
    buffers: int
    learned: int
    gradient_bytes: int
    image_bytes: int


def trace(
    model: VisionModel, *, precision: Precision = "bf16", kernels: Kernels = "cuda", again: bool = False,
    shards: int = 0, reshard: bool = True,
) -> Step:  # fmt: skip
    """Trace one step of a model that stands on the meta device; the model itself is used up.

    again: blocks are computed again in the backward pass.  shards: devices that FSDP2 spreads each block's parameters
    over, 0 for none; reshard: gathered parameters are given back after each forward pass.
    Raises UsageError for shards where this process already belongs to a process group.
    """
    with ExitStack() as stack:
        mesh = stack.enter_context(_mesh(shards)) if shards else None
        stack.enter_context(FakeTensorMode())
        _to_fake(model, torch.bfloat16 if precision == "pure-bf16" else torch.float32)
        tracer = _Tracer()
        _watch(model, tracer, kernels)
        blocks = cast(Backbone, model.backbone).blocks()
        if again:
            recompute(blocks)
        if mesh is not None:
            with _one_part():
                shard(model, mesh, precision, reshard)
        return _run(model, tracer, precision, kernels, sharded=mesh is not None)


def _run(model: VisionModel, tracer: _Tracer, precision: Precision, kernels: Kernels, sharded: bool) -> Step:
    backbone = cast(Backbone, model.backbone)
    dtype = torch.bfloat16 if precision == "pure-bf16" else torch.float32
    images = torch.empty(BATCH, backbone.in_channels, *backbone.image_size, dtype=dtype)
    targets = torch.zeros(BATCH, dtype=torch.int64)
    model.train()
    parameters = list(model.parameters())
    local = [_local(parameter) for parameter in parameters]
    buffers = list(model.buffers())
    tracer.know([*local, *buffers])
    with tracer, CudaAutocast() if kernels == "cuda" else nullcontext():
        tracer.meet(images)
        tracer.meet(targets)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16" and not sharded):
            losses = model.task.loss(model(images), targets, None, train=True)
        loss = losses.sum()
        del losses
        turned, forward_flops = tracer.now, tracer.flops
        tracer.forward = False
        loss.backward()  # type: ignore[no-untyped-call]
    gradients = [_local(parameter.grad) for parameter in parameters if parameter.grad is not None]
    tracer.mark_gradients(gradients)
    timeline = Timeline(tuple(replace(span) for span in tracer.spans), BATCH, turned, tracer.now + 1)
    kept = set(model.state_dict(keep_vars=True))
    learned = [buffer for name, buffer in model.named_buffers() if name in kept]
    return Step(
        timeline,
        forward_flops=_per_image(forward_flops),
        step_flops=_per_image(tracer.flops - tracer.again),
        recomputed_flops=_per_image(tracer.again),
        weights=_bytes(local),
        buffers=_bytes(buffers),
        learned=_bytes(learned),
        gradient_bytes=_bytes(gradients),
        image_bytes=_bytes([images, targets]) // BATCH,
    )


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its own hook untyped
    """Sees every operation: whose storages are new, when they end, and what is multiplied."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.spans: list[Span] = []
        self.living: dict[int, tuple[Any, Span | None]] = {}
        """Address of a storage -> a weak reference to it, and its span; None of what stood before the step."""
        self.now = 0
        self.flops = self.again = 0
        self.forward = True
        self.attention = self.repeating = 0

    def __enter__(self) -> _Tracer:
        self.resize = torch.UntypedStorage.resize_
        torch.UntypedStorage.resize_ = self._resizing()  # type: ignore[method-assign]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *stopped: Any) -> None:
        torch.UntypedStorage.resize_ = self.resize  # type: ignore[method-assign]
        super().__exit__(*stopped)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.meet(leaf)
        self.count(_flops(func._overloadpacket, args, kwargs or {}, out))
        return out

    def count(self, flops: int) -> None:
        """FLOPs of the whole batch."""
        self.flops += flops
        if self.repeating and not self.forward:
            self.again += flops

    def know(self, tensors: list[Tensor]) -> None:
        """What stands before the step is no allocation of it."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self.living[storage._cdata] = (storage, None)

    def meet(self, tensor: Tensor) -> None:
        """A result: a new storage, or a view of one that is known."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.living:
            self._begin(storage)

    def mark_gradients(self, gradients: list[Tensor]) -> None:
        """Those storages are gradients of the weights."""
        for gradient in gradients:
            span = self.living[gradient.untyped_storage()._cdata][1]
            if span is not None:
                span.gradient = True

    def _begin(self, storage: torch.UntypedStorage) -> None:
        self.now += 1
        span = Span(
            storage.nbytes(), self.now, forward=self.forward or self.repeating > 0, attention=self.attention > 0
        )
        self.spans.append(span)
        place = storage._cdata
        self.living[place] = (weakref.ref(storage, lambda _: self._end(place)), span)

    def _end(self, place: int) -> None:
        _, span = self.living.pop(place)
        if span is not None and span.died < 0:
            self.now += 1
            span.died = self.now

    def _resizing(self) -> Callable[..., Any]:
        """FSDP2 gives gathered parameters back by making their storage empty, and takes it again so."""

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            before = storage.nbytes()
            done = self.resize(storage, size)
            if before != size and storage._cdata in self.living:
                self._end(storage._cdata)
            if before != size and size:
                self._begin(storage)
            return done

        return resize


def _flops(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Multiplications and additions of one operation, as torch's own counter has them, and of what it leaves out."""
    if packet is CPU_ATTENTION:
        return attention_flops(*args[:3])
    if packet is CPU_ATTENTION_BACKWARD:
        return 2 * attention_flops(*args[1:4])
    if packet is CONVOLUTION_BACKWARD:  # each gradient costs a forward pass; torch's counter forgets groups
        gradient, images, weight, *_, transposed, _, _, mask = args
        places = images if transposed else gradient
        return int(sum(mask[:2]) * 2 * len(gradient) * weight.numel() * places.shape[2:].numel())
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=out))
    return 0


def _watch(model: nn.Module, tracer: _Tracer, kernels: Kernels) -> None:
    """Say to the tracer when attention's inner operation runs, and when a block does."""
    for module in model.modules():
        if isinstance(module, ScaledDotProduct):
            inner = module.forward if kernels == "cpu" else _fused(tracer)
            module.forward = _counted(inner, tracer, "attention")  # type: ignore[method-assign]
    for block in cast(Backbone, model.backbone).blocks():
        block.forward = _counted(block.forward, tracer, "repeating")


def _fused(tracer: _Tracer) -> Callable[..., Tensor]:
    def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return fused_attention(q, k, v, bias, tracer.count)

    return forward


def _counted(forward: Callable[..., Any], tracer: _Tracer, what: str) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        setattr(tracer, what, getattr(tracer, what) + 1)
        try:
            return forward(*args, **kwargs)
        finally:
            setattr(tracer, what, getattr(tracer, what) - 1)

    return run


def _to_fake(model: nn.Module, dtype: torch.dtype) -> None:
    """Parameters and buffers on the meta device -> fake ones on a CPU; shared ones stay shared."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    fake = torch.empty(parameter.shape, dtype=dtype, device="cpu")
                    made[id(parameter)] = nn.Parameter(fake, parameter.requires_grad)
                module._parameters[name] = cast(nn.Parameter, made[id(parameter)])
        for name, buffer in module._buffers.items():
            if buffer is not None:
                kind = dtype if buffer.is_floating_point() else buffer.dtype
                if id(buffer) not in made:
                    made[id(buffer)] = torch.empty(buffer.shape, dtype=kind, device="cpu")
                module._buffers[name] = made[id(buffer)]


def shard(model: VisionModel, mesh: Any, precision: Precision, reshard: bool) -> None:
    """FSDP2: each block is a group of its own, what is left one more. bf16 gathers and computes in bfloat16 and sums
    gradients in float32, as autocast is not needed then."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mixed = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if precision == "bf16" else MixedPrecisionPolicy()
    for block in cast(Backbone, model.backbone).blocks():
        fully_shard(block, mesh=mesh, reshard_after_forward=reshard, mp_policy=mixed)
    fully_shard(model, mesh=mesh, reshard_after_forward=False if not reshard else None, mp_policy=mixed)


@contextmanager
def _one_part() -> Iterator[None]:
    """FSDP2 cuts each parameter into a tensor for every device and takes its own. Over thousands of devices that is
    nearly all of the time of a plan, so here the first device, whose part is the largest, cuts off its own alone."""
    from torch.distributed.fsdp._fully_shard import _fsdp_param as part

    if not hasattr(part, "_chunk_with_empty"):  # a torch that cuts in another way needs no help
        yield
        return

    def cut(tensor: Tensor, number: int, dim: int) -> list[Tensor]:
        return [tensor.narrow(dim, 0, -(-tensor.shape[dim] // number))] * number

    before = part._chunk_with_empty
    part._chunk_with_empty = cut
    try:
        yield
    finally:
        part._chunk_with_empty = before


@contextmanager
def _mesh(shards: int) -> Iterator[Any]:
    """So many devices that are not there. Made before the tensors become fake, as the mesh itself must be real."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        raise UsageError("a plan of FSDP2 needs a process of its own: this one belongs to a process group")
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=shards)
    try:
        yield init_device_mesh("cpu", (shards,))
    finally:
        dist.destroy_process_group()


def _local(tensor: Tensor) -> Tensor:
    """A sharded tensor's part on this device, any other itself."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def _bytes(tensors: list[Tensor]) -> int:
    """Of their storages, each shared one once."""
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


def _per_image(flops: int) -> int:
    if flops % BATCH:
        raise AssertionError("some product does not grow with the batch")
    return flops // BATCH
