"""Pushing, by the real hub client to a hub on this machine: what arrives, what stays here, and what bad days do."""

import json
import re
import shutil
from pathlib import Path

import pytest
from finished_folder import API_KEY, make_folder
from hub_stand_in import SIGNATURE, TOKEN, Fault, HubStandIn

from selfimprove.cli.main import main
from selfimprove.errors import ConfigError, DataError
from selfimprove.files import file_digest, read_jsonl
from selfimprove.reporting.parcels import hub as way
from selfimprove.reporting.parcels.origin import EMBEDDED
from selfimprove.reporting.parcels.parcel import pack
from selfimprove.reporting.push import Push, push_folder, push_run
from selfimprove.reporting.table import told_size

HOME = Path.home()
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning")  # of the client to its transport


@pytest.fixture
def hub(monkeypatch):
    """A hub that HF_ENDPOINT and HF_TOKEN point at; the client's own pauses are cut short, and noted."""
    with HubStandIn() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # The stand-in has no xet storage; without it the client takes the LFS way.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(way, "WAITS", (0.0, 0.0, 0.0))
        yield server


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The test command switches the real hub off; the stand-in is asked all the same."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def pauses(monkeypatch):
    """The seconds that would have been slept, by us and by the client."""
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of a finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_digest(path) for path in folder.rglob("*") if path.is_file()}


def events(run: Path) -> list[dict]:
    return list(read_jsonl(run / "events.jsonl"))


def quiet(line: str) -> None:
    pass


# What arrives


def test_a_merged_model_arrives_byte_for_byte_in_one_private_commit(hub, run):
    pushed = push_folder(run, Push("me/sums", message="second try"), quiet)
    repository = hub.repositories["models/me/sums"]
    assert repository.private and pushed.private and pushed.url == f"{hub.url}/me/sums"
    assert repository.commits == [(pushed.commit, "second try")]
    assert set(repository.files) == {
        "README.md", "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja",
    }  # fmt: skip
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert repository.files[name] == (run / "model" / name).read_bytes(), name
    assert json.loads(repository.files["config.json"]) == {"_name_or_path": EMBEDDED, "model_type": "llama"}


def test_weights_take_the_way_of_large_files_and_the_token_stays_out_of_it(hub, run):
    push_folder(run, Push("me/sums", what="adapter"), quiet)
    weights = (run / "round-2" / "learn" / "adapter" / "adapter_model.safetensors").read_bytes()
    assert hub.repositories["models/me/sums"].files["adapter_model.safetensors"] == weights
    assert hub.asked("PUT /storage/") == 1 and hub.asked("POST /verify") == 1  # the stand-in asserts: no token there
    commit_size = next(size for line, size in hub.requests if "/commit/" in line)
    assert commit_size < len(weights)


