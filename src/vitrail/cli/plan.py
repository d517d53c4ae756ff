"""`vitrail plan MODEL`: what training a model takes, on devices that need not be here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vitrail.cli.console import Counter, count, table
from vitrail.cli.layout import paragraph, terminal_width
from vitrail.cli.options import Call, Operands, Options, flag, option
from vitrail.cli.verb import Outcome, Verb, command

if TYPE_CHECKING:
    from vitrail.cost.hardware import Expense
    from vitrail.cost.plan import Plan, Row


@dataclass(frozen=True)
class PlanOptions(Options):
    """How the model is to be trained, and on what."""

    devices: int | None = option("how many (1)", "N", "Devices")
    device_memory: str | None = option("of one: 80G, 24GB; to say what fits", "SIZE", "Devices")
    device: str | None = option("whose kernels: cuda (the default) or cpu", "KIND", "Devices")
    parallel: str | None = option("of ddp, fsdp, fsdp-keep (all); a comma between", "KINDS", "Devices")
    image_size: int | None = option("pixels a side (the model's own)", "N", "Training")
    patch_size: int | None = option("pixels a side of a patch", "N", "Training")
    batch: int | None = option("images per update, over all devices (32 each)", "N", "Training")
    accumulate: int | None = option("micro-steps per update (1)", "N", "Training")
    precision: str | None = option("of fp32, bf16 (the default), pure-bf16; a comma between", "KINDS", "Training")
    recompute: bool | None = flag("only with activations computed again (both)", "Training", default=None)
    optimizer: str | None = option("adamw (the default), lamb or sgd", "NAME", "Training")
    ema: bool = flag("with a moving average of the weights", "Training")
    classes: int | None = option("outputs of the head (1000)", "N", "Training")
    images: int | None = option("in an epoch (a million)", "N", "Time and cost")
    epochs: float | None = option("how often each is seen (1)", "N", "Time and cost")
    hardware: str | None = option("a known device, such as h100: its peak speed", "NAME", "Time and cost")
    peak: str | None = option("or the peak itself, FLOP/s: 989T", "RATE", "Time and cost")
    mfu: float | None = option("share of the peak that is used, such as 0.35", "SHARE", "Time and cost")
    measure: bool = flag("train some seconds here, and take the share that is used here", "Time and cost")
    price: float | None = option("of an hour of one device", "MONEY", "Time and cost")


SAME = (
    "devices", "device_memory", "device", "parallel", "image_size", "patch_size", "batch", "accumulate", "precision",
    "recompute", "optimizer", "classes", "images", "epochs", "hardware", "peak", "price",
)  # fmt: skip
"""Options that `plan` takes by the same name, each with a default of its own."""


def show_plan(call: Call[PlanOptions]) -> Outcome:
    """Trace, and show what was found."""
    from vitrail.cost.claims import CHECKED, COUNTED, ESTIMATED
    from vitrail.cost.plan import plan

    options = call.options
    stated = {name: value for name in SAME if (value := getattr(options, name)) is not None}
    counter = Counter("tracing steps", shown=not options.json)
    try:
        made = plan(
            call.operands[0], **stated, ema=options.ema, utilisation=options.mfu, measured=options.measure,
            progress=counter,
        )  # fmt: skip
    finally:
        counter.close()
    if not options.json:
        _show(made)
        for text in (COUNTED, ESTIMATED[made.device], CHECKED):
            print(f"\n{paragraph(text, terminal_width())}")
    told = {**_plain(made), "counted": COUNTED, "estimated": ESTIMATED[made.device], "checked": CHECKED}
    return Outcome(result={"plan": told}, next=[command("train", "PHOTOS", "--model", call.operands[0])])


def _plain(made: Plan) -> dict[str, Any]:
    """The plan for a script, bytes and seconds, with what follows from its figures."""
    told: dict[str, Any] = asdict(made)
    for row, entry in zip(made.rows, told["rows"], strict=True):
        entry |= {"peak": row.peak, "largest_batch": _over_all(row.largest, made)}
    if made.expense is not None:
        told["expense"] |= {"device_hours": made.expense.device_hours, "money": made.expense.money}
    return told


def _over_all(images: int | None, made: Plan) -> int | None:
    """Images on one device at once -> images per update."""
    return None if images is None else images * made.devices * made.accumulate


def _show(made: Plan) -> None:
    height, width = made.image_size
    size = f"{height}" if height == width else f"{height} x {width}"
    print(f"{made.model}, {size} px, {count(made.classes, 'class', 'classes')}")
    print(f"  parameters  {made.parameters:,}")
    training = _short(made.training_flops)
    print(f"  FLOPs       {_short(made.forward_flops)} an image forward, {training} with the backward pass")
    if made.recomputed_flops:
        again = made.recomputed_flops / made.training_flops
        print(f"              recomputing activations adds {again:.0%} to that")
    steps = f" in {made.accumulate} micro-steps" if made.accumulate > 1 else ""
    print(f"  an update   {count(made.batch, 'image')} on {count(made.devices, 'device')}{steps}, {made.optimizer}")
    for precision in dict.fromkeys(row.precision for row in made.rows):
        print(f"\n{_memory(made, [row for row in made.rows if row.precision == precision])}")
    if made.measured is not None:
        found = made.measured
        where = f"{found.images_per_s:.1f} images/s here ({found.device}, {found.batch} at once)"
        print(f"\nMeasured: {where}, {found.utilisation:.1%} of {_short(found.peak)}FLOP/s")
    print()
    print(_spent(made.expense) if made.expense else paragraph(NO_TIME, terminal_width()))


NO_TIME = "For time, state --hardware or --peak, and --mfu or --measure; published trainings of ViTs use 0.1 to 0.45."


def _memory(made: Plan, rows: list[Row]) -> str:
    """A column for each way to train, a row for each kind of memory."""
    largest = max(row.peak for row in rows)
    unit, scale = ("GiB", 2**30) if largest >= 2**30 else ("MiB", 2**20)
    headers = [f"{unit} a device", *(row.parallel for row in rows)]
    cells = [["recompute", *("yes" if row.recompute else "no" for row in rows)]]
    parts = [part for part in rows[0].memory if any(row.memory[part] for row in rows)]
    cells += [[part, *(f"{row.memory[part] / scale:,.2f}" for row in rows)] for part in parts]
    cells.append(["peak", *(f"{row.peak / scale:,.2f}" for row in rows)])
    cells.append(["images at once", *(str(row.batch) for row in rows)])
    if made.device_memory is not None:
        cells.append(["most that fit", *(f"{row.largest:,}" for row in rows)])
        cells.append(["fits", *("yes" if row.fits else "NO" for row in rows)])
    title = f"{rows[0].precision} on {made.device}"
    if made.device_memory is not None:
        title += f", {made.device_memory / 2**30:g} GiB a device, of which {made.outside / 2**30:g} is held back"
    return f"{title}\n{table(headers, cells, numbers=headers[1:], wide=True)}"


def _spent(expense: Expense) -> str:
    """Time, and money where a price is stated."""
    rate = f"{expense.utilisation:.1%} of {_short(expense.peak)}FLOP/s"
    told = [
        f"{expense.images:,} images at {rate}: {_duration(expense.seconds)}, {expense.device_hours:,.1f} device-hours"
    ]
    if expense.recomputing > expense.seconds:
        told.append(f"  recomputing: {_duration(expense.recomputing)}")
    if expense.money is not None:
        times = expense.recomputing / expense.seconds
        again = f"; {expense.money * times:,.2f} recomputing" if times > 1 else ""
        told.append(f"  cost: {expense.money:,.2f} at {expense.price:g} an hour{again}")
    return "\n".join(told)


def _short(number: float) -> str:
    """1.23 G, 4.56 T."""
    for name, unit in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return f"{number:.0f} "


def _duration(seconds: float) -> str:
    """In the largest unit that it has one of."""
    for name, unit in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.1f} s"


PLAN = Verb(
    name="plan",
    summary="What training a model takes: parameters, FLOPs, memory of each device, the largest batch that fits, time.",
    options=PlanOptions,
    operands=Operands("MODEL", 1, 1),
    meanings={"MODEL": "one of `vitrail models`"},
    function=show_plan,
    more=(
        "No device is needed, whatever the size. ddp: every device has everything; fsdp: FSDP2 spreads weights,"
        " gradients and states over the devices; fsdp-keep: weights once gathered are kept for the backward pass."
        " bf16 is autocast with weights in fp32, as `train` does it; pure-bf16 has everything in 16 bits."
    ),
    examples=[
        "vitrail plan vit_huge_patch14_224 --devices 64 --device-memory 80G --batch 4096",
        "vitrail plan vit_22b_patch14_224 --devices 1024 --device-memory 80G --hardware h100 --mfu 0.4",
        "vitrail plan swin_tiny_patch4_window7_224 --device cpu --batch 32 --measure --images 50000",
    ],
)
