"""Trains the demo's models: `python -m synthvlm_dagster.demo.train --output DIR`.

Five stages, each of which resumes from its last checkpoint in `<output>/work`: the autoencoder, the text encoders,
the CLIP's image tower, the UNet, and the export to `<output>/shapes-sdxl` and `<output>/shapes-clip`. The stages end
by the clock (`--unet-minutes` …) or, to repeat a run exactly, after a number of steps (`--unet-steps` …).
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

logger = logging.getLogger(__name__)

STAGES = ("vae", "texts", "clip", "unet", "export")
DEFAULT_MINUTES = {"vae": 6.5, "texts": 10.0, "clip": 14.0, "unet": 70.0}


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the stages it asks for, in order."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    import torch

    torch.set_num_threads(options.threads)
    stages = STAGES if options.stage == "all" else (options.stage,)
    for stage in stages:
        logger.info("== %s", stage)
        _run_stage(stage, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m synthvlm_dagster.demo.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the models, and for work/ beside them")
    parser.add_argument("--stage", choices=("all", *STAGES), default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; on two busy cores one is the fastest")
    parser.add_argument("--pool-size", type=int, default=96_000, help="scenes to draw for training")
    parser.add_argument("--negatives", type=int, default=32_000, help="scenes of the pool to draw near misses for")
    parser.add_argument("--decoded", type=int, default=5_000, help="near misses the CLIP also sees after the VAE")
    for stage, minutes in DEFAULT_MINUTES.items():
        parser.add_argument(f"--{stage}-minutes", type=float, default=minutes)
        parser.add_argument(f"--{stage}-steps", type=int, help=f"end the {stage} stage after this many steps instead")
    return parser


def _run_stage(stage: str, options: argparse.Namespace) -> None:
    from synthvlm_dagster.demo.training import stages
    from synthvlm_dagster.demo.training.loop import Budget

    workshop = stages.Workshop(
        output=options.output,
        seed=options.seed,
        pool_size=options.pool_size,
        n_negatives=options.negatives,
        n_decoded=options.decoded,
        budgets={
            name: Budget(60 * getattr(options, f"{name}_minutes"), getattr(options, f"{name}_steps"))
            for name in DEFAULT_MINUTES
        },
    )
    getattr(workshop, stage)()


if __name__ == "__main__":
    main()
