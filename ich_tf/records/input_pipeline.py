"""Shards become batches of slices: training shuffles, evaluation keeps the order."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import DataError
from ich_tf.labels import ANY
from ich_tf.records.epoch_order import draw_order, pool_chunks
from ich_tf.records.example import parse
from ich_tf.records.images import decode_image, decode_images
from ich_tf.records.known_labels import KNOWN_FIELDS, known_labels_graph
from ich_tf.records.manifest import (
    Manifest,
    Shard,
    damage_named,
    label_counts,
    num_records,
    repair_advice,
)
from ich_tf.records.masked_labels import MASK_FIELDS, MaskedLabels, read_mask_graph
from ich_tf.records.neighbours import decode_window, places_in_chunk
from ich_tf.records.record_streams import (
    THREADS,
    batched_options,
    epoch_generator,
    parse_window,
    read_chunks,
    read_shards,
)
from ich_tf.records.schema import EXAM_FIELDS
from ich_tf.records.shard_labels import has_label, read_shard_labels
from ich_tf.records.slice_pool import draw_from_pool

_EVAL_FIELDS = (
    "labels",
    "label_present",
    "source_id",
    "patient_key",
    "series_key",
    "slice_index",
    "z_mm",
    "spacing_mm",
    "gantry_tilt_deg",
    "scanner",
    *EXAM_FIELDS,
)


def epoch_records(
    shards: Sequence[Shard], negative_fraction: float = 1.0, *, exams: bool = False
) -> int:
    """Number of records that an epoch reads.

    Args:
      shards: Shards to read.
      negative_fraction: Share of the records without a hemorrhage that is read, in [0, 1].
      exams: Whether labels of slices may be unknown (`Manifest.has_exams`): only slices of which a
        class is known are read, and one whose `any` is unknown is not without a hemorrhage.
    """
    if exams:
        labels = [read_shard_labels(shard).labels for shard in shards]
        known = sum(int(has_label(values).sum()) for values in labels)
        negatives = sum(int((values[:, ANY] == 0).sum()) for values in labels)
        return known - negatives + _negatives_read(negatives, negative_fraction)
    positives = int(label_counts(shards)[ANY])
    return positives + _negatives_read(num_records(shards) - positives, negative_fraction)


def train_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    encoding: str = "png",
    neighbours: int = 1,
    negative_fraction: float = 1.0,
    first_step: int = 0,
    worker: int = 0,
    masks: bool = False,
    exams: bool = False,
) -> tf.data.Dataset:
    """Reads one epoch of training batches; the order depends on seed, epoch and worker alone.

    Args:
      shards: Shards to read.
      image_shape: Rows, columns and channels (H, W, C) of every stored image.
      batch_size: Number of slices per batch of this worker. An incomplete last batch is dropped:
        replicas need equal parts for the mean loss to be exact.
      seed: Seed of the run.
      epoch: Number of the epoch, from 0.
      encoding: Image format of the records.
      neighbours: Number of slices per image, odd: each slice with its neighbours as channels.
      negative_fraction: Share of the records without a hemorrhage to read, in [0, 1], drawn anew
        in each epoch.
      first_step: Number of batches to skip, unread, at the epoch's start.
      worker: Number of the worker, from 0; each worker has shards of its own.
      masks: Whether labels come with masks.
      exams: Whether labels of slices may be unknown (`Manifest.has_exams`): they are NaN, and
        slices of which nothing is known are left out.

    Returns:
      A dataset of (images, labels): uint8, for hu16 uint16, [batch_size, H, W, C], or with
      neighbours [batch_size, neighbours, H, W, C], which `neighbours.as_channels` makes the
      network's input; float32 [batch_size, 6], or with masks `MaskedLabels`.

    Raises:
      DataError: If the shards hold less than one batch.

    Examples:
      manifest = Manifest.load("data/tfrecords")
      batches = train_batches(
          manifest.train_shards(0), manifest.image_shape, batch_size=32, seed=0, epoch=0
      )
    """
    count = epoch_records(shards, negative_fraction, exams=exams)
    if count < batch_size:
        raise DataError(
            f"the training split holds {count} records, less than one batch of {batch_size}. "
            "Lower --batch_size or convert more data."
        )
    rng, shards = epoch_generator(shards, seed, epoch, worker)
    kept = None
    if exams:
        kept = _kept_of_known([read_shard_labels(s).labels for s in shards], negative_fraction, rng)
    elif negative_fraction < 1:
        kept = _undersampled([_bleeds(shard) for shard in shards], negative_fraction, rng)
    rows, columns, channels = image_shape
    margin = neighbours // 2
    if margin:
        slice_bytes = float(rows * columns * channels * (2 if encoding == "hu16" else 1))
    else:
        slice_bytes = sum(shard.num_bytes for shard in shards) / num_records(shards)
    order = draw_order(
        rng,
        [shard.num_records for shard in shards],
        pool_chunks(slice_bytes, margin),
        margin=margin,
        kept=kept,
        first=first_step * batch_size,
    )

    of_label = ["labels", *(MASK_FIELDS if masks else ())]
    if exams:
        of_label += [name for name in KNOWN_FIELDS if name not in of_label]

    def stack(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        fields = parse(serialized, ["encoded", "series_key", *of_label])
        images = decode_images(fields["encoded"], encoding, image_shape)
        places = places_in_chunk(fields["series_key"], neighbours)
        return images, places, *(fields[name] for name in of_label)

    def draw(*chunk: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | MaskedLabels]:
        number = chunk[-1]
        if margin:
            images, places, *values, _ = chunk
            image = tf.ensure_shape(tf.gather(images, places[number]), (neighbours, *image_shape))
            fields = {name: value[number] for name, value in zip(of_label, values, strict=True)}
        else:
            fields = parse(chunk[0][number], ["encoded", *of_label])
            image = decode_image(fields["encoded"], encoding, image_shape)
        labels = known_labels_graph(fields) if exams else tf.cast(fields["labels"], tf.float32)
        if not masks:
            return image, labels
        return image, MaskedLabels(labels, *read_mask_graph(fields, image_shape))

    chunks = read_chunks(shards, order.chunks)
    # With neighbours a slice is decoded once, before it is drawn, else once it is drawn: encoded,
    # more of them fit into the pool.
    if margin:
        chunks = chunks.map(stack, num_parallel_calls=THREADS, deterministic=True)
    else:
        chunks = chunks.map(lambda serialized: (serialized,))
    dataset = draw_from_pool(chunks, order)
    dataset = dataset.map(draw, num_parallel_calls=THREADS, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return dataset.prefetch(2).with_options(batched_options())


def eval_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    encoding: str = "png",
    neighbours: int = 1,
    masks: bool = False,
) -> tf.data.Dataset:
    """Reads every record once, in the shards' order; the last batch is padded.

    Args:
      shards: Shards to read.
      image_shape: Rows, columns and channels (H, W, C) of every stored image.
      batch_size: Number of slices per batch (n), the padded last batch included.
      encoding: Image format of the records.
      neighbours: Number of slices per image, odd: each slice with its neighbours as channels.
      masks: Whether to read masks.

    Returns:
      A dataset of dicts: `image` uint8, for hu16 uint16, [n, H, W, neighbours * C]; `labels`
      float32 [n, 6], 0 where unknown; `mask` bool [n], False for padding; `label_present` bool
      [n]; `source_id`, `patient_key`, `series_key`, `scanner` string [n]; `slice_index` int64 [n];
      `z_mm`, `gantry_tilt_deg` float32 [n]; `spacing_mm` float32 [n, 2]; and of `EXAM_FIELDS`
      `labels_known` int64 [n], `exam_labels` float32 [n, 6], NaN where unknown, and `label_level`
      string [n], with their defaults in a conversion without exams. With masks also those of
      `MaskedLabels`: `mask_bits` uint8 [n, H, W], `annotated` int32 [n]; and `lesion_mm2` float32
      [n, 6], as in `SliceRecord`.
    """
    dataset = read_shards([shard for shard in shards if shard.num_records], neighbours)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_records(shards)))

    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        names = {*_EVAL_FIELDS, *((*MASK_FIELDS, "lesion_mm2") if masks else ())}
        fields = _parse(serialized, encoding, image_shape, sorted(names))
        if masks:
            fields["mask_bits"], fields["annotated"] = read_mask_graph(fields, image_shape)
        fields["labels"] = tf.cast(fields["labels"], tf.float32)
        fields["label_present"] = fields["label_present"] > 0
        return {**fields, "mask": tf.constant(True)}

    def pad(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        missing = batch_size - tf.shape(batch["mask"])[0]
        padded = {}
        for name, value in batch.items():
            widths = tf.concat([[[0, missing]], tf.zeros([value.shape.rank - 1, 2], tf.int32)], 0)
            empty = {tf.bool: False, tf.string: ""}.get(value.dtype, 0)
            padded[name] = tf.ensure_shape(
                tf.pad(value, widths, constant_values=tf.constant(empty, value.dtype)),
                [batch_size, *value.shape[1:]],
            )
        return padded

    dataset = dataset.map(decode, num_parallel_calls=THREADS, deterministic=True)
    dataset = dataset.batch(batch_size).map(pad)
    return dataset.prefetch(2).with_options(batched_options())


def read_batches(batches: Iterable[Any]) -> Iterator[Any]:
    """Iterates over batches; a damaged, cut or missing shard raises a `DataError`.

    Args:
      batches: Dataset of `train_batches`, `eval_batches`, `slab_batches` or `bag_batches`.

    Raises:
      DataError: If a record cannot be read, or there are fewer than the manifest lists.
    """
    try:
        yield from batches
    except tf.errors.OpError as error:
        raise DataError(
            f"a record cannot be read ({error.message}). Run python -m ich_tf.verify_tfrecords "
            "--full --repair on the data dir."
        ) from error


def read_masked_split(
    manifest: Manifest, split: str, *, batch_size: int, neighbours: int
) -> Iterator[dict[str, tf.Tensor]]:
    """Iterates over the batches of a split with masks, as `eval_batches` makes them.

    Args:
      manifest: Manifest of the records.
      split: Name of the split.
      batch_size: Number of slices per batch.
      neighbours: Number of slices per image, odd.

    Raises:
      DataError: If a record cannot be read; names the damaged shard.
    """
    shards = manifest.split_shards(split)
    batches = eval_batches(
        shards,
        manifest.image_shape,
        batch_size=batch_size,
        encoding=manifest.encoding,
        neighbours=neighbours,
        masks=True,
    )
    with damage_named(shards):
        yield from read_batches(batches)


def _parse(
    serialized: tf.Tensor, encoding: str, image_shape: tuple[int, int, int], fields: Sequence[str]
) -> dict[str, tf.Tensor]:
    """Parses a record or a window.

    Args:
      serialized: Element of `read_shards`, string [] or [neighbours].
      encoding: Image format of the records.
      image_shape: Rows, columns and channels of every stored image.
      fields: Names of fields of `SliceRecord`.

    Returns:
      `image`, with its neighbours as channels, and the fields of the record itself.
    """
    if not serialized.shape.rank:
        parsed = parse(serialized, ["encoded", *fields])
        image = decode_image(parsed.pop("encoded"), encoding, image_shape)
        return {"image": image, **parsed}
    encoded, keys, _ = parse_window(serialized, [])
    image = decode_window(encoded, keys, encoding, image_shape)
    return {"image": image, **parse(serialized[serialized.shape[0] // 2], fields)}


def _negatives_read(negatives: int, fraction: float) -> int:
    return round(negatives * fraction)


def _kept_of_known(
    labels: Sequence[np.ndarray], fraction: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Chooses the slices of which a class is known, and of the negative ones a share.

    Args:
      labels: Labels of each shard, NaN where unknown, float32 [n, 6].
      fraction: Share of the slices that are known to have no hemorrhage.
      rng: Generator of the epoch.
    """
    known = [has_label(values) for values in labels]
    if fraction == 1:
        return known
    # A slice whose `any` is unknown counts among those that are all kept.
    chosen = _undersampled([values[:, ANY] != 0 for values in labels], fraction, rng)
    return [left & right for left, right in zip(known, chosen, strict=True)]


