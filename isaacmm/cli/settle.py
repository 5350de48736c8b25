"""Choices that follow from others: the preset, shorthands, batch sizes, devices."""

from __future__ import annotations

import random

from omegaconf import DictConfig, OmegaConf

from isaacmm.cli import fits, keys
from isaacmm.errors import ConfigError, SimulatorError, nearest

GPU_SIMULATORS = ("warp", "isaaclab", "isaacgym")

# Tasks whose commands are a velocity and a facing, which scripts, paths and people can give.
STEERED = ("HumanoidMM",)
# IsaacGymEnvs habits: a short key at the top, and every place that has to agree with it.
SHORTHANDS: dict[str, tuple[str, ...]] = {
    "num_envs": ("task.env.num_envs", "train.params.config.num_actors"),
    "max_iterations": ("train.params.config.max_epochs",),
    "seed": ("train.params.seed",),
    "rl_device": ("train.params.config.device",),
    "multi_gpu": ("train.params.config.multi_gpu",),
    "threads": ("train.params.torch_threads",),
}


def settle(cfg: DictConfig, given: set[str], notes: list[str]) -> None:
    """Make the parts of ``cfg`` agree; ``given`` are the keys set by hand."""
    from isaacmm.learn import distributed_launch  # brings torch

    if cfg.seed == -1:
        cfg.seed = random.SystemRandom().randrange(2**31 - 1)
        notes.append(f"seed drawn: {cfg.seed}")
    if fits.is_fit(cfg.task.name):
        fits.settle(cfg, given, notes)
        check_devices(cfg)
        return
    distributed_launch.settle_ranks(cfg, given, notes)
    agree(cfg, given)
    params = cfg.train.params
    params.load_checkpoint, params.load_path = bool(cfg.checkpoint), cfg.checkpoint
    params.config.full_experiment_name = cfg.experiment
    if not cfg.test:
        fit_batches(cfg, given, notes)
    check_rates(cfg)
    settle_physics(cfg, given)
    check_devices(cfg)
    check_command(cfg, given, notes)
    if not cfg.test:
        say_without_effect(cfg, given, notes)
    if not cfg.headless:
        notes.append("there is no window in this program: films of the motion are made instead.")


def agree(cfg: DictConfig, given: set[str]) -> None:
    """Copy each shorthand to its places; without one, the places fill in the shorthand.

    Raises:
        ConfigError: a shorthand and its place were both set, differently.
    """
    for short, places in SHORTHANDS.items():
        by_hand = [place for place in places if place in given]
        value = cfg[short]
        if by_hand:
            other = OmegaConf.select(cfg, by_hand[0])
            if short in given and value != other:
                raise ConfigError(f"{short}={value} and {by_hand[0]}={other} disagree; set one of them.")
            value = other
        elif value == "" and OmegaConf.select(cfg, places[0]) is not None:
            value = OmegaConf.select(cfg, places[0])
        cfg[short] = value
        for place in places:
            OmegaConf.update(cfg, place, value)


