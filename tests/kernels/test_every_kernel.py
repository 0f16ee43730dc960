"""Properties of every public kernel, found by looking at the modules: a new one is covered the day it is written."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import linecache
import pickle
import pkgutil
import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import workings
from kernels.examples import EXAMPLES, EXCEPTIONS, MODULES
from workings.training import model_settings

SHARED = ("seeding", "training", "calibration", "statistics", "checks", "runs.store", "runs.fetch")


def modules() -> list[str]:
    parts = [importlib.import_module(f"workings.{part}") for part in workings.PARTS]
    return [m.name for part in parts for m in pkgutil.iter_modules(part.__path__, f"{part.__name__}.")] + [
        f"workings.{name}" for name in SHARED
    ]


def is_data(value: Any) -> bool:
    """Whether a class only holds values (a record, an error, a protocol): results of kernels, not kernels."""
    held = dataclasses.is_dataclass(value) or hasattr(value, "_fields") or getattr(value, "_is_protocol", False)
    return inspect.isclass(value) and (held or issubclass(value, BaseException))


def kernels() -> dict[str, Any]:
    found = {}
    for name in modules():
        for attribute, value in vars(importlib.import_module(name)).items():
            own = callable(value) and getattr(value, "__module__", None) == name
            if own and not attribute.startswith("_") and attribute == value.__name__ and not is_data(value):
                found[f"{name.removeprefix('workings.')}.{attribute}"] = value
    return found


KERNELS = kernels()


def test_every_public_kernel_has_an_example_or_a_reason():
    missing = sorted(set(KERNELS) - set(EXAMPLES) - set(EXCEPTIONS))
    assert not missing, f"give each a line in tests/kernels/examples.py: {missing}"
    gone = sorted((set(EXAMPLES) | set(EXCEPTIONS) | set(MODULES)) - set(KERNELS))
    assert not gone, f"these are no kernels any more, take them out of tests/kernels/examples.py: {gone}"
    assert not set(EXAMPLES) & set(EXCEPTIONS)
    of_torch = {name for name, kernel in KERNELS.items() if inspect.isclass(kernel) and issubclass(kernel, nn.Module)}
    abstract = {"robustness.layers.PruningLayer"}
    assert of_torch - abstract == set(MODULES), "every torch module has a line in MODULES"


def arrays(values: Any, path: tuple = ()) -> dict[tuple, Any]:
    """Every tensor and array among arguments (tuples, lists, dictionaries, records), by its path."""
    if isinstance(values, (torch.Tensor, np.ndarray)):
        return {path: values}
    items = values.items() if isinstance(values, dict) else ()
    items = enumerate(values) if isinstance(values, (tuple, list)) else items
    return {p: a for key, value in items for p, a in arrays(value, (*path, key)).items()}


def replaced(values: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    if isinstance(values, dict):
        return {k: replaced(v, path[1:], new) if k == path[0] else v for k, v in values.items()}
    items = [replaced(v, path[1:], new) if k == path[0] else v for k, v in enumerate(values)]
    return type(values)(*items) if hasattr(values, "_fields") else type(values)(items)


def run(name: str, arguments: Any) -> Any:
    args, options = arguments
    return KERNELS[name](*args, **options)


def same(a: Any, b: Any, tolerance: float = 0.0) -> bool:
    """Whether two results are one: tensors and arrays entry by entry, modules by their weights, records by their fields."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.shape != b.shape:
            return False
        return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance, equal_nan=True)
    if isinstance(a, (np.ndarray, float)):
        return np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    if isinstance(a, nn.Module):
        return same(a.state_dict(), b.state_dict(), tolerance)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k], tolerance) for k in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name), tolerance) for f in dataclasses.fields(a))
    plain = isinstance(a, (str, int, bytes, type(None)))
    return a == b if plain else type(a) is type(b)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_call_gives_the_same_again_and_leaves_arguments_and_global_generators_alone(name):
    run(name, EXAMPLES[name]())  # what is imported on the way may draw from Python's generator once
    before = (torch.get_rng_state(), str(np.random.get_state()), random.getstate())  # noqa: NPY002
    arguments = EXAMPLES[name]()
    given = arrays(arguments)
    kept = {path: copy.deepcopy(value) for path, value in given.items()}
    first = run(name, arguments)
    for path, value in given.items():
        assert same(value, kept[path]), f"{name} changes its argument {path}"
    assert same(first, run(name, EXAMPLES[name]())), f"{name} gives something else the second time"
    assert torch.equal(before[0], torch.get_rng_state()), f"{name} draws from torch's global generator"
    assert before[1] == str(np.random.get_state()), f"{name} draws from numpy"  # noqa: NPY002
    assert before[2] == random.getstate(), f"{name} draws from Python's global generator"


