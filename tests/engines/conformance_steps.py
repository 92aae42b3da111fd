"""What an engine must do for answers that are written step by step; run with the rest of `conformance`."""

from dataclasses import replace

from subject import CAPITAL, check

from selfimprove.engines.base import Engine, Generate, Policy


async def first(engine: Engine, request: Generate) -> tuple[str, str]:
    [sample] = await engine.generate(request)
    return sample.text, sample.finish


@check("tokens")
async def check_a_kept_stop_string_ends_the_text(engine: Engine, policy: Policy) -> None:
    asked = Generate(policy, CAPITAL, temperature=0.0, max_tokens=24)
    whole, _ = await first(engine, asked)
    stop = whole[len(whole) // 2 :][:3]
    step = replace(asked, stop=("\x00never", stop), keep_stop=True)
    assert await first(engine, step) == (whole[: whole.index(stop)] + stop, "stop")
    assert await first(engine, replace(step, keep_stop=False)) == (whole[: whole.index(stop)], "stop")