def test_an_adapter_of_an_earlier_round_names_its_base_and_nothing_else_is_sent(hub, run):
    push_folder(run, Push("me/sums", what="adapter", round=1), quiet)
    files = hub.repositories["models/me/sums"].files
    assert set(files) == {"README.md", "adapter_model.safetensors", "adapter_config.json"}
    adapter = run / "round-1" / "learn" / "adapter"
    assert files["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    config = json.loads(files["adapter_config.json"])
    assert config == {**json.loads((adapter / "adapter_config.json").read_text()), "base_model_name_or_path": EMBEDDED}


def test_the_rows_of_a_round_become_a_data_set(hub, run, tmp_path):
    import pyarrow.parquet

    pushed = push_folder(run, Push("me/rows", what="dataset", round=1), quiet)
    files = hub.repositories["datasets/me/rows"].files
    assert set(files) == {"README.md", "rows.jsonl", "rows.parquet"} and pushed.url == f"{hub.url}/datasets/me/rows"
    assert files["rows.jsonl"] == (run / "round-1" / "assemble" / "rows-00000.jsonl").read_bytes()
    (tmp_path / "back.parquet").write_bytes(files["rows.parquet"])
    rows = pyarrow.parquet.read_table(tmp_path / "back.parquet").to_pylist()
    assert [row["completion"][0]["content"] for row in rows] == [
        row["completion"] for row in map(json.loads, files["rows.jsonl"].splitlines())
    ]


@pytest.mark.parametrize("what", ["merged", "adapter", "dataset"])
def test_neither_secret_nor_local_path_is_in_any_file_or_line(hub, run, what, capsys):
    main_code("push", str(run), "--to", "me/x", "--what", what)
    [repository] = hub.repositories.values()
    said = "".join(capsys.readouterr())
    for name, content in {**repository.files, "output": said.encode()}.items():
        if not name.endswith((".safetensors", ".parquet")):
            for forbidden in (TOKEN, API_KEY, "hunter22pass", "X-Amz-Signature", "/somewhere/models"):
                assert forbidden not in content.decode(), (name, forbidden)
            if name not in ("output", "rows.jsonl", "tokenizer.json"):
                assert str(run.parent) not in content.decode() and f"{HOME}/" not in content.decode(), name


def test_a_branch_is_made_and_main_stays(hub, run):
    pushed = push_folder(run, Push("me/sums", revision="round-2"), quiet)
    repository = hub.repositories["models/me/sums"]
    assert "model.safetensors" in repository.branches["round-2"] and repository.files == {}
    assert pushed.url == f"{hub.url}/me/sums/tree/round-2"
    assert 'from_pretrained("me/sums", revision="round-2")' in repository.branches["round-2"]["README.md"].decode()


def test_pushing_the_same_again_uploads_nothing_and_makes_no_commit(hub, run):
    first = push_folder(run, Push("me/sums"), quiet)
    again = push_folder(run, Push("me/sums"), quiet)
    assert again.commit == first.commit and len(hub.repositories["models/me/sums"].commits) == 1
    assert len(hub.uploads) == 1


# What is refused


def test_a_public_repository_is_refused_unless_public_was_asked_for(hub, run):
    push_folder(run, Push("me/open", private=False), quiet)
    repository = hub.repositories["models/me/open"]
    assert not repository.private and len(repository.commits) == 1
    with pytest.raises(ConfigError, match="everybody can see it; push with --public"):
        push_folder(run, Push("me/open", what="adapter", round=1), quiet)
    assert len(repository.commits) == 1


def test_weights_of_another_push_are_not_mixed_with_these(hub, run):
    push_folder(run, Push("me/sums"), quiet)
    with pytest.raises(ConfigError, match=r"holds model\.safetensors, which this push does not replace"):
        push_folder(run, Push("me/sums", what="adapter"), quiet)
    assert len(hub.repositories["models/me/sums"].commits) == 1
    push_folder(run, Push("me/sums", what="dataset"), quiet)  # a repository of another kind


def test_without_a_token_nothing_is_asked(hub, run, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(
        ConfigError, match=r"no token for 127\.0\.0\.1:\d+: log in with `hf auth login`, or set HF_TOKEN"
    ):
        push_folder(run, Push("me/sums"), quiet)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault("POST /api/repos/create", 401, 9), r"does not accept the token \(401\); log in with `hf auth login`"),
        (
            Fault("POST /api/repos/create", 403, 9, message="no rights"),
            r"may not write to me/sums .* \(403: no rights\)",
        ),
        (Fault("GET /api/models", 404, 9), r"knows no me/sums \(404"),
        (Fault("POST .*/commit", 403, 9, message="read-only token"), r"403: read-only token\); use one with write"),
        (Fault("PUT /storage", 403, 9), "may not write to me/sums"),
        (Fault("POST /api/validate-yaml", 400, 9), "refuses it .400: Invalid metadata in README.md"),
        (Fault("POST .*/commit", 400, 9, message="bad file"), r"refuses it \(400: bad file\)"),
        (Fault("POST /api/repos/create", 402, 9), "wants to be paid"),
    ],
    ids=lambda value: f"{value.where} {value.what}" if isinstance(value, Fault) else "",
)
def test_what_a_person_must_mend_is_told_at_once(hub, run, fault, says):
    hub.faults.append(fault)
    before, lines = contents(run), []
    with pytest.raises(ConfigError, match=says) as error:
        push_folder(run, Push("me/sums", what="merged"), lines.append)
    assert str(error.value).endswith(f"The run is as it was; again: selfimprove push {run} --to me/sums --what merged")
    assert len(str(error.value).splitlines()) == 1 and TOKEN not in str(error.value)
    assert not any("trying again" in line for line in lines)
    assert contents(run) == before and fault.times >= 7  # asked once; a refused creation is looked at once more