def scattered(value: Any) -> Any:
    """The same entries at other places of memory: every second column of a wider block; arrays backwards as well."""
    if isinstance(value, np.ndarray):
        return value[::-1].copy()[::-1] if value.ndim else value
    if value.dim() == 0:
        return value
    wide = torch.stack([value, torch.zeros_like(value)], dim=-1)
    return wide[..., 0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_view_gives_what_its_copy_gives(name):
    arguments = EXAMPLES[name]()
    if not arrays(arguments):
        pytest.skip("no arrays among the arguments")
    expected = run(name, arguments)
    arguments = EXAMPLES[name]()
    for path, value in arrays(arguments).items():
        arguments = replaced(arguments, path, scattered(value))
    assert same(run(name, arguments), expected, 1e-5)


REFUSALS = (TypeError, ValueError, FloatingPointError)  # the last one: a training whose loss is no number
COMPARES_ITEMS = {"language_models.edit_distance.levenshtein"}  # of any kind, whatever a list holds
ALLOWS_OTHERS = {"checks.values_hidden", "robustness.bpda.identity", "robustness.bpda.bpda"}
# These call a network, loss or gradient of the caller's, whose own error about shapes and types is the clearest there is.
CALLS_A_NETWORK = {
    "robustness.attacks.eot_gradient",
    "robustness.attacks.fgsm",
    "robustness.attacks.spsa_gradient",
    "robustness.digits.train_digits_cnn",
    "robustness.evaluation.sample_softmax",
    "robustness.evaluation.mc_predict",
    "robustness.evaluation.robust_accuracies",
    "robustness.evaluation.robust_accuracy",
    "disentangling.ensembles.train_many",
    "disentangling.jmvae.train_jmvaes",
    "disentangling.recombination.train_recombinations",
    "disentangling.scan.train_scans",
    "few_shot.pretraining.network_features",
    "disentangling.ensembles.train_known_factor_ensemble",
    "disentangling.ensembles.train_vae_ensemble",
}


def refused_or(name: str, arguments: Any, check: Any) -> None:
    """The call is refused with a sentence, or its result passes ``check``. Any other error is bare, and fails."""
    try:
        result = run(name, arguments)
    except (RuntimeError, IndexError):
        assert name in CALLS_A_NETWORK, f"{name} ends in a bare error"
        return
    except REFUSALS as error:
        assert str(error), f"{name} refuses without a word"
        return
    assert check(result), f"{name} accepts it and gives {result!r:.200}"


def finite(result: Any) -> bool:
    found = arrays(result)
    return all(not (v.dtype.kind == "f" and np.isnan(v).any()) for v in found.values() if isinstance(v, np.ndarray)) and all(
        not (v.is_floating_point() and bool(v.isnan().any())) for v in found.values() if isinstance(v, torch.Tensor)
    )  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_masked_arrays_are_refused(name):
    for path, value in arrays(EXAMPLES[name]()).items():
        if isinstance(value, np.ndarray) and name not in ALLOWS_OTHERS:
            mask = np.zeros(value.shape, dtype=bool)
            mask.flat[0] = True
            with pytest.raises(TypeError, match="mask"):
                run(name, replaced(EXAMPLES[name](), path, np.ma.masked_array(value, mask)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_list_of_masked_rows_or_entries_is_refused(name):
    for path, value in arrays(EXAMPLES[name]()).items():
        if isinstance(value, np.ndarray) and value.ndim and name not in ALLOWS_OTHERS | COMPARES_ITEMS:
            masked = np.ma.masked_array(value, np.arange(value.size).reshape(value.shape) == 0)
            for given in (list(masked), [masked], (masked, masked)):
                with pytest.raises(TypeError, match="mask"):
                    run(name, replaced(EXAMPLES[name](), path, given))


# Each looks into its tensors only when its result is called, or not at all.
LEAVES_TENSORS_UNREAD = {
    "robustness.attacks.pgd_linf",  # labels, which go to the caller's function as they are
    "robustness.attacks.random_search_linf",
    "language_models.training.next_token_batches",
    "language_models.constrained_tuning.response_length",  # a score gets the tokens, and this one counts the mask
}
# Their tensors stand in records that the library makes, or in a state dictionary, which is torch's to read.
READS_RECORDS = {
    "disentangling.known_factor.onset_capacity",
    "disentangling.training.target",
    "disentangling.training.on_target",
    "disentangling.peer_weights.load_interleaved",
}


def raised_here(error: BaseException) -> bool:
    """Whether a ``raise`` of Python code made the error: numpy's and torch's own come out of a call."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip().startswith("raise ")


def numpy_kinds(value: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The entries of ``value`` as a numpy array that runs backwards, and as one with the first entry masked."""
    array = value.detach().numpy()
    mask = (np.arange(array.size) == 0).reshape(array.shape)
    return scattered(array), np.ma.masked_array(array, mask)


@pytest.mark.parametrize("name", [n for n in EXAMPLES if "train_" not in n and n not in READS_RECORDS | ALLOWS_OTHERS])
def test_numpy_in_place_of_a_tensor_gives_the_same_or_is_refused_with_a_sentence(name):
    given = {path: v for path, v in arrays(EXAMPLES[name]()).items() if isinstance(v, torch.Tensor)}
    for path, value in given.items():
        backwards, masked = numpy_kinds(value)
        try:
            found = run(name, replaced(EXAMPLES[name](), path, backwards))
        except (TypeError, ValueError) as error:
            assert raised_here(error), f"{name} ends in another library's words at {path}: {error}"
        else:
            assert same(found, run(name, EXAMPLES[name]()), 1e-5), f"{name} computes something else at {path}"
        if name not in LEAVES_TENSORS_UNREAD:
            with pytest.raises((TypeError, ValueError)) as refusal:
                run(name, replaced(EXAMPLES[name](), path, masked))
            assert raised_here(refusal.value), f"{name} ends in another library's words at {path}: {refusal.value}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_whole_numbers_are_refused_or_count_as_the_floats_they_are(name):
    for path, value in arrays(EXAMPLES[name]()).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            rounded = value.abs().ceil().clamp(max=1)
            kinds = (torch.int64, torch.uint8)
            as_given = value.dtype
            cast = lambda dtype, r=rounded: r.to(dtype)
        elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
            rounded = np.ceil(np.abs(value)).clip(max=1)
            kinds, as_given = (np.int64, np.uint8), value.dtype
            cast = lambda dtype, r=rounded: r.astype(dtype)
        else:
            continue
        try:
            expected = run(name, replaced(EXAMPLES[name](), path, cast(as_given)))
        except REFUSALS:
            continue
        for kind in kinds:
            refused_or(name, replaced(EXAMPLES[name](), path, cast(kind)), lambda r, e=expected: same(r, e, 1e-5))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_floats_are_refused_or_give_the_same_within_their_rounding(name, dtype):
    """The whole call in another precision: all floating-point tensors at once."""
    arguments, changed = EXAMPLES[name](), EXAMPLES[name]()
    found = {p: v for p, v in arrays(arguments).items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
    if not found or any(isinstance(v, nn.Module) for v in (*arguments[0], *arguments[1].values())):
        pytest.skip("no tensors of floats, or a network, which has a dtype of its own")
    if "train_" in name and dtype != torch.float64:
        pytest.skip("steps of an optimiser in half precision are another training")
    if any(isinstance(v, torch.Generator) for v in (*arguments[0], *arguments[1].values())):
        pytest.skip("another precision takes other random numbers")
    for path, value in found.items():
        # Rounded to the coarsest type first, so that both calls get the same numbers.
        coarse = value.bfloat16().to(torch.float16).to(value.dtype)
        arguments, changed = replaced(arguments, path, coarse), replaced(changed, path, coarse.to(dtype))
    try:
        expected = run(name, arguments)
    except REFUSALS:
        pytest.skip("rounded numbers are refused")
    tolerance = {torch.float64: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    refused_or(name, changed, lambda r: same(r, expected, tolerance))


# What torch.func.vmap stops in torch's own words, and why no batched way is offered.
NOT_MAPPED = {
    **dict.fromkeys((n for n in EXAMPLES if ".train_" in n), "a training: backward() cannot run inside a transform"),
    **dict.fromkeys(
        (
            "robustness.attacks.eot_gradient",
            "robustness.attacks.fgsm",
            "few_shot.finetuning.tune_classifiers",
            "few_shot.finetuning.transductive_finetune",
            "disentangling.value_learning.fit_q",
        ),
        "takes a gradient of its own with torch.autograd",
    ),
    **dict.fromkeys(
        (
            "checks.all_finite",
            "robustness.evaluation.robust_accuracies",
            "robustness.evaluation.robust_accuracy",
            "disentangling.evaluation.evaluate_vae",
            "disentangling.known_factor.onset_capacity",
            "disentangling.perceptual.equal_variance_scale",
            "disentangling.rate_distortion.factor_variances",
        ),
        "gives Python numbers",
    ),
    **dict.fromkeys(
        ("robustness.multinomial.multinomial_counts", "robustness.multinomial.multinomial_occupancy"),
        "how much it draws depends on the values",
    ),
    "robustness.attacks.random_search_linf": "copies the better tries only, whose number depends on the values",
    "disentangling.metrics.linear_probe": "a fit that looks whether its parts have what it needs",
    "disentangling.rooms.read_rooms": "looks whether the pictures are rooms",
    "disentangling.layers.channels_last": "an order in memory, which vmap does not show",
    "disentangling.peer_weights.load_interleaved": "writes into a network",
    "disentangling.value_learning.greedy_policies": "its policies act on the host",
}


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("name", EXAMPLES)
def test_vmap_gives_each_row_what_a_call_gives_or_is_refused_with_a_sentence(name):
    given = {p: v for p, v in arrays(EXAMPLES[name]()).items() if isinstance(v, torch.Tensor) and v.ndim}
    floats = [path for path, v in given.items() if v.is_floating_point()]
    if not floats:
        pytest.skip("no tensor of floats")
    path, tensors = floats[0], lambda r: tuple(v for v in arrays(r).values() if isinstance(v, torch.Tensor))
    given = EXAMPLES[name]()
    value = arrays(given)[path]
    both = torch.stack([value, value.flip(0)])
    mapped = torch.func.vmap(lambda row: tensors(run(name, replaced(given, path, row))), randomness="same")
    try:
        found = mapped(both)
    except (NotImplementedError, TypeError, ValueError) as error:
        assert raised_here(error), f"{name} ends in another library's words under vmap: {error}"
    except RuntimeError as error:
        assert name in NOT_MAPPED, f"{name} ends in torch's words under vmap: {error}"
    else:
        assert name not in NOT_MAPPED, f"{name} can be mapped, take it out of NOT_MAPPED"
        for k, row in enumerate(both):
            expected = tensors(run(name, replaced(EXAMPLES[name](), path, row)))
            assert same(tuple(v[k] for v in found), expected, 1e-4), f"{name} gives row {k} something else"


def test_the_names_that_vmap_need_not_map_are_kernels():
    assert set(NOT_MAPPED) <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_at_all_is_refused_or_gives_no_nan(name):
    for path, value in arrays(EXAMPLES[name]()).items():
        if value.ndim:
            refused_or(name, replaced(EXAMPLES[name](), path, value[:0]), finite)


@pytest.mark.parametrize("name", EXAMPLES)
def test_another_shape_is_refused_with_a_sentence_or_computed(name):
    for path, value in arrays(EXAMPLES[name]()).items():
        for wrong in (value[None], value[..., None], value.reshape(-1)[0]):
            refused_or(name, replaced(EXAMPLES[name](), path, wrong), lambda result: True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_generator_of_another_kind_is_refused_with_a_sentence(name):
    for place, values in enumerate(EXAMPLES[name]()):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            if isinstance(value, (torch.Generator, np.random.Generator)):
                other = np.random.default_rng(0) if isinstance(value, torch.Generator) else torch.Generator()
                for wrong in (0, other):
                    with pytest.raises(TypeError):
                        run(name, replaced(EXAMPLES[name](), (place, key), wrong))


@pytest.mark.parametrize("name", [n for n in EXAMPLES if "generator" in inspect.signature(KERNELS[n]).parameters])
def test_a_generator_that_has_to_be_given_is_not_replaced_by_a_global_one(name):
    if inspect.signature(KERNELS[name]).parameters["generator"].default is None:
        pytest.skip("None means torch's global generator here, and the docstring says so")
    annotation = str(inspect.signature(KERNELS[name]).parameters["generator"].annotation)
    if "None" in annotation:
        pytest.skip("None means torch's global generator here, and the signature says so")
    args, options = EXAMPLES[name]()
    bound = inspect.signature(KERNELS[name]).bind(*args, **options)
    bound.arguments["generator"] = None
    with pytest.raises(TypeError):
        KERNELS[name](*bound.args, **bound.kwargs)


def output(module: nn.Module, inputs: tuple) -> Any:
    """What the module gives, drawing from copies of the generators, so that a second call can be compared."""
    for part in module.modules():
        if isinstance(getattr(part, "generator", None), torch.Generator):
            part.generator = part.generator.clone_state()
    inputs = tuple(v.clone_state() if isinstance(v, torch.Generator) else v for v in inputs)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        return module(*inputs)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_survives_copying_and_pickling(name):
    module, inputs = MODULES[name]()
    module.eval().register_buffer("mark", torch.ones(1))
    module.note = {"kept": [1]}
    states = pickle.dumps(module)
    expected = output(module, inputs)
    for other in (copy.deepcopy(MODULES[name]()[0].eval()), pickle.loads(states)):
        assert same(output(other, MODULES[name]()[1]), expected, 1e-6), f"{name} computes something else"
    again = copy.deepcopy(module)
    assert again.note == module.note and again.note is not module.note and torch.equal(again.mark, module.mark)
    for a, b in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_leaves_its_input_alone_and_takes_views(name):
    module, inputs = MODULES[name]()
    module.eval()
    kept = [v.clone() if isinstance(v, torch.Tensor) else v for v in inputs]
    expected = output(module, inputs)
    for value, before in zip(inputs, kept, strict=True):
        assert not isinstance(value, torch.Tensor) or torch.equal(value, before)
    module, inputs = MODULES[name]()
    views = tuple(scattered(v) if isinstance(v, torch.Tensor) else v for v in inputs)
    assert same(output(module.eval(), views), expected, 1e-5)


@pytest.mark.filterwarnings("ignore")  # tracing warns about what it cannot trace and runs plainly
@pytest.mark.parametrize("name", [n for n in MODULES if "FullyConnected" not in n and "Burgess" not in n])
def test_a_module_gives_the_same_under_torch_compile(name):
    """Traced by the compiler's front end and run without generated code, which needs no compiler of C."""
    module, inputs = MODULES[name]()
    expected = output(module.eval(), inputs)
    module, inputs = MODULES[name]()
    torch._dynamo.reset()
    compiled = torch.compile(module.eval(), backend="eager")
    assert same(output(compiled, inputs), expected, 1e-5)


def built(name: str, **changed: Any) -> tuple[nn.Module, tuple, dict[str, Any]]:
    """What MODULES has under ``name``, with arguments of the constructor ``changed``; and all that it was given."""
    kind, given = KERNELS[name], {}
    own, make = "__init__" in vars(kind), kind.__init__

    def construct(self: nn.Module, *args: Any, **options: Any) -> None:
        bound = inspect.signature(make).bind(self, *args, **options)
        bound.apply_defaults()
        bound.arguments.update(changed)
        given.update(list(bound.arguments.items())[1:])
        make(*bound.args, **bound.kwargs)

    kind.__init__ = construct
    try:
        return *MODULES[name](), given
    finally:
        if own:
            kind.__init__ = make
        else:
            del kind.__init__


NOT_BUILT = (TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError)


def other_settings(name: str, parameter: str, value: Any) -> list[Any]:
    """Other values worth a try where ``value`` was given: other numbers, sides, words or functions."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value, max(1, value // 2), (1, max(1, value // 2), 2 * value)]
    if isinstance(value, float):
        return [2 * value, value / 2, value + 0.5]
    if isinstance(value, str):  # a refusal lists the words that are allowed
        with pytest.raises(ValueError) as refusal:
            built(name, **{parameter: "no such word"})
        return [word for word in re.findall("'([^']+)'", str(refusal.value)) if word not in (value, "no such word")]
    if isinstance(value, (tuple, list)):
        return [(*value[k:], *value[:k]) for k in range(1, len(value)) if (*value[k:], *value[:k]) != (*value,)]
    if callable(value) and not isinstance(value, nn.Module):
        return [f for f in (torch.tanh, torch.sigmoid, torch.relu) if f is not value]
    return [1, 2, 0.5] if value is None else []


def computed(module: nn.Module, inputs: tuple) -> Any:
    """What the module makes of the inputs and the gradients that it gives back, or that it refuses them."""
    inputs = [
        v.detach().requires_grad_() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for v in inputs
    ]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            out = list(arrays(module.eval()(*inputs)).values())
    except (ValueError, TypeError, RuntimeError) as refusal:
        return type(refusal)
    weight = torch.Generator().manual_seed(1)
    total = sum((o * torch.rand(o.shape, generator=weight)).sum() for o in out if o.requires_grad)
    leaves = [v for v in inputs if isinstance(v, torch.Tensor) and v.requires_grad]
    slopes = torch.autograd.grad(total, leaves, allow_unused=True) if leaves and torch.is_tensor(total) else ()
    return [o.detach() for o in out], [s for s in slopes if s is not None]


def kept(module: nn.Module) -> dict[str, Any]:
    """The plain values among the module's attributes, its parts' included: other methods than ``forward`` read them too."""
    plain = (bool, int, float, str, tuple, type(None))
    return {
        f"{path}.{key}": value
        for path, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, plain) and key != "training" and not key.startswith("_")
    }


def settings_that_matter(name: str) -> dict[str, bool]:
    """By the constructor's parameter: whether modules of the same weights that compute different things are told apart.

    Only the parameters of which one of :func:`other_settings` leaves every weight's name and shape, and changes the
    outputs, the gradients or an attribute that is kept.
    """
    module, inputs, given = built(name)
    shapes = {key: value.shape for key, value in module.state_dict().items()}
    expected, own, told = computed(module, inputs), model_settings(module), {}
    assert not inspect.isclass(expected), f"{name} refuses its example"
    for parameter, value in given.items():
        for other in other_settings(name, parameter, value):
            try:
                changed, inputs, _ = built(name, **{parameter: other})
            except NOT_BUILT:
                continue
            if {key: value.shape for key, value in changed.state_dict().items()} != shapes:
                continue
            changed.load_state_dict(module.state_dict())
            if kept(changed) != kept(module) or not same(computed(changed, inputs), expected, 1e-6):
                told[parameter] = told.get(parameter, True) and model_settings(changed) != own
    return told


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_the_same_weights_that_compute_different_things_have_different_settings(name):
    """Otherwise :func:`workings.training.load_weights` would put the weights of one into the other without a word."""
    silent = [parameter for parameter, told in settings_that_matter(name).items() if not told]
    assert not silent, f"name what {silent} decides in the class's __constants__ (see workings.training.model_settings)"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("language_models.decoder.TinyDecoder", {"n_heads", "positions", "rope_base", "window", "tie"}),
        ("language_models.lora.LoRALinear", {"alpha"}),
        ("robustness.layers.SAPLayer", {"fraction", "backward"}),
        ("robustness.bpda.BPDALayer", {"surrogate"}),
        ("disentangling.denoising.DenoisingAutoencoder", {"shape"}),
        ("disentangling.networks.MLPDecoder", {"size", "activation"}),
        ("disentangling.jmvae.JMVAE", {"shape", "sizes"}),
        ("few_shot.networks.Conv4", {"size"}),
    ],
)
def test_the_walk_over_settings_finds_those_that_are_known_to_matter(name, parameters):
    assert parameters <= set(settings_that_matter(name))
