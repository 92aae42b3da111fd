"""Training: TRL's trainers behind a plain job file, run as a process of its own.

`check_options` refuses a wrong `train` section at plan time without importing torch, `run_job` trains.
"""

from selfimprove.training.args import check_options
from selfimprove.training.job import Job, Result
from selfimprove.training.launch import run_job

__all__ = ["Job", "Result", "check_options", "run_job"]
