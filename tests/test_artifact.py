import ast
import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save

import snugnet
from snugnet import artifact
from snugnet.artifact import Card
from snugnet.errors import ArtifactError
from snugnet.models.resnet import build
from specs import SPECS, card, spec

NAMES = ("cat", 'a "b" \\', "naïve", "猫", "😀", "tab\t", "\x00\x7f", "</script>", " ", "ß")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build(spec(image_size=8))


def test_what_is_read_is_what_was_written(tmp_path, net):
    path, written = tmp_path / "model.safetensors", card(classes=NAMES)
    net.train()(torch.randn(8, 3, 8, 8))  # running statistics that are not the initial ones
    size = artifact.write(path, written, net)
    shipped = artifact.read(path)
    assert shipped.card == written
    assert (shipped.path, shipped.size_bytes, shipped.params) == (path, size, 470)
    assert size == path.stat().st_size == artifact.predict_bytes(written)
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(shipped.model(images), net.eval()(images))
    assert not shipped.model.training
    assert not any(parameter.requires_grad for parameter in shipped.model.parameters())
    counters = [value for name, value in shipped.model.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counters == [torch.tensor(0)] * 3


def test_the_same_net_gives_the_same_bytes(tmp_path, net):
    artifact.write(tmp_path / "first", card(classes=NAMES), net)
    shipped = artifact.read(tmp_path / "first")
    artifact.write(tmp_path / "second", shipped.card, shipped.model.to(memory_format=torch.channels_last))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert len({artifact.encode(card(), net) for _ in range(5)}) == 1


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SPECS)
def test_the_size_is_known_before_there_are_weights(found):
    names = [NAMES[k % len(NAMES)] + str(k) for k in range(found.classes)]
    written = card(found, names)
    assert artifact.predict_bytes(written) == len(artifact.encode(written, build(found)))


def test_measured_constants_take_the_room_that_was_planned():
    sizes = {
        artifact.predict_bytes(card(mean=mean, std=std)) for mean, std in ((0.0, 1.0), (0.491401, 1e-6), (-0.5, 9))
    }
    assert len(sizes) == 1


def test_a_prediction_takes_no_memory():
    written = card(spec(["basic", 2, 60_000]))  # 26 GB of weights for each convolution
    assert artifact.predict_bytes(written) > 400 * 10**9


def test_a_card_agrees_with_itself():
    with pytest.raises(ValidationError, match="3 class names for 10 logits"):
        card(classes=["a", "b", "c"])
    with pytest.raises(ValidationError, match="normalisation of 1 channels for 3"):
        Card(**{**dict(card()), "normalization": card(spec(in_channels=1)).normalization})


def raw(tmp_path, text, tensors):
    metadata = {} if text is None else {"metadata": {"snugnet": text}}
    (tmp_path / "x").write_bytes(save(tensors, **metadata))
    return tmp_path / "x"


def lied(**changes):
    return json.dumps(json.loads(card().text()) | changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "x: holds weights but no snugnet card; give a file that `snug train` wrote$"),
        ("{", r"x: its card cannot be read \(.*\); it needs format 1$"),
        ("[]", r"x: its card cannot be read \(.*\); it needs format 1$"),
        ("{}", r"x: its card cannot be read \('format'\); it needs format 1$"),
        (lied(format=2), r"x: its card cannot be read \(another format version\); it needs format 1$"),
        (lied(more=1), r"x: its card cannot be read \(.*more Extra inputs are not permitted.*it needs format 1$"),
        (lied(classes=["a"]), r"x: its card cannot be read \(.*1 class names for 10 logits"),
        (lied(normalization=3), r"x: its card cannot be read \("),
        (lied(normalization={"mean": ["nan"] * 3, "std": ["1"] * 3}), r"x: its card cannot be read \("),
        (lied(normalization={"mean": ["0"] * 3, "std": ["0"] * 3}), r"x: its card cannot be read \("),
        (lied(model={"stages": [["basic", 10**9, 4]]}), r"x: its card cannot be read \("),
        (lied(model={"stages": [["basic", 1, 65536]], "image_size": 8}),
         r"x: 16 tensors do not fit its own specification: head.classifier.weight is \(10, 4\) torch.float32, not"),
    ],
)  # fmt: skip
def test_a_card_that_lies(tmp_path, net, text, words):
    path = raw(tmp_path, text, artifact.shipped_tensors(net))
    with pytest.raises(ArtifactError, match=words):
        artifact.read(path)


def test_tensors_that_are_not_those_of_the_card(tmp_path, net):
    tensors = artifact.shipped_tensors(net)
    weight = tensors.pop("head.classifier.weight")
    with pytest.raises(ArtifactError) as caught:
        artifact.read(raw(tmp_path, card().text(), tensors))
    fits = f"{tmp_path}/x: 1 tensors do not fit its own specification: head.classifier.weight"
    assert str(caught.value) == f"{fits} is missing"
    for wrong, words in (
        (weight[:, :3], "is (10, 3) torch.float32, not (10, 4) torch.float32"),
        (weight.half(), "is (10, 4) torch.float16, not (10, 4) torch.float32"),
    ):
        with pytest.raises(ArtifactError) as caught:
            artifact.read(raw(tmp_path, card().text(), tensors | {"head.classifier.weight": wrong.contiguous()}))
        assert str(caught.value) == f"{fits} {words}"
    path = raw(tmp_path, card().text(), tensors | {"head.classifier.weight": weight, "other": torch.zeros(1)})
    with pytest.raises(ArtifactError, match=r"1 tensors do not fit its own specification: other is unknown$"):
        artifact.read(path)


def test_a_file_that_is_missing_cut_or_foreign(tmp_path, net):
    with pytest.raises(ArtifactError, match=r"x: no such file; a finished run has its net in model.safetensors$"):
        artifact.read(tmp_path / "x")
    whole = artifact.encode(card(), net)
    for data in (b"", whole[:7], whole[:100], whole[:-1], whole + b"x", b"PK\x03\x04" * 100, b"\xff" * 64):
        (tmp_path / "x").write_bytes(data)
        words = r"x: not a readable safetensors file \(.*\); copy or train it again$"
        with pytest.raises(ArtifactError, match=words):
            artifact.read(tmp_path / "x")


def test_any_other_reader_opens_it(tmp_path, net):
    artifact.write(tmp_path / "x", card(), net)
    with safe_open(tmp_path / "x", framework="np") as file:
        assert set(file.keys()) == set(artifact.shipped_tensors(net))
        assert json.loads(file.metadata()["snugnet"])["classes"] == list(card().classes)


def test_no_pickle_is_read_or_written_but_the_data_sets_own():
    root = Path(snugnet.__file__).parent
    banned = {"torch.load", "torch.save", "pickle.load", "pickle.loads", "pickle.dump", "joblib.load", "shelve.open"}
    for path in sorted(root.rglob("*.py")):
        if path == root / "data" / "unpickle.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in banned, f"{path}:{node.lineno}"
            if isinstance(node, ast.Import):
                assert not {"pickle", "shelve", "marshal", "dill"} & {alias.name for alias in node.names}, path
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("pickle", "shelve", "marshal", "dill"), path
