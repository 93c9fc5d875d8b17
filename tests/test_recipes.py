"""Recipes that cannot be followed; tags that a finetuning keeps; folders of cross-validation."""

import importlib.util
import math
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_dataset import TINY
from typer.testing import CliRunner

from tagcli.checkpoint import CheckpointHeader, Provenance, load_tensors, read_header, save_checkpoint
from tagcli.cli import app
from tagcli.errors import TrainingError
from tagcli.models.config import CrnnConfig, compact_config
from tagcli.tags import Category, Vocabulary
from tagcli.training.beginning import begin_fresh, begin_from
from tagcli.training.learner import Learner
from tagcli.training.recipe import Recipe
from tagcli.training.recipe_document import change_document, read_document, resolve_recipe
from tagcli.typed import parse_typed

PLACE = "The recipe r.toml"


def resolve(text):
    return resolve_recipe(tomllib.loads(text), n_tags=2, place=PLACE)


class TestWhatCannotBeFollowed:
    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("data.validation = []\noptimisation.schedule = 'plateau'", "[optimisation] schedule"),
            ("optimisation.learning_rate = inf", "[optimisation] learning_rate"),
            ("optimisation.learning_rate = nan", "[optimisation] learning_rate"),
            (f"optimisation.learning_rate = 1{'0' * 400}", "[optimisation] learning_rate"),
            ("optimisation.save_minutes = inf", "[optimisation] save_minutes"),
            ("optimisation.seed = 9223372036854775808", "seed"),
            ("optimisation.epochs = {a = 3}", "[optimisation] epochs"),
            ("optimisation.epochs = 1979-05-27", "[optimisation] epochs"),
            ("augmentation.mixup = inf", "[augmentation] mixup"),
            ("augmentation.gain_db = nan", "[augmentation] gain_db"),
            ("clip.seconds = inf", "[clip] seconds"),
            ("clip.seconds = nan", "[clip] seconds"),
            ("clip.n_samples = -5", "[clip] n_samples"),
            ("clip.short = []", "[clip] short"),
            ("data.cache_seconds = inf", "[data] cache_seconds"),
            ("data.train = 'train'", "[data] train"),
            ("data.validation_clips = 'some'", "[data]: validation_clips"),
            ("front_end.name = ['mel96-12k']", "[front_end] name"),
            ("front_end.fmin = nan", "[front_end] fmin"),
            ("front_end.dynamic_range_db = inf", "[front_end] dynamic_range_db"),
            ("front_end.sample_rate = 8000", "[front_end] fmax is missing"),
            ("model.architecture = ['compact']", "[model] architecture"),
            ("model.pools = [[0, 4], [3, 4], [2, 5], [2, 4], [4, 4]]", "[model] channels and pools"),
            ("model.pools = [[2, 4, 1]]", "[model] pools"),
            ("model.channels = []\nmodel.pools = []", "[model] channels and pools"),
            ("model.channels = [32, 32, 32, 32, -1]", "[model] channels and pools"),
            ("model.batch_norm_eps = inf", "[model] batch_norm_eps"),
            ("transfer.rate_factor = nan", "[transfer] rate_factor"),
            ("optimisation = 3", "[optimisation]"),
            ("[[optimisation]]\nepochs = 3", "[optimisation]"),
        ],
    )
    def test_table_and_key_are_named(self, text, named):
        with pytest.raises(TrainingError) as caught:
            resolve(text)
        assert named in str(caught.value)
        assert str(caught.value).startswith(PLACE)
        assert "\n" not in str(caught.value)

    def test_a_plateau_with_a_validation_is_followed(self):
        assert resolve("optimisation.schedule = 'plateau'").optimisation.schedule == "plateau"
        assert resolve("data.validation = []").data.validation == ()

    @given(
        table=st.sampled_from([*Recipe.__dataclass_fields__, "run"]),
        data=st.data(),
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=6,
        ),
    )
    @settings(max_examples=300, deadline=None)
    def test_anything_is_followed_or_refused_in_a_sentence(self, table, data, value):
        keys = resolve("").to_document().get(table, {})
        key = data.draw(st.sampled_from([*keys, "name", "seconds", ""]))
        for document in ({table: value}, {table: {key: value}}):
            try:
                recipe = resolve_recipe(document, n_tags=2, place=PLACE)
            except TrainingError:
                continue
            assert resolve_recipe(recipe.to_document(), n_tags=2, place=PLACE) == recipe


