"""The published weights give the published numbers, from the waveform on and from the mp3 on."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.decode import Track
from tagcli.checkpoint import read_header
from tagcli.tagger import TagOptions, load_tagger
from tagcli.tagger.module import TaggerModule
from tagcli.weights.intake import import_weights, pull

DATASETS = ("msd", "mtat", "jamendo")
GOLDEN = ("msd_fcn", "mtat_fcn", "jamendo_fcn", "msd_crnn")
"""Whose scores are stored."""
EXCERPTS = ("0003", "0119", "0293")
CLIP = slice(800, 464_800)
"""The 29 s in the middle of the stored 29.1 s at 16 kHz."""

SCORES = 1e-4
"""The stored scores were made in float32 by another implementation; double precision differs from them by 7e-6."""
EMBEDDINGS = 1e-3
"""Relative, for the same reason; some values are next to 0, so the largest is the measure."""
HEARD_DB = -60.0
WON_DB = 0.01
"""Above `HEARD_DB`; nearer to the floor of -100 dB float32 transforms differ by up to 0.11 dB."""
KERAS2_DB = 1e-3
KERAS2_EMBEDDINGS = 1e-4
AGREEMENT = 0.6
"""Correlation of the logits of one clip: it is 0.82 at least, and 2,000 shuffles of the tags do not reach 0.5."""
WAVEFORM = 1e-4
"""The excerpts were made with another build of the same resampler."""


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    """Checkpoints of the published weights, by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("TAGCLI_WEIGHTS_MIRROR", str(shared / "weights"))
        places = {f"{name}_{kind}": pull(f"won2020-{name}-{kind}") for name in DATASETS for kind in ("fcn", "crnn")}
        keras2 = import_weights(shared / "weights" / "choi2017" / "model_best.hdf5", name="choi2017-keras2")
        return SimpleNamespace(**places, keras2=keras2)


@pytest.fixture(scope="module")
def golden(shared):
    """Stored waveforms and what the published networks make of them, by the number of the track."""
    found = {}
    for number in EXCERPTS:
        waveform = np.load(shared / "golden" / f"clip_magnatune_{number}_16k.npy", allow_pickle=False)
        with np.load(shared / "golden" / f"won2020_{number}.npz", allow_pickle=False) as arrays:
            found[number] = SimpleNamespace(waveform=waveform, **arrays)
    return found


@pytest.fixture(scope="module")
def mtat_scores_by_tag(published, golden):
    """Scores of the MagnaTagATune network by tag, of each track."""
    module = TaggerModule.from_checkpoint(published.mtat_fcn)
    tags = module.header.vocabulary.tags
    return {
        number: dict(zip(tags, module(torch.from_numpy(clip.waveform[None, CLIP]))[0].tolist(), strict=True))
        for number, clip in golden.items()
    }


@pytest.mark.parametrize("name", GOLDEN)
def test_wons_networks_give_the_stored_scores_and_embeddings(name, published, golden):
    module = TaggerModule.from_checkpoint(getattr(published, name))
    for clip in golden.values():
        waveform = torch.from_numpy(clip.waveform[None, CLIP])
        output = module.score(waveform, with_embeddings=True)
        expected, embedding = getattr(clip, name), getattr(clip, f"{name}_emb")
        np.testing.assert_allclose(output.scores[0], expected, rtol=0, atol=SCORES)
        np.testing.assert_allclose(module(waveform)[0], expected, rtol=0, atol=SCORES)
        assert output.embeddings[-1][0].shape == embedding.shape
        np.testing.assert_allclose(
            output.embeddings[-1][0], embedding, rtol=0, atol=EMBEDDINGS * np.abs(embedding).max()
        )


def test_wons_front_end_gives_the_stored_log_mel(published, golden):
    front_end = TaggerModule.from_checkpoint(published.msd_fcn).front_end
    for clip in golden.values():
        found = front_end.decibels(torch.from_numpy(clip.waveform[None, CLIP]))[0].numpy()
        assert found.shape == clip.logmel_db_29s.shape == (96, 1813)
        heard = clip.logmel_db_29s > HEARD_DB
        assert np.abs(found - clip.logmel_db_29s)[heard].max() < WON_DB


def test_the_published_protocol_of_sixteen_chunks(published, golden):
    module = TaggerModule.from_checkpoint(published.msd_fcn)
    clip = golden["0293"]
    starts = ClipChoice.parse("16").starts(len(clip.waveform), module.header.clip.n_samples)
    assert starts == [100 * index for index in range(16)]
    scores = [module(torch.from_numpy(clip.waveform[None, start : start + 464_000])) for start in starts]
    np.testing.assert_allclose(torch.cat(scores).mean(dim=0), clip.msd_fcn_eval16, rtol=0, atol=SCORES)
    assert np.abs(clip.msd_fcn_eval16 - clip.msd_fcn).max() > 100 * SCORES, "one clip would do as well"


@pytest.fixture(scope="module")
def choi(shared):
    """The stored clip at 12 kHz and what keras2 makes of it."""
    waveform = np.load(shared / "golden" / "clip_1100103_12k.npy", allow_pickle=False)
    with np.load(shared / "golden" / "choi2017_1100103.npz", allow_pickle=False) as arrays:
        return SimpleNamespace(waveform=torch.from_numpy(waveform[None]), **arrays)


def test_keras2_gives_the_stored_log_mel(published, choi):
    front_end = TaggerModule.from_checkpoint(published.keras2).front_end
    found = front_end.decibels(choi.waveform)[0].numpy()
    np.testing.assert_allclose(found, choi.keras2_logmel_db, rtol=0, atol=KERAS2_DB)
    standardised = (choi.keras2_logmel_db - choi.keras2_logmel_db.mean()) / choi.keras2_logmel_db.std()
    np.testing.assert_allclose(front_end(choi.waveform)[0], standardised, rtol=0, atol=KERAS2_DB)


