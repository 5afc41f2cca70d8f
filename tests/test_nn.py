"""The modules of fastsoftmax.nn: PyTorch's constructors, repr, warnings and answers, and values.

golden/nn.json has PyTorch's, made by golden/make_nn.py beside it.
"""

import copy
import inspect
import json
import pathlib
import pickle
import warnings

import numpy as np
import pytest

import fastsoftmax.functional as F
import fastsoftmax.nn as nn
from checks import same_bits

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "nn.json").read_text())
INPUTS = {name: np.array(x, dtype) for name, (dtype, x) in GOLDEN["inputs"].items()}
ERRORS = {e.__name__: e for e in (IndexError, RuntimeError, TypeError, ValueError)}
KINDS = ("Softmax", "LogSoftmax", "Softmin", "Softmax2d", "CrossEntropyLoss", "NLLLoss")
ALONG_DIM = KINDS[:3]
LOSSES = KINDS[4:]
LEGACY = "weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean'"
SIGNATURES = {
    "Softmax2d": "()",
    "CrossEntropyLoss": f"({LEGACY}, label_smoothing=0.0)",
    "NLLLoss": f"({LEGACY})",
}
WEIGHT = np.array([1.0, 2.0, 0.5])

# Modules of which no two are equal.
DIFFERENT = (
    lambda: nn.Softmax(),
    lambda: nn.Softmax(1),
    lambda: nn.Softmax(-1),
    lambda: nn.Softmax((0, 1)),
    lambda: nn.LogSoftmax(1),
    lambda: nn.Softmin(1),
    lambda: nn.Softmax2d(),
    lambda: nn.NLLLoss(),
    lambda: nn.CrossEntropyLoss(),
    lambda: nn.CrossEntropyLoss(WEIGHT.copy()),
    lambda: nn.CrossEntropyLoss(WEIGHT.astype(np.float32)),
    lambda: nn.CrossEntropyLoss(WEIGHT + 1),
    lambda: nn.CrossEntropyLoss(WEIGHT[:2]),
    lambda: nn.CrossEntropyLoss(reduction="sum"),
    lambda: nn.CrossEntropyLoss(ignore_index=0),
    lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
    lambda: nn.NLLLoss(WEIGHT.copy(), ignore_index=2),
    lambda: nn.NLLLoss(np.array([1.0, np.nan, np.inf])),
)


def _records(kind):
    found = [record for record in GOLDEN["records"] if record["class"] == kind]
    assert found
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_answers_the_same(kind):
    for record in _records(kind):
        options = dict(record["options"])
        if options.get("weight"):
            options["weight"] = INPUTS["weight"]
        inputs = [INPUTS[name] for name in record["inputs"]]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = getattr(nn, kind)(**options)
            assert repr(module) == record["repr"]
            if "error" in record:
                name, text = record["error"]
                with pytest.raises(ERRORS[name]) as raised:
                    module(*inputs)
                assert type(raised.value) is ERRORS[name], record
                if kind not in LOSSES:
                    assert str(raised.value) == text
            else:
                result = np.asarray(module(*inputs))
                assert list(result.shape) == record["shape"], record
                assert result.dtype == np.float64
                # PyTorch's own error: near 0 its log_softmax is off by a rounding of the logits.
                near_0 = 1e-15 if kind in ("LogSoftmax", "CrossEntropyLoss") else 0
                np.testing.assert_allclose(result, record["result"], 2e-14, near_0, err_msg=record)
        assert [str(one.message) for one in caught] == record["warnings"]
        assert {one.category for one in caught} <= {UserWarning}


def test_the_file_is_whole():
    assert GOLDEN["torch"] == "2.13.0"
    assert {record["class"] for record in GOLDEN["records"]} == set(KINDS)
    assert sum("warnings" in record and bool(record["warnings"]) for record in _records("NLLLoss"))


@pytest.mark.parametrize("kind", KINDS)
def test_signatures(kind):
    def bare(function):
        of = inspect.signature(function)
        parameters = [p.replace(annotation=p.empty) for p in of.parameters.values()]
        return str(of.replace(parameters=parameters, return_annotation=of.empty))

    module = getattr(nn, kind)
    assert bare(module) == SIGNATURES.get(kind, "(dim=None)")
    inputs = "(self, input, target)" if kind in LOSSES else "(self, input)"
    assert bare(module.forward) == inputs
    assert kind in nn.__all__
    assert ">>>" in inspect.getdoc(module)


@pytest.mark.parametrize("kind", ALONG_DIM)
def test_a_module_calls_its_function(kind):
    function = getattr(F, {"LogSoftmax": "log_softmax"}.get(kind, kind.lower()))
    x = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    for dim in (0, 1, 2, -1, (0, 2)):
        module = getattr(nn, kind)(dim)
        assert module.dim == dim
        wanted = function(x, dim)
        for result in (module(x), module(input=x), module.forward(x), module(list(x))):
            assert same_bits(result, wanted)