def test_a_wrong_token_is_told_without_showing_it(hub, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrongWrongWrongWrong")
    with pytest.raises(ConfigError, match="does not accept the token") as error:
        push_folder(run, Push("me/sums"), quiet)
    assert "wrongWrong" not in str(error.value)


def test_a_hub_that_repeats_the_token_is_not_repeated(hub, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "company-token-of-another-form")
    hub.faults.append(Fault("POST /api/repos/create", 403, 9, message="company-token-of-another-form is read-only"))
    with pytest.raises(ConfigError, match="<removed> is read-only"):
        push_folder(run, Push("me/sums"), quiet)


def test_a_hub_that_nobody_answers_for_is_named(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(way, "WAITS", (0.0, 0.0))
    monkeypatch.setenv("HF_ENDPOINT", "http://me:hunter2@127.0.0.1:9")
    lines: list[str] = []
    with pytest.raises(ConfigError, match=r"connection to 127\.0\.0\.1:9 failed .*\(3 attempts\)") as error:
        push_folder(run, Push("me/sums"), lines.append)
    assert sum("trying again" in line for line in lines) == 2
    assert "hunter2" not in str(error.value) + "".join(lines)
    monkeypatch.setenv("HF_ENDPOINT", "huggingface.co")
    with pytest.raises(ConfigError, match="HF_ENDPOINT is not the address of a hub"):
        push_folder(run, Push("me/sums"), quiet)


def test_a_hub_without_the_newer_storage_is_told_apart_from_a_broken_line(hub, run, monkeypatch):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    with pytest.raises(ConfigError, match="set HF_HUB_DISABLE_XET=1"):
        push_folder(run, Push("me/sums"), quiet)


def test_offline_mode_is_told(hub, run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        push_folder(run, Push("me/sums"), quiet)
    assert hub.requests == []


def test_a_secret_in_a_file_stops_the_push(run, hub, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "veryPrivate77")
    (run / "model" / "chat_template.jinja").write_text("line\n{{ 'veryPrivate77' }}")
    with pytest.raises(DataError, match=r"chat_template.jinja line 2 .* holds a secret") as error:
        push_folder(run, Push("me/x"), quiet)
    assert "veryPrivate77" not in str(error.value) and hub.requests == []


# Bad days


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT /storage", "drop"),
        Fault("PUT /storage", "lost"),
        Fault("PUT /storage", 500, 3),
        Fault("PUT /storage", 503, 8),  # more often than the client tries by itself
        Fault("POST .*/objects/batch", 429),
        Fault("POST .*/commit", "drop"),
        Fault("POST .*/commit", 500, 2),
        Fault("POST .*/commit", 412),
        Fault("POST .*/preupload", 502),
        Fault("POST /api/repos/create", "drop", 2),
        Fault("POST /api/repos/create", "lost"),
        Fault("POST /api/validate-yaml", "html"),
        Fault("GET /api/models", 504),
        Fault("POST /verify", "drop"),
    ],
    ids=lambda fault: f"{fault.where} {fault.what} {fault.times}",
)
def test_what_passes_is_tried_again_and_nothing_is_there_twice(hub, run, pauses, fault):
    hub.faults.append(fault)
    push_folder(run, Push("me/sums"), quiet)
    repository = hub.repositories["models/me/sums"]
    assert fault.times == 0
    assert repository.files["model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()
    assert len(repository.commits) == 1
    assert len(hub.uploads) == (2 if fault == Fault("PUT /storage", "lost", 0) else 1)


def test_a_commit_whose_answer_was_lost_is_not_made_a_second_time(hub, run, pauses):
    hub.faults.append(Fault("POST .*/commit", "lost"))
    pushed = push_folder(run, Push("me/sums"), quiet)
    repository = hub.repositories["models/me/sums"]
    assert [oid for oid, _ in repository.commits] == [pushed.commit]
    assert hub.asked("POST .*/commit") == 1 and len(hub.uploads) == 1


def test_files_that_are_up_already_are_not_uploaded_again_after_a_failure(hub, run, pauses):
    hub.faults.append(Fault("POST .*/commit", 500, 3))
    with_three = Push("me/sums")
    push_folder(run, with_three, quiet)
    assert hub.asked("POST .*/commit") == 4 and len(hub.uploads) == 1


def test_attempts_are_bounded(hub, run, pauses):
    hub.faults.append(Fault("POST .*/commit", 500, 99, message="out of order"))
    lines: list[str] = []
    with pytest.raises(ConfigError, match=r"answers 500: out of order \(4 attempts\)"):
        push_folder(run, Push("me/sums"), lines.append)
    assert hub.asked("POST .*/commit") == 4
    assert sum("sending the files: " in line and "trying again" in line for line in lines) == 3


def test_a_hub_that_asks_for_patience_gets_it(hub, run, pauses):
    hub.faults += [
        Fault("POST /api/repos/create", 429, headers={"Retry-After": "17"}),
        Fault("POST .*/objects/batch", 429, headers={"Retry-After": "33"}),
    ]
    lines: list[str] = []
    push_folder(run, Push("me/sums"), lines.append)
    assert 17.0 in pauses and any(33 <= pause <= 35 for pause in pauses)
    assert any("asks for patience: by script; trying again in 17 s" in line for line in lines)


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(hub, run, pauses):
    hub.faults.append(Fault("POST /api/repos/create", 429, headers={"Retry-After": "3600"}))
    with pytest.raises(ConfigError, match="asks for patience"):
        push_folder(run, Push("me/sums"), quiet)
    assert pauses == []


def test_logs_hold_neither_signed_addresses_nor_bars(hub, run, pauses, caplog, capsys):
    hub.faults.append(Fault("PUT /storage", 500))
    push_folder(run, Push("me/sums"), quiet)
    assert "%|" not in capsys.readouterr().err
    assert "/storage/" in caplog.text and SIGNATURE not in caplog.text


# The end of a run, and the command


def test_the_end_of_a_run_pushes_and_notes_it(hub, run):
    lines: list[str] = []
    assert push_run(run, {"to": "me/sums", "what": "adapter"}, lines.append)
    [(oid, message)] = hub.repositories["models/me/sums"].commits
    assert message == "adapter of round 2, by selfimprove"
    last = events(run)[-1]
    assert last["event"] == "pushed" and (last["url"], last["commit"]) == (f"{hub.url}/me/sums", oid)
    assert lines[-1] == f"pushed: {hub.url}/me/sums (commit {oid[:12]}, private)"


def test_a_push_that_fails_ends_no_run(hub, run):
    hub.faults.append(Fault("POST .*/commit", 403, 9))
    before, lines = contents(run), []
    assert push_run(run, {"to": "me/sums"}, lines.append) is False
    last = events(run)[-1]
    assert last["event"] == "push_failed" and "may not write to me/sums" in last["reason"]
    assert lines[-1].startswith("not pushed: ") and lines[-1].endswith(f"selfimprove push {run} --to me/sums")
    assert {name for name, digest in contents(run).items() if before.get(name) != digest} == {"events.jsonl"}
    assert push_run(run, {"tto": "me/sums"}, lines.append) is False and "did you mean 'to'" in lines[-1]
    assert push_run(run, {}, lines.append) is False and events(run)[-1]["event"] == "push_failed"


def main_code(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_a_dry_run_prints_everything_and_asks_nobody(hub, run, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    before = contents(run)
    assert main_code("push", str(run), "--to", "me/sums", "--dry-run", "--round", "1") == 0
    said = capsys.readouterr().out
    assert hub.requests == [] and contents(run) == before
    weights = run / "round-1" / "learn" / "adapter" / "adapter_model.safetensors"
    assert re.search(
        rf"adapter_model.safetensors +{told_size(weights.stat().st_size)} +round-1/learn/adapter/adapter_mod", said
    )
    assert "private model repository, branch main" in said
    assert said.endswith("```\n") and pack(run, "me/sums", None, 1, run).card.strip() in said


def test_the_command_pushes_and_says_where(hub, run, capsys):
    assert main_code("push", str(run), "--to", "me/sums", "--public") == 0
    assert f"pushed: {hub.url}/me/sums (commit " in capsys.readouterr().out
    assert events(run)[-1]["event"] == "pushed" and not hub.repositories["models/me/sums"].private


def test_the_command_fails_with_code_2_and_one_paragraph(hub, run, capsys):
    hub.faults.append(Fault("POST /api/repos/create", 403, 9))
    before = contents(run)
    assert main_code("push", str(run), "--to", "me/sums") == 2
    error = capsys.readouterr().err
    assert error.startswith("ConfigError: making the repository: the token may not write") and error.count("\n") == 1
    assert contents(run) == before
    assert main_code("push", str(run), "--to", "sums") == 2
