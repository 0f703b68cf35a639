"""What stands in a column, for every kind of source and target: read, scaled, encoded, shown, saved."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

from antiphon.common.numbers import FURTHEST
from antiphon.common.symbols import SPECIALS, UNK
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.images import LARGEST, ImageCodec, ImagesCodec
from antiphon.data.codecs.kinds import SOURCES, TARGETS, codec_from_json
from antiphon.data.codecs.labels import CategoryCodec, LabelCodec, LabelsCodec
from antiphon.data.codecs.numbers import FramesCodec, GridCodec, NumberCodec, NumbersCodec, VectorCodec
from antiphon.data.codecs.tags import TagsCodec
from antiphon.errors import AntiphonError, ConfigError


def learned(codec: Any, *values: object, folder: str = "") -> Any:
    codec.learn([codec.read(item, folder) for item in values])
    return codec


finite = st.floats(-1e6, 1e6, width=32)


# --- labels and categories ----------------------------------------------------------------------------


def test_labels_are_numbered_behind_the_special_symbols() -> None:
    codec = learned(LabelCodec("target"), "b", "a", "b", 7, True)
    assert codec.vocabulary.symbols == ["b", "7", "a", "true"]
    assert codec.encode("b") == [SPECIALS]
    assert codec.names([SPECIALS, 0, UNK]) == ["b"]
    with pytest.raises(ValueError, match="has a label that no training row has: 'c'"):
        codec.encode("c")


def test_an_unseen_category_is_unknown() -> None:
    codec = learned(CategoryCodec("source"), "en", "de")
    assert codec.encode("zh") == [UNK]


@pytest.mark.parametrize("value", ["3; V;PST;V", ["PST", "3", "V"], '["V", "PST", "3"]'])
def test_the_order_of_tags_does_not_count(value: object) -> None:
    codec = learned(TagsCodec("source"), "N;PL", "V;PST", "V;3")
    assert codec.vocabulary.symbols == ["V", "3", "N", "PL", "PST"]
    read = codec.read(value, "")
    assert codec.encode(read).tolist() == [[0, 1, 1, 0, 0, 1]]
    assert codec.shown(read) == "3;PST;V"
    unseen = codec.encode(codec.read("V;X;Y", ""))
    assert unseen.tolist() == [[2, 1, 0, 0, 0, 0]]
    assert codec.unknown(unseen) == 2
    with pytest.raises(ValueError, match="is empty"):
        codec.read(" ; ", "")
    with pytest.raises(ConfigError, match="separator: is empty"):
        TagsCodec("source", "")


def test_a_model_that_reads_tags_is_checked_before_any_are_known() -> None:
    """Without a warning of PyTorch about matrices of no columns; warnings are errors here."""
    from antiphon.config.load import parse_config
    from antiphon.training.prepare import check_names

    sides = {"source": [{}, {"kind": "tags"}], "target": {}}
    check_names(parse_config({"data": {"train": "t.tsv"}, **sides}, Path()))


@pytest.mark.parametrize("value", ["NOUN  VERB", ["NOUN", "VERB"]])
def test_labels_are_text_or_a_list(value: object) -> None:
    codec = learned(LabelsCodec("target"), value)
    assert codec.names(codec.encode(codec.read(value, ""))) == ["NOUN", "VERB"]
    assert codec.shown(codec.read(value, "")) == "NOUN VERB"


@pytest.mark.parametrize("value", ["", "  ", [], ["a", ""], None, {"a": 1}])
@pytest.mark.parametrize("kind", [LabelCodec, LabelsCodec])
def test_what_is_no_label_is_refused(kind: type[Codec], value: object) -> None:
    with pytest.raises(ValueError, match=r"^is "):
        kind("target").read(value, "")


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_balanced_weights_are_scikit_learns(labels: list[str]) -> None:
    names = sorted(set(labels))
    expected = dict(zip(names, compute_class_weight("balanced", classes=np.array(names), y=labels), strict=True))
    for codec in (
        learned(LabelCodec("target", "balanced"), *labels),
        learned(LabelsCodec("target", "balanced"), labels[:2], *([label] for label in labels[2:])),
    ):
        weights = codec.class_weights
        assert weights[:SPECIALS] == [1.0] * SPECIALS
        assert dict(zip(codec.vocabulary.symbols, weights[SPECIALS:], strict=True)) == pytest.approx(expected)


def test_weights_are_by_name_and_else_one() -> None:
    codec = learned(LabelCodec("target", {"b": 5, 7: 0.5}), "a", "b", 7)
    assert dict(zip(codec.vocabulary.symbols, codec.class_weights[SPECIALS:], strict=True)) == {
        "7": 0.5,
        "a": 1,
        "b": 5,
    }
    assert learned(LabelCodec("target"), "a", "b").class_weights is None
    wider = learned(LabelCodec("target"), "z", "a").extended(codec)
    assert wider.class_weights is None
    wider = codec.extended(learned(LabelCodec("target"), "z", "a"))
    assert wider.names(range(SPECIALS, SPECIALS + 4)) == ["a", "z", "7", "b"]
    assert wider.class_weights == [1.0] * SPECIALS + [1, 1, 0.5, 5]


@pytest.mark.parametrize("wrong", ["balancd", 3, ["a"], {"a": -1}, {"a": "2"}, {"a": True}, {"a": 10**400}, {None: 1}])
def test_wrong_weights_are_refused(wrong: object) -> None:
    with pytest.raises(ConfigError) as error:
        LabelCodec("target", wrong)
    assert error.value.key == "weights"


def test_a_weight_of_an_unknown_label_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^target.weights.NUON: no training row has this label; did you mean 'NOUN'"):
        learned(LabelsCodec("target", {"NUON": 2}), "NOUN VERB")


def test_labels_saved_before_there_were_weights_and_crfs_are_read() -> None:
    codec = learned(LabelsCodec("target"), "a b")
    again = LabelsCodec.from_json({"kind": "labels", "symbols": codec.vocabulary.symbols}, "target")
    assert again.to_json() == codec.to_json()
    assert again.part == "labels"


# --- numbers ------------------------------------------------------------------------------------------


@given(arrays.arrays(np.float32, st.tuples(st.integers(2, 6), st.integers(1, 4)), elements=finite))
def test_scaled_numbers_have_mean_0_and_deviation_1_and_come_back(values: Any) -> None:
    codec = learned(VectorCodec("source", scale="each"), *values)
    scaled = np.concatenate([codec._scaled(row[None]) for row in values])
    wide = values.astype(np.float64)
    still = wide.std(0) < 1e-4 * np.maximum(1, np.abs(wide).max(0))
    if not codec.bits:
        np.testing.assert_allclose(scaled.mean(0)[~still], 0, atol=1e-2)
        np.testing.assert_allclose(scaled.std(0)[~still], 1, atol=1e-2)
    np.testing.assert_allclose(codec.restored(scaled), values, rtol=1e-3, atol=1e-3 * np.abs(values).max() + 1e-6)


def test_one_scale_for_all_numbers_is_theirs_together() -> None:
    codec = learned(VectorCodec("source", scale="all"), [0, 10], [2, 4])
    assert codec.mean.tolist() == [4, 4]
    np.testing.assert_allclose(codec.deviation, np.std([0, 10, 2, 4]))


def test_bits_and_unscaled_numbers_stay_as_they_are() -> None:
    for codec in (learned(VectorCodec("s"), [0, 1], [1, 1]), learned(VectorCodec("s", scale="none"), [5, 1], [3, 1])):
        assert codec.encode(np.asarray([[1, 0]], np.float32)).tolist() == [[1, 0]]


def test_an_outlier_is_cut_off_in_a_source_but_not_in_a_target() -> None:
    source, target = learned(VectorCodec("s"), [1], [2], [3]), learned(NumberCodec("t"), 1, 2, 3)
    assert source.encode(source.read([1e9], "")).tolist() == [[FURTHEST]]
    assert target.encode(target.read(1e9, ""))[0, 0] > 1e8


@pytest.mark.parametrize("value", ["[1, 2.5]", [1, 2.5], ["1", "2.5"], np.array([1, 2.5]), (1, 2.5)])
def test_a_vector_may_stand_in_many_ways(value: object) -> None:
    assert VectorCodec("s").read(value, "").tolist() == [[1, 2.5]]


@pytest.mark.parametrize("value", ["[[1, 2], [3, 4]]", [[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])])
def test_frames_may_stand_in_many_ways(value: object, tmp_path: Path) -> None:
    assert FramesCodec("s").read(value, "").tolist() == [[1, 2], [3, 4]]
    np.save(tmp_path / "walk.npy", np.array([[1, 2], [3, 4]]))
    assert FramesCodec("s").read("walk.npy", str(tmp_path)).tolist() == [[1, 2], [3, 4]]
    assert FramesCodec("s", width=1).read(value, "").shape == (4, 1)
    assert FramesCodec("s").read([1, 2, 3], "").shape == (3, 1)


def test_a_grid_is_places_with_features_and_nothing_else() -> None:
    codec = learned(GridCodec("s", scale="none"), np.ones((2, 3, 4)))
    assert codec.read(np.arange(24).reshape(2, 3, 4), "").tolist() == np.arange(24).reshape(6, 4).tolist()
    assert codec.size == 4
    for wrong in ([1, 2, 3], np.ones((1, 2, 3, 4))):
        with pytest.raises(ValueError, match="must be \\[places, numbers\\]"):
            codec.read(wrong, "")


WRONG: list[Any] = [
    "",
    "one",
    "[1, two]",
    "[[1], [2, 3]]",
    "NaN",
    "[1e999]",
    [],
    [[]],
    {},
    None,
    ["x"],
    [None],
    "9" * 5000,
    "nan.npy",
]


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("kind", [VectorCodec, FramesCodec, NumberCodec, NumbersCodec])
def test_what_is_no_number_is_refused(kind: type[Codec], value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^(is|must|contains|has|names) "):
        kind("source").read(value, str(tmp_path))


def test_bits_are_a_target_of_their_own() -> None:
    codec = learned(NumbersCodec("t"), [[0, 1], [1, 1]])
    assert (codec.bits, codec.part) == (True, "bits")
    with pytest.raises(ValueError, match="numbers other than 0 and 1"):
        codec.encode(codec.read([[0, 2]], ""))
    assert learned(NumbersCodec("t"), [[0, 2]]).part == "numbers"
    assert not learned(NumberCodec("t"), 0, 1).bits, "a number is a number"


# --- images -------------------------------------------------------------------------------------------

MODES = ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "La", "RGBa", "I;16"]


def picture(mode: str, width: int = 17, height: int = 11) -> Image.Image:
    """A ramp from black to white, from left to right."""
    ramp = np.linspace(0, 255, width, dtype=np.uint8)[None].repeat(height, 0)
    gray = Image.fromarray(ramp)
    if mode == "I;16":
        return Image.fromarray(ramp.astype(np.uint16) * 257)
    if mode in ("La", "RGBa"):
        return gray.convert("LA" if mode == "La" else "RGBA").convert(mode)
    if mode == "LAB":
        return Image.merge("LAB", [gray, Image.new("L", gray.size, 128), Image.new("L", gray.size, 128)])
    return gray.convert("RGB" if mode in ("HSV", "LAB", "PA") else "L").convert(mode)


SAVABLE = [(mode, ".png") for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")]
SAVABLE += [(mode, ".tiff") for mode in MODES if mode not in ("HSV", "La", "RGBa")]
SAVABLE += [("CMYK", ".jpg"), ("YCbCr", ".jpg"), ("L", ".npy")]


@pytest.mark.parametrize(("mode", "suffix"), SAVABLE)
def test_images_of_every_mode_are_the_same_ramp(mode: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        value: object = np.asarray(picture("L"))
    else:
        picture(mode).save(path)
        value = path.name
    codec = learned(ImageCodec("source", color=False), value, folder=str(tmp_path))
    pixels = codec.encode(codec.read(value, str(tmp_path)))
    assert pixels.shape == (1, 11, 17, 1)
    assert pixels.dtype == np.uint8
    row = pixels[0, 5, :, 0].astype(int)
    if mode == "1":
        assert set(row) <= {0, 255}
    else:
        assert abs(row - np.linspace(0, 255, 17)).max() < (32 if mode == "PA" else 16), "PA has 6 steps of gray"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (300, 1), (7, 13), (256, 257), (1000, 3)])
@pytest.mark.parametrize("size", [None, 8, 20])
def test_images_of_odd_sizes_get_one_size(width: int, height: int, size: int | None, tmp_path: Path) -> None:
    picture("RGB", 24, 16).save(tmp_path / "first.png")
    picture("L", width, height).save(tmp_path / "odd.png")
    codec = learned(ImageCodec("source", size=size), "first.png", "odd.png", folder=str(tmp_path))
    shapes = {codec.encode(codec.read(name, str(tmp_path))).shape for name in ("first.png", "odd.png")}
    assert shapes == {(1, 16, 24, 3) if size is None else (1, size, size, 3)}


def test_what_is_see_through_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (ImageCodec("s").read("a.png", str(tmp_path)) == 255).all()


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    for number, shade in enumerate((0, 200)):
        Image.new("L", (9, 9), shade).save(tmp_path / "a.png")
        os.utime(tmp_path / "a.png", (number, number))
        assert (ImageCodec("s").read("a.png", str(tmp_path)) == shade).all()


@pytest.mark.parametrize(
    "value", [np.zeros((3,)), np.zeros((2, 2, 2)), np.full((3, 3), 256), np.full((3, 3), -1), np.full((3, 3), np.nan)]
)
def test_an_array_that_is_no_picture_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        ImageCodec("s").read(value, "")


def test_fractions_and_bytes_are_the_same_picture() -> None:
    ramp = np.linspace(0, 255, 9, dtype=np.uint8)[None].repeat(9, 0)
    assert (ImageCodec("s").read(ramp / 255, "") == ImageCodec("s").read(ramp, "")).all()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_picture_or_refused(tmp_path: Path, content: bytes) -> None:
    whole = io.BytesIO()
    picture("RGB").save(whole, "PNG")
    path = tmp_path / "a.png"
    for number, mixed in enumerate((content, whole.getvalue()[:40] + content, whole.getvalue()[: len(content)])):
        path.write_bytes(mixed)
        os.utime(path, ns=(0, 4 * (hash(content) % 10**12) + number))
        try:
            outcome = str(ImageCodec("s").read("a.png", str(tmp_path)).dtype)
        except ValueError as error:
            outcome = str(error)
        assert outcome == "uint8" or str(path) in outcome


# --- saved --------------------------------------------------------------------------------------------

SAVED: list[Codec] = [
    learned(CategoryCodec("source"), "a", "b"),
    learned(TagsCodec("source"), "V;PST", "N"),
    learned(LabelCodec("target"), "a", "b"),
    learned(LabelsCodec("target"), "a b"),
    learned(LabelCodec("target", "balanced"), "a", "b", "b"),
    learned(LabelsCodec("target", crf=True), "a b"),
    learned(VectorCodec("source"), [1, 2], [3, 5]),
    learned(FramesCodec("source", width=2), [[1, 2], [3, 5]]),
    learned(GridCodec("source"), [[1, 2], [3, 5]]),
    learned(NumberCodec("target"), 1, 4),
    learned(NumbersCodec("target"), [[1, 2]], [[3, 5]]),
    learned(ImageCodec("source"), np.zeros((9, 8), np.uint8)),
    learned(ImagesCodec("source"), np.zeros((2, 9, 8), np.uint8), np.zeros((1, 9, 8), np.uint8)),
]
EXAMPLE: dict[str, Any] = {
    "category": "b", "tags": "N;V", "label": "b", "labels": "b a", "vector": [7, 8], "frames": [7, 8, 9, 1],
    "grid": [[[7, 8]], [[9, 1]]],
    "number": 9, "numbers": [[4, 5], [6, 7]], "image": np.full((5, 5), 9, np.uint8),
    "images": np.full((3, 5, 5), 9, np.uint8),
}  # fmt: skip


def test_images_are_a_list_of_what_an_image_is(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (3, 9, 8)).astype(np.uint8)
    names = [f"{number}.png" for number in range(3)]
    for name, picture_ in zip(names, pictures, strict=True):
        Image.fromarray(picture_).save(tmp_path / name)
    codec = learned(ImagesCodec("source", color=False), pictures)
    for value in (names, json.dumps(names), list(pictures), pictures):
        np.testing.assert_array_equal(codec.encode(codec.read(value, str(tmp_path)))[..., 0], pictures)
    np.testing.assert_array_equal(codec.read_step(pictures[1]), codec.encode(codec.read(pictures[1:2], "")))
    assert codec.key_of(codec.read(pictures, "")) != codec.key_of(codec.read(pictures[:2], ""))
    for wrong, reason in (
        ("0.png", "must be a list"),
        ("[]", "is empty"),
        (["../0.png"], "outside the table"),
        (3, "a list"),
    ):
        with pytest.raises(ValueError, match=reason):
            codec.read(wrong, str(tmp_path))


@pytest.mark.parametrize("codec", SAVED, ids=lambda codec: codec.kind)
def test_a_codec_read_back_from_json_is_the_same(codec: Codec) -> None:
    table = SOURCES if codec.kind in SOURCES else TARGETS
    again = codec_from_json(table, json.loads(json.dumps(codec.to_json())), "source")
    assert again.to_json() == codec.to_json()
    value = codec.read(EXAMPLE[codec.kind], "")
    np.testing.assert_array_equal(again.encode(again.read(EXAMPLE[codec.kind], "")), codec.encode(value))
    assert (again.size, again.part, again.class_weights) == (codec.size, codec.part, codec.class_weights)
    assert codec.shown(value)
    assert codec.about()
    assert codec.key_of(value) == again.key_of(again.read(EXAMPLE[codec.kind], ""))


@pytest.mark.parametrize("codec", SAVED, ids=lambda codec: codec.kind)
@pytest.mark.parametrize("wrong", [None, -3, [3], "x", {}, [float("nan")], LARGEST + 1], ids=str)
def test_json_with_a_wrong_value_is_refused_or_the_same(codec: Codec, wrong: object) -> None:
    """Each key changed in turn; what is taken all the same must still encode."""
    table = SOURCES if codec.kind in SOURCES else TARGETS
    for key in codec.to_json():
        with contextlib.suppress(AntiphonError):
            again = codec_from_json(table, {**codec.to_json(), key: wrong}, "source")
            with contextlib.suppress(ValueError):
                assert len(again.encode(again.read(EXAMPLE[codec.kind], "")))