class TestKinds:
    def test_a_crnn_takes_other_numbers(self):
        text = "model.architecture = 'crnn'\nmodel.n_gru_units = 8\nclip.seconds = 10.0"
        recipe = resolve(text)
        assert isinstance(recipe.model, CrnnConfig)
        assert (recipe.model.n_gru_units, recipe.model.n_frames, recipe.model.channels) == (8, 626, (64, 128, 128, 128))
        assert recipe.front_end.sample_rate == 16_000
        assert resolve_recipe(recipe.to_document(), n_tags=2, place=PLACE) == recipe

    @pytest.mark.parametrize(
        ("key", "value", "named"),
        [
            ("n_gru_units", 0, "[model]: n_gru_layers and n_gru_units begin at 1"),
            ("n_gru_layers", "many", "[model] n_gru_layers"),
            ("head", "flatten", "[model] has no 'head'; it has architecture"),
            ("pools", [[2, 2], [3, 3], [4, 4], [0, 4]], "[model] channels and pools"),
            ("activation", "gelu", "[model] activation"),
        ],
    )
    def test_table_and_key_of_a_crnn_are_named(self, key, value, named):
        with pytest.raises(TrainingError) as caught:
            resolve_recipe({"model": {"architecture": "crnn", key: value}}, n_tags=2, place=PLACE)
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_runs_from_before_there_were_kinds_are_known_by_their_recipe(self):
        """The state of a run holds its recipe as Python shows it, which no new kind may change."""
        assert repr(compact_config(n_tags=2)) == (
            "ConvNetConfig(architecture='compact', n_mels=96, n_frames=1360, channels=(32, 32, 32, 32, 32), "
            "pools=((2, 4), (3, 4), (2, 5), (2, 4), (4, 4)), activation='elu', head='flatten', n_tags=2, "
            "batch_norm_eps=0.001, embedding_tap='after_pooling')"
        )


class TestNumbers:
    @pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400])
    def test_no_number_is_infinite(self, value):
        with pytest.raises(ValueError, match="finite"):
            parse_typed(float, value)
        with pytest.raises(ValueError, match="finite"):
            parse_typed(float | None, value)
        with pytest.raises(ValueError, match="finite"):
            parse_typed(tuple[float, ...], [0.5, value])

    def test_finite_ones_stay_what_they_are(self):
        assert parse_typed(tuple[float, ...], [1, 0.1, -5e-324]) == (1.0, 0.1, -5e-324)
        with pytest.raises(TypeError, match="is not a number"):
            parse_typed(float, True)

    def test_a_checkpoint_says_no_such_number(self, teacher):
        header = read_header(teacher)
        for number in (math.inf, math.nan):
            front_end = replace(header.front_end, dynamic_range_db=number)
            with pytest.raises(ValueError, match="finite"):
                CheckpointHeader.from_json(replace(header, front_end=front_end).to_json())


class TestDocuments:
    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("optimisation = 3", "[optimisation]"),
            ("[[data]]\ntrain = ['a']", "[data]"),
            ("run = 3", "[run]"),
            ("epochs = 3", "'epochs'"),
            (f"optimisation.epochs = {'1' * 5000}", "not TOML"),
            (f"optimisation.epochs = {'[' * 9000}", "not TOML"),
            ("\0", "not TOML"),
        ],
    )
    def test_a_file_of_another_shape(self, text, named, tmp_path):
        path = tmp_path / "r.toml"
        path.write_text(text)
        with pytest.raises(TrainingError) as caught:
            read_document(path)
        assert named in str(caught.value)
        assert str(path) in str(caught.value)

    def test_an_entry_of_what_is_no_table(self):
        for wrong in (3, [{"epochs": 3}], "x"):
            with pytest.raises(ValueError, match="no table"):
                change_document({"optimisation": wrong}, "optimisation.epochs=3")

    @pytest.mark.parametrize("options", [("--epochs", "3"), ("--set", "optimisation.seed=1"), ()])
    @pytest.mark.parametrize(
        "text", ["optimisation = 3", "[[optimisation]]\nepochs = 3", "optimisation.patience = inf"]
    )
    def test_the_command_says_one_sentence(self, toy, tmp_path, options, text):
        recipe = tmp_path / "r.toml"
        recipe.write_text(text)
        arguments = ["train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--config", recipe, *options]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 1, result.output
        assert result.stderr.count("\n") == 1
        assert str(recipe) in result.stderr
        assert "[optimisation]" in result.stderr
        assert not (tmp_path / "run").exists()

    def test_the_command_line_is_held_to_the_same(self, toy, tmp_path):
        arguments = ["train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--set", "data.cache_seconds=inf"]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 1, result.output
        assert "[data] cache_seconds" in result.stderr


