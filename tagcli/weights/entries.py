"""The published weights that tagcli can use now: pinned addresses, hashes, licences and figures.

The hash is the identity of a file; the address only says where those bytes were published. Figures are the authors'
own, for the model as published: the MagnaTagATune files of FCN and musicnn come from other runs of the same training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tagcli.checkpoint import Provenance

Importer = Literal["won2020-fcn", "won2020-crnn", "won2020-musicnn", "choi2016", "keras2", "compact-theano"]


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One published file of weights.

    Parameters
    ----------
    name
        What the user calls it.
    path
        Short path in a mirror, such as ``won2020/msd_fcn.pth``.
    url
        Address of the file, pinned to a commit; None when it may only be imported.
    sha256, n_bytes
        Identity and size of the published file.
    licence, copyright_notice
        Short name of the licence, and whose it is.
    citation, training_data
        The paper, and what the weights were trained on.
    roc_auc, pr_auc
        Published macro figures, None where there are none.
    vocabulary
        Name of the vocabulary of its outputs.
    sample_rate
        Rate in Hz of the audio that it hears.
    importer
        Which published format the file has.
    twin_sha256
        Of a file that was published beside it, with the same weights in another layout; None where there is none.
    """

    name: str
    path: str
    url: str | None
    sha256: str
    n_bytes: int
    licence: str
    copyright_notice: str
    citation: str
    training_data: str
    roc_auc: float | None
    pr_auc: float | None
    vocabulary: str
    sample_rate: int
    importer: Importer
    twin_sha256: str | None = None

    @property
    def provenance(self) -> Provenance:
        """Where a checkpoint made of this file comes from."""
        return Provenance(
            source=self.url or self.path,
            source_sha256=self.sha256,
            licence=f"{self.licence}: {self.copyright_notice}",
            citation=self.citation,
            training_data=self.training_data,
            roc_auc=self.roc_auc,
            pr_auc=self.pr_auc,
        )

    @property
    def how_to_get(self) -> str:
        """The command that brings the weights here."""
        return f"tagcli weights pull {self.name}" if self.url else f"tagcli weights import FILE --as {self.name}"


_TRAINING_DATA: Mapping[str, str] = MappingProxyType(
    {
        "msd": "Million Song Dataset, 50 Last.fm tags",
        "mtat": "MagnaTagATune, 50 tags",
        "jamendo": "MTG-Jamendo, 50 tags",
    }
)


_WON2020_IMPORTERS: Mapping[str, Importer] = MappingProxyType(
    {"fcn": "won2020-fcn", "crnn": "won2020-crnn", "musicnn": "won2020-musicnn"}
)


def _won2020(
    dataset: Literal["msd", "mtat", "jamendo"],
    kind: Literal["fcn", "crnn", "musicnn"],
    *,
    sha256: str,
    n_bytes: int,
    roc_auc: float,
    pr_auc: float,
) -> CatalogueEntry:
    return CatalogueEntry(
        name=f"won2020-{dataset}-{kind}",
        path=f"won2020/{dataset}_{kind}.pth",
        url="https://raw.githubusercontent.com/jose-jvmas/sota-music-tagging-models/"
        f"bbcae87e2a25f46cdb5132fca2f400263439a98c/models/{dataset}/{kind}/best_model.pth",
        sha256=sha256,
        n_bytes=n_bytes,
        licence="MIT",
        copyright_notice=(
            "Copyright (c) 2020 Music Technology Group, Universitat Pompeu Fabra. Code developed by Minz Won."
        ),
        citation=(
            "Won, Ferraro, Bogdanov, Serra: Evaluation of CNN-based automatic music tagging models. "
            "Sound and Music Computing Conference, 2020"
        ),
        training_data=_TRAINING_DATA[dataset],
        roc_auc=roc_auc,
        pr_auc=pr_auc,
        vocabulary=f"{dataset}50",
        sample_rate=16_000,
        importer=_WON2020_IMPORTERS[kind],
    )


