"""Train a value model on steps, or a reward model on pairs: accelerate launch ... selfimprove/train_reward.py."""

import sys
from pathlib import Path

# a script's own folder comes first on the path, where the package's files would shadow other libraries
_FOLDER = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _FOLDER]
if str(_FOLDER.parent) not in sys.path:
    sys.path.insert(0, str(_FOLDER.parent))

from selfimprove.training.worker import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("steps"))