@pytest.fixture
def teacher(tmp_path):
    """A checkpoint that knows low and high."""
    recipe = resolve_recipe(TINY, n_tags=2, place="x")
    provenance = Provenance(source="x", source_sha256="0" * 64, licence="", citation="", training_data="x")
    header = CheckpointHeader(
        name="teacher",
        front_end=recipe.front_end,
        clip=recipe.clip,
        architecture=recipe.model,
        vocabulary=Vocabulary(tags=("low", "high"), labels=("low", "high"), name="x", categories=(Category.GENRE,) * 2),
        provenance=provenance,
    )
    learner = Learner(recipe.front_end, recipe.model, recipe.transfer)
    learner.initialise(7)
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, header, learner.tensors())
    return path


class TestTagsOfBoth:
    @pytest.mark.parametrize(
        ("tags", "rows"),
        [
            (("low", "high"), (0, 1)),
            (("High", "LOW"), (1, 0)),
            (("new", "Low"), (None, 0)),
            (("Low", "low"), (None, 0)),
            (("LOW", "Low"), (None, None)),  # either might be it
        ],
    )
    def test_rows_are_kept_whatever_the_case(self, teacher, tags, rows):
        header, old = read_header(teacher), load_tensors(teacher)
        vocabulary = replace(header.vocabulary, tags=tags, labels=tags)
        recipe = resolve_recipe({**TINY, "optimisation": {"seed": 8}}, n_tags=2, place="x")
        new = begin_from(teacher, replace(header, vocabulary=vocabulary), recipe).state_dict()
        weights = "model.dense.weight"
        for row, known in enumerate(rows):
            kept = [index for index in (0, 1) if torch.equal(new[weights][row], old[weights][index])]
            assert kept == ([] if known is None else [known])

    def test_a_network_too_large_is_a_sentence(self, teacher):
        header = read_header(teacher)
        wide = replace(header, architecture=replace(header.architecture, channels=(4, 2**62)))
        with pytest.raises(TrainingError, match="cannot be followed") as caught:
            begin_fresh(wide, resolve_recipe(TINY, n_tags=2, place="x"))
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def cross_validation():
    """The script."""
    path = Path(__file__).parents[1] / "benchmarks" / "cross_validation.py"
    spec = importlib.util.spec_from_file_location("cross_validation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestCrossValidation:
    def test_a_folder_belongs_to_one_setting(self, toy, teacher, tmp_path, cross_validation):
        out, recipe = tmp_path / "out", {"optimisation": {"epochs": 3}}
        settings_of = cross_validation.describe_settings
        cross_validation.claim_folder(out, settings_of(toy, {"": toy}, recipe, teacher))
        (out / "seed-0.npy").touch()
        cross_validation.claim_folder(out, settings_of(toy, {"": toy}, recipe, teacher))
        other_labels = replace(toy, labels=~toy.labels)
        other_weights = tmp_path / "other.safetensors"
        other_weights.write_bytes(teacher.read_bytes() + b"x")
        for other in (
            settings_of(other_labels, {"": other_labels}, recipe, teacher),
            settings_of(toy, {"": toy, "-b": other_labels}, recipe, teacher),
            settings_of(toy, {"": toy}, {"optimisation": {"epochs": 4}}, teacher),
            settings_of(toy, {"": toy}, recipe, None),
            settings_of(toy, {"": toy}, recipe, other_weights),
        ):
            with pytest.raises(SystemExit, match="another OUT"):
                cross_validation.claim_folder(out, other)
        cross_validation.claim_folder(out, settings_of(toy, {"": toy}, recipe, teacher))

    def test_runs_that_nothing_is_known_of_are_not_taken(self, toy, tmp_path, cross_validation):
        (tmp_path / "seed-0-fold-1").mkdir()
        with pytest.raises(SystemExit, match="another OUT"):
            cross_validation.claim_folder(tmp_path, cross_validation.describe_settings(toy, {"": toy}, {}, None))


def test_a_number_of_validation_clips_may_be_a_number():
    assert resolve_recipe({"data": {"validation_clips": 2}}, n_tags=2, place="x").data.validation_clips == "2"
