"""Two views of a judgement: the worked loss, its gradients, how views stay together, and a short training."""

import json

import pytest
import torch

from selfimprove.chat import end_of_turn, load_tokenizer
from selfimprove.errors import ConfigError, TrainError
from selfimprove.training.args import check_options
from selfimprove.training.data import load_rows
from selfimprove.training.job import Job
from selfimprove.training.self_judge import digit_places, view_losses, whole_pairs
from selfimprove.training.views import Views

from .conftest import losses

END = 2
LABELS = torch.tensor([[-100, -100, 1, END]])
TARGETS = LABELS[:, 1:]  # -100, the digit, the end


def logits(*digit: float) -> torch.Tensor:
    """Logits (1, 3, 3) that predict TARGETS: given at the digit's position, zeros elsewhere."""
    values = torch.zeros(1, 3, 3, dtype=torch.float64)
    values[0, 1] = torch.tensor(digit)
    return values


TEACHER, STUDENT = logits(1, 2, 0), logits(2, 1, 0)


def test_the_worked_loss():
    parts = view_losses(TEACHER, STUDENT, TARGETS, TARGETS, END)
    assert parts.teacher.item() == pytest.approx(0.753109, abs=1e-6)  # (0.407606 + ln 3) / 2
    assert parts.student.item() == pytest.approx(1.253109, abs=1e-6)  # (1.407606 + ln 3) / 2
    assert parts.divergence.item() == pytest.approx(0.420512, abs=1e-6)
    assert parts.total(0.3, 2.0).item() == pytest.approx(1.970067, abs=1e-6)  # 0.753109 + 0.375933 + 0.841024
    assert view_losses(TEACHER, TEACHER, TARGETS, TARGETS, END).divergence.item() == 0


def test_the_roles_of_the_views_are_not_alike():
    turned = view_losses(STUDENT, TEACHER, TARGETS, TARGETS, END)
    assert turned.total(0.3, 2.0).item() == pytest.approx(1.253109 + 0.3 * 0.753109 + 2 * turned.divergence.item())
    one, other = logits(3, 1, 0), logits(0, 0, 0)
    forth = view_losses(one, other, TARGETS, TARGETS, END).divergence.item()
    back = view_losses(other, one, TARGETS, TARGETS, END).divergence.item()
    assert forth != pytest.approx(back)


def test_nothing_flows_back_through_the_teachers_side_of_the_divergence():
    teacher, student = TEACHER.clone().requires_grad_(), STUDENT.clone().requires_grad_()
    view_losses(teacher, student, TARGETS, TARGETS, END).divergence.sum().backward()
    assert teacher.grad is None or not teacher.grad.any()
    # d KL / d logits of the student = P_S - P_T at the digit, nothing anywhere else
    expected = (STUDENT.softmax(-1) - TEACHER.softmax(-1))[0, 1]
    assert student.grad[0, 1].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert not student.grad[0, 0].any() and not student.grad[0, 2].any()


def test_the_digits_may_stand_at_different_places():
    wide = torch.tensor([[-100, -100, -100, 1, END]])
    shifted = torch.cat([torch.full((1, 2, 3), 7.0, dtype=torch.float64), STUDENT[:, 1:]], 1)
    parts = view_losses(TEACHER, shifted, TARGETS, wide[:, 1:], END)
    assert parts.total(0.3, 2.0).item() == pytest.approx(1.970067, abs=1e-6)