def _undersampled(
    bleeds: Sequence[np.ndarray], fraction: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Chooses all slices with a hemorrhage and a share of the others, as bool for each shard."""
    has_bleed = np.concatenate([*bleeds, np.zeros(0, bool)])
    negatives = np.flatnonzero(~has_bleed)
    kept = has_bleed.copy()
    kept[rng.permutation(negatives)[: _negatives_read(len(negatives), fraction)]] = True
    return np.split(kept, np.cumsum([len(shard) for shard in bleeds])[:-1])


@functools.lru_cache(4096)
def _bleeds(shard: Shard) -> np.ndarray:
    """Whether each record of a shard has a hemorrhage, bool [n]; it reads the shard, once a run.

    Raises:
      DataError: If the labels are not those of the manifest.
    """
    labels = tf.data.TFRecordDataset(str(shard.path)).batch(256)
    labels = labels.map(lambda serialized: parse(serialized, ["labels"])["labels"][:, ANY] > 0)
    parts = [*read_batches(labels.as_numpy_iterator()), np.zeros(0, bool)]
    bleeds: np.ndarray = np.concatenate(parts)
    if (len(bleeds), bleeds.sum()) != (shard.num_records, shard.label_counts[ANY]):
        raise DataError(
            f"{shard.path}: holds {len(bleeds)} records, {bleeds.sum()} of them with a hemorrhage; "
            f"the manifest lists {shard.num_records} and {shard.label_counts[ANY]}. "
            f"{repair_advice(shard.path.parent)}"
        )
    return bleeds