_ENTRIES = (
    _won2020(
        "msd",
        "fcn",
        sha256="6012aa7eecf864a8081faedca56af054521e8dfb9c5c98659a3dd5d3e1e66f21",
        n_bytes=1_902_815,
        roc_auc=0.8744,
        pr_auc=0.2970,
    ),
    _won2020(
        "mtat",
        "fcn",
        sha256="e89d751202d38c3ae69855782bc27010f87051958dbec64f5aa762364dbac271",
        n_bytes=1_902_811,
        roc_auc=0.9005,
        pr_auc=0.4295,
    ),
    _won2020(
        "jamendo",
        "fcn",
        sha256="7bce08a66dbc70d096b0a330f44b4cacd9aa25519b83489fbb98f2164a194e2b",
        n_bytes=1_902_815,
        roc_auc=0.8255,
        pr_auc=0.2801,
    ),
    _won2020(
        "msd",
        "crnn",
        sha256="ebb99855ed0c83f38845db9cfb383dd6fc70938bc58701dcb66e18af9ee7fbea",
        n_bytes=1_687_711,
        roc_auc=0.8499,
        pr_auc=0.2469,
    ),
    _won2020(
        "mtat",
        "crnn",
        sha256="cd22fc70cafd06f8f2bfc7dd795abccb1f4b50d5b09094c39ad100baf87475a3",
        n_bytes=1_687_630,
        roc_auc=0.8722,
        pr_auc=0.3625,
    ),
    _won2020(
        "jamendo",
        "crnn",
        sha256="0a558989c0793f488cb677d188464c91f47c007f7c70473230e55537ca598215",
        n_bytes=1_687_626,
        roc_auc=0.7978,
        pr_auc=0.2358,
    ),
    _won2020(
        "mtat",
        "musicnn",
        sha256="690ace3bb5d49d90dd38fe3ec05a1185350b3bc3742bd7ee941f56b649b2c893",
        n_bytes=3_257_172,
        roc_auc=0.9106,
        pr_auc=0.4493,
    ),
    _won2020(
        "jamendo",
        "musicnn",
        sha256="66280f4859376377c47f64313c7ac889a3201fdb06a01bf6e94ac6e619081bb5",
        n_bytes=3_257_168,
        roc_auc=0.8226,
        pr_auc=0.2713,
    ),
    CatalogueEntry(
        name="choi2016-crnn",
        path="choi2016/music_tagger_crnn_weights_theano.h5",
        url="https://raw.githubusercontent.com/keunwoochoi/music-auto_tagging-keras/"
        "a3e105d0c4c529c512cc197ad8770ff1cc52aa32/data/music_tagger_crnn_weights_theano.h5",
        sha256="783d8198417fd5d6ceee551dea5ec3e7f0210ec743af4819172b5c943044081c",
        n_bytes=1_649_664,
        licence="MIT",
        copyright_notice="Copyright (c) 2016 Keunwoo Choi",
        citation=(
            "Choi, Fazekas, Sandler, Cho: Convolutional recurrent neural networks for music classification. "
            "arXiv 1609.04243, 2016"
        ),
        training_data=_TRAINING_DATA["msd"],
        roc_auc=0.8662,
        pr_auc=None,
        vocabulary="msd50",
        sample_rate=12_000,
        importer="choi2016",
        twin_sha256="df63638de9f3113780768181670c554f122fbd1297c63c065836d70a251115a8",
    ),
    CatalogueEntry(
        name="choi2017-keras2",
        path="choi2017/model_best.hdf5",
        url=None,  # no licence file stands beside it: tagcli does not hand it out
        sha256="b5042bd44de1fdd9d757b764d9246e6934f47c8bdc5c15bf13566495f3439d48",
        n_bytes=1_545_360,
        licence="none",
        copyright_notice="no licence file was published with it",
        citation=(
            "Choi, Fazekas, Sandler, Cho: Transfer learning for music classification and regression tasks. ISMIR, 2017"
        ),
        training_data=_TRAINING_DATA["msd"],
        roc_auc=0.825,
        pr_auc=None,
        vocabulary="msd50",
        sample_rate=12_000,
        importer="keras2",
    ),
    CatalogueEntry(
        name="choi2017-compact-cnn",
        path="choi2017/weights_theano.hdf5",
        url="https://raw.githubusercontent.com/keunwoochoi/music-auto_tagging-keras/"
        "a3e105d0c4c529c512cc197ad8770ff1cc52aa32/compact_cnn/weights_theano.hdf5",
        sha256="caf89f811415691fbb245be7eef394b9cebd787d7e3f78e29695972141cf2a08",
        n_bytes=1_329_264,
        licence="MIT",
        copyright_notice="Copyright (c) 2016 Keunwoo Choi",
        citation=(
            "Choi, Fazekas, Cho, Sandler: The effects of noisy labels on deep convolutional neural networks for music "
            "tagging. IEEE Transactions on Emerging Topics in Computational Intelligence, 2018"
        ),
        training_data=_TRAINING_DATA["msd"],
        roc_auc=0.849,
        pr_auc=None,
        vocabulary="msd50",
        sample_rate=12_000,
        importer="compact-theano",
    ),
)

CATALOGUE: Mapping[str, CatalogueEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