def test_keras2_gives_the_stored_scores_and_features(published, choi):
    module = TaggerModule.from_checkpoint(published.keras2)
    output = module.score(choi.waveform, with_embeddings=True)
    np.testing.assert_allclose(output.scores[0], choi.keras2_probs, rtol=0, atol=SCORES)
    np.testing.assert_allclose(
        torch.cat(output.embeddings), choi.keras2_feats_elu_gap_5x32, rtol=0, atol=KERAS2_EMBEDDINGS
    )
    best = [module.header.vocabulary.tags[index] for index in output.scores[0].argsort(descending=True)[:3]]
    assert best == ["folk", "rock", "indie"]


@pytest.mark.parametrize("number", EXCERPTS)
def test_an_mp3_is_decoded_to_the_stored_waveform(number, shared, golden):
    blocks = Track(shared / "data" / "magnatune" / "audio" / f"{number}.mp3", 16_000).blocks()
    expected = golden[number].waveform
    kept = [next(blocks).copy()]
    while sum(map(len, kept)) < len(expected):
        kept.append(next(blocks).copy())
    np.testing.assert_allclose(np.concatenate(kept)[: len(expected)], expected, rtol=0, atol=WAVEFORM)


@pytest.mark.parametrize("name", GOLDEN)
def test_an_mp3_gets_the_stored_scores(name, published, golden, shared):
    path = shared / "data" / "magnatune" / "audio" / "0003.mp3"
    tagger = load_tagger(getattr(published, name), device="cpu")
    assert tagger.header.clip == ClipRule(n_samples=464_000, short="repeat")
    waveform = np.concatenate([block.copy() for block in Track(path, 16_000).blocks()])
    scores = tagger.module(torch.from_numpy(waveform[None, CLIP]))[0]
    np.testing.assert_allclose(scores, getattr(golden["0003"], name), rtol=0, atol=SCORES)


def test_a_whole_file_gets_the_stored_scores(published, golden, tmp_path):
    """The stored 29.1 s as a file: its middle clip is the stored one, the sixteen of the protocol the stored mean."""
    import soundfile

    tagger = load_tagger(published.msd_fcn, device="cpu")
    paths = []
    for number, clip in golden.items():
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], clip.waveform, 16_000, subtype="FLOAT")
    options = TagOptions(clips=ClipChoice.parse("middle"), with_embeddings=True)
    for result, clip in zip(tagger.score(paths, options), golden.values(), strict=True):
        assert result.n_clips == 1
        assert result.duration_seconds == pytest.approx(29.1)
        np.testing.assert_allclose(result.scores, clip.msd_fcn, rtol=0, atol=SCORES)
        np.testing.assert_allclose(
            result.embeddings[-1], clip.msd_fcn_emb, rtol=0, atol=EMBEDDINGS * clip.msd_fcn_emb.max()
        )


def test_the_tags_of_magnatagatune_are_in_the_published_order(mtat_scores_by_tag):
    vivaldi, ambient, song = (mtat_scores_by_tag[number] for number in EXCERPTS)
    assert set(sorted(vivaldi, key=vivaldi.get)[-2:]) <= {"classical", "harpsichord", "strings", "violin"}
    assert vivaldi["classical"] > 0.5 > ambient["classical"]
    assert max(ambient["ambient"], ambient["electronic"]) > 0.3 > vivaldi["ambient"]
    assert song["guitar"] > vivaldi["techno"]


def test_the_tags_of_jamendo_are_in_alphabetical_order_and_the_published_one(published, golden):
    module = TaggerModule.from_checkpoint(published.jamendo_fcn)
    tags = module.header.vocabulary.tags
    scores = dict(zip(tags, module(torch.from_numpy(golden["0003"].waveform[None, CLIP]))[0].tolist(), strict=True))
    assert max(scores, key=scores.get).removeprefix("genre---") == "classical"
    assert [tag.rpartition("---")[2] for tag in tags] == [tag.rpartition("---")[2] for tag in sorted(tags)]


@pytest.mark.parametrize("name", DATASETS)
def test_the_crnn_hears_what_the_fcn_hears(name, published, golden):
    """The order of tags is the same, so two networks of one data set agree more with each other than by chance."""
    waveforms = torch.from_numpy(np.stack([clip.waveform[CLIP] for clip in golden.values()]))
    fcn, crnn = (TaggerModule.from_checkpoint(getattr(published, f"{name}_{kind}")) for kind in ("fcn", "crnn"))
    for one, other in zip(torch.logit(fcn(waveforms)), torch.logit(crnn(waveforms)), strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] > AGREEMENT


def test_the_vocabularies_are_the_published_lists(published, shared):
    for name in vars(published):
        dataset = "msd" if name == "keras2" else name.partition("_")[0]
        expected = (shared / "weights" / f"tags_{dataset}50.txt").read_text(encoding="utf-8").splitlines()
        assert list(read_header(getattr(published, name)).vocabulary.tags) == expected


def test_a_checkpoint_keeps_every_bit_of_the_published_weights(published, shared):
    stored = torch.load(shared / "weights" / "won2020" / "msd_fcn.pth", weights_only=True, map_location="cpu")
    module = TaggerModule.from_checkpoint(published.msd_fcn)
    assert torch.equal(module.front_end.mel_filter_bank, stored["spec.mel_scale.fb"].T)
    assert torch.equal(module.model.dense.weight, stored["dense.weight"])
    assert module.header.provenance.roc_auc == 0.8744