def fit_batches(cfg: DictConfig, given: set[str], notes: list[str]) -> None:
    """Minibatches must divide what one iteration collects.

    A size from a preset is made to fit another number of worlds (the largest divisor not above it,
    and at least two minibatches); one set by hand is refused with the nearest that fit.
    """
    config = cfg.train.params.config
    total = int(cfg.num_envs) * int(config.horizon_length)
    size = int(config.minibatch_size)
    if total % size:
        key = "train.params.config.minibatch_size"
        if key in given:
            close = ", ".join(map(str, sorted(_divisors(total), key=lambda n: abs(n - size))[:2]))
            raise ConfigError(
                f"{key}={size}: does not divide the {total} samples of an iteration "
                f"({cfg.num_envs} worlds x {config.horizon_length} steps). Nearest: {close}."
            )
        limit = size if total > size else max(total // 2, 1)
        config.minibatch_size = max(divisor for divisor in _divisors(total) if divisor <= limit)
        notes.append(
            f"minibatch_size {config.minibatch_size} instead of {size}: it has to divide {total} samples."
        )


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return small + [number // n for n in small]


def check_rates(cfg: DictConfig) -> None:
    """Physics runs a whole number of steps per control step."""
    control, physics = cfg.task.env.control_hz, cfg.task.env.physics_hz
    steps = max(round(physics / control), 1)
    if abs(physics - steps * control) > 1e-9:
        raise ConfigError(
            f"task.env.physics_hz={physics:g}: must be a whole multiple of control_hz={control:g}. "
            f"Nearest: {steps * control:g}."
        )


def check_command(cfg: DictConfig, given: set[str], notes: list[str]) -> None:
    """A script can steer a policy that is played and takes such commands; being steered, it is filmed as well."""
    word = str(cfg.get("command") or "")
    if not word:
        return
    if not cfg.test:
        raise ConfigError(f"command={word}: steers a policy that is played; add test=True (and checkpoint=).")
    if str(cfg.task.name) not in STEERED:
        raise ConfigError(
            f"command={word}: a policy of task {cfg.task.name} cannot be steered so; it was trained to keep a "
            f"direction and a speed. Train task={STEERED[0]} for that."
        )
    from isaacmm.evaluate import steered  # brings torch: only when it is wanted

    steered.check(word)
    if "capture_video" not in given:
        cfg.capture_video = True
        notes.append("a film is made of it; capture_video=False leaves it out.")


def say_without_effect(cfg: DictConfig, given: set[str], notes: list[str]) -> None:
    """Settings that were chosen by hand and do nothing, or undo each other, beside the others."""
    env, config = cfg.task.env, cfg.train.params.config
    if env.get("track_reference") and env.get("reference", "none") == "none":
        notes.append("track_reference does nothing with reference=none; choose observe or residual.")
    mismatch, told = "train.params.config.disc_mismatch", str(config.get("disc_cond", "none"))
    if told == "none" and mismatch in given and config.disc_mismatch > 0:
        notes.append("disc_mismatch does nothing with disc_cond=none; choose proj or concat.")
    sampler = str(env.get("demo_sampler", ""))
    if told != "none" and config.get("disc_mismatch", 0) > 0 and sampler in ("uniform", "stratified"):
        notes.append(
            f"demo_sampler={sampler} shows clips under commands they do not follow, and disc_mismatch="
            f"{config.disc_mismatch:g} has the same pairs rejected; disc_mismatch=0 leaves that out."
        )


# --- machine ----------------------------------------------------------------------------------------


def cuda_available() -> bool:
    """Whether an NVIDIA GPU can be used."""
    import torch

    return torch.cuda.is_available()


def choose_preset(groups: dict[str, str], sim: str, notes: list[str]) -> None:
    """Pick ``preset=`` when it was not named: gpu where CUDA and a GPU simulator are, else cpu."""
    if "preset" in groups:
        return
    reason = gpu_reason(sim)
    groups["preset"] = "cpu" if reason else "gpu"
    notes.append(f"preset cpu: {reason}." if reason else "preset gpu: CUDA and a GPU simulator are here.")


def gpu_reason(sim: str = "") -> str:
    """Why the gpu preset is not the right one here, or ``''`` when it is."""
    if sim and sim not in GPU_SIMULATORS:
        return f"sim={sim} runs on the CPU"
    if not cuda_available():
        return "no CUDA device found"
    why = simulators().get(sim or "warp")
    return f"there is a CUDA device, but {why}" if why else ""


def simulators() -> dict[str, str | None]:
    """Every simulator's name, with None where it can run here, else one sentence why not."""
    from isaacmm.sim import available

    return available()


def settle_physics(cfg: DictConfig, given: set[str]) -> None:
    """``physics`` of an earlier run on Isaac Lab means nothing to the simulator that plays it now."""
    if cfg.sim != "isaaclab" and cfg.get("physics") and "physics" not in given:
        cfg.physics = ""


def check_simulator(name: str, physics: str = "") -> None:
    """Raise unless the simulator can run here, with this physics if it has a choice."""
    known = simulators()
    if name not in known:
        runnable = ", ".join(key for key, why in known.items() if why is None)
        raise ConfigError(f"sim={name}: no such simulator; {nearest(name, known)} Can run here: {runnable}.")
    from isaacmm.sim import registry

    reason = registry.unavailable(name, physics) if physics else known[name]
    if reason is not None:
        chosen = f"sim={name} physics={physics}" if physics else f"sim={name}"
        raise SimulatorError(f"{chosen} is not available: {reason}")


def check_devices(cfg: DictConfig) -> None:
    """Refuse CUDA devices that are not there."""
    for key in ("sim_device", "rl_device"):
        if key not in cfg:
            continue
        keys.check(key, cfg[key])
        kind, _, index = str(cfg[key]).partition(":")
        if kind != "cuda":
            continue
        if not cuda_available():
            raise ConfigError(f"{key}={cfg[key]}: PyTorch finds no CUDA device{_why_none()}. Nearest: {key}=cpu")
        import torch

        count = torch.cuda.device_count()
        if int(index or 0) >= count:
            raise ConfigError(
                f"{key}={cfg[key]}: there are {count} CUDA devices. Nearest: {key}=cuda:{count - 1}"
            )
    devices = [str(cfg[key]) for key in ("sim_device", "rl_device") if key in cfg]
    if "sim" in cfg and cfg.sim in ("warp", "isaaclab") and len(set(devices)) > 1:
        raise ConfigError(
            f"sim={cfg.sim}: sim_device={devices[0]} and rl_device={devices[1]} differ, but its state stays where "
            f"physics runs. Nearest: rl_device={devices[0]}"
        )


def _why_none() -> str:
    """What may be missing where PyTorch finds no GPU."""
    import torch

    if torch.version.cuda is None:
        return f" (PyTorch {torch.__version__} was built without CUDA: install the CUDA build)"
    return f" (no NVIDIA GPU, or a driver too old for CUDA {torch.version.cuda}: see what `nvidia-smi` says)"


def fall_back_to_cpu(cfg: DictConfig, notes: list[str]) -> None:
    """A checkpoint from a GPU simulator still plays where there is none: on MuJoCo, fewer worlds."""
    if fits.is_fit(cfg.task.name):
        if "cuda" in str(cfg.rl_device) and not cuda_available():
            notes.append(f"trained on {cfg.rl_device}, which is not here: using the CPU.")
            cfg.rl_device = "cpu"
        return
    uses_gpu = "cuda" in f"{cfg.sim_device}{cfg.rl_device}" and not cuda_available()
    if simulators().get(str(cfg.sim), "unknown") is None and not uses_gpu:
        return
    notes.append(
        f"trained with sim={cfg.sim} on {cfg.sim_device}, which is not here: using mujoco on the CPU."
    )
    cfg.sim, cfg.physics, cfg.sim_device, cfg.rl_device = "mujoco", "", "cpu", "cpu"
    cfg.num_envs = min(int(cfg.num_envs), 64)