def test_softmax2d_is_over_the_channels():
    module = nn.Softmax2d()
    for shape in ((3, 4, 5), (2, 3, 4, 5)):
        x = np.random.default_rng(2).normal(size=shape)
        assert same_bits(module(x), F.softmax(x, -3))
        assert same_bits(module(x.tolist()), F.softmax(x, -3))


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_calls_its_function(kind):
    function = F.cross_entropy if kind == "CrossEntropyLoss" else F.nll_loss
    x = F.log_softmax(np.random.default_rng(3).normal(size=(6, 3)).astype(np.float32), 1)
    target = np.array([0, 1, 2, 1, 0, 2])
    smoothings = [{}, {"label_smoothing": 0.2}] if kind == "CrossEntropyLoss" else [{}]
    for weight in (None, WEIGHT.astype(np.float32)):
        for reduction in ("none", "mean", "sum"):
            for smoothing in smoothings:
                options = {"weight": weight, "ignore_index": 2, "reduction": reduction} | smoothing
                module = getattr(nn, kind)(**options)
                assert module.weight is weight
                for name, value in options.items():
                    assert getattr(module, name) is value
                wanted = np.asarray(function(x, target, **options))
                for result in (module(x, target), module(target=target, input=x)):
                    assert same_bits(np.asarray(result), wanted)


@pytest.mark.parametrize("kind", LOSSES)
def test_attributes_may_be_set(kind):
    x = np.zeros((4, 2), np.float32)
    module = getattr(nn, kind)()
    assert np.shape(module(x, np.zeros(4, int))) == ()
    module.reduction = "none"
    assert np.shape(module(x, np.zeros(4, int))) == (4,)


def test_weights_become_an_array():
    module = nn.CrossEntropyLoss([1, 2.5])
    assert isinstance(module.weight, np.ndarray)
    assert np.array_equal(module.weight, [1, 2.5])
    assert float(module(np.zeros((1, 2)), np.array([1]))) == pytest.approx(np.log(2))
    masked = nn.CrossEntropyLoss(np.ma.masked_array([1.0, 2.0], [True, False]))
    with pytest.raises(TypeError, match="mask"):
        masked(np.zeros((1, 2)), np.array([1]))


@pytest.mark.parametrize("kind", ALONG_DIM)
def test_no_dim_warns_at_the_line_of_the_caller(kind):
    module = getattr(nn, kind)()
    with pytest.warns(UserWarning, match="Implicit dimension choice") as caught:
        line = inspect.currentframe().f_lineno + 1
        module(np.zeros((2, 3)))
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]


@pytest.mark.parametrize("kind", LOSSES)
def test_legacy_arguments_warn_at_the_line_of_the_caller(kind):
    with pytest.warns(UserWarning, match="reduction='sum'") as caught:
        line = inspect.currentframe().f_lineno + 1
        module = getattr(nn, kind)(size_average=False)
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]
    assert module == getattr(nn, kind)(reduction="sum")


def test_equality_and_hash():
    first, second = ([make() for make in DIFFERENT] for _ in range(2))
    for i, one in enumerate(first):
        for k, other in enumerate(second):
            assert (one == other) is (i == k), (one, other)
            assert (one != other) is (i != k)
            if i == k:
                assert hash(one) == hash(other)
    assert len({*first, *second}) == len(DIFFERENT)
    assert nn.Softmax(np.int64(1)) == nn.Softmax(1)
    assert nn.Softmax(1) != "Softmax(dim=1)"


def test_a_subclass_is_not_its_base():
    class Named(nn.Softmax):
        def forward(self, input):
            return super().forward(input) + 1

    assert Named(1) != nn.Softmax(1)
    assert repr(Named(1)) == "Named(dim=1)"
    assert np.array_equal(Named(0)(np.zeros(2)), [1.5, 1.5])


def test_a_module_in_a_set_stays_there_when_it_is_changed():
    module = nn.Softmax(0)
    modules = {module}
    module.dim = 1
    assert module in modules


@pytest.mark.parametrize("make", DIFFERENT)
def test_copies_and_pickles(make):
    module = make()
    copies = [copy.copy(module), copy.deepcopy(module)]
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    copies += [pickle.loads(pickle.dumps(module, protocol)) for protocol in protocols]
    for each in copies:
        assert each is not module
        assert type(each) is type(module)
        assert each == module
        assert repr(each) == repr(module)
    if getattr(module, "weight", None) is not None:
        assert copies[0].weight is module.weight
        assert not np.shares_memory(copies[1].weight, module.weight)


@pytest.mark.parametrize("make", DIFFERENT)
def test_modes_are_accepted_and_what_does_nothing_is_not(make):
    module = make()
    assert module.eval() is module
    assert module.train() is module
    assert module.train(False) is module
    assert module == make()
    for name in ("to", "cuda", "state_dict", "parameters", "backward"):
        assert not hasattr(module, name)
