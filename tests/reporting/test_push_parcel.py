"""What a push takes along, what it refuses to, and how a recipe and a command line ask for one."""

import json
import re
import shutil
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from finished_folder import POLICIES, make_folder

from selfimprove.errors import ConfigError, DataError
from selfimprove.reporting.parcels.hub import seconds_of
from selfimprove.reporting.parcels.parcel import Upload, pack, refuse_leaks
from selfimprove.reporting.push import Push, check_push, command
from selfimprove.reporting.table import told_size

# What can be pushed of a run


@pytest.mark.parametrize(
    ("changes", "asked", "says"),
    [
        ({"rounds": 0, "merged": False}, {}, "no round has a model yet; rounds that have: none"),
        ({"merged": False}, {"what": "merged"}, "no merged model of round 2; push --what adapter"),
        ({}, {"what": "merged", "round": 1}, r"no merged model of round 1; .*model is round 2's; push --what adapter"),
        ({}, {"round": 5}, "round 5 has no model; rounds that have: 1, 2"),
        ({"rounds": 0, "merged": False}, {"what": "dataset"}, "no round has rows yet"),
        ({"merged": False, "finished": 0}, {}, "ended with the start model"),
    ],
)
def test_what_a_run_does_not_hold_is_told(tmp_path, changes, asked, says):
    run = make_folder(tmp_path, **changes)
    given = {"what": None, "round": None, **asked}
    with pytest.raises(DataError, match=says):
        pack(run, "me/x", given["what"], given["round"], tmp_path)


def test_a_model_trained_in_full_is_pushed_and_its_later_adapters_are_not(tmp_path):
    run = make_folder(tmp_path, merged=False)
    learned = run / "round-1" / "learn.json"
    (run / "round-1" / "learn" / "model").mkdir()
    shutil.copyfile(
        run / "round-1" / "learn" / "adapter" / "adapter_model.safetensors",
        run / "round-1" / "learn" / "model" / "model.safetensors",
    )
    (run / "round-1" / "learn" / "model" / "config.json").write_text('{"model_type": "llama"}')
    learned.write_text(
        json.dumps({"files": {}, "adapter": None, "model": "round-1/learn/model", "policy": POLICIES[1]})
    )
    parcel = pack(run, "me/x", None, 1, tmp_path)
    assert parcel.what == "merged" and "model.safetensors" in {file.name for file in parcel.files}
    with pytest.raises(DataError, match="belongs to a model that this run trained and no hub has; push --what merged"):
        pack(run, "me/x", "adapter", 2, tmp_path)


def test_a_path_is_only_looked_for_where_people_write():
    card, rows = (Upload(name, b"see /home/me/run here", "test") for name in ("README.md", "rows.jsonl"))
    refuse_leaks([rows], [], [Path("/home/me/run")])
    refuse_leaks([card], [], [Path("/home/me/ru")])
    with pytest.raises(DataError, match="README.md line 1"):
        refuse_leaks([card], [], [Path("/home/me/run")])


# The recipe's section


def test_the_section_is_checked_key_by_key():
    assert check_push({}, "r.yaml") is None and check_push(None, "r.yaml") is None
    assert check_push({"to": "me/model"}, "r.yaml") == Push("me/model", None, True)
    for section, says in [
        ({"too": "me/x"}, "r.yaml: push: Push has no option 'too'; did you mean 'to'?"),
        ({"what": "merged"}, "'to' is missing"),
        ({"to": "model"}, "to is 'model'; write owner/name"),
        ({"to": "me/model/x"}, "write owner/name"),
        ({"to": "me/x", "what": "merge"}, "what is 'merge'; did you mean 'merged'?"),
        ({"to": "me/x", "private": "perhaps"}, "private is 'perhaps'"),
        ({"to": "me/x", "round": 0}, "round is 0"),
        ({"to": "me/x", "revision": "a b"}, "revision is 'a b'"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(says)):
            check_push(section, "r.yaml")


def test_the_command_does_the_same_push():
    push = Push("me/x", "adapter", False, 2, "dev", "two words")
    assert command(Path("runs/a b"), push) == (
        "selfimprove push 'runs/a b' --to me/x --what adapter --round 2 --revision dev --message 'two words' --public"
    )


def test_retry_after_is_read_as_number_and_as_date():
    assert seconds_of("5") == 5 and seconds_of(None) is None and seconds_of("soon") is None
    assert 50 < (seconds_of(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60
    assert seconds_of(formatdate(time.time() - 60, usegmt=True)) == 0


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (39_131_224, "39.1 MB")])
def test_sizes_are_told_in_powers_of_1000(count, text):
    assert told_size(count) == text