def test_the_digit_is_the_last_trained_token_but_the_end():
    targets = torch.tensor([[-100, 1, END, -100], [5, 1, END, -100], [-100, -100, 1, -100]])
    assert digit_places(targets, END).tolist() == [1, 1, 2]  # a space token before, and a missing end, do not matter
    with pytest.raises(TrainError, match="trains no digit"):
        digit_places(torch.tensor([[-100, END]]), END)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_options": {"alpha": -1}}, "alpha is -1.0; it must be a number of 0 or more"),
        ({"loss_options": {"kapa": 1}}, "no option 'kapa'; did you mean 'kappa'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        check_options("sft", options, "r.yaml", "two_views")
    assert message in str(error.value)
    check_options("sft", {"loss_options": {"alpha": 0.5}}, "r.yaml", "two_views")
    with pytest.raises(ConfigError):
        check_options("pairs", {"loss_type": "two_views"}, "r.yaml")


def write_views(path, judgements, longer="the reference, which makes this view longer. "):
    """Write both views of judgements (group, digit), the teacher's first."""
    with path.open("w", encoding="utf-8") as file:
        for group, digit in judgements:
            for view, text in (("teacher", longer), ("student", "")):
                prompt = [{"role": "user", "content": f"{text}Grade answer {digit}."}]
                row = {"id": f"{group}/{view}", "prompt": prompt, "completion": str(digit), "group": group}
                file.write(json.dumps(row) + "\n")
    return path


def load(tiny_model, tmp_path, path, limit=None):
    job = Job("sft", (str(path),), str(tiny_model), None, str(tmp_path / "out"), loss="two_views")
    tokenizer = load_tokenizer(str(tiny_model))
    return load_rows(job, tokenizer, limit, "keep_start", tmp_path / "cache")[0], tokenizer


def test_both_views_of_a_judgement_are_one_item_the_teachers_first(tiny_model, tmp_path):
    data, tokenizer = load(tiny_model, tmp_path, write_views(tmp_path / "r.jsonl", [("a", 7), ("b", 3)]))
    assert len(whole_pairs(data)) == 2
    teacher, student = data[0]["input_ids"]
    assert "reference" in tokenizer.decode(teacher) and "reference" not in tokenizer.decode(student)
    trained = [token for token in data[1]["labels"][1] if token != -100]
    assert trained == [*tokenizer.encode("3", add_special_tokens=False), end_of_turn(tokenizer)]


def test_a_judgement_whose_longer_view_does_not_fit_is_left_out_whole(tiny_model, tmp_path, capsys):
    path = write_views(tmp_path / "r.jsonl", [("a", 7)])
    write_views(tmp_path / "more.jsonl", [("b", 3)], longer="long. " * 40)
    path.write_text(path.read_text() + (tmp_path / "more.jsonl").read_text())
    data, _ = load(tiny_model, tmp_path, path, limit=160)
    assert [len(item["input_ids"]) for item in data] == [2, 1]
    assert len(whole_pairs(data)) == 1
    assert "1 of 2 judgements left out: one of their two views is missing" in capsys.readouterr().out
    with pytest.raises(TrainError, match="none has both views"):
        whole_pairs(data.select([1]))


def test_views_with_different_digits_or_three_of_them_are_refused(tiny_model, tmp_path):
    path = write_views(tmp_path / "r.jsonl", [("a", 7)])
    path.write_text(path.read_text().replace('"completion": "7"', '"completion": "6"', 1))
    data, _ = load(tiny_model, tmp_path, path)
    with pytest.raises(TrainError, match="a group has 2 rows with 2 completions"):
        whole_pairs(data)
    three = write_views(tmp_path / "s.jsonl", [("a", 7)])
    three.write_text(three.read_text() + three.read_text().splitlines()[0] + "\n")
    data, _ = load(tiny_model, tmp_path, three)
    with pytest.raises(TrainError, match="a group has 3 rows with 1 completions"):
        whole_pairs(data)


@pytest.mark.slow
@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_training_learns_both_views_and_counts_pairs(make_job, train_here, tmp_path, accumulated):
    path = write_views(tmp_path / "views.jsonl", [(f"g{i}", i % 2 * 5) for i in range(8)])
    job = make_job(
        "sft", file=path, max_steps=6, per_device_train_batch_size=4 // accumulated,
        gradient_accumulation_steps=accumulated, loss_type="two_views", loss_options={"alpha": 0.3, "kappa": 2.0},
    )  # fmt: skip
    train_here(job)
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    first = events[0]
    whole = first["ce_teacher"] + 0.3 * first["ce_student"] + 2 * first["divergence"]
    assert first["loss"] == pytest.approx(whole, rel=1e-3)
    found = losses(tmp_path / "out")
    assert found[-1] < 0.95 * found[0]
    assert events[-1]["ce_student"] < first["ce_student"]
    preview = (tmp_path / "out" / "batch_preview.txt").read_text()
    assert "[[0<|im_end|>]]" in preview or "[[5<|im_end|>]]" in preview


@pytest.mark.slow
def test_the_first_view_of_a_group_is_the_teacher(make_job, train_here, tmp_path, tiny_model):
    from transformers import AutoModelForCausalLM

    from selfimprove.training.losses import sequence_log_probs

    path = write_views(tmp_path / "views.jsonl", [(f"g{i}", i % 2 * 5) for i in range(4)])
    train_here(make_job("sft", file=path, max_steps=1, loss_type="two_views", loss_options={"alpha": 0, "kappa": 0}))
    data, _ = load(tiny_model, tmp_path, path)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    means = []
    for view in (0, 1):
        rows = [(torch.tensor([item["input_ids"][view]]), torch.tensor([item["labels"][view]])) for item in data]
        with torch.no_grad():
            totals = [sequence_log_probs(model(ids).logits, labels).item() for ids, labels in rows]
        means.append(-sum(totals) / (2 * len(rows)))  # two trained tokens a row: digit and end
    [loss] = losses(tmp_path / "out")
    assert loss == pytest.approx(means[0], abs=1e-5) and abs(means[0] - means[1]) > 1e-4


def test_defaults_are_the_published_ones():
    assert Views() == Views(alpha=0.3, kappa=2.0)
