from __future__ import annotations

import errno
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from small_runs import leftovers, tiny
from snugnet import files, recipe, runs
from snugnet.errors import ArtifactError, DataError, RunExists, RunLocked, StorageError
from snugnet.runs import Run

LINE = {"epoch": 1, "train_loss": 2.0, "val_loss": None, "val_accuracy": None}
LEDGER = [
    "recipe",
    "recipe_sha256",
    "commit",
    "seed",
    "epochs",
    "params",
    "macs",
    "bytes",
    "size_mb",
    "val",
    "test",
    "tta_test",
    "seconds",
    "hardware",
    "date",
    "command",
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    recipe = tiny()
    return Run.create(tmp_path / "run", recipe, recipe.experiment, {"torch": "2"})


def lines(run: Run, *epochs: int) -> None:
    for epoch in epochs:
        run.log(LINE | {"epoch": epoch})


def test_a_new_run_is_read_back(run: Run):
    record = run.record()
    assert record.experiment == tiny().experiment
    assert (record.summary, record.environment, record.metrics) == ({}, {"torch": "2"}, [])
    assert (run.path / "recipe.toml").read_text() == tiny().text
    assert not run.is_finished


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ("config.json", r"holds a run; go on with it by `snug resume .*`, or give --run another directory$"),
        ("seeds.json", r"holds a run; go on with it by `snug resume .*`, or give --run another directory$"),
        ("thesis.doc", r"exists, is not empty and is no run; give --run another directory$"),
    ],
)
def test_a_directory_that_holds_something_is_kept(tmp_path: Path, held: str, words: str):
    (tmp_path / held).write_text("mine")
    with pytest.raises(RunExists, match=words):
        Run.create(tmp_path, tiny(), tiny().experiment, {})
    with pytest.raises(RunExists, match=words if held != "seeds.json" else "damaged|holds"):
        runs.create_group(tmp_path, tiny(), 2) if held != "seeds.json" else runs.require_free(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {held}
    assert (tmp_path / held).read_text() == "mine"


def test_a_file_is_no_directory(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunExists, match=r"file: is a file; give --run another directory$"):
        Run.create(tmp_path / "file", tiny(), tiny().experiment, {})
    with pytest.raises(RunExists, match=r"file: is a file; give --run another directory$"):
        runs.create_group(tmp_path / "file", tiny(), 2)


def test_of_two_that_create_a_run_at_once_one_wins(tmp_path: Path):
    results: list[Any] = []
    barrier = threading.Barrier(2)

    def create(seed: int) -> None:
        recipe = tiny(f"seed={seed}")
        barrier.wait()
        try:
            results.append(Run.create(tmp_path / "run", recipe, recipe.experiment, {}).experiment.seed)
        except (RunExists, RunLocked) as error:
            results.append(type(error))

    threads = [threading.Thread(target=create, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = next(result for result in results if isinstance(result, int))
    assert len([result for result in results if isinstance(result, int)]) == 1
    assert runs.read(tmp_path / "run").experiment.seed == winner


def test_a_locked_run_is_left_alone(run: Run):
    with (
        run.locked(),
        pytest.raises(RunLocked, match=r"another process is working on this run; wait for it or stop it$"),
        Run.open(run.path).locked(),
    ):
        pass
    with run.locked():
        assert runs.is_held(run.path)
    assert not runs.is_held(run.path)


def test_a_system_whose_locks_fail_is_told(monkeypatch: pytest.MonkeyPatch, run: Run):
    def refuse(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "lock", refuse)
    with pytest.raises(StorageError, match=r"\.lock: cannot be written \(No locks available\)"), run.locked():
        pass


def test_the_lock_removes_what_a_killed_write_left(run: Run):
    (run.path / "checkpoint").mkdir()
    for name in (".config.json.77.part", "checkpoint/.last.safetensors.78.part"):
        (run.path / name).write_text("half")
    (run.path / "notes.part").write_text("not ours")
    with run.locked():
        assert leftovers(run.path) == [str(run.path / "notes.part")]


def test_a_lock_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, run: Run):
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(StorageError, match="no permission to write here; choose another folder"), run.locked():
        pass


def test_metrics_are_a_line_an_epoch(run: Run):
    lines(run, 1, 2)
    assert [line["epoch"] for line in run.record().metrics] == [1, 2]
    assert (run.path / "metrics.csv").read_text() == "epoch,train_loss,val_loss,val_accuracy\n1,2.0,,\n2,2.0,,\n"


@pytest.mark.parametrize("torn", ['{"epoch": 3, "train', "{", "\x00\x00\x00", "5", "\ufffd"])
def test_a_torn_last_line_is_dropped(run: Run, torn: str):
    lines(run, 1, 2)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(torn)
    assert [line["epoch"] for line in run.record().metrics] == [1, 2]
    run.rewind(2)
    lines(run, 3)
    assert [line["epoch"] for line in run.record().metrics] == [1, 2, 3]


def test_bytes_that_are_no_text_are_a_torn_line(run: Run):
    lines(run, 1)
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"epoch": 2, "\xc3')
    assert [line["epoch"] for line in run.record().metrics] == [1]


def test_damage_before_the_last_line_is_told(run: Run):
    lines(run, 1, 2)
    file = run.path / "metrics.jsonl"
    file.write_text("{" + file.read_text())
    with pytest.raises(ArtifactError, match=r"metrics.jsonl:1: damaged \(.*\); delete the line$"):
        run.record()


def test_rewinding_drops_what_the_checkpoint_does_not_hold(run: Run):
    lines(run, 1, 2, 3)
    run.rewind(1)
    assert [line["epoch"] for line in run.record().metrics] == [1]
    assert len((run.path / "metrics.csv").read_text().splitlines()) == 2
    run.rewind(0)
    assert (run.path / "metrics.csv").read_text() == ""


def training(epoch: int) -> dict[str, Any]:
    """The least that a state of a training has."""
    parts = dict.fromkeys(("model", "ema", "optimizer", "random", "losses"))
    return {"epoch": epoch, "step": 0, "history": [], **parts}


def test_a_checkpoint_comes_back(run: Run):
    assert run.state() is None
    assert run.elapsed_s() == 0
    run.save(training(1) | {"weights": torch.arange(3), "groups": [{"lr": 0.1}], 0: None}, 12.5)
    state = run.state()
    assert state is not None
    assert state["weights"].tolist() == [0, 1, 2]
    assert (state["epoch"], state["groups"], state[0], run.elapsed_s()) == (1, [{"lr": 0.1}], None, 12.5)


@pytest.mark.parametrize("changes", [["seed=1"], ["train.epochs=3"]])
def test_a_checkpoint_of_another_recipe_or_seed_is_refused(run: Run, changes: list[str]):
    run.save(training(1), 0.0)
    files.write_json(run.path / "config.json", tiny(*changes).experiment.plain())
    words = (
        r"checkpoint/last.safetensors: must come from the recipe in config.json, but is of another recipe or seed; put"
    )
    with pytest.raises(ArtifactError, match=words):
        Run.open(run.path).state()


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_cut_checkpoint_is_refused(run: Run, kept: int):
    run.save(training(1) | {"weights": torch.arange(1000)}, 0.0)
    file = run.path / "checkpoint" / "last.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(
        ArtifactError, match=r"not a readable checkpoint \(.*\); restore it from a copy, or train again"
    ):
        run.state()


def harm(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_the_last_good_checkpoint_is_gone_on_from(run: Run):
    for epoch in (1, 2):
        run.save(training(epoch), float(epoch))
    last, previous = (run.path / "checkpoint" / f"{name}.safetensors" for name in ("last", "previous"))
    harm(last)
    again = Run.open(run.path)
    assert again.state() == training(1)
    assert again.elapsed_s() == 1
    assert again.fell_back.startswith(f"{last}: not a readable checkpoint (")
    again.save(training(3), 3.0)  # the damaged one does not take the place of the good one
    harm(last)
    assert Run.open(run.path).state() == training(1)
    harm(previous)
    with pytest.raises(ArtifactError, match=r"previous.safetensors: not a readable checkpoint"):
        Run.open(run.path).state()


def test_a_run_killed_between_two_checkpoints_goes_on_from_the_first(run: Run):
    for epoch in (1, 2):
        run.save(training(epoch), float(epoch))
    (run.path / "checkpoint" / "last.safetensors").unlink()
    again = Run.open(run.path)
    assert again.has_checkpoint
    assert again.state() == training(1)
    assert again.fell_back == f"{run.path}/checkpoint/last.safetensors: not there"


def test_a_best_checkpoint_has_no_other_to_go_on_from(run: Run):
    run.save(training(1), 1.0, "best")
    harm(run.path / "checkpoint" / "best.safetensors")
    words = r"another directory; or remove .*checkpoint, and `snug resume` trains from the start$"
    with pytest.raises(ArtifactError, match=words):
        run.state("best")


def test_a_checkpoint_of_other_images_is_refused(run: Run):
    run.data = "a-b"
    run.save(training(1), 0.0)
    again = Run.open(run.path)
    assert again.state() == training(1)
    again.data = "a-c"
    words = r"run: must go on with the images and labels that it began with, but digits has others now; put them back"
    with pytest.raises(DataError, match=words):
        again.state()


def test_what_only_going_on_needs_may_go(finished: Path, tmp_path: Path):
    path = shutil.copytree(finished, tmp_path / "run")
    size = sum(file.stat().st_size for file in (path / "checkpoint").iterdir())
    assert runs.drop_checkpoints(path) == size > 0
    assert runs.checkpoints(path) == []
    assert runs.read_finished(path).summary == runs.read(finished).summary


def test_checkpoints_of_an_unfinished_run_stay(run: Run):
    run.save(training(1), 0.0)
    with pytest.raises(ArtifactError, match="is not finished; finish it with `snug resume"):
        runs.drop_checkpoints(run.path)
    assert run.has_checkpoint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"config.json: damaged \(.*\); restore it from a copy, or train again$"),
        ('{"model": ', r"config.json: damaged"),
        ("[]", r"config.json: damaged \(not an object\)"),
        ("{}", r"config.json: not a configuration of this version \(.*\); restore it from a copy, or train again$"),
        ("\udcff", r"config.json: damaged"),
    ],
)
def test_a_damaged_config(run: Run, text: str, words: str):
    (run.path / "config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ArtifactError, match=words):
        Run.open(run.path)


def test_no_run_here(tmp_path: Path):
    words = r"none: no run here \(there is no config.json\); `snug train RECIPE --run .*none` makes one$"
    with pytest.raises(ArtifactError, match=words):
        runs.read(tmp_path / "none")


def test_the_nearest_run_is_named(run: Run):
    near = run.path.with_name(f"{run.path.name}s")
    words = rf"s: no run here \(there is no config.json\), did you mean '{run.path.name}'\?$"
    with pytest.raises(ArtifactError, match=words):
        runs.read(near)


def test_what_was_changed_in_the_recipe_of_a_run(tmp_path: Path):
    made = recipe.load("snugnet/digits", ["train.epochs=3", "train.optimizer.lr=0.5", "seed=4"])
    Run.create(tmp_path / "run", made, made.experiment, {})
    config = runs.read(tmp_path / "run").config
    assert runs.changed(tmp_path / "run", config) == ["epochs 3", "optimizer.lr 0.5"]
    assert runs.changed(tmp_path / "run", {"model": {}}) == []
    (tmp_path / "run" / "recipe.toml").unlink()
    assert runs.changed(tmp_path / "run", config) == []


def test_missing_predictions(run: Run):
    with pytest.raises(
        ArtifactError, match=r"test.safetensors: predictions cannot be read \(.*\); run `snug evaluate`"
    ):
        run.record().predictions("test")
    run.save_predictions("test", torch.randn(2, 3), torch.tensor([0, 1]))
    assert run.record().predictions("test")[1].tolist() == [0, 1]


def test_a_group_is_made_once_and_gone_on_with(tmp_path: Path):
    root = tmp_path / "group"
    runs.create_group(root, tiny(), 2)
    runs.create_group(root, tiny(), 2)
    group = runs.read_group(root)
    assert group is not None
    assert (group.seeds, group.recipe.experiment) == (2, tiny().experiment)
    with pytest.raises(RunExists, match=r"group: holds 2 seeds of this experiment; go on with it by `snug resume "):
        runs.create_group(root, tiny(), 3)
    with pytest.raises(RunExists, match=r"group: holds 2 seeds of another experiment; go on with it by `snug resume "):
        runs.create_group(root, tiny("train.epochs=3"), 2)


def test_a_group_killed_while_it_was_made_is_made_again(tmp_path: Path):
    (tmp_path / "recipe.toml").write_text("half")
    (tmp_path / ".seeds.json.9.part").write_text("half")
    runs.create_group(tmp_path, tiny(), 2)
    assert runs.read_group(tmp_path) is not None


def test_a_damaged_group(tmp_path: Path):
    runs.create_group(tmp_path, tiny(), 2)
    (tmp_path / "recipe.toml").unlink()
    with pytest.raises(ArtifactError, match=r"recipe.toml: cannot be read"):
        runs.read_group(tmp_path)
    (tmp_path / "seeds.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"seeds.json: damaged \(no seeds or no experiment\)"):
        runs.read_group(tmp_path)


def test_members_are_in_order_of_seed(tmp_path: Path):
    runs.create_group(tmp_path, tiny(), 12)
    for seed in (10, 9, 0):
        recipe = tiny(f"seed={seed}")
        Run.create(tmp_path / f"seed-{seed}", recipe, recipe.experiment, {})
    (tmp_path / "seed-5").mkdir()  # killed before it began
    assert [path.name for path in runs.members(tmp_path)] == ["seed-0", "seed-9", "seed-10"]
    assert runs.members(tmp_path / "seed-0") == [tmp_path / "seed-0"]
    with pytest.raises(ArtifactError, match=r"holds the runs of several seeds; give one of them, as .*seed-0$"):
        runs.read(tmp_path)


def test_paths_are_numbered(tmp_path: Path):
    assert runs.free_path(tmp_path, "snugnet/digits") == tmp_path / "snugnet-digits-001"
    (tmp_path / "snugnet-digits-001").mkdir()
    assert runs.free_path(tmp_path, "snugnet/digits") == tmp_path / "snugnet-digits-002"
    assert runs.free_path(tmp_path, "") == tmp_path / "run-001"


def test_the_ledger_has_every_field(finished: Path, tmp_path: Path):
    summary = runs.read(finished).summary
    runs.record_in_ledger(tmp_path / "results" / "ledger.jsonl", summary)
    line = json.loads((tmp_path / "results" / "ledger.jsonl").read_text())
    assert set(LEDGER) <= line.keys()
    assert line["tta_test"] is None
    assert {name: line[name] for name in LEDGER if name != "tta_test"} == {
        name: summary[name] for name in LEDGER if name != "tta_test"
    }


def test_a_line_behind_a_torn_one_is_a_line(tmp_path: Path):
    (tmp_path / "ledger.jsonl").write_text('{"a": 1}\n{"b": ')
    files.append_line(tmp_path / "ledger.jsonl", '{"c": 3}')
    files.append_line(tmp_path / "ledger.jsonl", '{"d": 4}')
    assert (tmp_path / "ledger.jsonl").read_text().splitlines() == ['{"a": 1}', '{"b": ', '{"c": 3}', '{"d": 4}']


def test_a_run_may_be_moved(finished: Path, tmp_path: Path):
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    assert runs.read_finished(moved).summary == runs.read(finished).summary
    for name in ("summary.json", "config.json"):
        assert str(finished) not in (moved / name).read_text().replace(runs.read(finished).summary["command"], "")
