"""How a policy gets into a vLLM server: an adapter under a name of its own, or weights reloaded in place."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from selfimprove.engines.base import Policy
from selfimprove.engines.parts.link import Link
from selfimprove.engines.parts.turns import Turns
from selfimprove.errors import EngineError

LORA_HELP = "start the server with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
RELOAD_HELP = "start the server with VLLM_SERVER_DEV_MODE=1, so that weights can be reloaded in place"


class Remote:
    """The policies of one vLLM server: `asking(policy)` makes one ready and yields the model name to ask for.

    `adapters` says how an adapter gets in: lora, merge, or auto (lora where the server allows it). Merged
    weights are written to a temporary folder that the server must be able to read.
    """

    def __init__(self, link: Link, root: str, model: str, start: Policy, adapters: str) -> None:
        self.link, self.root, self.model, self.start, self.adapters = link, root, model, start, adapters
        self._holds: str | None = start.base
        self._turns = Turns(self._reload, start.base)
        self._names: dict[str, str] = {}
        self._wanted: Counter[str] = Counter()
        self._loading = asyncio.Lock()
        self._merged: dict[str, Path] = {}
        self._folder: Path | None = None
        self._no_lora: str | None = None

    @asynccontextmanager
    async def asking(self, policy: Policy) -> AsyncGenerator[str, None]:
        """Yield the name to ask the server for; raises EngineError where it cannot serve this policy."""
        name, weights = self.model, policy.base
        if policy.adapter is not None:
            loaded = await self._adapter_name(policy)
            if loaded is None:
                weights = str(await self._merge(policy))
            else:
                name = loaded
        self._wanted[weights] += 1
        try:
            async with self._turns.turn(weights):
                yield name
        finally:
            self._wanted[weights] -= 1

    async def close(self) -> None:
        """Take the adapters out of the server again and remove the merged weights."""
        names, self._names = self._names, {}
        for name in names.values():
            await self.link.post(f"{self.root}/v1/unload_lora_adapter", {"lora_name": name}, text=True)
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            self._folder = None

    async def _adapter_name(self, policy: Policy) -> str | None:
        """Return the name an adapter is served under, None where its merged weights must be reloaded instead."""
        if self.adapters == "merge" or (self._no_lora and self.adapters == "auto"):
            return None
        async with self._loading:
            if policy.digest in self._names:
                return self._names[policy.digest]
            name = f"selfimprove-{policy.digest[:16] or Path(str(policy.adapter)).name}"
            body = {"lora_name": name, "lora_path": str(policy.adapter)}
            answer = await self.link.post(f"{self.root}/v1/load_lora_adapter", body, text=True)
            if answer.ok or "already been loaded" in answer.problem:
                self._names[policy.digest] = name
                return name
            if self.adapters == "auto":
                self._no_lora = answer.problem
                return None
        raise EngineError(f"the server at {self.link.url} does not load adapters ({answer.problem}); {LORA_HELP}")

    async def _merge(self, policy: Policy) -> Path:
        """Return a folder with the policy's merged weights; older ones that nobody waits for are removed."""
        from selfimprove.models import export_merged

        async with self._loading:
            if policy.digest not in self._merged:
                if self._folder is None:
                    self._folder = Path(tempfile.mkdtemp(prefix="selfimprove-merged-"))
                    self._folder.chmod(0o755)
                for digest in [d for d, path in self._merged.items() if not self._wanted[str(path)]][:-1]:
                    await asyncio.to_thread(shutil.rmtree, self._merged.pop(digest), ignore_errors=True)
                folder = self._folder / (policy.digest[:16] or "policy")
                self._merged[policy.digest] = await asyncio.to_thread(export_merged, policy, folder)
            return self._merged[policy.digest]

    async def _reload(self, weights: str) -> None:
        """Load other weights in place and forget the prefixes computed with the old ones."""
        if weights == self._holds:  # a change was refused before it began
            return
        body = {"method": "reload_weights", "kwargs": {"weights_path": weights}}
        answer = await self.link.post(f"{self.root}/collective_rpc", body)
        if answer.status not in (400, 404, 405):
            self._holds = None
        if not answer.ok:
            lora = f" It does not load adapters either ({self._no_lora}); {LORA_HELP}." if self._no_lora else ""
            raise EngineError(
                f"the server at {self.link.url} cannot change to the weights in {weights} ({answer.problem}); "
                f"{RELOAD_HELP}.{lora}"
            )
        for _ in range(100):  # cancelled requests may still hold blocks for a moment
            answer = await self.link.post(f"{self.root}/reset_prefix_cache", {})
            if answer.ok and (not isinstance(answer.body, dict) or answer.body.get("success", True)):
                self._holds = weights
                return
            await asyncio.sleep(0.1)
        raise EngineError(
            f"the server at {self.link.url} does not reset its prefix cache ({answer.problem or 'it is in use'}); "
            "is somebody else using this server?"
        )
